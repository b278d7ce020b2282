"""Protocols of one's own over raw connections, beside services; the documents' spellings."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from jetstream import (
    Client,
    ClientVerifier,
    ClosedError,
    Connection,
    ConnectionLost,
    Context,
    JetStreamError,
    LimitExceeded,
    Limits,
    QuicTransport,
    Router,
    Server,
    StreamClosed,
    TlsPeer,
)

from tests.e2e.services import Echo, EchoImpl, name_of
from tests.helpers import (
    authority,
    client_identity,
    client_tls,
    join,
    run,
    serve,
    server_identity,
)


@dataclass
class Handler:
    """A protocol handler that runs a function."""

    serve: Callable[[Context, Connection], Awaitable[None]]
    names: tuple[str, ...] = ("raw",)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def alpns(self) -> tuple[str, ...]:
        return self.names

    async def accept(self, ctx: Context, connection: Connection) -> None:
        try:
            await self.serve(ctx, connection)
        finally:
            self.done.set()


async def mirror(ctx: Context, connection: Connection) -> None:
    """Sends back whatever comes on bidirectional streams."""
    while True:
        send, receive = await connection.accept_bi()
        while data := await receive.read():
            await send.write(data)
        send.finish()


async def attend(ctx: Context, connection: Connection) -> None:
    """Stays until the connection goes."""
    await connection.wait_closed()


def raw_client(*alpns: str) -> Client:
    """A client for protocols of one's own."""
    return Client(client_tls(), alpns=alpns or ("raw",))


