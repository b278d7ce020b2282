"""Our client against a server that is spoken by hand: streams, cancellation, and the extension."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

import pytest
from jetstream import (
    U32,
    CallError,
    Client,
    ClosedError,
    ConnectionLost,
    DeadlineExceeded,
    DecodeError,
    LimitExceeded,
    LocalProtocolError,
    QuicTransport,
    RemoteProtocolError,
    Subscription,
    Unavailable,
    channel_type,
    method,
    reply_metadata,
    service,
    with_options,
)

from tests.helpers import client_tls, live_objects, run, serve
from tests.model import frame, version
from tests.model.frame import Frame
from tests.model.raw import ByHand, RawLane

RDONE, TCANCEL, RCANCEL = 8, 9, 10
TMETA, RMETA, TITEM, TEND, CREDIT, GOAWAY, TIME = range(11, 18)
SERVED = "rs.jetstream.proto/ticker/1.0.0+beef"
INITIAL_WINDOW = 65_536
WINDOW = 256 << 10
NOTHING = b"\0\0"
"""Metadata without an entry."""


@service(name="ticker", version="1.0.0", digest="beef")
class Ticker(Protocol):
    """A call, a subscription, and streams from the caller."""

    async def now(self, n: U32) -> U32: ...
    def ticks(self, since: U32) -> Subscription[U32, str]: ...
    async def put(self, name: str, items: AsyncIterator[U32]) -> U32: ...
    def chat(self, lines: AsyncIterator[str]) -> Subscription[str, None]: ...
    @method(idempotent=True)
    async def again(self, n: U32) -> U32: ...


NOW, TICKS, PUT, CHAT, AGAIN = map(frame.request, range(5))


def u32(n: int) -> bytes:
    return struct.pack("<I", n)


def u64(n: int) -> bytes:
    return struct.pack("<Q", n)


def text(value: str) -> bytes:
    return struct.pack("<H", len(value.encode())) + value.encode()


def metadata(**entries: bytes) -> bytes:
    parts = [struct.pack("<H", len(entries))]
    parts += [text(key) + u32(len(value)) + value for key, value in entries.items()]
    return b"".join(parts)


class Scene:
    """A channel of ours on one lane, and that lane's other end."""

    def __init__(self, channel: Ticker, lane: RawLane) -> None:
        self.channel = channel
        self.lane = lane

    async def expect(self, kind: int) -> Frame:
        """The next frame, which must be of this type."""
        async with asyncio.timeout(10):
            found = await self.lane.read()
        assert found is not None
        assert found.kind == kind, found
        return found

    async def call(self, n: int) -> int:
        """One call from end to end, and the tag that it had."""
        calling = task(self.channel.now(n))
        request = await self.expect(NOW)
        await self.lane.write(Frame(NOW + 1, request.tag, u32(n)))
        assert await calling == n
        return request.tag

    async def free_tags(self, count: int) -> set[int]:
        """The tags that so many calls get at once, when all that was written has been read."""
        await self.call(0)
        calls = [task(self.channel.now(n)) for n in range(count)]
        tags: set[int] = set()
        for n in range(count):
            request = await self.expect(NOW)
            tags.add(request.tag)
            await self.lane.write(Frame(NOW + 1, request.tag, u32(n)))
        await asyncio.gather(*calls)
        return tags


@asynccontextmanager
async def scene(
    *, mark: str = ".x1-on", timeout: float | None = None, most: int = 100
) -> AsyncGenerator[Scene]:
    """Both ends, with the extension on unless `mark` says otherwise."""
    by_hand = ByHand()
    async with serve(by_hand) as server, Client(client_tls()) as client:
        ours = await client.connect(server.address, "localhost")
        transport = QuicTransport(*await ours.open_bi())
        channel = channel_type(Ticker)(most, transport, timeout=timeout)
        theirs = await by_hand.connections.get()
        lane = RawLane(*await theirs.accept_bi())
        offer = await lane.read()
        assert offer is not None
        assert version.read(offer.payload) == (4 << 20, SERVED + ".x1")
        answer = version.Offer(1 << 20, SERVED + mark).payload()
        await lane.write(Frame(frame.RVERSION, offer.tag, answer))
        yield Scene(channel, lane)


def task(awaitable: Any) -> asyncio.Task[Any]:
    return asyncio.ensure_future(awaitable)


async def collect(subscription: Subscription[Any, Any]) -> list[Any]:
    return [item async for item in subscription]


# ---- subscriptions ----


