"""How connections, servers, sessions and loops end, and what those who wait are told."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest
from jetstream import (
    Client,
    ClosedError,
    ConnectError,
    ConnectionLost,
    Limits,
    Server,
    Session,
    SocketAddress,
    Unavailable,
    _listening,
    connect,
)

from tests.e2e.services import Echo, EchoImpl
from tests.helpers import client_tls, join, live_objects, run, serve, server_tls


def test_a_server_that_closes_fails_every_pending_call_with_the_reason(loop: str) -> None:
    async def main() -> None:
        impl = EchoImpl()
        async with serve(impl) as server, join(server) as session:
            echo = session.channel(Echo)
            held = [asyncio.ensure_future(echo.hold("x")) for _ in range(100)]
            waiting = Echo.Channel(1, session)
            held += [asyncio.ensure_future(waiting.hold("x")) for _ in range(10)]
            while impl.running < 101:
                await echo.ping()
            await server.close(graceful_timeout=0)
            for error in await asyncio.gather(*held, return_exceptions=True):
                assert isinstance(error, ConnectionLost)
                assert "shutting down" in str(error)
                if isinstance(error, Unavailable):
                    continue  # one of those that had to wait for the lane's only tag
                assert error.by_peer
                assert error.close_code == 2
            assert sum(isinstance(call.exception(), Unavailable) for call in held) == 9
            with pytest.raises(ConnectionLost, match="shutting down"):
                await echo.ping()
            with pytest.raises(ConnectionLost, match="shutting down"):
                session.channel(Echo, max_concurrent=3)
            assert isinstance(await session.wait_closed(), ConnectionLost)
            assert isinstance(session.closed, ConnectionLost)
            assert "over" in repr(session)
            while impl.running:
                impl.ended.clear()
                await impl.ended.wait()
            assert len(impl.cancelled) == 101

    run(main, loop=loop)


@pytest.mark.parametrize("round_number", range(3))
def test_closing_in_the_middle_of_large_answers_is_told_at_once(round_number: int) -> None:
    async def main() -> None:
        server = serve(EchoImpl())
        await server.start()
        async with join(server) as session:
            echo = session.channel(Echo)
            calls = [asyncio.ensure_future(echo.make(1 << 20)) for _ in range(30)]
            await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            await server.close(graceful_timeout=0)
            async with asyncio.timeout(3):
                results = await asyncio.gather(*calls, return_exceptions=True)
            errors = [result for result in results if not isinstance(result, bytes)]
            for error in errors:
                assert isinstance(error, ConnectionLost)
                assert "shutting down" in str(error)

    run(main)


def test_a_server_that_vanishes_is_noticed_after_the_idle_timeout() -> None:
    async def main() -> None:
        impl = EchoImpl()
        server = serve(impl)
        await server.start()
        limits = Limits(idle_timeout=0.3, keep_alive=0.1)
        async with join(server, limits=limits) as session:
            held = asyncio.ensure_future(session.channel(Echo).hold("x"))
            await impl.arrival("x").wait()
            endpoint: Any = server._endpoint  # pyright: ignore[reportPrivateUsage]
            # Closed without a word, as if the machine had lost its power.
            endpoint.close()
            with pytest.raises(ConnectionLost, match="idle timeout"):
                await held
        # The endpoint is gone already, so there is nothing to wait for.
        async with asyncio.timeout(2):
            await server.close()

    run(main)


def test_our_own_closing_is_not_the_peers_fault(loop: str) -> None:
    async def main() -> None:
        impl = EchoImpl()
        async with serve(impl) as server:
            session = await join(server)
            echo = session.channel(Echo)
            held = asyncio.ensure_future(echo.hold("x"))
            await impl.arrival("x").wait()
            await session.close()
            with pytest.raises(ClosedError):
                await held
            with pytest.raises(ClosedError):
                await echo.ping()
            await session.close()
            await impl.ended.wait()
            assert impl.cancelled == ["x"], "nobody is left to answer"

    run(main, loop=loop)


def test_closing_a_server_lets_calls_in_flight_end(loop: str) -> None:
    async def main() -> None:
        impl = EchoImpl()
        async with serve(impl) as server, join(server) as session:
            held = asyncio.ensure_future(session.channel(Echo).hold("x"))
            await impl.arrival("x").wait()
            closing = asyncio.ensure_future(server.close())
            # Newcomers are turned away meanwhile, or not heard at all.
            with pytest.raises(ConnectError):
                await join(server, timeout=0.1)
            assert not closing.done()
            impl.gate("x").set()
            assert await held == "x"
            await closing
            assert impl.cancelled == []

    run(main, loop=loop)


def test_a_server_that_restarts_on_the_same_port(loop: str) -> None:
    async def main() -> None:
        async with serve(EchoImpl()) as server:
            address = server.address
            session = await join(server)
            assert await session.channel(Echo).echo("one") == "one"
        with pytest.raises(ConnectionLost):
            await session.channel(Echo).ping()
        await session.close()
        async with serve(EchoImpl(), port=address.port) as server:
            assert server.address == address
            async with join(server) as session:
                assert await session.channel(Echo).echo("two") == "two"

    run(main, loop=loop)


def test_the_same_server_object_starts_again() -> None:
    async def main() -> None:
        server = serve(EchoImpl())
        for _ in range(3):
            async with server:
                with pytest.raises(RuntimeError, match="listens already"):
                    await server.start()
                async with join(server) as session:
                    assert await session.channel(Echo).echo("again") == "again"
            with pytest.raises(ClosedError, match="does not listen"):
                server.address  # noqa: B018
            assert server.connections == 0

    run(main)


def test_starting_twice_at_once(loop: str) -> None:
    async def main() -> None:
        server = serve(EchoImpl(), host="localhost")
        one, other = await asyncio.gather(server.start(), server.start(), return_exceptions=True)
        assert one is None
        assert isinstance(other, RuntimeError)
        assert "listens already" in str(other)
        async with join(server) as session:
            assert await session.channel(Echo).echo("in") == "in"
        await server.close()

    run(main, loop=loop)


def test_closing_a_server_that_starts(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    listen = _listening.bind_quic

    def noted(*args: Any) -> Any:
        made.append(listen(*args))
        return made[-1]

    monkeypatch.setattr(_listening, "bind_quic", noted)

    async def main() -> None:
        server = serve(EchoImpl(), host="localhost", tcp=("localhost", 0))
        starting = [asyncio.ensure_future(server.start()) for _ in range(2)]
        await asyncio.sleep(0)
        await server.close()
        for each in starting:
            with pytest.raises(ClosedError, match="closed while it started"):
                await each
        assert repr(server).endswith(", not listening>")
        assert [endpoint.closed for endpoint in made] == [True]
        # That was then.
        async with server, join(server) as session:
            assert await session.channel(Echo).echo("in") == "in"

    run(main, loop=loop)


def test_a_hook_that_closes_the_server_lets_calls_in_flight_end(loop: str) -> None:
    async def main() -> None:
        impl, begun, ended = EchoImpl(), asyncio.Event(), asyncio.Event()

        async def close(_: Session) -> None:
            if len(server.sessions) == 2:
                begun.set()
                await server.close()
                ended.set()

        server: Server = serve(impl, on_session=close)
        async with server, join(server) as session:
            held = asyncio.ensure_future(session.channel(Echo).hold("x"))
            await impl.arrival("x").wait()
            async with join(server):
                await begun.wait()
                # Nor does whoever else closes it cut that off.
                closing = asyncio.ensure_future(server.close())
                await asyncio.sleep(0)
                assert not closing.done()
                impl.gate("x").set()
                assert await held == "x"
                await closing
                await ended.wait()

    run(main, loop=loop)


def test_addresses() -> None:
    async def main() -> None:
        async with serve(EchoImpl()) as server:
            assert isinstance(server.address, SocketAddress)
            assert server.address.port > 0
            host, port = str(server.address.ip), server.address.port
            for spelling in (f"{host}:{port}", (host, port), server.address, f"localhost:{port}"):
                async with connect(spelling, tls=client_tls()) as session:
                    assert await session.channel(Echo).echo("in") == "in"
                    assert session.remote == server.address

    run(main)


def ipv6_works() -> bool:
    """Whether this machine has an IPv6 loopback."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not ipv6_works(), reason="no IPv6 loopback")
