"""Our server against a client that is spoken by hand: streams, cancellation, and the extension."""

from __future__ import annotations

import asyncio
import logging
import struct
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest
from jetstream import (
    INJECTED,
    U32,
    Client,
    Connection,
    Context,
    Done,
    JetStreamError,
    Limits,
    Server,
    method,
    service,
    time_left,
)

from tests.helpers import client_tls, live_objects, run, serve
from tests.model import ext, frame, version
from tests.model.frame import Frame
from tests.model.raw import RawLane

MSIZE = 1 << 20
PROTOCOL, SHUTDOWN = 1, 2
"""Codes with which a lane is given up: its peer broke the rules, or we are going away."""

LIMITS = Limits(msize=MSIZE, max_metadata=1000)
SERVED = "rs.jetstream.proto/streams/1.0.0+d1"


@service(name="streams", version="1.0.0", digest="d1")
class Streams:
    """A method of every kind, which says what becomes of it."""

    def __init__(self) -> None:
        self.gates: defaultdict[int, asyncio.Event] = defaultdict(asyncio.Event)
        self.began: list[str] = []
        self.ended: asyncio.Queue[str] = asyncio.Queue()

    @method
    def twice(self, n: U32) -> U32:
        return n * 2

    async def hold(self, n: U32) -> U32:
        self.began.append(f"hold {n}")
        try:
            await self.gates[n].wait()
        except asyncio.CancelledError:
            self.ended.put_nowait(f"cancelled {n}")
            raise
        return n

    async def stubborn(self, n: U32) -> U32:
        try:
            await self.gates[n].wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        return n

    async def ticks(self, count: U32, size: U32) -> AsyncGenerator[bytes | Done[str]]:
        try:
            for _ in range(count):
                yield bytes(size)
            yield Done(f"{count} of them")
        finally:
            self.ended.put_nowait("ticks")

    async def total(self, scale: U32, items: AsyncIterator[U32]) -> U32:
        self.began.append("total")
        found = 0
        async for item in items:
            found += item
        return found * scale

    async def upper(self, words: AsyncIterator[str]) -> AsyncIterator[str]:
        async for word in words:
            if word == "stop":
                return
            yield word.upper()

    async def left(self, ctx: Context = INJECTED) -> U32:
        """Milliseconds, or 0 for ever."""
        seen, known = ctx.time_left(), time_left()
        assert (seen is None) == (known is None) == (ctx.deadline is None)
        return 0 if seen is None else min(int(seen * 1000), 2**32 - 1)

    async def say(self, fail: bool, size: U32, ctx: Context = INJECTED) -> str:
        ctx.reply_metadata["said"] = bytes(size)
        if fail:
            raise JetStreamError("no", code="app::no")
        return ",".join(f"{key}={value!r}" for key, value in ctx.metadata.items())

    @method
    def direct_left(self) -> U32:
        left = time_left()
        return 0 if left is None else int(left * 1000)


TWICE, HOLD, STUBBORN, TICKS, TOTAL, UPPER, LEFT, SAY, DIRECT_LEFT = map(frame.request, range(9))


def u32(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}I", *numbers)


def text(value: str) -> bytes:
    return struct.pack("<H", len(value.encode())) + value.encode()


def item(tag: int, value: bytes) -> Frame:
    return Frame(ext.TITEM, tag, value)


def reply(request: int, tag: int, value: bytes) -> Frame:
    return Frame(request + 1, tag, value)


