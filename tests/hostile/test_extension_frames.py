"""Floods of the frames by which calls are cancelled, streamed and described: memory stays bounded,
and nobody else is disturbed."""

# A service class only declares.
# mypy: disable-error-code="empty-body"

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager

import pytest
from jetstream import U32, Limits, StreamClosed, Subscription, service

from tests.helpers import live_objects, resident, run
from tests.hostile import wire
from tests.hostile.scene import MSIZE, RawLane, Scene, under_attack
from tests.model import ext
from tests.model.frame import Frame, write

PROTOCOL = 1
HOLD, FLOOD, TAKE, SINK, KEEP = map(wire.request, range(5))


@service
class Streams:
    """What waits, what gives without end, what takes, and what does not."""

    async def hold(self) -> None: ...
    def flood(self, size: U32) -> Subscription[bytes, None]: ...
    async def take(self, items: AsyncIterator[bytes]) -> U32: ...
    async def sink(self, items: AsyncIterator[bytes]) -> None: ...
    async def keep(self, data: bytes) -> None: ...


class StreamsImpl:
    """Counts what runs."""

    def __init__(self) -> None:
        self.running = 0
        self.forever = asyncio.Event()

    @asynccontextmanager
    async def counted(self) -> AsyncGenerator[None]:
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1

    async def hold(self) -> None:
        async with self.counted():
            await self.forever.wait()

    async def flood(self, size: U32) -> AsyncIterator[bytes]:
        async with self.counted():
            item = bytes(size)
            while True:
                yield item

    async def take(self, items: AsyncIterator[bytes]) -> U32:
        async with self.counted():
            return sum([len(item) async for item in items])

    async def keep(self, data: bytes) -> None:
        await self.hold()

    async def sink(self, items: AsyncIterator[bytes]) -> None:
        async with self.counted():
            await self.forever.wait()


class Attack:
    """A lane of the attacker's to the service above, with the extension."""

    def __init__(self, scene: Scene, impl: StreamsImpl, lane: RawLane) -> None:
        self.scene = scene
        self.impl = impl
        self.lane = lane

    async def write(self, *frames: Frame) -> None:
        """Sends them in pieces, as a client does that has no more than these."""
        data = memoryview(b"".join(map(write, frames)))
        for start in range(0, len(data), 65_536):
            await self.lane.send.write(data[start : start + 65_536])

    async def read(self) -> wire.Frame:
        async with asyncio.timeout(10):
            return await self.lane.frame()

    async def read_other(self, kind: int) -> wire.Frame:
        """The next frame that is not of this type."""
        while (found := await self.read()).kind == kind:
            pass
        return found

    async def expect_refusals(self, tags: Iterable[int]) -> None:
        """The next frames say that there is no room for the requests under these tags."""
        for tag in tags:
            found = await self.read()
            assert (found.kind, found.tag) == (wire.RERROR, tag)
            assert b"max_queued" in found.payload

    async def broken_off(self, *frames: Frame) -> None:
        """The lane is given up as one that broke the protocol, and what ran on it has ended."""
        with contextlib.suppress(StreamClosed):
            await self.write(*frames)
        with pytest.raises(StreamClosed) as caught:
            await self.lane.receive.read_to_end(1 << 20)
        assert caught.value.close_code == PROTOCOL
        await self.quiet()

    async def quiet(self) -> None:
        async with asyncio.timeout(10):
            while self.impl.running:
                await self.scene.bystander.ping()


@asynccontextmanager
async def attack(*, slack: int = 24 << 20, **limits: int) -> AsyncGenerator[Attack]:
    impl = StreamsImpl()
    taken = Limits(msize=MSIZE, **limits)  # type: ignore[arg-type]
    async with under_attack(Streams.Service(impl), limits=taken, slack=slack) as scene:
        lane = await scene.lane("rs.jetstream.proto/streams/1.0.0+x1")
        yield Attack(scene, impl, lane)


def test_cancellations_of_nothing() -> None:
    async def main() -> None:
        async with attack() as a:
            source = random.Random(1)
            for _ in range(20):
                targets = [source.randrange(65_536) for _ in range(1_000)]
                await a.write(*[ext.cancel(n, target) for n, target in enumerate(targets)])
                for n, target in enumerate(targets):
                    assert await a.read() == ext.cancelled(n, target)

    run(main)


def test_rapid_cancellation() -> None:
    """Rapid Reset (CVE-2023-44487), as it would be here: requests that are given up at once."""

    async def main() -> None:
        async with attack(max_handlers=100) as a:
            for _ in range(20):
                frames = [
                    part
                    for n in range(500)
                    for part in (Frame(HOLD, 2 * n), ext.cancel(2 * n + 1, 2 * n))
                ]
                await a.write(*frames)
                answered: set[tuple[int, int]] = set()
                while len(answered) < 1_000:
                    found = await a.read()
                    answered.add((found.kind, found.tag))
                    assert a.impl.running <= 100
                assert (ext.RDONE, 0) in answered
            await a.quiet()

    run(main)


