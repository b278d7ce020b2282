"""aioquic's client of WebTransport against our server: nobody here wrote it."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, Any

import pytest
from aioquic.buffer import encode_uint_var
from jetstream import ConnectionLost, JetStreamError, StreamClosed

from tests.e2e.services import EchoImpl
from tests.helpers import run
from tests.hostile import wire
from tests.webtransport.aio import browser
from tests.webtransport.site import PAGE, site, stay
from tests.webtransport.test_services import GaugeImpl

if TYPE_CHECKING:
    from jetstream import Context
    from jetstream.webtransport import WebTransportSession

ECHO = "/rs.jetstream.proto/echo"
CALL = wire.request(1)
REPLY = wire.reply(1)
CLOSE, DRAIN = 0x2843, 0x78AE
LOSSY, LABEL = 18, 19
GONE = 0x170D7B68
"""What streams are given up with whose session is over."""


def in_http3(code: int) -> int:
    """A stream's code as it travels (draft-ietf-webtrans-http3, section 4.4)."""
    return 0x52E4A40FA8DB + code + code // 0x1E


def capsule(kind: int, value: bytes = b"") -> bytes:
    return encode_uint_var(kind) + encode_uint_var(len(value)) + value


def close(code: int, reason: bytes = b"") -> bytes:
    return capsule(CLOSE, struct.pack(">I", code) + reason)


async def mirror(ctx: Context, session: WebTransportSession) -> None:
    """Sends everything back in its kind."""

    async def datagrams() -> None:
        while True:
            session.send_datagram(await session.receive_datagram() + b"!")

    async def one_way() -> None:
        while True:
            data = await (await session.accept_uni()).read_to_end(1 << 20)
            answer = await session.open_uni()
            await answer.write(data)
            answer.finish()

    async def both_ways() -> None:
        while True:
            send, receive = await session.accept_bi()
            while data := await receive.read():
                await send.write(data)
            send.finish()

    await asyncio.gather(datagrams(), one_way(), both_ways())


# ---- sessions ----


@pytest.mark.parametrize("protocol", ["webtransport", "webtransport-h3"])
def test_streams_and_datagrams(protocol: str, loop: str) -> None:
    async def main() -> None:
        async with site(handlers={"/mirror": mirror}) as server, browser(server) as peer:
            session = await peer.session("/mirror", protocol=protocol)
            for number, size in enumerate((1, 1000, 100_000)):
                stream = peer.open(session, bytes(size))
                assert await peer.read(stream, size) == bytes(size)
                peer.write(stream, b"", end=True)
                await peer.finished(stream)
                peer.open(session, bytes(size), uni=True, end=True)
                back = await peer.opened(session, number)
                assert await peer.read(back, size) == bytes(size)
                await peer.finished(back)
                peer.datagram(session, b"%d" % size)
                assert (
                    await peer.until(
                        lambda number=number: (
                            peer.datagrams[session][-1]
                            if len(peer.datagrams[session]) > number
                            else None
                        )
                    )
                    == b"%d!" % size
                )

    run(main, loop=loop)


def test_streams_and_datagrams_ahead_of_the_answer(loop: str) -> None:
    """A page need not wait: what it sends at once is there when its session is."""
    go = asyncio.Event()

    async def authenticate(request: Any) -> None:
        await go.wait()

    async def main() -> None:
        async with (
            site(handlers={"/mirror": mirror}, authenticate=authenticate) as server,
            browser(server) as peer,
        ):
            session = peer.ask("/mirror")
            stream = peer.open(session, b"early")
            peer.open(session, b"one way", uni=True, end=True)
            peer.datagram(session, b"datagram")
            assert await peer.get() == PAGE
            assert session not in peer.headers
            go.set()
            assert await peer.status(session) == 200
            assert await peer.read(stream, 5) == b"early"
            assert await peer.read(await peer.opened(session), 7) == b"one way"
            assert await peer.until(lambda: peer.datagrams[session] or None) == [b"datagram!"]

    run(main, loop=loop)


