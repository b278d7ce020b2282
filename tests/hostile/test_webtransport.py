"""WebTransport under attack: capsules, sessions, streams and datagrams, too many or wrong.

The attacker makes its bytes by hand; pages and calls of others go on.
"""

from __future__ import annotations

import asyncio
import os
import random
import struct
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from jetstream import ConnectionLost, JetStreamError, Limits, Router, connect
from jetstream.webtransport import WebTransport

from tests.e2e.services import Echo, EchoImpl
from tests.helpers import anonymous_tls, resident, run
from tests.hostile import wire
from tests.hostile.web import Attacked, under_attack
from tests.http.raw_h3 import (
    CONTROL,
    DATA,
    EXCESSIVE_LOAD,
    FRAME_ERROR,
    ID_ERROR,
    MESSAGE_ERROR,
    REQUEST_REJECTED,
    Failed,
    attached,
    frame,
    headers,
    request,
    settings,
    varint,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from jetstream import Context
    from jetstream.webtransport import SessionRequest, WebTransportSession

    from tests.http.raw_h3 import Peer

BOTH, ONE = 0x41, 0x54
"""How streams of a session begin (draft-ietf-webtrans-http3, sections 4.2 and 4.3)."""

GONE, REJECTED = 0x170D7B68, 0x3994BD84
FLOW_CONTROL = 0x045D4487

DATAGRAM, CLOSE, DRAIN, MAX_DATA, MAX_STREAM_DATA = 0, 0x2843, 0x78AE, 0x190B4D3D, 0x190B4D3E
UNKNOWN = 0x1F * 1000 + 0x29

SERVICE = b"/rs.jetstream.proto/echo"
CALL = wire.request(1)


@dataclass
class Held:
    """What takes raw sessions, and how they ended."""

    over: asyncio.Queue[JetStreamError] = field(default_factory=asyncio.Queue)
    sessions: list[WebTransportSession] = field(default_factory=list)
    slow: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0

    async def hold(self, ctx: Context, session: WebTransportSession) -> None:
        """Reads nothing, and stays."""
        self.sessions.append(session)
        self.over.put_nowait(await session.wait_closed())

    async def authenticate(self, request: SessionRequest) -> None:
        """Takes its time, on one path."""
        self.asked += 1
        if request.path == "/slow":
            await self.slow.wait()


@dataclass
class Scene:
    """Who takes part."""

    attacked: Attacked
    held: Held
    impl: EchoImpl
    echo: Echo
    attacker: Peer

    async def unharmed(self) -> None:
        """Pages are served and calls answered, to others."""
        await self.attacked.unharmed()
        assert await self.echo.echo("well") == "well"

    async def session(self, path: bytes = b"/hold") -> int:
        """A session of the attacker's."""
        stream = self.attacker.open(ask(path))
        await self.attacker.until(lambda: self.attacker.received(stream).data or None)
        return stream


def ask(path: bytes = b"/hold") -> bytes:
    """A request for a session."""
    return headers(
        (b":method", b"CONNECT"),
        (b":protocol", b"webtransport"),
        (b":scheme", b"https"),
        (b":path", path),
        (b":authority", b"localhost"),
    )


def begin(peer: Peer) -> None:
    """Says the settings that a browser does."""
    peer.open_uni(varint(CONTROL) + settings((0x08, 1), (0x33, 1), (0x2B603742, 1)))


def capsule(kind: int, value: bytes = b"", length: int | None = None) -> bytes:
    return varint(kind) + varint(len(value) if length is None else length) + value


def close(reason: bytes = b"", code: int = 1) -> bytes:
    return capsule(CLOSE, struct.pack(">I", code) + reason)


def on(session: int, kind: int = BOTH) -> bytes:
    """The first bytes of a stream of a session."""
    return varint(kind) + varint(session)


@asynccontextmanager
async def scene(limits: Limits | None = None, **options: Any) -> AsyncGenerator[Scene]:
    """A server with sessions, a bystander with pages, one with calls, and an attacker."""
    held, impl = Held(), EchoImpl()
    taken = WebTransport(
        handlers={"/hold": held.hold, "/slow": held.hold}, authenticate=held.authenticate
    )
    async with (
        under_attack(
            router=Router(impl), webtransport=taken, limits=limits or Limits(), **options
        ) as attacked,
        connect(f"https://{attacked.server.address}/", tls=anonymous_tls()) as calling,
        attached(attacked.server) as attacker,
    ):
        begin(attacker)
        found = Scene(attacked, held, impl, calling.channel(Echo), attacker)
        await found.unharmed()
        yield found
        await found.unharmed()


# ---- capsules ----


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (capsule(CLOSE, b"abc"), MESSAGE_ERROR),
        (close(b"x" * 1025), MESSAGE_ERROR),
        (capsule(CLOSE, length=1 << 60), MESSAGE_ERROR),
        (close(b"\xff\xfe"), MESSAGE_ERROR),
        (close() + b"more", MESSAGE_ERROR),
        (close() + close(), MESSAGE_ERROR),
        (capsule(DRAIN, b"x"), MESSAGE_ERROR),
        (capsule(MAX_DATA, b"\x40"), MESSAGE_ERROR),
        (capsule(MAX_DATA, length=1 << 40), MESSAGE_ERROR),
        (capsule(MAX_STREAM_DATA, b"\1\1"), FLOW_CONTROL),
        (capsule(DATAGRAM, length=1 << 30), EXCESSIVE_LOAD),
        (capsule(UNKNOWN, length=1 << 40), EXCESSIVE_LOAD),
        (capsule(UNKNOWN) * 100, EXCESSIVE_LOAD),
        (capsule(UNKNOWN, bytes(2000)) * 40, EXCESSIVE_LOAD),
        (capsule(DRAIN) * 100, EXCESSIVE_LOAD),
    ],
)
def test_capsules_that_cannot_be_or_are_too_many(said: bytes, code: int, loop: str) -> None:
    """They cost their session, and no other."""

    async def main() -> None:
        async with scene() as found:
            peer = found.attacker
            session, other = await found.session(), await found.session()
            peer.write(session, frame(DATA, said))
            failed = await peer.outcome(session)
            assert failed == Failed(code, of_connection=False)
            assert isinstance(await found.held.over.get(), ConnectionLost)
            assert [each.closed for each in found.held.sessions].count(None) == 1
            # The other one still hears what it is told.
            peer.write(other, frame(DATA, close(b"by myself", 7)), end=True)
            lost = await found.held.over.get()
            assert isinstance(lost, ConnectionLost)
            assert lost.close_code == 7

    run(main, loop=loop)