class Scene:
    """A server, and a lane to it that has agreed on a version."""

    def __init__(self, impl: Streams, server: Server, connection: Connection) -> None:
        self.impl = impl
        self.server = server
        self.connection = connection
        self.lane: RawLane

    async def open(self, *, extension: bool) -> RawLane:
        lane = RawLane(*await self.connection.open_bi())
        asked = SERVED + (".x1" if extension else "")
        await lane.write(Frame(frame.TVERSION, frame.NO_TAG, version.Offer(MSIZE, asked).payload()))
        agreed = version.Offer(MSIZE, SERVED + (".x1-on" if extension else "")).payload()
        assert await lane.read() == Frame(frame.RVERSION, frame.NO_TAG, agreed)
        return lane

    async def write(self, *frames: Frame) -> None:
        await self.lane.write(*frames)

    async def read(self) -> Frame:
        async with asyncio.timeout(10):
            found = await self.lane.read()
        assert found is not None
        return found

    async def expect(self, *frames: Frame) -> None:
        for wanted in frames:
            assert await self.read() == wanted

    async def answers(self, *, tag: int = 999) -> None:
        """An ordinary call is answered next, so that all before it has been handled."""
        await self.write(Frame(TWICE, tag, u32(21)))
        await self.expect(reply(TWICE, tag, u32(42)))

    async def answers_cancel(self) -> None:
        """A cancellation of nothing is answered next, also while requests wait to begin."""
        await self.write(ext.cancel(998, 997))
        await self.expect(ext.cancelled(998, 997))

    async def fault(self, tag: int, code: str) -> None:
        """The next frame is a fault with this code."""
        found = await self.read()
        assert (found.kind, found.tag) == (frame.RERROR, tag), found
        assert text(f"jetstream::{code}") in found.payload, found

    async def broken(self) -> None:
        """The lane is given up, and nothing else."""
        _, code = await self.lane.read_to_failure()
        assert code == PROTOCOL
        other = await self.open(extension=True)
        await other.write(Frame(TWICE, 1, u32(1)))
        assert await other.read() == reply(TWICE, 1, u32(2))

    async def drain(self, tag: int, size: int) -> None:
        """Reads items of a stream, of `size` bytes with their headers, or more."""
        while size > 0:
            found = await self.read()
            assert (found.kind, found.tag) == (TICKS + 1, tag)
            size -= frame.HEADER + len(found.payload)


@asynccontextmanager
async def scene(*, extension: bool = True, limits: Limits = LIMITS) -> AsyncGenerator[Scene]:
    impl = Streams()
    async with (
        serve(impl, limits=limits, graceful_timeout=5) as server,
        Client(client_tls()) as client,
    ):
        found = Scene(impl, server, await client.connect(server.address, "localhost"))
        found.lane = await found.open(extension=extension)
        yield found


# ---- what is understood ----


@pytest.mark.parametrize("kind", [*range(11, 18), ext.TCANCEL])
def test_without_the_extension_its_frames_are_none(kind: int) -> None:
    payload = ext.cancel(0, 1).payload if kind == ext.TCANCEL else b""

    async def main() -> None:
        async with scene(extension=False) as s:
            await s.write(Frame(HOLD, 1, u32(1)), Frame(kind, 2, payload))
            await s.broken()
            assert await s.impl.ended.get() == "cancelled 1"

    run(main)


def test_an_answer_to_an_offer_is_our_own_version() -> None:
    async def main() -> None:
        async with scene() as s:
            older = "rs.jetstream.proto/streams/1.0.0+theirs.x1"
            lane = RawLane(*await s.connection.open_bi())
            await lane.write(Frame(frame.TVERSION, 1, version.Offer(MSIZE, older).payload()))
            agreed = version.Offer(MSIZE, SERVED + ".x1-on").payload()
            assert await lane.read() == Frame(frame.RVERSION, 1, agreed)
            # Whoever echoes an answer has offered nothing.
            lane = RawLane(*await s.connection.open_bi())
            echo = version.Offer(MSIZE, SERVED + ".x1-on").payload()
            await lane.write(Frame(frame.TVERSION, 1, echo))
            plain = version.Offer(MSIZE, SERVED).payload()
            assert await lane.read() == Frame(frame.RVERSION, 1, plain)

    run(main)


# ---- what goes before a request ----


@pytest.mark.parametrize(
    "between",
    [
        Frame(TWICE, 2, u32(1)),
        ext.tmeta(1),
        ext.tmeta(2),
        ext.time(1),
        ext.cancel(2, 3),
        ext.credit(1, 1),
        item(1, b""),
        Frame(ext.TEND, 1),
    ],
    ids=lambda found: str(found.kind),
)
def test_between_an_announcement_and_its_request_nothing_may_come(between: Frame) -> None:
    async def main() -> None:
        async with scene() as s:
            await s.write(ext.tmeta(1), between, Frame(TWICE, 1, u32(1)))
            await s.broken()

    run(main)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff" * 8,
        b"\xff" * 8 + b"\x01\0",
        b"\xff" * 8 + b"\xff\xff",
        ext.tmeta(1).payload + b"!",
        ext.tmeta(1, entries={"": b""}).payload,
        ext.tmeta(1, entries={"k" * 256: b""}).payload,
        ext.tmeta(1, entries={chr(33 + n): b"" for n in range(129)}).payload,
    ],
    ids=["empty", "time", "short", "count", "long", "no key", "key", "many"],
)
def test_metadata_that_cannot_be_breaks_the_lane(payload: bytes) -> None:
    async def main() -> None:
        async with scene() as s:
            await s.write(Frame(ext.TMETA, 1, payload), Frame(TWICE, 1, u32(1)))
            await s.broken()

    run(main)


