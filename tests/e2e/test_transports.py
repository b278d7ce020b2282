"""What holds over every transport: the same application, told only where to connect."""

# A service class only declares.
# mypy: disable-error-code="empty-body"

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jetstream import (
    FOREVER,
    U32,
    CallError,
    Capabilities,
    ClosedError,
    ConnectError,
    ConnectionLost,
    Context,
    DeadlineExceeded,
    Done,
    JetStreamError,
    Limits,
    Router,
    Server,
    Session,
    Subscription,
    TlsConfigError,
    TlsPeer,
    Unavailable,
    UnixPeer,
    VersionMismatch,
    close_channel,
    connect,
    service,
)

from tests.e2e.services import Echo, EchoImpl
from tests.helpers import (
    client_tls,
    live_objects,
    run,
    serve,
    server_tls,
)
from tests.transports import (
    SINGLE,
    SOCKETS,
    TRANSPORTS,
    Way,
    beside_pages,
    joined,
    listening,
    served,
)


@service
class Count:
    """Another service beside `Echo`."""

    def up(self, to: U32) -> Subscription[U32, str]:
        """Counts."""
        ...

    def for_ever(self) -> Subscription[U32, None]:
        """Counts and never ends."""
        ...

    async def total(self, numbers: AsyncIterator[U32]) -> U32:
        """Their sum."""
        ...


class CountImpl(Count):
    """Counts, and says when it was told to stop."""

    def __init__(self) -> None:
        self.stopped = asyncio.Event()

    async def up(self, to: U32) -> AsyncGenerator[U32 | Done[str]]:
        for number in range(to):
            yield number
        yield Done(f"counted to {to}")

    async def for_ever(self) -> AsyncGenerator[U32]:
        try:
            number = 0
            while True:
                yield number
                number += 1
        finally:
            self.stopped.set()

    async def total(self, numbers: AsyncIterator[U32]) -> U32:
        return sum([number async for number in numbers])


@service
class Nowhere:
    """What nobody serves."""

    async def ping(self) -> None:
        """Nothing."""
        ...


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    """The name of a transport: the test runs once on each."""
    return str(request.param)


@pytest.fixture(params=SOCKETS)
def sockets(request: pytest.FixtureRequest) -> str:
    """The name of a transport with a server."""
    return str(request.param)


@pytest.fixture(params=SINGLE)
def single(request: pytest.FixtureRequest) -> str:
    """The name of a transport of a single lane."""
    return str(request.param)


# ---- calls ----


def test_every_style_of_method(transport: str, loop: str) -> None:
    async def main() -> None:
        async with joined(transport, EchoImpl()) as session:
            echo = session.channel(Echo)
            assert await echo.ping() is None
            assert await echo.echo("grüße") == "grüße"
            assert await echo.echo(message="by keyword") == "by keyword"
            assert await echo.add(2, -5) == -3
            assert await echo.thread() is True
            caller = "nobody" if transport == "unix" else "ada"
            assert await echo.first(message="x") == f"{caller} Echo.first x"

    run(main, loop=loop)


def test_a_thousand_at_once(transport: str, loop: str) -> None:
    async def main() -> None:
        async with joined(transport, EchoImpl()) as session:
            echo = session.channel(Echo)
            answers = await asyncio.gather(*[echo.echo(str(n)) for n in range(1000)])
            assert answers == [str(n) for n in range(1000)]

    run(main, loop=loop)


def test_replies_come_in_any_order(transport: str, loop: str) -> None:
    async def main() -> None:
        impl = EchoImpl()
        async with joined(transport, impl) as session:
            echo = session.channel(Echo)
            tasks = {name: asyncio.ensure_future(echo.hold(name)) for name in "abc"}
            await impl.arrival("c").wait()
            for name in "bca":
                impl.gate(name).set()
                assert await tasks[name] == name
            assert impl.order == ["a", "b", "c"]

    run(main, loop=loop)


def test_calls_over_max_concurrent_wait_in_order(transport: str) -> None:
    async def main() -> None:
        impl = EchoImpl()
        async with joined(transport, impl) as session:
            echo = Echo.Channel(1, session)
            tasks = [asyncio.ensure_future(echo.hold(name)) for name in "abc"]
            await impl.arrival("a").wait()
            tasks[1].cancel()
            await asyncio.wait([tasks[1]])
            impl.gate("a").set()
            await impl.arrival("c").wait()
            impl.gate("c").set()
            assert [await tasks[0], await tasks[2]] == ["a", "c"]
            assert impl.order == ["a", "c"]

    run(main)