def test_every_tag_cancels_the_same_request() -> None:
    async def main() -> None:
        async with attack() as a:
            # With handlers that wait there is room for no more of them than there are tags.
            await a.write(Frame(HOLD, 0), *[ext.cancel(n, 0) for n in range(1, 20_000)])
            assert await a.read() == ext.ended(0)
            for n in range(1, 20_000):
                assert await a.read() == ext.cancelled(n, 0)

    run(main)


def test_cancelling_what_waits_to_begin_costs_no_more_than_it_is_worth() -> None:
    async def main() -> None:
        async with attack(max_handlers=1) as a:
            tags = range(1, 1_500)
            for _ in range(10):
                await a.write(Frame(HOLD, 0), *[Frame(HOLD, tag) for tag in tags])
                await a.write(*[ext.cancel(10_000 + tag, tag) for tag in reversed(tags)])
                for tag in reversed(tags):
                    assert await a.read() == ext.ended(tag)
                    assert await a.read() == ext.cancelled(10_000 + tag, tag)
                await a.write(ext.cancel(10_000, 0))
                assert await a.read() == ext.ended(0)
                assert await a.read() == ext.cancelled(10_000, 0)

    run(main)


def test_more_requests_than_may_wait_are_refused_and_the_lane_is_read_on() -> None:
    async def main() -> None:
        async with attack(max_handlers=1, max_queued=1 << 20, slack=32 << 20) as a:
            fit = (1 << 20) // (1_004 + 128)
            reading = asyncio.ensure_future(a.expect_refusals(range(1 + fit, 20_000)))
            for tag in range(20_000):
                await a.write(Frame(KEEP, tag, b"\xe8\3\0\0" + bytes(1_000)))
            await reading
            assert a.impl.running == 1
            # What ends the handlers that they wait for has not been held up.
            await a.write(ext.cancel(60_000, 0))
            assert await a.read() == ext.ended(0)
            assert await a.read() == ext.cancelled(60_000, 0)
            a.lane.send.reset()
            await a.quiet()

    run(main)


def test_metadata_bombs() -> None:
    async def main() -> None:
        async with attack() as a:
            entries = {f"{n:03}": bytes(50) for n in range(128)}
            # As much as is taken, over and over, in front of nothing and of requests.
            for _ in range(100):
                await a.write(ext.tmeta(1, entries=entries), Frame(99 + 103, 1))
                assert (await a.read()).kind == wire.RERROR
            count = b"\xff" * 8 + b"\xff\xff"
            # More than is taken is not looked at.
            for _ in range(5):
                await a.write(Frame(ext.TMETA, 1, count + bytes(MSIZE - 17)), Frame(HOLD, 1))
                assert (await a.read()).kind == wire.RERROR
            await a.broken_off(Frame(ext.TMETA, 1, count + bytes(1000)))

    run(main)


def test_announcements_without_a_request() -> None:
    async def main() -> None:
        async with attack() as a:
            heads = [ext.tmeta(n, entries={"k": bytes(5_000)}) for n in range(1_000)]
            await a.broken_off(*heads)

    run(main)


def test_items_without_end_for_one_who_takes_none() -> None:
    async def main() -> None:
        async with attack() as a:
            item = Frame(ext.TITEM, 1, b"\xf4\1\0\0" + bytes(500))
            await a.broken_off(Frame(SINK, 1), *[item] * 20_000)

    run(main)


def test_many_streams_of_the_callers_hold_what_was_granted() -> None:
    async def main() -> None:
        async with attack(stream_window=64 << 10, slack=48 << 20) as a:
            item = bytes(8_000)
            for tag in range(300):
                frames = [Frame(ext.TITEM, tag, b"\x40\x1f\0\0" + item)] * 8
                await a.write(Frame(SINK, tag), *frames)
            await a.write(ext.cancel(60_000, 60_001))
            assert await a.read() == ext.cancelled(60_000, 60_001)
            assert a.impl.running == 300
            a.lane.send.reset()
            await a.quiet()

    run(main)


def test_what_streams_of_the_callers_hold_together_is_bounded() -> None:
    async def main() -> None:
        async with attack(inbound_window=8 << 20, slack=24 << 20) as a:
            item = bytes(8_000)
            # 64 KiB for each, which is all that may come unasked; to 16 of them four times that has
            # been granted, which is half of what there is.
            fit = 16 + 64
            for tag in range(200):
                frames = [Frame(ext.TITEM, tag, b"\x40\x1f\0\0" + item)] * 8
                await a.write(Frame(SINK, tag), *frames)
            refused = [await a.read_other(ext.CREDIT) for _ in range(200 - fit)]
            assert {found.kind for found in refused} == {wire.RERROR}
            assert {found.tag for found in refused} == set(range(fit, 200))
            assert b"inbound_window" in refused[0].payload
            assert a.impl.running == fit
            a.lane.send.reset()
            await a.quiet()

    run(main)