def test_metadata_over_the_limit_fails_its_request_alone() -> None:
    async def main() -> None:
        async with scene() as s:
            most = ext.tmeta(1, entries={"k": bytes(1000 - 2 - 2 - 1 - 4)})
            over = ext.tmeta(1, entries={"k": bytes(1000 - 2 - 2 - 1 - 4 + 1)})
            await s.write(Frame(HOLD, 3, u32(3)))
            await s.write(over, Frame(TWICE, 1, u32(1)))
            await s.fault(1, "limit")
            await s.write(over, Frame(frame.request(50), 1))
            await s.fault(1, "unknown_method")
            # What is not announced is not the less wrong.
            await s.write(most, Frame(TWICE, 1, u32(1)), Frame(TWICE, 1, u32(2)))
            await s.expect(reply(TWICE, 1, u32(2)), reply(TWICE, 1, u32(4)))
            s.impl.gates[3].set()
            await s.expect(reply(HOLD, 3, u32(3)))
            await s.write(over, Frame(TWICE, 2, u32(1)))
            await s.broken()

    run(main)


def test_a_tag_that_is_taken_is_not_announced() -> None:
    async def main() -> None:
        async with scene() as s:
            await s.write(Frame(HOLD, 1, u32(1)), ext.tmeta(1))
            await s.broken()

    run(main)


def test_metadata_reaches_the_method_and_no_other() -> None:
    async def main() -> None:
        async with scene() as s:
            said = {"a": b"1", "ключ": bytes(900)}
            for cut in (1, 8, 30):
                frames = map(frame.write, (ext.tmeta(7, entries=said), Frame(SAY, 7, b"\0" * 5)))
                await s.lane.write_bytes(b"".join(frames), (cut,))
                await s.expect(Frame(ext.RMETA, 7, ext.metadata({"said": b""})))
                told = f"a={b'1'!r},ключ={bytes(900)!r}"
                await s.expect(reply(SAY, 7, text(told)))
            await s.write(Frame(SAY, 7, b"\0" * 5))
            await s.expect(Frame(ext.RMETA, 7, ext.metadata({"said": b""})))
            await s.expect(reply(SAY, 7, text("")))

    run(main)


def test_metadata_of_an_answer_comes_right_before_it() -> None:
    async def main() -> None:
        async with scene() as s:
            await s.write(Frame(SAY, 1, b"\0" + u32(3)), Frame(SAY, 2, b"\1" + u32(3)))
            await s.expect(Frame(ext.RMETA, 1, ext.metadata({"said": bytes(3)})))
            await s.expect(reply(SAY, 1, text("")))
            await s.expect(Frame(ext.RMETA, 2, ext.metadata({"said": bytes(3)})))
            failed = await s.read()
            assert (failed.kind, failed.tag) == (frame.RERROR, 2)
            assert text("app::no") in failed.payload

    run(main)