def test_capsules_that_mean_nothing_are_skipped(loop: str) -> None:
    async def main() -> None:
        async with scene() as found:
            peer = found.attacker
            session = await found.session()
            said = (
                capsule(UNKNOWN, b"grease") + capsule(UNKNOWN + 0x29, bytes(3000)) + close(b"", 9)
            )
            # In whatever pieces they come.
            for at in range(0, len(said), 700):
                peer.write(session, frame(DATA, said[at : at + 700]))
            lost = await found.held.over.get()
            assert isinstance(lost, ConnectionLost)
            assert lost.close_code == 9

    run(main, loop=loop)


def test_capsules_at_random() -> None:
    """Whatever is said of a session, the rest of the connection and others go on."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    draw = random.Random(seed)
    kinds = (DATAGRAM, CLOSE, DRAIN, MAX_DATA, MAX_STREAM_DATA, UNKNOWN, 0x190B4D40)

    async def main() -> None:
        async with scene() as found:
            peer = found.attacker
            for number in range(40):
                session = await found.session()
                value = draw.randbytes(draw.choice((0, 1, 4, 8, 30, 1200)))
                said = capsule(draw.choice(kinds), value) + draw.randbytes(draw.randrange(40))
                peer.write(session, frame(DATA, said), end=True)
                await found.held.over.get()
                if number % 10 == 0:
                    await found.unharmed()
            assert peer.closed is None

    run(main)


# ---- sessions ----


def test_sessions_that_never_close_are_counted(loop: str) -> None:
    async def main() -> None:
        limits = Limits(webtransport_sessions=4)
        async with scene(limits) as found:
            peer = found.attacker
            kept = [await found.session() for _ in range(4)]
            for _ in range(200):
                failed = await peer.outcome(peer.open(ask()))
                assert failed == Failed(REQUEST_REJECTED, of_connection=False)
            assert len(found.held.sessions) == 4
            assert found.held.asked <= 6, "nobody was asked about those that were too many"
            # Whoever ends one may have another.
            peer.write(kept[0], frame(DATA, close()), end=True)
            await found.held.over.get()
            await found.session()

    run(main, loop=loop)


def test_sessions_that_nobody_has_decided_on_are_counted(loop: str) -> None:
    async def main() -> None:
        limits = Limits(webtransport_sessions=4)
        async with scene(limits) as found:
            peer = found.attacker
            waiting = [peer.open(ask(b"/slow")) for _ in range(4)]
            await peer.turn()
            for _ in range(20):
                failed = await peer.outcome(peer.open(ask(b"/slow")))
                assert failed == Failed(REQUEST_REJECTED, of_connection=False)
            # Those who gave up while it was decided have none.
            for each in waiting[:2]:
                peer.reset(each)
                peer.stop(each)
            await peer.turn()
            found.held.slow.set()
            for each in waiting[2:]:
                await peer.until(lambda each=each: peer.received(each).data or None)  # type: ignore[misc]
            await found.unharmed()
            assert [each.closed for each in found.held.sessions].count(None) == 2

    run(main, loop=loop)


def test_sessions_that_come_and_go(loop: str) -> None:
    """Rapid Reset, with sessions."""

    async def main() -> None:
        async with scene() as found:

            def more(number: int) -> None:
                peer = found.attacker
                for _ in range(10):
                    opened = peer.open(ask(SERVICE if number % 2 else b"/hold"))
                    peer.reset(opened)
                    peer.stop(opened)

            assert await found.attacked.flood(found.attacker, more) == EXCESSIVE_LOAD
            assert [each for each in found.held.sessions if each.closed is None] == []

    run(main, loop=loop)


@pytest.mark.slow
def test_ten_thousand_sessions_leave_nothing_behind() -> None:
    async def main() -> None:
        async with scene() as found:
            peer = found.attacker
            for number in range(10_000):
                session = await found.session()
                peer.open(on(session) + b"x")
                peer.write(session, frame(DATA, close()), end=True)
                await found.held.over.get()
                found.held.sessions.clear()
                if number == 1000:
                    before = resident()
            assert resident() - before < 8 << 20

    run(main, patience=200)


# ---- streams ----


def test_streams_of_sessions_that_never_come(loop: str) -> None:
    async def main() -> None:
        async with scene() as found:
            peer = found.attacker
            # One that is asked for later, if at all: 4,000 bytes in each.
            for _ in range(60):
                opened = peer.open(on(4 * 1000) + bytes(4000))
                one = peer.open_uni(on(4 * 1000, ONE) + bytes(4000))
                await peer.turn()
                received = peer.received(opened)
                if received.reset is not None:
                    assert (received.reset, received.stopped) == (REJECTED, REJECTED)
                    assert peer.received(one).stopped == REJECTED
                    break
            else:
                pytest.fail("they all wait")
            assert peer.closed is None
            assert len(found.held.sessions) == 0

    run(main, loop=loop)


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (lambda session: session + 1, ID_ERROR),
        (lambda session: session + 2, ID_ERROR),
        (lambda session: session + 3, ID_ERROR),
        (lambda session: (1 << 62) - 1, ID_ERROR),
    ],
)
@pytest.mark.parametrize("kind", [BOTH, ONE])
def test_streams_of_what_can_be_no_session(wrong: Any, code: int, kind: int) -> None:
    async def main() -> None:
        async with scene() as found:
            peer = found.attacker
            session = await found.session()
            first = on(wrong(session), kind)
            (peer.open if kind == BOTH else peer.open_uni)(first + b"x")
            assert await peer.close_code() == code
            assert isinstance(await found.held.over.get(), ConnectionLost)

    run(main)


def test_streams_of_requests_and_of_sessions_that_are_over(loop: str) -> None:
    async def main() -> None:
        async with scene() as found:
            peer = found.attacker
            asked = peer.open(headers(*request(path=b"/well")), end=True)
            await peer.answer(asked)
            session = await found.session()
            peer.write(session, frame(DATA, close()), end=True)
            await found.held.over.get()
            await peer.until(lambda: peer.received(session).ended or None)
            for target in (asked, session):
                late = peer.open(on(target) + b"x")
                assert await peer.stopped(late) == GONE
                assert peer.received(late).reset == GONE
                assert await peer.stopped(peer.open_uni(on(target, ONE) + b"x")) == GONE
            await peer.get(b"/well")

    run(main, loop=loop)


def test_a_header_behind_other_frames() -> None:
    async def main() -> None:
        async with scene() as found:
            peer = found.attacker
            session = await found.session()
            peer.open(frame(0x21, b"x") + on(session))
            assert await peer.close_code() == FRAME_ERROR

    run(main)


def test_more_streams_than_there_may_be(loop: str) -> None:
    """Nobody accepts them: their client has to wait, and is not cut off."""

    async def main() -> None:
        limits = Limits(max_streams_bidi=8, max_streams_uni=8)
        async with scene(limits) as found:
            peer = found.attacker
            session = await found.session()
            for _ in range(1000):
                peer.open(on(session) + bytes(100))
                peer.open_uni(on(session, ONE) + bytes(100))
            await peer.turn()
            assert peer.closed is None
            await found.unharmed()
            (there,) = found.held.sessions
            # What has come can be taken, and no more has.
            core = there._core
            taken = 0
            while core.try_accept(True) is not None:
                taken += 1
            assert 0 < taken < 250

    run(main, loop=loop)


def test_streams_that_nobody_reads(loop: str) -> None:
    """What is sent to a handler that reads nothing is bounded by the windows."""

    async def main() -> None:
        limits = Limits(receive_window=1 << 20, stream_receive_window=256 << 10)
        async with scene(limits) as found:
            peer = found.attacker
            session = await found.session()
            for _ in range(20):
                peer.open(on(session) + bytes(512 << 10))
                await peer.turn()
            there = found.held.sessions[0]
            streams = []
            while (stream := there._core.try_accept(True)) is not None:
                streams.append(stream)
            taken = 0
            for stream in streams:
                while data := there._core.try_read(stream, 1 << 20):
                    taken += len(data)
            assert 0 < taken <= limits.receive_window + (64 << 10)

    run(main, loop=loop)


@pytest.mark.parametrize("how", ["finish", "reset"])
def test_thousands_of_streams_that_are_over_at_once(how: str, loop: str) -> None:
    async def main() -> None:
        async with scene() as found:
            peer = found.attacker
            session = await found.session(SERVICE)
            for _ in range(60):
                for _ in range(10):
                    opened = peer.open(on(session) + wire.frame(CALL, 1, wire.string("x")))
                    if how == "finish":
                        peer.write(opened, b"", end=True)
                    else:
                        peer.reset(opened, 0x52E4A40FA8DB)
                        peer.stop(opened, 0x52E4A40FA8DB)
                await peer.turn()
                if peer.closed is not None:
                    break
            await found.unharmed()
            if peer.closed is not None:
                assert await peer.close_code() == EXCESSIVE_LOAD

    run(main, loop=loop)


def test_lanes_given_up_as_if_the_session_were_gone(loop: str) -> None:
    """It goes on, so what runs on them is no more than may run."""

    async def main() -> None:
        async with scene() as found:
            peer = found.attacker
            session = await found.session(SERVICE)
            for number in range(50):
                opened = peer.open(
                    on(session) + wire.frame(wire.request(4), 1, wire.string(str(number)))
                )
                await peer.turn()
                peer.reset(opened, GONE)
                peer.stop(opened, GONE)
            await peer.turn()
            assert found.impl.most <= 50
            await found.unharmed()
            peer.write(session, frame(DATA, close()), end=True)
            await peer.until(lambda: peer.received(session).ended or None)
            async with asyncio.timeout(10):
                while found.impl.running:
                    await found.unharmed()

    run(main, loop=loop)


# ---- datagrams ----


def test_datagrams_without_end(loop: str) -> None:
    """For nobody, for those who do not read, and for sessions that do not exist yet."""

    async def main() -> None:
        limits = Limits(datagram_buffer=64 << 10)
        async with scene(limits) as found:
            peer = found.attacker
            session = await found.session()
            lanes = await found.session(SERVICE)
            before = resident()
            data = os.urandom(1000)
            for number in range(300):
                for quarter in (session // 4, lanes // 4, 1000, 0):
                    for _ in range(5):
                        peer.datagram(varint(quarter) + data)
                if number % 10 == 0:
                    await peer.turn()
            await peer.turn()
            assert resident() - before < 16 << 20
            there = found.held.sessions[0]
            kept = 0
            while there._core.try_receive_datagram() is not None:
                kept += 1
            assert 0 < kept <= 66
            assert peer.closed is None
            stream = peer.open(on(lanes) + wire.frame(CALL, 1, wire.string("x")))
            answer = wire.frame(wire.reply(1), 1, wire.string("x"))
            await peer.until(lambda: bytes(peer.received(stream).data) == answer or None)

    run(main, loop=loop)


def test_datagrams_as_capsules_without_end(loop: str) -> None:
    async def main() -> None:
        limits = Limits(datagram_buffer=64 << 10)
        async with scene(limits) as found:
            peer = found.attacker
            session = await found.session()
            before = resident()
            for _ in range(200):
                peer.write(session, frame(DATA, capsule(DATAGRAM, bytes(1000)) * 10))
                await peer.turn()
            assert resident() - before < 16 << 20
            kept = 0
            while found.held.sessions[0]._core.try_receive_datagram() is not None:
                kept += 1
            assert 0 < kept <= 66

    run(main, loop=loop)


# ---- lanes ----


@pytest.mark.parametrize(
    "said",
    [
        b"\xff\xff\xff\xff" + bytes(20),
        bytes(40),
        b"\7\0\0\0" + bytes([wire.RVERSION]) + bytes(100),
        wire.frame(103, 1, b"x"),
        wire.frame(CALL, 1, wire.string("a")) + wire.frame(251, 2, b""),
    ],
)
@pytest.mark.parametrize("path", [SERVICE, b"/"])
def test_lanes_that_break_the_protocol_end_alone(said: bytes, path: bytes) -> None:
    async def main() -> None:
        async with scene() as found:
            peer = found.attacker
            session = await found.session(path)
            opened = peer.open(on(session) + said)
            async with asyncio.timeout(10):
                await peer.stopped(opened)
            good = peer.open(on(session) + wire.tversion("rs.jetstream.proto/echo/1.0.0"))
            await peer.until(lambda: peer.received(good).data or None)
            assert peer.received(session).ended is False

    run(main)


def test_a_page_that_stops_reading(loop: str) -> None:
    """Answers wait for it within bounds, and its calls are begun no faster than it reads."""

    async def main() -> None:
        limits = Limits(max_unsent=256 << 10)
        async with (
            scene(limits) as found,
            # It gives 256 KiB of credit, and no more.
            attached(found.attacked.server, max_stream_data=64 << 10, max_data=256 << 10) as peer,
        ):
            begin(peer)
            session = peer.open(ask(SERVICE))
            await peer.until(lambda: peer.received(session).data or None)
            # From now on it takes nothing: no credit is given again.
            setattr(peer._quic, "_write_connection_limits", lambda **_: None)  # noqa: B010
            setattr(peer._quic, "_write_stream_limits", lambda **_: None)  # noqa: B010
            before = resident()
            make = b"".join(
                wire.frame(wire.request(10), tag, struct.pack("<i", 100_000)) for tag in range(100)
            )
            for _ in range(8):
                peer.open(on(session) + make)
            for _ in range(20):
                await peer.turn()
                await found.unharmed()
            # 800 answers are 80 MB.
            assert resident() - before < 24 << 20
            came = sum(len(each.data) for each in peer.streams.values())
            assert 200 << 10 < came <= 256 << 10
            assert peer.closed is None

    run(main, loop=loop)