def test_large_values_both_ways(transport: str, loop: str) -> None:
    async def main() -> None:
        limits = Limits(msize=32 << 20)
        async with joined(transport, EchoImpl(), limits=limits) as session:
            echo = session.channel(Echo)
            assert await echo.size(bytes(271_828)) == 271_828
            assert len(await echo.make(314_159)) == 314_159
            blob = os.urandom(16 << 20)
            assert await echo.blob(blob) == blob
            many = await asyncio.gather(*[echo.blob(blob[: n * 1000]) for n in range(200)])
            assert many == [blob[: n * 1000] for n in range(200)]

    run(main, loop=loop)


def test_what_goes_wrong_with_a_call(transport: str) -> None:
    async def main() -> None:
        impl = EchoImpl()
        async with joined(transport, impl, call_timeout=0.03) as session:
            echo = session.channel(Echo)
            with pytest.raises(CallError) as caught:
                await session.channel(Echo, timeout=5).fail("told")
            assert (caught.value.message, caught.value.code) == ("out of cheese", "shop::empty")
            with pytest.raises(DeadlineExceeded):
                await echo.hold("never")
            patient = session.channel(Echo, timeout=FOREVER)
            call = asyncio.ensure_future(patient.hold("gone"))
            await impl.arrival("gone").wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert await patient.echo("goes on") == "goes on"

    run(main)


def test_a_service_that_is_not_served_and_others_that_are(transport: str, loop: str) -> None:
    async def main() -> None:
        async with joined(transport, EchoImpl(), CountImpl()) as session:
            with pytest.raises(VersionMismatch, match="nowhere"):
                await session.channel(Nowhere).ping()
            assert await session.channel(Echo).echo("one") == "one"
            assert [n async for n in session.channel(Count).up(3)] == [0, 1, 2]
            with pytest.raises(VersionMismatch, match="nowhere"):
                await session.channel(Nowhere).ping()
            # And those that are served are still the ones from before.
            assert await session.channel(Echo).echo("two") == "two"
            assert session.closed is None

    run(main, loop=loop)


def test_closing_a_channel_leaves_the_others(transport: str, loop: str) -> None:
    async def main() -> None:
        impl = EchoImpl()
        async with joined(transport, impl) as session:
            echo, other = session.channel(Echo), session.channel(Echo, max_concurrent=7)
            held = asyncio.ensure_future(echo.hold("x"))
            stays = asyncio.ensure_future(other.hold("y"))
            await asyncio.gather(impl.arrival("x").wait(), impl.arrival("y").wait())
            close_channel(echo)
            with pytest.raises(ClosedError):
                await held
            # Nobody waits for the answer any more, so the handler is not left running.
            await impl.ended.wait()
            assert impl.cancelled == ["x"]
            impl.gate("y").set()
            assert await stays == "y"
            assert await session.channel(Echo).echo("a new lane") == "a new lane"

    run(main, loop=loop)


# ---- streams ----


def test_subscriptions_and_streams_from_the_caller(transport: str, loop: str) -> None:
    async def main() -> None:
        async with joined(transport, CountImpl(), EchoImpl()) as session:
            count, echo = session.channel(Count), session.channel(Echo)
            ticks = count.up(10_000)
            seen = [number async for number in ticks]
            assert seen == list(range(10_000))
            assert ticks.result == "counted to 10000"

            async def numbers() -> AsyncIterator[int]:
                for number in range(1000):
                    yield number

            assert await count.total(numbers()) == 499_500
            assert await echo.echo("beside") == "beside"

    run(main, loop=loop)


def test_a_slow_subscriber_holds_up_nobody(transport: str) -> None:
    async def main() -> None:
        impl = CountImpl()
        async with joined(transport, impl) as session:
            count = session.channel(Count)
            async with count.for_ever() as slow:
                assert await anext(slow) == 0
                # The one that is not read has filled its window long before this one ends.
                assert len([n async for n in count.up(100_000)]) == 100_000
                assert await anext(slow) == 1
            await impl.stopped.wait()

    run(main)


# ---- ends ----


def test_our_own_closing_is_not_the_peers_fault(sockets: str, loop: str) -> None:
    async def main() -> None:
        impl = EchoImpl()
        async with served(sockets, impl) as way:
            session = await way.join()
            echo = session.channel(Echo)
            held = asyncio.ensure_future(echo.hold("x"))
            await impl.arrival("x").wait()
            await session.close()
            with pytest.raises(ClosedError):
                await held
            with pytest.raises(ClosedError):
                await echo.ping()
            await impl.ended.wait()
            assert impl.cancelled == ["x"], "nobody is left to answer"

    run(main, loop=loop)