def test_metadata_of_an_answer_that_is_too_large_fails_the_call(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        async with scene() as s:
            most = 1000 - len(ext.metadata({"said": b""}))
            await s.write(Frame(SAY, 1, b"\0" + u32(most)))
            await s.expect(Frame(ext.RMETA, 1, ext.metadata({"said": bytes(most)})))
            await s.expect(reply(SAY, 1, text("")))
            await s.write(
                Frame(SAY, 1, b"\0" + u32(most + 1)), Frame(SAY, 2, b"\1" + u32(most + 1))
            )
            await s.fault(1, "internal")
            # What the method failed with is told all the same.
            found = await s.read()
            assert (found.kind, found.tag) == (frame.RERROR, 2)
            assert text("app::no") in found.payload
            await s.answers()

    with caplog.at_level(logging.ERROR, "jetstream"):
        run(main)
    assert caplog.text.count("metadata of 1001 bytes is over the limit of 1000") >= 2


def test_without_the_extension_metadata_of_an_answer_is_left_out() -> None:
    async def main() -> None:
        async with scene(extension=False) as s:
            await s.write(Frame(SAY, 1, b"\0" + u32(3)))
            await s.expect(reply(SAY, 1, text("")))

    run(main)


# ---- deadlines ----


def test_the_time_left_is_the_callers_or_the_lanes() -> None:
    async def main() -> None:
        async with scene() as s:

            async def left(*before: Frame, kind: int = LEFT) -> int:
                await s.write(*before, Frame(kind, 5, b""))
                found = await s.read()
                assert (found.kind, found.tag) == (kind + 1, 5), found
                return int.from_bytes(found.payload, "little")

            assert await left() == 0
            assert await left(kind=DIRECT_LEFT) == 0
            assert 9_000 < await left(ext.tmeta(5, 10_000_000)) <= 10_000
            assert 9_000 < await left(ext.tmeta(5, 10_000_000), kind=DIRECT_LEFT) <= 10_000
            assert await left() == 0
            assert 19_000 < await left(ext.time(20_000_000)) <= 20_000
            assert 19_000 < await left() <= 20_000
            assert 19_000 < await left(kind=DIRECT_LEFT) <= 20_000
            assert 9_000 < await left(ext.tmeta(5, 10_000_000)) <= 10_000
            assert await left(ext.tmeta(5)) == 0, "a request may have no limit of its own"
            assert 19_000 < await left() <= 20_000
            assert await left(ext.time(ext.FOREVER)) == 0
            assert await left(ext.tmeta(5, ext.FOREVER - 1)) > 0

    run(main)


def test_a_handler_that_waits_is_cancelled_at_its_deadline(loop: str) -> None:
    async def main() -> None:
        async with scene() as s:
            await s.write(ext.tmeta(1, 20_000), Frame(HOLD, 1, u32(1)))
            await s.write(ext.tmeta(2, 1_000), Frame(STUBBORN, 2, u32(2)), Frame(HOLD, 3, u32(3)))
            # One that takes no notice answers as it likes.
            await s.expect(reply(STUBBORN, 2, u32(2)))
            await s.fault(1, "deadline_exceeded")
            assert await s.impl.ended.get() == "cancelled 1"
            s.impl.gates[3].set()
            await s.expect(reply(HOLD, 3, u32(3)))
            await s.write(ext.time(1_000), Frame(HOLD, 4, u32(4)))
            await s.fault(4, "deadline_exceeded")
            await s.write(Frame(TICKS, 5, u32(100_000, 1000)))
            found = await s.read()
            while found.kind == TICKS + 1:
                found = await s.read()
            assert (found.kind, found.tag) == (frame.RERROR, 5)
            assert text("jetstream::deadline_exceeded") in found.payload

    run(main, loop=loop)


def test_a_request_without_time_is_not_begun() -> None:
    async def main() -> None:
        async with scene() as s:
            await s.write(ext.tmeta(1, 0), Frame(HOLD, 1, u32(1)))
            await s.fault(1, "deadline_exceeded")
            await s.write(ext.tmeta(1, 0), Frame(TWICE, 1, u32(1)))
            await s.fault(1, "deadline_exceeded")
            assert s.impl.began == []

    run(main)


def test_a_request_whose_time_passes_while_it_waits_to_begin_is_not_begun() -> None:
    async def main() -> None:
        async with scene(limits=Limits(msize=MSIZE, max_handlers=1)) as s:
            await s.write(Frame(HOLD, 1, u32(1)), ext.tmeta(2, 1), Frame(HOLD, 2, u32(2)))
            await s.write(ext.cancel(9, 90))
            await s.expect(ext.cancelled(9, 90))
            s.impl.gates[1].set()
            await s.expect(reply(HOLD, 1, u32(1)))
            await s.fault(2, "deadline_exceeded")
            assert s.impl.began == ["hold 1"]

    run(main)


# ---- cancellation ----


def test_a_cancelled_request_ends_before_its_cancellation(loop: str) -> None:
    async def main() -> None:
        async with scene() as s:
            await s.write(Frame(HOLD, 1, u32(1)), ext.cancel(2, 1))
            await s.expect(ext.ended(1), ext.cancelled(2, 1))
            assert await s.impl.ended.get() == "cancelled 1"
            # Both tags are free again.
            await s.write(Frame(HOLD, 2, u32(2)), Frame(STUBBORN, 1, u32(3)))
            await s.write(ext.cancel(3, 1), ext.cancel(4, 1))
            # What it returned all the same is the answer; each of those who asked is answered.
            await s.expect(reply(STUBBORN, 1, u32(3)), ext.cancelled(3, 1), ext.cancelled(4, 1))
            await s.answers(tag=3)
            s.impl.gates[2].set()
            await s.expect(reply(HOLD, 2, u32(2)))

    run(main, loop=loop)


def test_a_cancellation_that_crossed_the_answer_is_answered_at_once() -> None:
    async def main() -> None:
        async with scene() as s:
            await s.write(Frame(TWICE, 1, u32(1)), ext.cancel(2, 1), ext.cancel(2, 77))
            await s.write(ext.cancel(2, 2))
            await s.expect(reply(TWICE, 1, u32(2)), ext.cancelled(2, 1), ext.cancelled(2, 77))
            await s.expect(ext.cancelled(2, 2))

    run(main)


@pytest.mark.parametrize(
    "wrong",
    [
        ext.cancel(1, 1),
        ext.cancel(1, 5),
        ext.cancel(2, 1, binding=3),
        Frame(ext.TCANCEL, 2, b"\1\0"),
        Frame(ext.TCANCEL, 2, bytes(11)),
    ],
    ids=["its own", "tag in use", "binding", "short", "long"],
)
def test_a_cancellation_that_cannot_be_breaks_the_lane(wrong: Frame) -> None:
    async def main() -> None:
        async with scene() as s:
            await s.write(Frame(HOLD, 1, u32(1)), wrong)
            await s.broken()

    run(main)


def test_the_tag_of_a_cancellation_is_taken_until_its_answer() -> None:
    async def main() -> None:
        async with scene() as s:
            await s.write(Frame(STUBBORN, 1, u32(1)), ext.cancel(2, 1), Frame(TWICE, 2, u32(1)))
            await s.broken()

    run(main)


def test_requests_that_have_not_begun_are_cancelled_too() -> None:
    async def main() -> None:
        async with scene(limits=Limits(msize=MSIZE, max_handlers=1)) as s:
            waiting = [Frame(HOLD, tag, u32(tag)) for tag in (1, 2, 3)]
            await s.write(*waiting, ext.cancel(9, 2))
            await s.expect(ext.ended(2), ext.cancelled(9, 2))
            # What waits does not stand in the way of what makes room.
            await s.write(ext.cancel(9, 1))
            await s.expect(ext.ended(1), ext.cancelled(9, 1))
            s.impl.gates[3].set()
            await s.expect(reply(HOLD, 3, u32(3)))
            assert s.impl.began == ["hold 1", "hold 3"]

    run(main)


def test_without_the_extension_streams_alone_are_cancelled() -> None:
    async def main() -> None:
        async with scene(extension=False) as s:
            await s.write(Frame(TICKS, 1, u32(1, 1)))
            await s.expect(reply(TICKS, 1, u32(1) + bytes(1)))
            await s.expect(Frame(ext.RDONE, 1, bytes([TICKS]) + text("1 of them")))
            assert await s.impl.ended.get() == "ticks"
            # This one crossed its end.
            await s.write(ext.cancel(2, 1))
            await s.expect(ext.cancelled(2, 1))
            await s.write(Frame(TICKS, 1, u32(1_000_000, 1000)))
            await s.read()
            await s.write(ext.cancel(2, 1))
            found = await s.read()
            while found.kind == TICKS + 1:
                found = await s.read()
            assert found == ext.ended(1)
            await s.expect(ext.cancelled(2, 1))
            assert await s.impl.ended.get() == "ticks"
            await s.write(Frame(HOLD, 1, u32(1)), ext.cancel(2, 1))
            await s.broken()

    run(main)


# ---- streams to the caller ----


@pytest.mark.parametrize("extension", [True, False])
def test_items_and_then_the_result(extension: bool, loop: str) -> None:
    async def main() -> None:
        async with scene(extension=extension) as s:
            # One that ends in its first step, one that does not, one that gives nothing.
            for count in (3, 1000, 0):
                await s.write(Frame(TICKS, 1, u32(count, 7)))
                for _ in range(count):
                    await s.expect(reply(TICKS, 1, u32(7) + bytes(7)))
                result = text(f"{count} of them")
                await s.expect(Frame(ext.RDONE, 1, bytes([TICKS]) + result))
                assert await s.impl.ended.get() == "ticks"
            await s.answers()

    run(main, loop=loop)


def test_a_stream_stops_when_its_window_is_used_up_and_calls_go_on() -> None:
    async def main() -> None:
        async with scene() as s:
            size = frame.HEADER + 4 + 1000
            await s.write(Frame(TICKS, 1, u32(1000, 1000)))
            # The one item that goes over the window is the last.
            await s.drain(1, ext.INITIAL_WINDOW)
            await s.answers()
            await s.write(ext.credit(1, 1))
            await s.answers()
            await s.write(ext.credit(1, 2 * size))
            await s.drain(1, size + 1)
            await s.answers()
            await s.write(ext.credit(1, 2**32 - 1))
            sent = -(-ext.INITIAL_WINDOW // size) + 2
            await s.drain(1, (1000 - sent) * size)
            await s.expect(Frame(ext.RDONE, 1, bytes([TICKS]) + text("1000 of them")))
            # This one crossed the end.
            await s.write(ext.credit(1, 5))
            await s.answers()

    run(main)


def test_what_is_granted_before_a_stream_begins_counts() -> None:
    async def main() -> None:
        async with scene(limits=Limits(msize=MSIZE, max_handlers=1)) as s:
            await s.write(Frame(HOLD, 1, u32(1)), Frame(HOLD, 3, u32(3)))
            await s.write(Frame(TICKS, 2, u32(200, 1000)), ext.credit(2, 1 << 20))
            await s.answers_cancel()
            s.impl.gates[1].set()
            await s.expect(reply(HOLD, 1, u32(1)))
            await s.drain(2, 200 * (frame.HEADER + 4 + 1000))
            await s.expect(Frame(ext.RDONE, 2, bytes([TICKS]) + text("200 of them")))

    run(main)


def test_nothing_is_granted_to_what_is_no_stream() -> None:
    async def main() -> None:
        async with scene() as s:
            await s.write(Frame(HOLD, 1, u32(1)), ext.credit(1, 1))
            await s.broken()

    run(main)


def test_an_item_that_is_too_large_ends_its_stream() -> None:
    async def main() -> None:
        async with scene() as s:
            await s.write(Frame(TICKS, 1, u32(3, MSIZE)))
            await s.fault(1, "limit")
            assert await s.impl.ended.get() == "ticks"

    run(main)


def test_a_stream_whose_lane_is_gone_is_cancelled() -> None:
    async def main() -> None:
        before = live_objects()["lanes"]
        async with scene() as s:
            await s.write(Frame(TICKS, 1, u32(1_000_000, 1000)))
            await s.read()
            s.lane.send.reset()
            assert await s.impl.ended.get() == "ticks"
        assert live_objects()["lanes"] == before

    run(main)


# ---- streams from the caller ----


def test_items_of_the_caller_reach_their_method(loop: str) -> None:
    async def main() -> None:
        async with scene() as s:
            grant = ext.credit(1, (256 << 10) - ext.INITIAL_WINDOW)
            await s.write(Frame(TOTAL, 1, u32(10)))
            await s.expect(grant)
            await s.write(*[item(1, u32(n)) for n in range(100)])
            await s.answers()
            await s.write(item(1, u32(1)), Frame(ext.TEND, 1))
            await s.expect(reply(TOTAL, 1, u32(49_510)))
            # All at once, and nothing at all.
            await s.write(Frame(TOTAL, 1, u32(2)), item(1, u32(4)), Frame(ext.TEND, 1))
            await s.expect(grant, reply(TOTAL, 1, u32(8)))
            await s.write(Frame(TOTAL, 1, u32(2)), Frame(ext.TEND, 1))
            await s.expect(grant, reply(TOTAL, 1, u32(0)))
            # What comes after the answer crossed it.
            await s.write(item(1, u32(1)), Frame(ext.TEND, 1))
            await s.answers()

    run(main, loop=loop)


def test_two_streams_that_take_turns() -> None:
    async def main() -> None:
        async with scene() as s:
            await s.write(Frame(TOTAL, 1, u32(1)), Frame(TOTAL, 2, u32(1)))
            await s.write(*[item(1 + n % 2, u32(n)) for n in range(10)])
            await s.write(Frame(ext.TEND, 2), Frame(ext.TEND, 1))
            found = [await s.read() for _ in range(4)]
            assert reply(TOTAL, 2, u32(25)) in found
            assert reply(TOTAL, 1, u32(20)) in found

    run(main)


def test_a_stream_goes_both_ways_in_step() -> None:
    async def main() -> None:
        async with scene() as s:
            await s.write(Frame(UPPER, 1))
            assert (await s.read()).kind == ext.CREDIT
            for word in ("one", "two"):
                await s.write(item(1, text(word)))
                await s.expect(reply(UPPER, 1, text(word.upper())))
            await s.write(item(1, text("stop")))
            await s.expect(Frame(ext.RDONE, 1, bytes([UPPER])))

    run(main)


def test_more_is_granted_as_the_method_takes() -> None:
    async def main() -> None:
        async with scene() as s:
            size = frame.HEADER + 4
            await s.write(Frame(TOTAL, 1, u32(1)))
            first = await s.read()
            granted = ext.INITIAL_WINDOW + int.from_bytes(first.payload, "little")
            assert granted == 256 << 10
            for _ in range(3):
                # Half of the window, and a grant of as much.
                count = -(-(granted // 2) // size)
                await s.write(*[item(1, u32(1))] * count)
                await s.expect(ext.credit(1, count * size))

    run(main)


def test_what_has_not_begun_is_granted_nothing() -> None:
    async def main() -> None:
        async with scene(limits=Limits(msize=MSIZE, max_handlers=1)) as s:
            # It waits behind what waits for the one that runs.
            await s.write(Frame(HOLD, 1, u32(1)), Frame(HOLD, 3, u32(3)), Frame(TOTAL, 2, u32(1)))
            await s.write(item(2, u32(5)), Frame(ext.TEND, 2), Frame(TOTAL, 4, u32(1)))
            await s.answers_cancel()
            s.impl.gates[1].set()
            await s.expect(reply(HOLD, 1, u32(1)))
            # Now that they begin the one gets the rest of its window; the other has ended.
            await s.expect(reply(TOTAL, 2, u32(5)), ext.credit(4, (256 << 10) - ext.INITIAL_WINDOW))
            await s.write(Frame(ext.TEND, 4))
            await s.expect(reply(TOTAL, 4, u32(0)))

    run(main)


def test_more_streams_than_fit_whole_windows_go_on_with_less() -> None:
    async def main() -> None:
        limits = Limits(msize=MSIZE, stream_window=256 << 10, inbound_window=512 << 10)
        async with scene(limits=limits) as s:
            rest = (256 << 10) - ext.INITIAL_WINDOW
            await s.write(*[Frame(TOTAL, tag, u32(1)) for tag in range(5)])
            await s.expect(ext.credit(0, rest))
            size = frame.HEADER + 4
            count = -(-(ext.INITIAL_WINDOW // 2) // size)
            for tag in range(1, 5):
                # Half of what each has, and as much again.
                await s.write(*[item(tag, u32(1))] * count)
                await s.expect(ext.credit(tag, count * size))
            await s.write(Frame(TOTAL, 5, u32(1)))
            await s.fault(5, "limit")
            await s.write(Frame(ext.TEND, 0))
            await s.expect(reply(TOTAL, 0, u32(0)))
            await s.write(Frame(ext.TEND, 1), Frame(ext.TEND, 2), Frame(ext.TEND, 3))
            for tag in range(1, 4):
                await s.expect(reply(TOTAL, tag, u32(count)))
            # What others leave is there for those that go on.
            await s.write(*[item(4, u32(1))] * count)
            await s.expect(ext.credit(4, count * size + rest))

    run(main)


def test_more_than_was_granted_breaks_the_lane() -> None:
    async def main() -> None:
        async with scene(limits=Limits(msize=MSIZE, max_handlers=1)) as s:
            # Nobody takes: it waits to begin.
            await s.write(Frame(HOLD, 1, u32(1)), Frame(HOLD, 3, u32(3)), Frame(UPPER, 2))
            word = item(2, text("x" * 1000))
            fits = -(-ext.INITIAL_WINDOW // len(frame.write(word)))
            await s.write(*[word] * fits)
            await s.write(ext.cancel(7, 70))
            await s.expect(ext.cancelled(7, 70))
            await s.write(word)
            await s.broken()

    run(main)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ([Frame(ext.TEND, 1), item(1, u32(1))], "items after the end"),
        ([Frame(ext.TEND, 1), Frame(ext.TEND, 1)], "a second end"),
        ([Frame(ext.TEND, 1, b"!")], "carries nothing"),
        ([item(2, u32(1))], "which takes none"),
        ([Frame(ext.TEND, 2)], "which takes none"),
    ],
    ids=["after", "twice", "payload", "unary item", "unary end"],
)
def test_items_that_cannot_be_break_the_lane(
    wrong: list[Frame], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with scene(limits=Limits(msize=MSIZE, max_handlers=1)) as s:
            await s.write(Frame(HOLD, 2, u32(2)), Frame(TOTAL, 1, u32(1)), *wrong)
            await s.broken()

    with caplog.at_level(logging.WARNING, "jetstream"):
        run(main)
    assert why in caplog.text


def test_an_item_that_is_none_fails_its_call() -> None:
    async def main() -> None:
        async with scene() as s:
            await s.write(Frame(TOTAL, 1, u32(1)), item(1, b"\1\2"), Frame(ext.TEND, 1))
            assert (await s.read()).kind == ext.CREDIT
            await s.fault(1, "decode")
            await s.answers()

    run(main)


def test_without_the_extension_there_is_no_stream_from_the_caller() -> None:
    async def main() -> None:
        async with scene(extension=False) as s:
            await s.write(Frame(TOTAL, 1, u32(1)))
            await s.fault(1, "extension_required")
            await s.answers()

    run(main)


def test_items_flow_while_requests_wait_to_begin() -> None:
    async def main() -> None:
        async with scene(limits=Limits(msize=MSIZE, max_handlers=1)) as s:
            await s.write(Frame(TOTAL, 1, u32(1)), Frame(HOLD, 3, u32(3)), Frame(HOLD, 4, u32(4)))
            await s.write(Frame(TOTAL, 2, u32(1)), item(2, u32(5)), Frame(ext.TEND, 2))
            await s.write(item(1, u32(3)), Frame(ext.TEND, 1))
            assert (await s.read()).kind == ext.CREDIT
            await s.expect(reply(TOTAL, 1, u32(3)))
            s.impl.gates[3].set()
            await s.expect(reply(HOLD, 3, u32(3)), reply(TOTAL, 2, u32(5)))

    run(main)


def test_a_lane_that_ends_before_its_stream_fails_the_call() -> None:
    async def main() -> None:
        async with scene() as s:
            await s.write(Frame(TOTAL, 1, u32(1)), item(1, u32(1)))
            s.lane.send.finish()
            assert (await s.read()).kind == ext.CREDIT
            found = await s.read()
            assert (found.kind, found.tag) == (frame.RERROR, 1)
            assert b"the caller ended the lane before its stream" in found.payload
            assert await s.lane.read() is None

    run(main)


# ---- going away ----


def test_a_server_that_goes_away_ends_what_it_has_begun_and_nothing_else(loop: str) -> None:
    async def main() -> None:
        async with scene(limits=Limits(msize=MSIZE, max_handlers=2)) as s:
            plain = await s.open(extension=False)
            silent = RawLane(*await s.connection.open_bi())
            await s.write(Frame(HOLD, 1, u32(1)), Frame(TICKS, 2, u32(1_000_000, 1000)))
            await s.drain(2, ext.INITIAL_WINDOW)
            await s.write(Frame(HOLD, 6, u32(6)), Frame(HOLD, 3, u32(3)))
            await s.write(ext.cancel(9, 90))
            await s.expect(ext.cancelled(9, 90))
            closing = asyncio.ensure_future(s.server.close())
            # What had not begun is named, and so is what comes now.
            await s.expect(Frame(ext.GOAWAY, frame.NO_TAG), Frame(ext.GOAWAY, 3))
            await s.fault(2, "unavailable")
            assert await s.impl.ended.get() == "ticks"
            await s.write(Frame(TWICE, 4, u32(1)), ext.tmeta(5), Frame(HOLD, 5, u32(5)))
            await s.expect(Frame(ext.GOAWAY, 4), Frame(ext.GOAWAY, 5))
            await s.write(ext.cancel(9, 90))
            await s.expect(ext.cancelled(9, 90))
            await s.write(ext.cancel(9, 6))
            await s.expect(ext.ended(6), ext.cancelled(9, 6))
            assert await s.impl.ended.get() == "cancelled 6"
            # A lane that was not told is served to the end, a new one is not.
            await plain.write(Frame(TWICE, 1, u32(4)))
            assert await plain.read() == reply(TWICE, 1, u32(8))
            offer = version.Offer(MSIZE, SERVED).payload()
            await silent.write(Frame(frame.TVERSION, 1, offer))
            assert await silent.read_to_failure() == ([], SHUTDOWN)
            s.impl.gates[1].set()
            # The second time says that there is nothing more to answer.
            await s.expect(reply(HOLD, 1, u32(1)), Frame(ext.GOAWAY, frame.NO_TAG))
            assert await s.lane.read() is None, "the lane ends in order"
            await closing
            assert s.impl.began == ["hold 1", "hold 6"]
            assert (await s.connection.wait_closed()) is not None

    run(main, loop=loop)


def test_an_idle_lane_ends_as_soon_as_it_is_told() -> None:
    async def main() -> None:
        async with scene() as s:
            closing = asyncio.ensure_future(s.server.close())
            await s.expect(*[Frame(ext.GOAWAY, frame.NO_TAG)] * 2)
            assert await s.lane.read() is None
            await closing

    run(main)
