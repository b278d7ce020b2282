"""Raw sessions: streams, datagrams, codes and ends, for protocols that are not calls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from jetstream import (
    Client,
    ClosedError,
    ConnectError,
    ConnectionLost,
    JetStreamError,
    Limits,
    StreamClosed,
)

from tests.e2e.services import Echo, EchoImpl
from tests.helpers import anonymous_tls, live_objects, run, serve
from tests.http.raw_h3 import attached, headers, request, settings, varint
from tests.http.serving import client, tls
from tests.webtransport.site import PAGE, join, opened, site, stay, url

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from jetstream import Context, SendStream
    from jetstream.webtransport import WebTransportSession

    Handler = Callable[[Context, WebTransportSession], Awaitable[None]]


async def mirror(ctx: Context, session: WebTransportSession) -> None:
    """Sends back whatever comes on bidirectional streams."""
    while True:
        send, receive = await session.accept_bi()
        while data := await receive.read():
            await send.write(data)
        send.finish()


def test_bidirectional_streams(loop: str) -> None:
    async def main() -> None:
        before = live_objects()
        async with site(handlers={"/": mirror}) as server, opened(server) as session:
            ids = set()
            for size in (0, 1, 100, 300_000):
                send, receive = await session.open_bi()
                ids.add(send.id)
                assert send.id == receive.id
                writing = asyncio.ensure_future(send.write(b"x" * size))
                got = b"" if size == 0 else await receive.read_exactly(size)
                await writing
                send.finish()
                assert got + await receive.read() == b"x" * size
                await send.wait_acknowledged()
            assert len(ids) == 4
            assert session.protocol == "h3"
            assert session.closed is None
        del server, session, send, receive, writing
        assert live_objects() == before

    run(main, loop=loop)


def test_streams_of_the_servers(loop: str) -> None:
    async def speak(ctx: Context, session: WebTransportSession) -> None:
        one = await session.open_uni()
        await one.write(b"one way")
        one.finish()
        send, receive = await session.open_bi()
        await send.write(b"and ")
        send.finish()
        two = await session.open_uni()
        await two.write(await receive.read_to_end(100))
        two.finish()
        await session.wait_closed()

    async def main() -> None:
        async with site(handlers={"/": speak}) as server, opened(server) as session:
            assert await (await session.accept_uni()).read_to_end(100) == b"one way"
            send, receive = await session.accept_bi()
            assert await receive.read_to_end(100) == b"and "
            await send.write(b"back")
            send.finish()
            assert await (await session.accept_uni()).read_to_end(100) == b"back"

    run(main, loop=loop)


def test_unidirectional_streams(loop: str) -> None:
    async def add(ctx: Context, session: WebTransportSession) -> None:
        while True:
            data = await (await session.accept_uni()).read_to_end(1 << 20)
            answer = await session.open_uni()
            await answer.write(b"%d" % len(data))
            answer.finish()

    async def main() -> None:
        async with site(handlers={"/": add}) as server, opened(server) as session:
            # One after the other there may be more than at once.
            for size in range(0, 60_000, 1000):
                stream = await session.open_uni()
                await stream.write(bytes(size))
                stream.finish()
                assert await (await session.accept_uni()).read_to_end(100) == b"%d" % size

    run(main, loop=loop)


def test_datagrams(loop: str) -> None:
    async def answer(ctx: Context, session: WebTransportSession) -> None:
        while True:
            session.send_datagram(await session.receive_datagram() + b"!")

    async def main() -> None:
        async with site(handlers={"/": answer}) as server, opened(server) as session:
            for data in (b"", b"x", bytes(range(256))):
                session.send_datagram(data)
                assert await session.receive_datagram() == data + b"!"
            most = session.max_datagram_size
            assert most is not None
            assert 1100 < most < 65_536
            session.send_datagram(bytes(most - 1))
            assert await session.receive_datagram() == bytes(most - 1) + b"!"
            with pytest.raises(JetStreamError, match="datagram"):
                session.send_datagram(bytes(most + 100))

    run(main, loop=loop)


def test_sessions_of_one_server_do_not_mix(loop: str) -> None:
    async def tag(ctx: Context, session: WebTransportSession) -> None:
        name = session.request.query["name"].encode()
        while True:
            session.send_datagram(name + await session.receive_datagram())

    async def main() -> None:
        async with (
            site(handlers={"/": tag}) as server,
            opened(server, "/?name=a") as one,
            opened(server, "/?name=b") as two,
        ):
            for session, name in ((one, b"a"), (two, b"b"), (one, b"a")):
                session.send_datagram(b"1")
                assert await session.receive_datagram() == name + b"1"

    run(main, loop=loop)


# ---- codes ----


CODES = (0, 1, 29, 30, 31, 0xFFFF, 0xFFFFFFFF)
"""Those around the ones that HTTP/3 leaves out, and the ends."""


async def refused_codes(code: int, session: WebTransportSession) -> None:
    """What is no code is said nowhere, and the streams and the session go on."""
    send, receive = await session.open_bi()
    one_way = await session.open_uni()
    says = r"codes of WebTransport are numbers from 0 to 2\*\*32-1"
    for what in (send.reset, one_way.reset, receive.stop, session.close):
        with pytest.raises(ValueError, match=says):
            what(code)
    await send.write(b"still here")
    send.finish()
    assert await receive.read_to_end(100) == b"still here"
    assert session.closed is None


@pytest.mark.parametrize("code", [-1, 2**32, 2**62, 2**64])
def test_codes_that_are_none(code: int) -> None:
    async def main() -> None:
        async with site(handlers={"/": mirror}) as server, opened(server) as session:
            await refused_codes(code, session)

    run(main)


@pytest.mark.parametrize("code", [-1, 2**32])
def test_codes_that_are_none_on_streams_of_the_peers(code: int) -> None:
    async def open_them(ctx: Context, session: WebTransportSession) -> None:
        send, _ = await session.open_bi()
        await send.write(b"x")
        one_way = await session.open_uni()
        await one_way.write(b"x")
        await session.wait_closed()

    async def main() -> None:
        async with site(handlers={"/": open_them}) as server, opened(server) as session:
            send, receive = await session.accept_bi()
            one_way = await session.accept_uni()
            for what in (send.reset, receive.stop, one_way.stop):
                with pytest.raises(ValueError, match="codes of WebTransport"):
                    what(code)

    run(main)


def test_a_limit_that_is_none() -> None:
    async def main() -> None:
        async with site(handlers={"/": mirror}) as server, opened(server) as session:
            send, receive = await session.open_bi()
            with pytest.raises(ValueError, match=r"read_to_end\(-1\): .* at least 0"):
                await receive.read_to_end(-1)
            send.finish()
            assert await receive.read_to_end(0) == b""

    run(main)


async def write_on(send: SendStream) -> None:
    """Writes for as long as anybody reads."""
    while True:
        await send.write(b"more")
        await asyncio.sleep(0)


@pytest.mark.parametrize("code", CODES)
def test_codes_of_streams_are_the_applications(code: int) -> None:
    """Each end hears with which code the other one resets and stops."""

    async def give_up(session: WebTransportSession) -> None:
        send, receive = await session.open_bi()
        await send.write(b"x")
        # A reset overtakes what has not arrived.
        assert await receive.read_exactly(1) == b"x"
        send.reset(code)
        receive.stop(code)

    async def hear(session: WebTransportSession) -> list[int | None]:
        send, receive = await session.accept_bi()
        await send.write(await receive.read_exactly(1))
        heard: list[int | None] = []
        for waiting in (receive.read(), write_on(send)):
            with pytest.raises(StreamClosed) as caught:
                await waiting
            heard.append(caught.value.close_code)
        return heard

    told: asyncio.Queue[list[int | None]] = asyncio.Queue()

    async def listen(ctx: Context, session: WebTransportSession) -> None:
        told.put_nowait(await hear(session))
        await give_up(session)
        await session.wait_closed()

    async def main() -> None:
        async with site(handlers={"/": listen}) as server, opened(server) as session:
            await give_up(session)
            assert await told.get() == [code, code]
            assert await hear(session) == [code, code]

    run(main, patience=10)


# ---- ends ----


@pytest.mark.parametrize(
    ("code", "reason"),
    [(0, ""), (7, "bye"), (0xFFFFFFFF, "\u2603 \U0001f44b"), (1, "x" * 200)],
)
def test_a_close_has_a_code_and_a_reason_both_ways(code: int, reason: str, loop: str) -> None:
    over: asyncio.Queue[JetStreamError] = asyncio.Queue()

    async def listen(ctx: Context, session: WebTransportSession) -> None:
        if session.request.path == "/leave":
            session.close(code, reason)
        over.put_nowait(await session.wait_closed())

    async def main() -> None:
        handlers: dict[str, Handler] = {"/": listen, "/leave": listen}
        async with site(handlers=handlers) as server:
            async with opened(server) as session:
                session.close(code, reason)
                assert isinstance(await session.wait_closed(), ClosedError)
                lost = await over.get()
            async with opened(server, "/leave") as session:
                also = await session.wait_closed()
            for error in (lost, also):
                assert isinstance(error, ConnectionLost), error
                assert (error.close_code, error.by_peer) == (code, True)
                assert reason in str(error)
            with pytest.raises(ConnectionLost):
                await session.open_bi()
            with pytest.raises(ConnectionLost):
                session.send_datagram(b"x")

    run(main, loop=loop)


def test_a_reason_that_is_too_long_is_cut(loop: str) -> None:
    over: asyncio.Queue[JetStreamError] = asyncio.Queue()

    async def listen(ctx: Context, session: WebTransportSession) -> None:
        over.put_nowait(await session.wait_closed())

    async def main() -> None:
        async with site(handlers={"/": listen}) as server, opened(server) as session:
            session.close(3, "\u2603" * 1000)
            lost = await over.get()
            assert isinstance(lost, ConnectionLost)
            assert lost.close_code == 3
            # Messages of errors are shorter still.
            assert 100 < str(lost).count("\u2603") <= 341
            assert "\ufffd" not in str(lost)

    run(main, loop=loop)


def test_the_handlers_end_is_the_sessions(loop: str) -> None:
    async def leave(ctx: Context, session: WebTransportSession) -> None:
        stream = await session.open_uni()
        await stream.write(b"last words")
        stream.finish()
        await stream.wait_acknowledged()

    async def main() -> None:
        async with site(handlers={"/": leave}) as server, opened(server) as session:
            assert await (await session.accept_uni()).read_to_end(100) == b"last words"
            lost = await session.wait_closed()
            assert isinstance(lost, ConnectionLost)
            assert lost.close_code == 0

    run(main, loop=loop)


def test_a_handler_that_fails(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    async def fail(ctx: Context, session: WebTransportSession) -> None:
        raise ValueError("hunter2")

    async def main() -> None:
        async with (
            site(handlers={"/": fail, "/stay": stay}) as server,
            opened(server, "/stay") as other,
            opened(server) as session,
        ):
            lost = await session.wait_closed()
            assert isinstance(lost, ConnectionLost)
            # Only the log is told why.
            assert "hunter2" not in str(lost)
            assert other.closed is None

    run(main, loop=loop)
    assert "hunter2" in caplog.text
    assert "WebTransport / failed" in caplog.text


def test_a_client_that_vanishes_ends_the_handlers_wait(loop: str) -> None:
    over: asyncio.Queue[JetStreamError] = asyncio.Queue()
    begun = asyncio.Event()

    async def listen(ctx: Context, session: WebTransportSession) -> None:
        begun.set()
        over.put_nowait(await session.wait_closed())

    async def main() -> None:
        limits = Limits(idle_timeout=0.5)
        async with site(handlers={"/": listen}, limits=limits) as server:
            asking = Client(anonymous_tls())
            session = await asking.webtransport(url(server))
            await begun.wait()
            for endpoint in asking._endpoints.values():
                endpoint.close()
            lost = await over.get()
            assert isinstance(lost, ConnectionLost)
            assert not lost.by_peer
            del session

    run(main, loop=loop)


def test_a_server_that_stops_asks_for_the_end(loop: str) -> None:
    async def until_asked(ctx: Context, session: WebTransportSession) -> None:
        assert not session.draining
        send, receive = await session.accept_bi()
        assert await receive.read_to_end(100) == b"one more thing"
        await send.write(b"done")
        send.finish()
        await send.wait_acknowledged()

    async def main() -> None:
        async with (
            site(handlers={"/": until_asked}, graceful_timeout=20) as server,
            opened(server) as session,
        ):
            # What was opened before is served to its end.
            send, receive = await session.open_bi()
            await send.write(b"one ")
            assert not session.draining
            closing = asyncio.ensure_future(server.close())
            await session.wait_draining()
            assert session.draining
            await send.write(b"more thing")
            send.finish()
            assert await receive.read_to_end(100) == b"done"
            await closing

    run(main, loop=loop)


# ---- limits ----


def test_so_many_sessions_on_a_connection_and_no_more(loop: str) -> None:
    async def main() -> None:
        limits = Limits(webtransport_sessions=2)
        async with (
            site(EchoImpl(), handlers={"/mine": stay}, limits=limits) as server,
            attached(server) as peer,
        ):
            pairs = ((0x08, 1), (0x33, 1), (0x2B603742, 1))
            peer.open_uni(varint(0) + settings(*pairs))
            ask = headers(
                *request(method=b"CONNECT", path=b"/mine"), (b":protocol", b"webtransport")
            )
            first = [peer.open(ask) for _ in range(2)]
            for each in first:
                await peer.until(lambda each=each: peer.received(each).data or None)
            refused = await peer.outcome(peer.open(ask))
            assert "200" not in repr(refused)
            # Whoever leaves makes room, and others have room of their own.
            peer.write(first[0], b"", end=True)
            await peer.until(lambda: peer.received(first[0]).ended or None)
            third = peer.open(ask)
            await peer.until(lambda: peer.received(third).data or None)
            async with opened(server, "/mine"), join(server) as session:
                assert await session.channel(Echo).echo("x") == "x"

    run(main, loop=loop)


# ---- clients ----


def test_addresses_that_are_no_sessions() -> None:
    async def main() -> None:
        async with Client(anonymous_tls()) as asking:
            for address in ("127.0.0.1:1", "quic://127.0.0.1:1", "tcp://127.0.0.1:1"):
                with pytest.raises(ValueError, match="https://host:port/path"):
                    await asking.webtransport(address)
            with pytest.raises(ValueError, match="only QUIC has raw connections"):
                await asking.connect("https://127.0.0.1:1/")

    run(main)


def test_servers_that_have_none(loop: str) -> None:
    async def main() -> None:
        async with Client(anonymous_tls()) as asking:
            async with site() as server:
                with pytest.raises(ConnectError, match="WebTransport"):
                    await asking.webtransport(url(server))
            async with serve(EchoImpl(), tls=tls()) as plain:
                with pytest.raises(ConnectError):
                    await asking.webtransport(url(plain))

    run(main, loop=loop)


def test_pages_go_on_beside_sessions(loop: str) -> None:
    async def main() -> None:
        async with (
            site(handlers={"/": mirror}) as server,
            opened(server) as session,
            client("h3", server) as asking,
        ):
            send, receive = await session.open_bi()
            for _ in range(10):
                await send.write(b"x")
                assert await receive.read_exactly(1) == b"x"
                assert (await asking.get("/")).content == PAGE

    run(main, loop=loop)