def test_a_server_that_closes_fails_every_pending_call(sockets: str, loop: str) -> None:
    async def main() -> None:
        impl = EchoImpl()
        async with served(sockets, impl, CountImpl()) as way, way.join() as session:
            echo = session.channel(Echo)
            # A second lane, which over a single-lane transport is a second connection.
            assert [n async for n in session.channel(Count).up(2)] == [0, 1]
            held = [asyncio.ensure_future(echo.hold("x")) for _ in range(100)]
            while impl.running < 100:
                await echo.ping()
            await way.server.close(graceful_timeout=0)
            for error in await asyncio.gather(*held, return_exceptions=True):
                assert isinstance(error, ConnectionLost), error
            over = await session.wait_closed()
            assert isinstance(over, ConnectionLost)
            assert over.by_peer

    run(main, loop=loop)


def test_closing_a_server_lets_calls_in_flight_end(sockets: str, loop: str) -> None:
    async def main() -> None:
        impl = EchoImpl()
        async with served(sockets, impl) as way, way.join() as session:
            held = asyncio.ensure_future(session.channel(Echo).hold("x"))
            await impl.arrival("x").wait()
            closing = asyncio.ensure_future(way.server.close())
            with pytest.raises(ConnectError):
                await way.join(timeout=0.1)
            assert not closing.done()
            with pytest.raises(Unavailable):
                await session.channel(Echo).echo("too late")
            impl.gate("x").set()
            assert await held == "x"
            await closing
            assert impl.cancelled == []

    run(main, loop=loop)


def test_a_server_that_restarts(sockets: str, tmp_path: Path, loop: str) -> None:
    async def main() -> None:
        server = listening(sockets, tmp_path, EchoImpl())
        async with server:
            way = Way(sockets, server)
            session: Session = await way.join()
            assert await session.channel(Echo).echo("one") == "one"
        # A single-lane session that calls again dials again, and learns that nobody listens.
        with pytest.raises((ConnectionLost, ConnectError)):
            await session.channel(Echo).ping()
        await session.close()
        async with server, Way(sockets, server).join() as session:
            assert await session.channel(Echo).echo("two") == "two"

    run(main, loop=loop)


def test_a_session_that_stays_up(sockets: str, tmp_path: Path, loop: str) -> None:
    async def main() -> None:
        async with listening(sockets, tmp_path, EchoImpl()) as first:
            way = Way(sockets, first)
            session: Session = await way.join(reconnect=True)
            echo = session.channel(Echo)
            assert await echo.echo("one") == "one"
            options: dict[str, Any] = {}
            if sockets in ("quic", "webtransport"):
                options["port"] = first.address.port
            elif sockets == "tcp":
                options["tcp"] = first.tcp_address
        async with listening(sockets, tmp_path, EchoImpl(), **options):
            assert await echo.echo("two") == "two"
            assert session.state == "ready"
            await session.close()

    run(main, loop=loop)


def test_nothing_is_left_behind(sockets: str, loop: str) -> None:
    before = live_objects()

    async def main() -> None:
        impl = EchoImpl()
        async with served(sockets, impl, CountImpl()) as way:
            for number in range(5):
                async with way.join() as session:
                    echo = session.channel(Echo)
                    held = asyncio.ensure_future(echo.hold("x"))
                    assert await echo.echo(str(number)) == str(number)
                    assert [n async for n in session.channel(Count).up(1)] == [0]
                with pytest.raises(ClosedError):
                    await held

    run(main, loop=loop)
    assert live_objects() == before


def test_a_loop_closed_with_calls_in_flight(single: str, loop: str) -> None:
    before = live_objects()

    async def main() -> object:
        impl = EchoImpl()
        way = served(single, impl)
        session = await (await way.__aenter__()).join()
        call = asyncio.ensure_future(session.channel(Echo).hold("x"))
        await impl.arrival("x").wait()
        return way, session, call

    kept = run(main, loop=loop)
    del kept
    assert live_objects() == before


# ---- what a session knows ----