def test_sessions_and_pages_on_one_connection(loop: str) -> None:
    async def main() -> None:
        async with (
            site(EchoImpl(), handlers={"/mirror": mirror}) as server,
            browser(server) as peer,
        ):
            calls = [await peer.session(ECHO) for _ in range(2)]
            raw = await peer.session("/mirror")
            assert len(server.sessions) == 2
            assert server.connections == 1
            for number in range(5):
                assert await peer.get("/page") == PAGE
                for each in calls:
                    text = wire.string(f"{each} {number}")
                    stream = peer.open(each, wire.frame(CALL, number, text))
                    assert await peer.read(stream, 7 + len(text)) == wire.frame(REPLY, number, text)
                stream = peer.open(raw, b"raw", end=True)
                assert await peer.read(stream, 3) == b"raw"
            # The end of one is no other's.
            peer.capsule(calls[0], close(1), end=True)
            await peer.finished(calls[0])
            stream = peer.open(calls[1], wire.frame(CALL, 1, wire.string("on")))
            assert await peer.read(stream, 11) == wire.frame(REPLY, 1, wire.string("on"))
            assert await peer.get() == PAGE
            assert len(server.sessions) == 1

    run(main, loop=loop)


@pytest.mark.parametrize(
    ("path", "origin", "answer"),
    [
        ("/", None, 200),
        (ECHO, None, 200),
        ("/rs.jetstream.proto/other", None, 404),
        ("/", "https://evil.example", 403),
    ],
)
def test_what_is_answered(path: str, origin: str | None, answer: int, loop: str) -> None:
    async def main() -> None:
        async with site(EchoImpl()) as server, browser(server) as peer:
            more = {} if origin is None else {"origin": origin}
            asked = peer.ask(path, **more)
            assert await peer.status(asked) == answer
            if answer != 200:
                await peer.finished(asked)
            assert await peer.get() == PAGE

    run(main, loop=loop)


# ---- ends ----


@pytest.mark.parametrize(("code", "reason"), [(0, b""), (7, b"bye"), (0xFFFFFFFF, b"x" * 1024)])
def test_a_close_of_the_clients(code: int, reason: bytes, loop: str) -> None:
    over: asyncio.Queue[JetStreamError] = asyncio.Queue()

    async def listen(ctx: Context, session: WebTransportSession) -> None:
        over.put_nowait(await session.wait_closed())

    async def main() -> None:
        async with site(handlers={"/": listen}) as server, browser(server) as peer:
            session = await peer.session()
            stream = peer.open(session, b"x")
            peer.capsule(session, close(code, reason), end=True)
            lost = await over.get()
            assert isinstance(lost, ConnectionLost)
            assert (lost.close_code, lost.by_peer) == (code, True)
            assert reason[:400].decode() in str(lost)
            # The server ends its side, and gives the session's streams up.
            await peer.finished(session)
            assert await peer.until(lambda: peer.resets.get(stream)) == GONE
            assert await peer.until(lambda: peer.stops.get(stream)) == GONE
            assert await peer.get() == PAGE

    run(main, loop=loop)


def test_an_end_without_a_word(loop: str) -> None:
    over: asyncio.Queue[JetStreamError] = asyncio.Queue()

    async def listen(ctx: Context, session: WebTransportSession) -> None:
        over.put_nowait(await session.wait_closed())

    async def main() -> None:
        async with site(handlers={"/": listen}) as server, browser(server) as peer:
            session = await peer.session()
            peer.capsule(session, b"", end=True)
            lost = await over.get()
            assert isinstance(lost, ConnectionLost)
            assert lost.close_code == 0
            peer.reset(await peer.session(), 0x10C)
            assert isinstance(await over.get(), ConnectionLost)
            assert await peer.get() == PAGE

    run(main, loop=loop)


def test_a_close_of_the_servers(loop: str) -> None:
    async def leave(ctx: Context, session: WebTransportSession) -> None:
        await session.accept_bi()
        session.close(4711, "x" * 2000)

    async def main() -> None:
        async with site(handlers={"/": leave}) as server, browser(server) as peer:
            session = await peer.session()
            stream = peer.open(session, b"x")
            await peer.finished(session)
            # At most 1,024 bytes of it.
            assert bytes(peer.bodies[session]) == close(4711, b"x" * 1024)
            assert await peer.until(lambda: peer.resets.get(stream)) == GONE
            assert await peer.get() == PAGE

    run(main, loop=loop)