def test_bidirectional_streams(loop: str) -> None:
    async def main() -> None:
        async with serve(Handler(mirror)) as server, raw_client() as client:
            connection = await client.connect(server.address, "localhost")
            assert connection.protocol == "raw"
            for size in (1, 1000, 3 << 20):
                data = bytes(range(251)) * (size // 251 + 1)
                send, receive = await connection.open_bi()
                assert send.id == receive.id

                async def feed(send: object = send, data: bytes = data) -> None:
                    await send.write(data)  # type: ignore[attr-defined]
                    send.finish()  # type: ignore[attr-defined]

                feeding = asyncio.ensure_future(feed())
                assert await receive.read_to_end(4 << 20) == data
                await feeding
                assert await receive.read() == b"", "the end stays the end"

    run(main, loop=loop)


def test_data_and_the_end_in_one_datagram(loop: str) -> None:
    async def main() -> None:
        async with serve(Handler(mirror)) as server, raw_client() as client:
            connection = await client.connect(server.address, "localhost")
            for number in range(20):
                send, receive = await connection.open_bi()
                await send.write(b"%d" % number)
                send.finish()
                await send.wait_acknowledged()
                parts: list[bytes] = []
                while part := await receive.read():
                    parts.append(part)
                assert b"".join(parts) == b"%d" % number

    run(main, loop=loop)


def test_what_was_acknowledged_long_ago_is_not_waited_for() -> None:
    async def main() -> None:
        async with serve(Handler(mirror)) as server, raw_client() as client:
            connection = await client.connect(server.address, "localhost")
            send, _ = await connection.open_bi()
            await send.write(b"x")
            send.finish()
            other, back = await connection.open_bi()
            for _ in range(20):
                await other.write(b"y")
                await back.read_exactly(1)
            async with asyncio.timeout(2):
                await send.wait_acknowledged()
                await send.wait_acknowledged()

    run(main)


def test_unidirectional_streams_both_ways(loop: str) -> None:
    async def swap(ctx: Context, connection: Connection) -> None:
        receive = await connection.accept_uni()
        data = await receive.read_exactly(5)
        send = await connection.open_uni()
        await send.write(data[::-1])
        send.finish()
        await send.wait_acknowledged()
        # Returning closes the connection, and with it what the peer has not read.
        await connection.accept_uni()

    async def main() -> None:
        async with serve(Handler(swap)) as server, raw_client() as client:
            connection = await client.connect(server.address, "localhost")
            send = await connection.open_uni()
            await send.write(b"hello")
            send.finish()
            receive = await connection.accept_uni()
            assert await receive.read_exactly(5) == b"olleh"
            read = await connection.open_uni()
            await read.write(b".")
            # The handler returned, so its connection was closed.
            assert isinstance(await connection.wait_closed(), ConnectionLost)

    run(main, loop=loop)


def test_datagrams(loop: str) -> None:
    async def bounce(ctx: Context, connection: Connection) -> None:
        while True:
            connection.send_datagram(await connection.receive_datagram() + b"!")

    async def main() -> None:
        async with serve(Handler(bounce)) as server, raw_client() as client:
            connection = await client.connect(server.address, "localhost")
            for number in range(10):
                connection.send_datagram(b"%d" % number)
                assert await connection.receive_datagram() == b"%d!" % number
            size = connection.max_datagram_size
            assert size is not None
            assert size >= 1_000
            with pytest.raises(JetStreamError, match="datagram"):
                connection.send_datagram(bytes(100_000))

    run(main, loop=loop)


def test_streams_that_are_given_up() -> None:
    async def rude(ctx: Context, connection: Connection) -> None:
        send, receive = await connection.accept_bi()
        assert await receive.read_exactly(1) == b"a"
        receive.stop(7)
        send.reset(8)
        send, receive = await connection.accept_bi()
        with pytest.raises(StreamClosed) as caught:
            await receive.read_to_end(100)
        assert caught.value.close_code == 9
        await connection.wait_closed()

    async def main() -> None:
        handler = Handler(rude)
        async with serve(handler) as server, raw_client() as client:
            connection = await client.connect(server.address, "localhost")
            send, receive = await connection.open_bi()
            await send.write(b"a")
            with pytest.raises(StreamClosed) as reset:
                await receive.read()
            assert reset.value.close_code == 8
            with pytest.raises(StreamClosed) as stopped:
                await send.write(bytes(8 << 20))
            assert stopped.value.close_code == 7
            send, receive = await connection.open_bi()
            await send.write(b"b")
            send.reset(9)
            with pytest.raises(ClosedError):
                send.finish()
            connection.close()
            await handler.done.wait()

    run(main)


def test_reading_has_limits() -> None:
    async def main() -> None:
        async with serve(Handler(mirror)) as server, raw_client() as client:
            connection = await client.connect(server.address, "localhost")
            send, receive = await connection.open_bi()
            await send.write(bytes(100))
            send.finish()
            with pytest.raises(LimitExceeded, match="100 is over our own limit of 99") as caught:
                await receive.read_to_end(99)
            error = caught.value
            assert (error.size, error.allowed, error.side) == (100, 99, "here")
            assert error.setting == "read_to_end(limit)"
            send, receive = await connection.open_bi()
            await send.write(b"abc")
            send.finish()
            with pytest.raises(EOFError, match="3 of 4"):
                await receive.read_exactly(4)
            with pytest.raises(ValueError, match="at least 1"):
                await receive.read(0)

    run(main)


def test_opening_waits_while_the_peer_allows_no_more() -> None:
    async def main() -> None:
        limits = Limits(max_streams_bidi=2)
        async with serve(Handler(mirror), limits=limits) as server, raw_client() as client:
            connection = await client.connect(server.address, "localhost")
            first, first_back = await connection.open_bi()
            second, _ = await connection.open_bi()
            await second.write(b"stays")
            third = asyncio.ensure_future(connection.open_bi())
            await first.write(b"x")
            assert await first_back.read_exactly(1) == b"x"
            assert not third.done()
            first.finish()
            assert await first_back.read() == b""
            await third

    run(main)


def test_handlers_and_services_side_by_side(loop: str) -> None:
    async def greet(ctx: Context, connection: Connection) -> None:
        send = await connection.open_uni()
        await send.write(f"{name_of(ctx)} {ctx.protocol} {ctx.remote is not None}".encode())
        send.finish()
        await connection.wait_closed()

    async def main() -> None:
        router = Router(Handler(mirror), Handler(greet, ("greet/1", "greet/2")), EchoImpl())
        async with serve(router) as server, join(server) as session:
            assert await session.channel(Echo).echo("service") == "service"
            assert session.protocol == "jetstream"
            for offered, agreed in (
                (["greet/1"], "greet/1"),
                (["greet/2"], "greet/2"),
                (["unheard", "greet/2"], "greet/2"),
            ):
                async with raw_client(*offered) as client:
                    connection = await client.connect(server.address, "localhost")
                    receive = await connection.accept_uni()
                    assert await receive.read_to_end(100) == f"ada {agreed} True".encode()
            async with raw_client() as client:
                connection = await client.connect(server.address, "localhost")
                send, receive = await connection.open_bi()
                await send.write(b"raw")
                assert await receive.read_exactly(3) == b"raw"
            assert await session.channel(Echo).echo("still") == "still"

    run(main, loop=loop)


def test_a_handler_that_fails_is_the_logs_business(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(ctx: Context, connection: Connection) -> None:
        raise ZeroDivisionError("hunter2")

    async def main() -> None:
        async with serve(Handler(fail), EchoImpl()) as server, raw_client() as client:
            connection = await client.connect(server.address, "localhost")
            told = await connection.wait_closed()
            assert "hunter2" not in str(told)
            async with join(server) as session:
                assert await session.channel(Echo).echo("on") == "on"

    run(main)
    assert "hunter2" in caplog.text
    assert "Handler failed" in caplog.text


def test_closing_a_connection_tells_code_and_reason(loop: str) -> None:
    told: list[JetStreamError] = []

    async def listen(ctx: Context, connection: Connection) -> None:
        told.append(await connection.wait_closed())

    async def main() -> None:
        handler = Handler(listen)
        async with serve(handler) as server, raw_client() as client:
            async with await client.connect(server.address, "localhost") as connection:
                receiving = asyncio.ensure_future(connection.receive_datagram())
                await asyncio.sleep(0)
                connection.close(1234, "that is all")
                with pytest.raises(ClosedError):
                    await receiving
                with pytest.raises(ClosedError):
                    await connection.open_bi()
            await handler.done.wait()

    run(main, loop=loop)
    (error,) = told
    assert isinstance(error, ConnectionLost)
    assert (error.close_code, error.by_peer) == (1234, True)
    assert "that is all" in str(error)


def test_closing_with_the_congestion_window_full_is_heard_all_the_same() -> None:
    async def hurry(ctx: Context, connection: Connection) -> None:
        send, receive = await connection.accept_bi()
        await receive.read_exactly(1)
        writing = asyncio.ensure_future(send.write(bytes(4 << 20)))
        # A few turns of the loop, so that all that may leave has left.
        for _ in range(4):
            await asyncio.sleep(0)
        connection.close(9, "enough")
        await asyncio.gather(writing, return_exceptions=True)

    async def main() -> None:
        async with serve(Handler(hurry), graceful_timeout=0) as server, raw_client() as client:
            connection = await client.connect(server.address, "localhost")
            send, _ = await connection.open_bi()
            await send.write(b"x")
            async with asyncio.timeout(3):
                error = await connection.wait_closed()
            assert isinstance(error, ConnectionLost)
            assert error.close_code == 9
            assert "enough" in str(error)

    run(main)


def test_who_is_at_the_other_end(loop: str) -> None:
    seen: list[Context] = []

    async def look(ctx: Context, connection: Connection) -> None:
        assert ctx.peer == connection.peer
        seen.append(ctx)
        await connection.wait_closed()

    async def main() -> None:
        handler = Handler(look)
        async with serve(handler) as server, raw_client() as client:
            connection = await client.connect(server.address, "localhost")
            assert connection.remote == server.address
            other = connection.peer
            assert isinstance(other, TlsPeer)
            issued = server_identity()
            assert other.leaf.fingerprint == issued.fingerprint
            assert other.leaf.dns_names == ("localhost",)
            assert [str(ip) for ip in other.leaf.ip_addresses] == ["127.0.0.1", "::1"]
            assert other.leaf.der == issued.certificate_der
            assert connection.statistics["rtt"] > 0
            connection.close()
            await handler.done.wait()

    run(main, loop=loop)
    (ctx,) = seen
    assert isinstance(ctx.peer, TlsPeer)
    leaf, issued = ctx.peer.leaf, client_identity()
    assert leaf.common_name == "ada"
    assert leaf.fingerprint == issued.fingerprint
    assert leaf.emails == ("ada@example.com",)
    assert leaf.dns_names == ("ada.example",)
    assert leaf.serial_number == issued.certificate.serial_number
    assert leaf.not_after == issued.certificate.not_valid_after_utc
    assert "Throwaway CA" in leaf.issuer
    assert not leaf.is_ca


def test_the_spelling_of_the_protocols_documents(tmp_path: Path) -> None:
    files = authority().write(tmp_path)

    async def main() -> None:
        router = Router()
        router.register(EchoImpl())
        server = Server.new_with_mtls(
            files.server_certificate,
            files.server_key,
            ClientVerifier(files.ca),
            "127.0.0.1:0",
            router,
        )
        async with server:
            client = Client.new_with_mtls(
                files.ca, files.client_certificate, files.client_key, ["jetstream"], "127.0.0.1:0"
            )
            async with client:
                connection = await client.connect(server.address, "localhost")
                transport = QuicTransport(*await connection.open_bi())
                echo = Echo.Channel(10, transport)
                assert await echo.echo("hello") == "hello"
                assert await echo.last("x") == "client Echo.last x"
                with pytest.raises(RuntimeError, match="open_bi"):
                    Echo.Channel(10, transport)
                one, two = await connection.open_bi(), await connection.open_bi()
                with pytest.raises(ValueError, match="different streams"):
                    QuicTransport(one[0], two[1])
                async with await client.session(server.address, "localhost") as session:
                    assert await session.channel(Echo).echo("short") == "short"

    run(main)


def test_the_spelling_without_certificates_of_clients(tmp_path: Path) -> None:
    files = authority().write(tmp_path)

    async def main() -> None:
        router = Router(Echo.Service(EchoImpl()))
        server = Server.new_with_addr(
            files.server_certificate, files.server_key, "127.0.0.1:0", router
        )
        async with server, Client.new(files.ca, ["jetstream"], "127.0.0.1:0") as client:
            connection = await client.connect(server.address, "localhost")
            echo = Echo.Channel(1, QuicTransport(*await connection.open_bi()))
            assert await echo.last("x") == "nobody Echo.last x"

    run(main)