def test_capabilities(transport: str) -> None:
    async def main() -> None:
        async with joined(transport, EchoImpl()) as session:
            assert session.capabilities == expected[transport]

    quic = Capabilities(
        transport="quic",
        many_lanes=True,
        datagrams=True,
        identity="tls",
        migration=True,
        opens_lanes=True,
        accepts_lanes=True,
    )

    def single_lane(transport: Any, identity: Any) -> Capabilities:
        return Capabilities(
            transport=transport,
            many_lanes=False,
            datagrams=False,
            identity=identity,
            migration=False,
            opens_lanes=True,
            accepts_lanes=False,
        )

    expected = {
        "quic": quic,
        "tcp": single_lane("tcp", "tls"),
        "unix": single_lane("unix", "unix"),
        "webtransport": replace(quic, transport="webtransport"),
        "memory": Capabilities(
            transport="memory",
            many_lanes=True,
            datagrams=False,
            identity="none",
            migration=False,
            opens_lanes=True,
            accepts_lanes=True,
        ),
        "single-lane memory": single_lane("memory", "none"),
    }
    run(main)


def test_a_servers_session_of_a_single_lane_cannot_call(single: str) -> None:
    seen: list[Session] = []

    async def main() -> None:
        async with served(single, EchoImpl(), on_session=seen.append) as way, way.join() as session:
            await session.channel(Echo).ping()
            (theirs,) = seen
            assert theirs.capabilities.accepts_lanes
            assert not theirs.capabilities.opens_lanes
            with pytest.raises(JetStreamError, match="single lane"):
                theirs.channel(Echo)
            assert way.server.sessions == [theirs]

    run(main)


@service
class Who:
    """Tells who calls."""

    async def am_i(self, ctx: Context) -> str:
        """The caller."""
        ...


class WhoImpl(Who):
    """Tells, and keeps what it saw."""

    def __init__(self) -> None:
        self.seen: list[Context] = []

    async def am_i(self, ctx: Context) -> str:
        self.seen.append(ctx)
        return str(ctx.peer)


def test_peers_over_a_unix_socket() -> None:
    async def main() -> None:
        impl = WhoImpl()
        async with served("unix", impl) as way, way.join() as session:
            ourselves = UnixPeer(os.getpid(), os.getuid(), os.getgid())
            assert await session.channel(Who).am_i() == str(ourselves)
            (context,) = impl.seen
            assert context.peer == ourselves == session.peer
            assert context.remote is None is session.remote
            assert session.protocol is None

    run(main)


def test_peers_over_tcp() -> None:
    async def main() -> None:
        impl = WhoImpl()
        async with served("tcp", impl) as way, way.join() as session:
            await session.channel(Who).am_i()
            (context,) = impl.seen
            assert isinstance(context.peer, TlsPeer)
            assert context.peer.leaf.common_name == "ada"
            assert isinstance(session.peer, TlsPeer)
            assert session.peer.leaf.common_name == "localhost"
            assert context.remote is not None
            assert session.remote == way.server.tcp_address
            assert session.protocol == "jetstream"

    run(main)


# ---- servers ----


def test_one_server_on_all_transports(tmp_path: Path, loop: str) -> None:
    async def main() -> None:
        impl = EchoImpl()
        path = tmp_path / "all.sock"
        h3 = beside_pages(impl)
        async with serve(impl, h3, tcp="127.0.0.1:0", unix=path) as server:
            ways = [Way(each, server) for each in SOCKETS]
            sessions = [await way.join() for way in ways]
            for session in sessions:
                assert await session.channel(Echo).echo("here") == "here"
            assert server.connections == len(SOCKETS)
            assert len(server.sessions) == len(SOCKETS)
            assert "UDP" in repr(server)
            assert "TCP" in repr(server)
            assert str(path) in repr(server)
            held = [asyncio.ensure_future(s.channel(Echo).hold("x")) for s in sessions]
            while impl.running < len(SOCKETS):
                await sessions[0].channel(Echo).ping()
            closing = asyncio.ensure_future(server.close())
            for way in ways:
                with pytest.raises(ConnectError):
                    await way.join(timeout=0.1)
            impl.gate("x").set()
            assert await asyncio.gather(*held) == ["x"] * len(SOCKETS)
            await closing
            assert not path.exists()
            for session in sessions:
                await session.close()

    run(main, loop=loop)


