"""The calls that gRPC's interop suite makes, as ours, over every transport and on both loops.

Sizes and cases are those of gRPC's `doc/interop-test-descriptions.md`. What it has no case for
(subscriptions that run into each other) is in `test_interop_subscriptions.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest
from jetstream import (
    INJECTED,
    CallError,
    Context,
    DeadlineExceeded,
    JetStreamError,
    Session,
    VersionMismatch,
    reply_metadata,
    with_options,
)

from tests.e2e.table import (
    ERROR,
    Ask,
    Ends,
    NewerTable,
    Table,
    TableImpl,
    Unserved,
    collect,
    task,
)
from tests.helpers import live_objects, run

LARGE_IN, LARGE_OUT = 271_828, 314_159
DOWN = [31_415, 9, 2_653, 58_979]
UP = [27_182, 8, 1_828, 45_904]

TRACEPARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
"""An example of W3C Trace Context, section 3.2."""


async def items_of(sizes: list[int]) -> AsyncIterator[bytes]:
    for size in sizes:
        yield bytes(size)


def none_in_flight(channel: object) -> bool:
    return "0 calls in flight, 0 waiting" in repr(channel)


# ---- shapes and sizes ----


def test_an_empty_call(ends: Ends, loop: str) -> None:
    async def main() -> None:
        async with ends(TableImpl()) as session:
            assert await session.channel(Table).empty() is None

    run(main, loop=loop)


def test_a_large_call(ends: Ends, loop: str) -> None:
    async def main() -> None:
        async with ends(TableImpl()) as session:
            answer = await session.channel(Table).large(b"\x5a" * LARGE_IN, LARGE_OUT)
            assert answer == b"\x5a" * LARGE_OUT

    run(main, loop=loop)


def test_items_down(ends: Ends, loop: str) -> None:
    async def main() -> None:
        async with ends(TableImpl()) as session:
            down = session.channel(Table).down(DOWN)
            assert await collect(down) == [bytes(size) for size in DOWN]
            assert down.result is None

    run(main, loop=loop)


def test_items_up(ends: Ends, loop: str) -> None:
    async def main() -> None:
        async with ends(TableImpl()) as session:
            assert await session.channel(Table).up(items_of(UP)) == UP

    run(main, loop=loop)


def test_ping_pong(ends: Ends, loop: str) -> None:
    async def main() -> None:
        async with ends(TableImpl()) as session:
            answered = asyncio.Event()

            async def asks() -> AsyncIterator[Ask]:
                for want, size in zip(DOWN, UP, strict=True):
                    answered.clear()
                    yield Ask(want, bytes(size))
                    # The next goes when this one has been answered.
                    await answered.wait()

            rally = session.channel(Table).ping_pong(asks())
            sizes: list[int] = []
            async for item in rally:
                sizes.append(len(item))
                answered.set()
            assert sizes == DOWN
            assert rally.result == len(DOWN)

    run(main, loop=loop)


def test_an_empty_stream(ends: Ends, loop: str) -> None:
    async def main() -> None:
        async with ends(TableImpl()) as session:
            table = session.channel(Table)
            assert await collect(table.down([])) == []
            assert await table.up(items_of([])) == []

            async def asks() -> AsyncIterator[Ask]:
                for none in list[Ask]():
                    yield none

            rally = table.ping_pong(asks())
            assert await collect(rally) == []
            assert rally.result == 0

    run(main, loop=loop)


@pytest.mark.slow
def test_a_thousand_large_calls_at_once(ends: Ends) -> None:
    async def main() -> None:
        async with ends(TableImpl()) as session:
            table = session.channel(Table, timeout=240.0)
            data = b"\x5a" * LARGE_IN
            calls = [table.large(data, LARGE_OUT + n) for n in range(1_000)]
            for n, answer in enumerate(await asyncio.gather(*calls)):
                assert len(answer) == LARGE_OUT + n
            assert none_in_flight(table)

    run(main, patience=240)


# ---- giving up ----


def test_cancelling_a_call_reaches_its_handler(ends: Ends, loop: str) -> None:
    async def main() -> None:
        impl = TableImpl()
        async with ends(impl) as session:
            table = session.channel(Table)
            calling = task(table.hold("call"))
            await impl.began["call"].wait()
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling
            await impl.ended["call"].wait()
            assert impl.cancelled == ["call"]
            assert await table.large(b"x", 3) == b"xxx"

    before = live_objects()
    run(main, loop=loop)
    assert live_objects() == before


def test_a_cancelled_calls_tag_is_kept_until_its_end_is_acknowledged(ends: Ends, loop: str) -> None:
    async def main() -> None:
        impl = TableImpl()
        async with ends(impl) as session:
            # Its only tag. Another channel's calls tell when the word has arrived.
            table = Table.Channel(1, session)
            calling = task(table.stubborn("call"))
            await impl.began["call"].wait()
            calling.cancel()
            await asyncio.wait([calling])
            assert calling.cancelled()
            behind = task(table.hold("behind"))
            other = session.channel(Table, max_concurrent=2)
            # Once at least, for the one behind to begin.
            await other.empty()
            while not impl.cancelled:
                await other.empty()
            assert "1 calls in flight, 1 waiting" in repr(table)
            assert not impl.began["behind"].is_set()
            impl.gates["call"].set()
            impl.gates["behind"].set()
            assert await behind == "behind"
            assert none_in_flight(table)

    run(main, loop=loop)


@pytest.mark.parametrize("most", [1, 2, 3])
def test_calls_can_be_cancelled_when_all_tags_are_taken(ends: Ends, most: int, loop: str) -> None:
    async def main() -> None:
        impl = TableImpl()
        async with ends(impl) as session:
            table = Table.Channel(most, session)
            names = [str(n) for n in range(most)]
            calls = [task(table.hold(name)) for name in names]
            waiting = task(table.hold("waiting"))
            await asyncio.gather(*[impl.began[name].wait() for name in names])
            assert f"{most} calls in flight, 1 waiting" in repr(table)
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)
            # It gets a tag only because the others were really given up.
            await impl.began["waiting"].wait()
            assert sorted(impl.cancelled) == names
            impl.gates["waiting"].set()
            assert await waiting == "waiting"

    run(main, loop=loop)


@pytest.mark.parametrize("after", [0, 1])
def test_cancelling_before_and_after_the_first_reply(ends: Ends, after: int, loop: str) -> None:
    async def main() -> None:
        impl = TableImpl()
        async with ends(impl) as session:
            table = session.channel(Table)
            left = asyncio.Event()

            async def asks() -> AsyncGenerator[Ask]:
                try:
                    for _ in range(after):
                        yield Ask(DOWN[0], bytes(UP[0]))
                    await asyncio.Event().wait()
                finally:
                    left.set()

            rally = table.ping_pong(asks())
            first = [len(await anext(rally)) for _ in range(after)]
            assert first == DOWN[:after]
            waiting = task(anext(rally))
            await impl.began["ping_pong"].wait()
            waiting.cancel()
            await asyncio.wait([waiting])
            assert waiting.cancelled()
            # The method ends at its end, and the iterator at ours.
            await impl.ended["ping_pong"].wait()
            await left.wait()
            assert impl.cancelled == ["ping_pong"]
            assert await table.large(b"x", 3) == b"xxx"
            assert none_in_flight(table)

    before = live_objects()
    run(main, loop=loop)
    assert live_objects() == before


def test_giving_up_a_call_with_a_stream_closes_the_stream(ends: Ends, loop: str) -> None:
    async def main() -> None:
        impl = TableImpl()
        async with ends(impl) as session:
            table = session.channel(Table)
            begun, left = asyncio.Event(), asyncio.Event()

            async def items() -> AsyncGenerator[bytes]:
                try:
                    yield b"one"
                    begun.set()
                    await asyncio.Event().wait()
                finally:
                    left.set()

            calling = task(table.up(items()))
            await begun.wait()
            calling.cancel()
            await asyncio.wait([calling])
            await left.wait()
            assert await table.up(items_of(UP)) == UP

    run(main, loop=loop)


# ---- deadlines ----


def test_a_deadline_of_a_millisecond_on_a_sleeping_handler(ends: Ends, loop: str) -> None:
    async def main() -> None:
        impl = TableImpl()
        async with ends(impl) as session:
            table: Any = session.channel(Table)
            await table.empty()
            # A call may well run out of time before it has left.
            while not impl.began["sleeps"].is_set():
                with pytest.raises(DeadlineExceeded):
                    await table.hold("sleeps", timeout=0.001)
            await impl.ended["sleeps"].wait()
            while impl.running:
                await table.empty()
            assert set(impl.cancelled) == {"sleeps"}

    run(main, loop=loop)


def test_a_subscriptions_deadline(ends: Ends, loop: str) -> None:
    async def main() -> None:
        impl = TableImpl()
        impl.gates["slow"].clear()
        async with ends(impl) as session:
            table: Any = session.channel(Table)
            ticks = table.ticks("slow", 3, 4, timeout=0.2)
            items: list[bytes] = []
            with pytest.raises(DeadlineExceeded):
                await collect(ticks, items)
            # On a busy machine not even those may have come in time.
            assert len(items) in range(4)
            await table.empty()
            while impl.running:
                await table.empty()
            with pytest.raises(DeadlineExceeded):
                _ = ticks.result

    run(main, loop=loop)


def test_the_time_left_is_seen_by_the_handler(ends: Ends, loop: str) -> None:
    async def main() -> None:
        async with ends(TableImpl()) as session:
            table: Any = session.channel(Table, timeout=20.0)
            for timeout in (20.0, 7.0):
                left = await table.left(timeout=timeout)
                assert timeout - 5 < left <= timeout
                (left,) = await collect(table.left_of_stream(timeout=timeout))
                assert timeout - 5 < left <= timeout
            assert 15 < await table.left() <= 20
            assert await table.left(timeout=None) is None
            assert await collect(table.left_of_stream()) == [None]

    run(main, loop=loop)


class Front(TableImpl):
    """Calls on to another server."""

    def __init__(self, back: Session) -> None:
        super().__init__()
        self.back: Any = back.channel(Table, timeout=25.0)

    async def left(self) -> float | None:
        # It asks for more than it has.
        left: float | None = await self.back.left(timeout=25.0)
        return left

    async def hold(self, name: str) -> str:
        self._begin(name)
        try:
            answer: str = await self.back.hold(name)
            return answer
        finally:
            self._end(name)

    async def say(self, fail: bool, ctx: Context = INJECTED) -> list[str]:
        answer: list[str] = await with_options(self.back, metadata=ctx.metadata).say(fail)
        return answer


def test_calls_inside_inherit_the_deadline(ends: Ends, loop: str) -> None:
    async def main() -> None:
        back = TableImpl()
        async with ends(back) as behind:
            front = Front(behind)
            async with ends(front) as session:
                table: Any = session.channel(Table)
                left = await table.left(timeout=9.0)
                assert 4 < left <= 9
                # With the outermost call all of them end.
                await back.empty()
                while not back.began["deep"].is_set():
                    # Whoever notices first says so.
                    with pytest.raises(JetStreamError) as told:
                        await table.hold("deep", timeout=0.02)
                    assert told.value.code == "jetstream::deadline_exceeded"
                while front.running or back.running:
                    await table.empty()
                assert set(back.cancelled) == {"deep"}
                # And so they do when it is cancelled.
                calling = task(table.hold("cancelled"))
                await back.began["cancelled"].wait()
                calling.cancel()
                await back.ended["cancelled"].wait()
                await front.ended["cancelled"].wait()

    run(main, loop=loop)


# ---- errors ----


def test_an_error_with_all_that_it_says(ends: Ends, loop: str) -> None:
    async def main() -> None:
        async with ends(TableImpl()) as session:
            table = session.channel(Table)
            with pytest.raises(CallError) as caught:
                await table.fail()
            for name in ("message", "code", "help", "url"):
                assert getattr(caught.value, name) == getattr(ERROR, name)
            await table.empty()

    run(main, loop=loop)


def test_an_unknown_method(ends: Ends, loop: str) -> None:
    async def main() -> None:
        async with ends(TableImpl()) as session:
            table = session.channel(NewerTable)
            with pytest.raises(CallError) as caught:
                await table.unheard_of()
            assert caught.value.code == "jetstream::unknown_method"
            assert await table.large(b"x", 3) == b"xxx"

    run(main, loop=loop)


def test_an_unknown_service(ends: Ends, loop: str) -> None:
    async def main() -> None:
        async with ends(TableImpl()) as session:
            unserved = session.channel(Unserved)
            with pytest.raises(VersionMismatch, match="unserved"):
                await unserved.call()
            with pytest.raises(VersionMismatch, match="unserved"):
                await collect(session.channel(Unserved).listen())
            # The session is none the worse for it.
            await session.channel(Table).empty()

    run(main, loop=loop)


# ---- metadata ----


@pytest.mark.parametrize("fail", [False, True])
def test_metadata_both_ways(ends: Ends, fail: bool, loop: str) -> None:
    async def main() -> None:
        async with ends(TableImpl()) as session:
            table = with_options(
                session.channel(Table), metadata={"one": b"1", "ключ": b"\xff\x00"}
            )
            lines = ["one=1", "ключ=\xff\x00"]
            answer = {"heard": b"2", "binary": bytes(range(256))}
            call = table.say(fail)
            if fail:
                with pytest.raises(CallError, match="Käse"):
                    await call
            else:
                assert await call == lines
            assert reply_metadata(call) == answer
            items: list[str] = []
            async with table.murmur(fail) as murmur:
                if fail:
                    with pytest.raises(CallError, match="Käse"):
                        await collect(murmur, items)
                else:
                    await collect(murmur, items)
                    assert murmur.result == "said"
            assert items == lines
            assert murmur.metadata == reply_metadata(murmur) == answer
            # What one channel says, another does not.
            assert await session.channel(Table).say(False) == []

    run(main, loop=loop)


def test_trace_context_is_metadata_like_any_other(ends: Ends, loop: str) -> None:
    async def main() -> None:
        trace = {"traceparent": TRACEPARENT, "tracestate": b"rojo=00f067aa0ba902b7"}
        async with ends(TableImpl()) as behind, ends(Front(behind)) as session:
            table = with_options(session.channel(Table), metadata=trace)
            said = await table.say(False)
            assert said == [f"{key}={value.decode()}" for key, value in trace.items()]

    run(main, loop=loop)