def test_items_come_in_order_and_the_result_at_the_end(loop: str) -> None:
    async def main() -> None:
        async with scene() as s:
            ticks = s.channel.ticks(7)
            collecting = task(collect(ticks))
            request = await s.expect(TICKS)
            assert request.payload == u32(7)
            granted = await s.expect(CREDIT)
            assert granted == Frame(CREDIT, request.tag, u32(WINDOW - INITIAL_WINDOW))
            items = [Frame(TICKS + 1, request.tag, u32(n)) for n in range(100)]
            await s.lane.write(*items)
            with pytest.raises(RuntimeError, match="has not ended"):
                _ = ticks.result
            await s.lane.write(Frame(RDONE, request.tag, bytes([TICKS]) + text("all")))
            assert await collecting == list(range(100))
            assert ticks.result == "all"

    run(main, loop=loop)


def test_a_failure_is_no_end(loop: str) -> None:
    async def main() -> None:
        async with scene() as s:
            ticks = s.channel.ticks(0)
            seen: list[int] = []

            async def consume() -> None:
                async for item in ticks:
                    seen.append(item)

            consuming = task(consume())
            tag = (await s.expect(TICKS)).tag
            fault = Frame(frame.RERROR, tag, text("no more") + bytes(3) + bytes(4))
            await s.lane.write(Frame(TICKS + 1, tag, u32(1)), fault)
            with pytest.raises(CallError, match="no more"):
                await consuming
            assert seen == [1]
            with pytest.raises(CallError, match="no more"):
                _ = ticks.result
            # The lane serves on.
            calling = task(s.channel.now(3))
            await s.expect(CREDIT)
            request = await s.expect(NOW)
            await s.lane.write(Frame(NOW + 1, request.tag, u32(3)))
            assert await calling == 3

    run(main, loop=loop)


def test_a_loss_is_no_end() -> None:
    async def main() -> None:
        async with scene() as s:
            collecting = task(collect(s.channel.ticks(0)))
            await s.expect(TICKS)
            s.lane.send.finish()
            with pytest.raises(ConnectionLost):
                await collecting

    run(main)


@pytest.mark.parametrize("how", ["break", "cancel", "task", "async with"])
def test_leaving_the_loop_cancels_the_producer(how: str, loop: str) -> None:
    async def main() -> None:
        async with scene() as s:

            async def consume() -> None:
                if how == "break":
                    async for _ in s.channel.ticks(0):
                        break
                elif how == "cancel":
                    ticks = s.channel.ticks(0)
                    await anext(ticks)
                    ticks.cancel()
                    with pytest.raises(ClosedError, match="given up"):
                        await anext(ticks)
                elif how == "async with":
                    async with s.channel.ticks(0) as ticks:
                        async for _ in ticks:
                            break
                else:
                    async for _ in s.channel.ticks(0):
                        pass

            consuming = task(consume())
            tag = (await s.expect(TICKS)).tag
            await s.expect(CREDIT)
            await s.lane.write(Frame(TICKS + 1, tag, u32(1)))
            if how == "task":
                await asyncio.sleep(0)
                consuming.cancel()
            await asyncio.wait([consuming])
            assert consuming.cancelled() == (how == "task")
            cancel = await s.expect(TCANCEL)
            assert cancel.tag != tag
            assert cancel.payload == struct.pack("<HQ", tag, 0)
            # What crossed the word is nobody's, and the tag is free when the server says so.
            await s.lane.write(
                Frame(TICKS + 1, tag, u32(2)),
                Frame(RDONE, tag, b"\0"),
                Frame(RCANCEL, cancel.tag, struct.pack("<H", tag)),
            )
            assert await s.free_tags(3) == {0, 1, 2}

    before = live_objects()
    run(main, loop=loop)
    assert live_objects() == before