def test_a_unix_server_needs_no_tls(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"

    async def main() -> None:
        for spelled in (f"unix:{path}", f"unix://{path}"):
            async with (
                Server(Router(EchoImpl()), unix=path) as server,
                connect(spelled) as session,
            ):
                assert await session.channel(Echo).echo("in") == "in"
                assert server.unix_path == str(path)
                assert stat.S_IMODE(path.stat().st_mode) == 0o600
                with pytest.raises(ClosedError):
                    server.address  # noqa: B018
                with pytest.raises(ClosedError):
                    server.tcp_address  # noqa: B018
                with pytest.raises(TlsConfigError, match="no TLS to reload"):
                    await server.reload()
        async with Server(EchoImpl(), unix=path, unix_mode=0o666):
            assert stat.S_IMODE(path.stat().st_mode) == 0o666
            with pytest.raises(OSError, match="cannot listen on unix:"):
                await Server(EchoImpl(), unix=path).start()

    run(main)


@pytest.mark.skipif(not hasattr(os, "eventfd"), reason="abstract names are Linux's")
def test_an_abstract_name() -> None:
    async def main() -> None:
        name = f"@jetstream-{os.getpid()}"
        async with Server(EchoImpl(), unix=name), connect(f"unix:{name}") as session:
            assert await session.channel(Echo).echo("in") == "in"

    run(main)


def test_where_a_server_cannot_listen() -> None:
    with pytest.raises(TypeError, match="needs tls"):
        Server(EchoImpl())
    with pytest.raises(TypeError, match=r"tcp=\.\.\.\) needs tls"):
        Server(EchoImpl(), tcp="127.0.0.1:0", unix="/tmp/x")
    with pytest.raises(TypeError, match="listens nowhere"):
        Server(EchoImpl(), tls=server_tls(), port=None)
    with pytest.raises(ValueError, match="no address"):
        Server(EchoImpl(), tls=server_tls(), tcp="nowhere")
    with pytest.raises(ValueError, match="path of a socket"):
        Server(EchoImpl(), unix="")

    class Handler:
        def alpns(self) -> list[str]:
            return ["mine"]

        async def accept(self, ctx: Context, connection: object) -> None:
            """Takes no part in this."""

    async def main() -> None:
        server = serve(Handler(), tcp="127.0.0.1:0")
        with pytest.raises(ValueError, match="protocol handlers need QUIC"):
            await server.start()
        async with serve(EchoImpl(), tcp="127.0.0.1:0") as one:
            with pytest.raises(OSError, match="cannot listen on TCP"):
                await serve(EchoImpl(), tcp=one.tcp_address).start()

    run(main)


def test_reloading_counts_over_tcp_too(loop: str) -> None:
    async def main() -> None:
        async with served("tcp", EchoImpl()) as way, way.join() as session:
            echo = session.channel(Echo)
            assert await echo.echo("before") == "before"
            await way.server.reload()
            assert await echo.echo("still") == "still"
            await way.server.reload(server_tls(client_ca=None, client_check=refuse_everybody))
            # Whoever would not be let in now is sent away; TCP has no words for why.
            with pytest.raises(ConnectionLost):
                await echo.echo("after")
            with pytest.raises(ConnectError):
                await way.join()

    run(main, loop=loop)


def refuse_everybody(peer: TlsPeer) -> None:
    """A check that lets nobody in."""
    msg = "nobody today"
    raise PermissionError(msg)


# ---- clients ----


def test_the_first_place_that_answers_wins(tmp_path: Path) -> None:
    async def main() -> None:
        missing = f"unix:{tmp_path / 'missing.sock'}"
        async with served("tcp", EchoImpl()) as way:
            there = f"tcp://{way.server.tcp_address}"
            async with connect([missing, there], tls=client_tls()) as session:
                assert session.capabilities.transport == "tcp"
                assert await session.channel(Echo).echo("in") == "in"
            by_name = f"tcp://localhost:{way.server.tcp_address.port}"
            async with connect(by_name, tls=client_tls(), bind="127.0.0.1:0") as session:
                assert await session.channel(Echo).echo("in") == "in"

    run(main)


def test_places_where_nobody_is(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(ConnectError, match="No such file"):
            await connect(f"unix:{tmp_path / 'x'}")
        async with served("tcp", EchoImpl()) as way:
            gone = f"tcp://{way.server.tcp_address}"
        with pytest.raises(ConnectError, match=r"TCP 127.0.0.1:.*[Rr]efused"):
            await connect(gone, tls=client_tls())

    run(main)


def test_a_lane_that_fails_fails_alone() -> None:
    async def main() -> None:
        async with served("tcp", EchoImpl(), CountImpl()) as way, way.join() as session:
            echo = session.channel(Echo)
            assert await echo.echo("one") == "one"
            # Nobody is taken any more, so the second service's connection cannot come about.
            endpoint = way.server._endpoints[0]  # pyright: ignore[reportPrivateUsage]
            endpoint.stop_accepting()
            with pytest.raises(ConnectError, match=r"[Rr]efused"):
                await session.channel(Count).total(nothing())
            assert await echo.echo("two") == "two"
            assert session.closed is None

    run(main)


async def nothing() -> AsyncIterator[int]:
    """No numbers."""
    for number in ():
        yield number