def test_ipv6(loop: str) -> None:
    async def main() -> None:
        async with serve(EchoImpl(), host="::1") as server:
            assert str(server.address) == f"[::1]:{server.address.port}"
            async with connect(f"[::1]:{server.address.port}", tls=client_tls()) as session:
                assert await session.channel(Echo).echo("six") == "six"
                assert session.remote == server.address

    run(main, loop=loop)


def test_nothing_is_left_behind(loop: str) -> None:
    before = live_objects()

    async def main() -> None:
        impl = EchoImpl()
        async with serve(impl) as server:
            for number in range(5):
                async with join(server) as session:
                    echo = session.channel(Echo)
                    held = asyncio.ensure_future(echo.hold("x"))
                    assert await echo.echo(str(number)) == str(number)
                with pytest.raises(ClosedError):
                    await held

    run(main, loop=loop)
    assert live_objects() == before
    assert before["calls"] == 0


def test_failed_connections_leave_nothing_behind() -> None:
    before = live_objects()

    async def main() -> None:
        async with serve(EchoImpl(), tls=server_tls(client_ca=None, client_auth="none")) as server:
            for _ in range(3):
                with pytest.raises(ConnectError):
                    await join(server, server_name="wrong.example")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            with pytest.raises(ConnectError):
                await connect(silent.getsockname(), tls=client_tls(), timeout=0.02)

    run(main)
    assert live_objects() == before