@pytest.mark.parametrize("ends", [True, False])
def test_a_server_that_stops(ends: bool, loop: str) -> None:
    """What was answered is taken before the connection ends, if its reader is there at all."""

    async def main() -> None:
        impl = EchoImpl()
        async with site(impl, graceful_timeout=20) as server, browser(server) as peer:
            session = await peer.session(ECHO)
            stream = peer.open(session, wire.frame(wire.request(4), 1, wire.string("x")))
            await impl.arrival("x").wait()
            closing = asyncio.ensure_future(server.close())
            # The session is asked to end, and what runs on it goes on.
            await peer.until(lambda: capsule(DRAIN) in bytes(peer.bodies[session]) or None)
            impl.gate("x").set()
            assert await peer.read(stream, 10) == wire.frame(wire.reply(4), 1, wire.string("x"))
            await peer.finished(stream)
            if ends:
                # That it has come to a browser does not mean that it has come to the page.
                for _ in range(3):
                    await peer.ping()
                assert not closing.done()
                peer.write(stream, b"", end=True)
            await closing
            last = close(2, b"the server is shutting down")
            await peer.until(lambda: bytes(peer.bodies[session]).endswith(last) or None)

    run(main, loop=loop)


@pytest.mark.parametrize("code", [0, 29, 30, 0xFFFFFFFF])
def test_codes_of_streams(code: int) -> None:
    told: asyncio.Queue[list[int | None]] = asyncio.Queue()

    async def listen(ctx: Context, session: WebTransportSession) -> None:
        send, receive = await session.accept_bi()
        await send.write(await receive.read_exactly(1))
        with pytest.raises(StreamClosed) as caught:
            await receive.read()
        send.reset(code)
        other = (await session.accept_bi())[1]
        other.stop(code)
        told.put_nowait([caught.value.close_code])
        await session.wait_closed()

    async def main() -> None:
        async with site(handlers={"/": listen}) as server, browser(server) as peer:
            session = await peer.session()
            stream = peer.open(session, b"x")
            assert await peer.read(stream, 1) == b"x"
            peer.reset(stream, in_http3(code))
            other = peer.open(session, b"x")
            assert await told.get() == [code]
            assert await peer.until(lambda: peer.resets.get(stream)) == in_http3(code)
            assert await peer.until(lambda: peer.stops.get(other)) == in_http3(code)

    run(main)


# ---- calls by hand ----


def test_a_call_as_16_has_it(loop: str) -> None:
    async def main() -> None:
        async with site(EchoImpl()) as server, browser(server) as peer:
            session = await peer.session("/anything")
            stream = peer.open(session, wire.tversion("rs.jetstream.proto/echo/1.0.0"))
            size, kind = struct.unpack("<IB", await peer.read(stream, 5))
            assert kind == wire.RVERSION
            await peer.read(stream, size - 5)
            peer.write(stream, wire.frame(CALL, 3, wire.string("by hand")))
            assert await peer.read(stream, 16) == wire.frame(REPLY, 3, wire.string("by hand"))

    run(main, loop=loop)


def test_lossy_items_are_datagrams_by_label(loop: str) -> None:
    label = 0x1234_5678_9ABC

    async def main() -> None:
        async with site(GaugeImpl()) as server, browser(server) as peer:
            session = await peer.session("/")
            stream = peer.open(session, wire.tversion("rs.jetstream.proto/gauge/1.0.0+ab.x1"))
            size, kind = struct.unpack("<IB", await peer.read(stream, 5))
            assert kind == wire.RVERSION
            assert (await peer.read(stream, size - 5)).endswith(b".x1-on")
            peer.write(stream, wire.frame(LABEL, wire.NO_TAG, struct.pack("<Q", label)))
            peer.write(stream, wire.frame(wire.request(0), 5, struct.pack("<I", 50)))
            # The end is on the lane, and behind it nothing is missing.
            while True:
                size, kind, tag = struct.unpack("<IBH", await peer.read(stream, 7))
                await peer.read(stream, size - 7)
                assert tag == 5
                if kind == 8:
                    break
                assert kind in (wire.reply(0), LOSSY)
            found = peer.datagrams[session]
            assert found
            for data in found:
                assert struct.unpack_from("<Q", data) == (label,)
                size, kind, tag, number, value = struct.unpack_from("<IBHII", data, 8)
                assert (size, kind, tag) == (len(data) - 8, LOSSY, 5)
                assert value < 50
                assert number - 1 <= value

    run(main, loop=loop)


def test_a_session_that_nothing_is_done_with(loop: str) -> None:
    async def main() -> None:
        async with site(handlers={"/": stay}) as server:
            async with browser(server) as peer:
                await peer.session()
                await peer.session()
            async with browser(server) as peer:
                assert await peer.get() == PAGE

    run(main, loop=loop)