def test_a_large_item_for_which_there_is_no_room_fails_its_call() -> None:
    async def main() -> None:
        async with attack(inbound_window=2 << 20, slack=24 << 20) as a:
            large = Frame(ext.TITEM, 1, (900_000).to_bytes(4, "little") + bytes(900_000))
            await a.write(Frame(SINK, 1), large, Frame(SINK, 2), large._replace(tag=2))
            await a.write(Frame(TAKE, 3), large._replace(tag=3))
            # What follows it is not kept, and no offence.
            await a.write(large._replace(tag=3), large._replace(tag=3), Frame(ext.TEND, 3))
            found = await a.read_other(ext.CREDIT)
            assert (found.kind, found.tag) == (wire.RERROR, 3)
            assert b"inbound_window" in found.payload
            assert a.impl.running == 2
            # When those who hold it have ended there is room.
            await a.write(ext.cancel(11, 1), ext.cancel(12, 2))
            assert await a.read_other(ext.CREDIT) == ext.ended(1)
            assert await a.read_other(ext.CREDIT) == ext.cancelled(11, 1)
            assert await a.read_other(ext.CREDIT) == ext.ended(2)
            assert await a.read_other(ext.CREDIT) == ext.cancelled(12, 2)
            await a.write(Frame(TAKE, 3), large._replace(tag=3), Frame(ext.TEND, 3))
            found = await a.read_other(ext.CREDIT)
            assert found == (TAKE + 1, 3, (900_000).to_bytes(4, "little"))

    run(main)


def test_items_for_nobody_and_empty_items() -> None:
    async def main() -> None:
        async with attack() as a:
            for _ in range(10):
                await a.write(*[Frame(ext.TITEM, n) for n in range(5_000)])
                await a.write(*[Frame(ext.TEND, n) for n in range(5_000)])
            await a.write(Frame(TAKE, 1), *[Frame(ext.TITEM, 1, bytes(4))] * 5_000)
            await a.write(Frame(ext.TEND, 1))
            assert (await a.read()).kind == ext.CREDIT
            assert (await a.read()) == (TAKE + 1, 1, bytes(4))

    run(main)


def test_credit_without_end_makes_nobody_hold_more() -> None:
    async def main() -> None:
        async with attack(slack=48 << 20) as a:
            # A hundred streams that are never read, with all the credit that there is.
            for tag in range(100):
                grants = [ext.credit(tag, 2**32 - 1)] * 20
                await a.write(Frame(FLOOD, tag, b"\x10\x27\0\0"), *grants)
            async with asyncio.timeout(10):
                while a.impl.running < 100:
                    await a.scene.bystander.ping()
            before = resident()
            for number in range(200):
                assert await a.scene.bystander.echo(str(number)) == str(number)
            assert resident() - before < 4 << 20, "it goes on growing"
            a.lane.receive.stop()
            await a.quiet()

    run(main)


@pytest.mark.parametrize("seed", range(4))
def test_frames_of_the_extension_at_random(seed: int) -> None:
    source = random.Random(seed)

    def frame() -> Frame:
        tag = source.randrange(6)
        kind = source.choice([HOLD, FLOOD, TAKE, SINK, *range(8, 18), *range(10, 18)])
        if source.random() < 0.3:
            return Frame(kind, tag, source.randbytes(source.randrange(12)))
        return {
            HOLD: Frame(HOLD, tag),
            FLOOD: Frame(FLOOD, tag, b"\x64\0\0\0"),
            ext.TCANCEL: ext.cancel(6 + tag, source.randrange(6)),
            ext.TMETA: ext.tmeta(tag, source.choice([0, 1, 1000, ext.FOREVER]), {"a": b"b"}),
            ext.TITEM: Frame(ext.TITEM, tag, b"\1\0\0\0x"),
            ext.CREDIT: ext.credit(tag, source.randrange(2**32)),
            ext.TIME: ext.time(source.choice([1, 1000, ext.FOREVER])),
        }.get(kind, Frame(kind, tag))

    before = live_objects()["lanes"]

    async def main() -> None:
        async with attack() as a:
            for number in range(60):
                lane = await a.scene.lane("rs.jetstream.proto/streams/1.0.0+x1")
                frames = [write(frame()) for _ in range(source.randrange(1, 15))]
                await lane.send.write(b"".join(frames))
                if source.random() < 0.5:
                    lane.send.finish()
                else:
                    lane.send.reset()
                lane.receive.stop()
                if number % 10 == 0:
                    assert await a.scene.bystander.echo("y") == "y"
            await a.quiet()

    run(main)
    assert live_objects()["lanes"] == before