def test_a_slow_taker_grants_nothing_and_holds_no_more_than_its_window() -> None:
    async def main() -> None:
        async with scene() as s:
            ticks = s.channel.ticks(0)
            first = task(anext(ticks))
            tag = (await s.expect(TICKS)).tag
            await s.expect(CREDIT)
            item = Frame(TICKS + 1, tag, u32(1))
            size = len(frame.write(item))
            await s.lane.write(*[item] * (WINDOW // size))
            assert await first == 1
            taken = 1
            while taken * size < WINDOW // 2:
                assert s.lane.unread() == []
                assert await anext(ticks) == 1
                taken += 1
            granted = await s.expect(CREDIT)
            assert granted == Frame(CREDIT, tag, u32(taken * size))
            ticks.cancel()

    run(main)


def test_more_than_was_granted_is_a_violation() -> None:
    async def main() -> None:
        async with scene() as s:
            ticks = s.channel.ticks(0)
            first = task(anext(ticks))
            tag = (await s.expect(TICKS)).tag
            item = Frame(TICKS + 1, tag, u32(1))
            size = len(frame.write(item))
            await s.lane.write(*[item] * (WINDOW // size + 2))
            assert await first == 1
            with pytest.raises(RemoteProtocolError, match="not granted"):
                await collect(ticks)

    run(main)


def test_without_the_extension_an_overflow_fails_that_subscription_alone() -> None:
    async def main() -> None:
        async with scene(mark="") as s:
            ticks = s.channel.ticks(0)
            first = task(anext(ticks))
            tag = (await s.expect(TICKS)).tag
            item = Frame(TICKS + 1, tag, u32(1))
            await s.lane.write(*[item] * (WINDOW // len(frame.write(item)) + 100))
            assert await first == 1
            cancel = await s.expect(TCANCEL)
            with pytest.raises(LimitExceeded, match="stream_window"):
                await collect(ticks)
            await s.lane.write(Frame(RCANCEL, cancel.tag, struct.pack("<H", tag)))
            calling = task(s.channel.now(1))
            request = await s.expect(NOW)
            await s.lane.write(Frame(NOW + 1, request.tag, u32(1)))
            assert await calling == 1

    run(main)


def test_an_item_that_cannot_be_read_ends_the_subscription() -> None:
    async def main() -> None:
        async with scene() as s:
            collecting = task(collect(s.channel.ticks(0)))
            tag = (await s.expect(TICKS)).tag
            await s.expect(CREDIT)
            await s.lane.write(Frame(TICKS + 1, tag, b"\1\2"))
            with pytest.raises(DecodeError):
                await collecting
            await s.expect(TCANCEL)

    run(main)


@pytest.mark.parametrize(
    "wrong",
    [
        Frame(RDONE, 0, bytes([NOW]) + text("x")),
        Frame(RDONE, 0, b""),
        Frame(NOW + 1, 0, u32(1)),
        Frame(RDONE, 9, b"\0"),
        Frame(RCANCEL, 0, b"\0\0"),
        Frame(RMETA, 0, b"\1"),
        Frame(CREDIT, 0, b"\1"),
    ],
)
def test_a_frame_that_cannot_be_breaks_the_lane(wrong: Frame) -> None:
    async def main() -> None:
        async with scene() as s:
            collecting = task(collect(s.channel.ticks(0)))
            assert (await s.expect(TICKS)).tag == 0
            await s.lane.write(wrong)
            with pytest.raises(RemoteProtocolError):
                await collecting

    run(main)


def test_subscriptions_leave_room_for_calls() -> None:
    async def main() -> None:
        async with scene(most=1) as s:
            collecting = [task(collect(s.channel.ticks(n))) for n in range(3)]
            tags: list[int] = []
            for _ in collecting:
                tags.append((await s.expect(TICKS)).tag)
                await s.expect(CREDIT)
            calling = task(s.channel.now(1))
            request = await s.expect(NOW)
            await s.lane.write(Frame(NOW + 1, request.tag, u32(1)))
            assert await calling == 1
            done = [Frame(RDONE, tag, bytes([TICKS]) + text("")) for tag in tags]
            await s.lane.write(*done)
            assert await asyncio.gather(*collecting) == [[], [], []]

    run(main)


def test_a_stream_has_one_taker() -> None:
    async def main() -> None:
        async with scene() as s:
            ticks = s.channel.ticks(0)
            first = task(anext(ticks))
            tag = (await s.expect(TICKS)).tag
            with pytest.raises(RuntimeError, match="one taker"):
                await anext(ticks)
            await s.lane.write(Frame(TICKS + 1, tag, u32(5)))
            assert await first == 5

    run(main)


# ---- streams from the caller ----


def test_a_stream_from_the_caller_follows_its_request(loop: str) -> None:
    async def numbers() -> AsyncIterator[int]:
        for n in range(3):
            yield n

    async def main() -> None:
        async with scene() as s:
            calling = task(s.channel.put("x", numbers()))
            request = await s.expect(PUT)
            assert request.payload == text("x")
            for n in range(3):
                assert await s.expect(TITEM) == Frame(TITEM, request.tag, u32(n))
            assert await s.expect(TEND) == Frame(TEND, request.tag)
            await s.lane.write(Frame(PUT + 1, request.tag, u32(3)))
            assert await calling == 3

    run(main, loop=loop)


def test_a_stream_from_the_caller_waits_for_what_is_granted() -> None:
    sent = 0

    async def lines() -> AsyncIterator[str]:
        nonlocal sent
        while True:
            sent += 1
            yield "x" * 1000

    async def main() -> None:
        async with scene() as s:
            chatting = task(collect(s.channel.chat(lines())))
            tag = (await s.expect(CHAT)).tag
            await s.expect(CREDIT)
            size = 0
            while size < INITIAL_WINDOW:
                size += len(frame.write(await s.expect(TITEM)))
            for _ in range(10):
                await asyncio.sleep(0)
            assert s.lane.unread() == []
            before = sent
            await s.lane.write(Frame(CREDIT, tag, u32(size - INITIAL_WINDOW + 1)))
            await s.expect(TITEM)
            assert sent <= before + 1
            chatting.cancel()
            await asyncio.wait([chatting])
            await s.expect(TCANCEL)

    run(main)


def test_an_error_of_the_iterator_is_the_errors_of_the_call() -> None:
    closed = asyncio.Event()

    async def broken() -> AsyncIterator[int]:
        try:
            yield 1
            raise ValueError("the disk is full")
        finally:
            closed.set()

    async def main() -> None:
        async with scene() as s:
            calling = task(s.channel.put("x", broken()))
            request = await s.expect(PUT)
            await s.expect(TITEM)
            cancel = await s.expect(TCANCEL)
            assert cancel.payload == struct.pack("<HQ", request.tag, 0)
            with pytest.raises(ValueError, match="the disk is full"):
                await calling
            assert closed.is_set()

    run(main)


def test_an_answer_before_the_end_stops_the_iterator() -> None:
    async def main() -> None:
        closed = asyncio.Event()

        async def endless() -> AsyncIterator[int]:
            try:
                while True:
                    yield 1
                    await asyncio.sleep(0)
            finally:
                closed.set()

        async with scene() as s:
            calling = task(s.channel.put("x", endless()))
            request = await s.expect(PUT)
            await s.expect(TITEM)
            await s.lane.write(Frame(PUT + 1, request.tag, u32(9)))
            assert await calling == 9
            await closed.wait()

    run(main)


def test_a_stream_from_the_caller_needs_the_extension() -> None:
    async def nothing() -> AsyncIterator[int]:
        for n in range(0):
            yield n

    async def main() -> None:
        async with scene(mark=".x1") as s:
            # An echo of the offer is no yes.
            with pytest.raises(LocalProtocolError, match="extension"):
                await s.channel.put("x", nothing())

    run(main)


# ---- time, metadata, cancellation ----


def test_the_usual_time_is_said_once_and_another_with_its_call() -> None:
    async def main() -> None:
        async with scene(timeout=30.0) as s:
            # A lane by hand has no usual time: each call says its own.
            calling = task(s.channel.now(1))
            head = await s.expect(TMETA)
            left = int.from_bytes(head.payload[:8], "little")
            assert 29_000_000 < left <= 30_000_000
            assert head.payload[8:] == NOTHING
            request = await s.expect(NOW)
            assert request.tag == head.tag
            await s.lane.write(Frame(NOW + 1, request.tag, u32(1)))
            assert await calling == 1

    run(main)


def test_a_call_whose_time_is_up_is_cancelled() -> None:
    async def main() -> None:
        async with scene() as s:
            calling = task(getattr(s.channel, "now")(1, timeout=0.01))  # noqa: B009
            await s.expect(TMETA)
            request = await s.expect(NOW)
            with pytest.raises(DeadlineExceeded):
                await calling
            cancel = await s.expect(TCANCEL)
            assert cancel.payload == struct.pack("<HQ", request.tag, 0)

    run(main)


@pytest.mark.parametrize("mark", [".x1-on", ""])
@pytest.mark.parametrize("ours", [True, False])
def test_a_deadline_that_the_server_sees_first(ours: bool, mark: str) -> None:
    """Where the call's own time is over it says so; what the method met is the method's."""

    async def main() -> None:
        async with scene(mark=mark) as s:
            calling = task(getattr(s.channel, "now")(1, timeout=0.01 if ours else 20))  # noqa: B009
            if mark:
                await s.expect(TMETA)
            request = await s.expect(NOW)
            fault = text("too late") + b"\1" + text("jetstream::deadline_exceeded") + bytes(6)
            await s.lane.write(Frame(frame.RERROR, request.tag, fault))
            with pytest.raises(DeadlineExceeded if ours else CallError) as caught:
                await calling
            assert caught.value.code == "jetstream::deadline_exceeded"
            assert isinstance(caught.value, TimeoutError) == ours
            if isinstance(caught.value, DeadlineExceeded):
                assert (caught.value.what, caught.value.timeout) == ("Ticker.now", 0.01)

    run(main)


@pytest.mark.parametrize("mark", [".x1-on", ""])
def test_a_cancelled_call_is_told_only_to_those_who_understand(mark: str) -> None:
    async def main() -> None:
        async with scene(mark=mark) as s:
            calling = task(s.channel.now(1))
            request = await s.expect(NOW)
            calling.cancel()
            await asyncio.wait([calling])
            if mark:
                cancel = await s.expect(TCANCEL)
                await s.lane.write(
                    Frame(RDONE, request.tag, b"\0"),
                    Frame(RCANCEL, cancel.tag, struct.pack("<H", request.tag)),
                )
            tags = await s.free_tags(3)
            assert (request.tag in tags) == bool(mark)

    run(main)


def test_metadata_goes_and_comes() -> None:
    async def main() -> None:
        async with scene() as s:
            told = with_options(s.channel, metadata={"who": b"ada"})
            call: Any = told.now(1)
            calling = task(call)
            head = await s.expect(TMETA)
            assert head.payload == u64(2**64 - 1) + metadata(who=b"ada")
            request = await s.expect(NOW)
            await s.lane.write(
                Frame(RMETA, request.tag, metadata(cost=b"\7")),
                Frame(NOW + 1, request.tag, u32(1)),
            )
            assert await calling == 1
            assert reply_metadata(call) == {"cost": b"\7"}

    run(main)


def test_metadata_that_nobody_would_hear_fails_the_call() -> None:
    async def main() -> None:
        async with scene(mark="") as s:
            with pytest.raises(LocalProtocolError, match="metadata"):
                await with_options(s.channel, metadata={"who": b"ada"}).now(1)
            calling = task(
                with_options(s.channel, metadata={"who": b"ada"}, metadata_required=False).now(2)
            )
            request = await s.expect(NOW)
            await s.lane.write(Frame(NOW + 1, request.tag, u32(2)))
            assert await calling == 2

    run(main)


@pytest.mark.parametrize(
    "wrong", [{"": b""}, {"k" * 256: b""}, {"a": bytes(9000)}, {str(n): b"" for n in range(129)}]
)
def test_metadata_that_cannot_be_sent_is_refused_at_once(wrong: dict[str, bytes]) -> None:
    async def main() -> None:
        async with scene() as s:
            with pytest.raises(ValueError, match="metadata"):
                with_options(s.channel, metadata=wrong)

    run(main)


def test_a_call_that_the_server_gave_up_is_told() -> None:
    async def main() -> None:
        async with scene() as s:
            calling = task(s.channel.now(1))
            request = await s.expect(NOW)
            await s.lane.write(Frame(RDONE, request.tag, b"\0"))
            with pytest.raises(CallError) as caught:
                await calling
            assert caught.value.code == "jetstream::cancelled"

    run(main)


# ---- going away ----


def test_what_a_server_that_goes_away_had_not_begun_is_told_apart() -> None:
    async def main() -> None:
        async with scene() as s:
            begun, not_begun = task(s.channel.now(1)), task(s.channel.now(2))
            first, _ = await s.expect(NOW), await s.expect(NOW)
            await s.lane.write(Frame(GOAWAY, frame.NO_TAG), Frame(NOW + 1, first.tag, u32(1)))
            assert await begun == 1
            with pytest.raises(Unavailable):
                await s.channel.now(3)
            # All that was begun has been answered: so this was not.
            await s.lane.write(Frame(GOAWAY, frame.NO_TAG))
            with pytest.raises(Unavailable):
                await not_begun

    run(main)


def test_a_request_that_a_server_that_goes_away_names_was_not_begun() -> None:
    async def main() -> None:
        async with scene() as s:
            begun, not_begun = task(s.channel.now(1)), task(s.channel.now(2))
            first, second = await s.expect(NOW), await s.expect(NOW)
            await s.lane.write(Frame(GOAWAY, frame.NO_TAG), Frame(GOAWAY, second.tag))
            with pytest.raises(Unavailable):
                await not_begun
            await s.lane.write(Frame(NOW + 1, first.tag, u32(1)))
            assert await begun == 1

    run(main)


def test_a_lane_that_ends_without_that_tells_nothing_of_its_requests() -> None:
    async def main() -> None:
        async with scene() as s:
            calling = task(s.channel.now(1))
            await s.expect(NOW)
            await s.lane.write(Frame(GOAWAY, frame.NO_TAG))
            s.lane.send.finish()
            with pytest.raises(ConnectionLost) as caught:
                await calling
            assert type(caught.value) is ConnectionLost, "it may have been begun"

    run(main)