def test_another_thread_is_told_so() -> None:
    async def main() -> None:
        async with serve(EchoImpl()) as server, join(server) as session:
            echo = session.channel(Echo)
            caught: list[BaseException] = []

            def elsewhere() -> None:
                for use in (
                    lambda: asyncio.run(_await(echo.ping())),
                    lambda: session.channel(Echo, max_concurrent=9),
                    lambda: asyncio.run(session.close()),
                    lambda: asyncio.run(server.close()),
                ):
                    try:
                        use()
                    except BaseException as error:
                        caught.append(error)

            thread = threading.Thread(target=elsewhere)
            thread.start()
            while thread.is_alive():
                await echo.ping()
            for error in caught:
                assert isinstance(error, RuntimeError)
                assert "thread" in str(error)
                assert "run_coroutine_threadsafe" in str(error)
            assert len(caught) == 4
            assert await echo.echo("on") == "on"

    run(main)


async def _await(call: object) -> object:
    return await call  # type: ignore[misc]


def test_another_thread_can_use_the_documented_way() -> None:
    async def main() -> None:
        async with serve(EchoImpl()) as server, join(server) as session:
            echo = session.channel(Echo)
            loop = asyncio.get_running_loop()

            def elsewhere() -> str:
                answer: str = asyncio.run_coroutine_threadsafe(echo.echo("x"), loop).result(10)
                return answer

            assert await asyncio.to_thread(elsewhere) == "x"

    run(main)


def test_a_loop_closed_with_calls_in_flight(loop: str) -> None:
    before = live_objects()

    async def main() -> tuple[Server, object]:
        impl = EchoImpl()
        server = serve(impl)
        await server.start()
        session = await join(server)
        call = asyncio.ensure_future(session.channel(Echo).hold("x"))
        await impl.arrival("x").wait()
        return server, (session, call)

    # The loop ends, and cancels what runs, with the server and the session still open.
    kept = run(main, loop=loop)
    del kept
    assert live_objects() == before


def test_a_session_that_closes_and_a_lane_that_opens_at_once(loop: str) -> None:
    """What is still to be told of the old lane must not reach the new one."""

    async def main() -> None:
        impl = EchoImpl()
        async with serve(impl) as server, Client(client_tls()) as client:
            old = await client.session(server.address)
            new = await client.session(server.address)
            held = asyncio.ensure_future(old.channel(Echo).hold("x"))
            await impl.arrival("x").wait()
            await old.close()
            echo = new.channel(Echo)
            with pytest.raises(ClosedError):
                async with asyncio.timeout(5):
                    await held
            assert await echo.echo("new") == "new"
            assert await asyncio.gather(*map(echo.echo, "abc")) == ["a", "b", "c"]

    run(main, loop=loop)
