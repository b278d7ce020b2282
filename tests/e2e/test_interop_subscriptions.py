"""Subscriptions over every transport and on both loops: order, ends, leaving, and each other."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from jetstream import (
    CallError,
    ClosedError,
    ConnectionLost,
    Limits,
    Router,
    Session,
    with_options,
)

from tests.e2e.table import ERROR, Ends, Table, TableImpl, collect, task
from tests.helpers import live_objects, resident, run

WINDOW = 256 << 10
"""The default of `Limits.stream_window`."""


def number_of(item: bytes) -> int:
    return int.from_bytes(item[:4], "little")


async def until_idle(session: Session, impl: TableImpl) -> None:
    """Waits until nothing runs at the other end any more."""
    other = session.channel(Table, max_concurrent=9)
    while impl.running:
        await other.empty()


# ---- items and ends ----


def test_ten_thousand_items_in_order_and_a_typed_result(ends: Ends, loop: str) -> None:
    async def main() -> None:
        async with ends(TableImpl()) as session:
            ticks = session.channel(Table).ticks("many", 10_000, 16)
            numbers = [number_of(item) async for item in ticks]
            assert numbers == list(range(10_000))
            assert ticks.result == "10000 of many"

    run(main, loop=loop)


def test_the_end_a_failure_and_a_loss_are_told_apart(ends: Ends, loop: str) -> None:
    async def main() -> None:
        async with ends(TableImpl()) as session:
            table = session.channel(Table)
            for how, after in (("end", 3), ("failure", 3), ("failure", 0), ("loss", 3)):
                items: list[int] = []
                breaks = table.breaks(after, how)
                error: Exception | None = None
                try:
                    async for item in breaks:
                        items.append(item)
                except (CallError, ConnectionLost) as caught:
                    error = caught
                if how != "loss":
                    assert items == list(range(after))
                if how == "end":
                    assert error is None
                    assert breaks.result is None
                    continue
                assert type(error) is (CallError if how == "failure" else ConnectionLost)
                if isinstance(error, CallError):
                    assert (error.code, error.message) == (ERROR.code, ERROR.message)
                with pytest.raises(type(error)):
                    _ = breaks.result
                # It is over, whoever asks.
                with pytest.raises(StopAsyncIteration):
                    await anext(breaks)

    run(main, loop=loop)


@pytest.mark.parametrize("how", ["break", "cancel", "async with", "task", "drop"])
def test_leaving_early_runs_what_the_producer_has_to_do_at_its_end(
    ends: Ends, how: str, loop: str
) -> None:
    async def main() -> None:
        impl = TableImpl()
        async with ends(impl) as session:
            table = session.channel(Table)
            first = asyncio.Event()

            async def consume() -> None:
                if how == "async with":
                    async with table.ticks("left", 1_000_000, 4096) as kept:
                        await anext(kept)
                elif how == "cancel":
                    kept = table.ticks("left", 1_000_000, 4096)
                    with contextlib.suppress(ClosedError):
                        async for _ in kept:
                            kept.cancel()
                elif how == "drop":
                    await anext(table.ticks("left", 1_000_000, 4096))
                else:
                    async for _ in table.ticks("left", 1_000_000, 4096):
                        first.set()
                        if how == "break":
                            break
                        await asyncio.sleep(0)

            consuming = task(consume())
            if how == "task":
                await first.wait()
                consuming.cancel()
            await asyncio.wait([consuming])
            assert consuming.cancelled() == (how == "task")
            await impl.ended["left"].wait()
            assert impl.produced["left"] < 10_000
            assert await table.large(b"x", 3) == b"xxx"

    before = live_objects()
    run(main, loop=loop)
    assert live_objects() == before


# ---- side by side ----


def test_a_slow_subscriber_stalls_nobody_and_holds_little(ends: Ends, loop: str) -> None:
    size, plenty = 16 << 10, 1_000_000

    async def main() -> None:
        impl = TableImpl()
        async with ends(impl) as session:
            table = session.channel(Table)
            async with table.ticks("slow", plenty, size) as slow:
                assert number_of(await anext(slow)) == 0
                before = resident()
                # Much more than any window goes past it, both as items and as calls.
                other = table.ticks("other", 2_000, size)
                seen = 0
                async for item in other:
                    assert number_of(item) == seen
                    seen += 1
                    if seen % 100 == 0:
                        assert await table.large(b"y", 100_000) == b"y" * 100_000
                assert seen == 2_000
                # What its taker leaves lies within one window, and the item that closed it.
                assert impl.produced["slow"] * size <= WINDOW + 2 * size
                assert resident() - before < 32 << 20
                # It goes on where it was.
                assert [number_of(await anext(slow)) for _ in range(50)] == list(range(1, 51))
            await impl.ended["slow"].wait()

    run(main, loop=loop)


def test_two_thousand_at_once_on_one_session(ends: Ends) -> None:
    """More than there are lanes, and more than one lane has streams: the rest waits its turn."""
    count, of_a_lane = 2_000, 1_024

    async def main() -> None:
        impl = TableImpl()
        gate = impl.gates["many"]
        async with ends(impl) as session:
            table = session.channel(Table)
            subscriptions = [table.ticks("many", 2, 8) for _ in range(count)]
            all_of_them = [task(collect(subscription)) for subscription in subscriptions]
            # As many as there may be run together, and calls do not have to wait for them.
            while impl.running < of_a_lane:
                await table.empty()
            gate.set()
            for items in await asyncio.gather(*all_of_them):
                assert [number_of(item) for item in items] == [0, 1]
            assert {subscription.result for subscription in subscriptions} == {"2 of many"}
            assert impl.most >= of_a_lane
            await until_idle(session, impl)
            assert "0 calls in flight, 0 waiting" in repr(table)

    before = live_objects()
    run(main, patience=60)
    assert live_objects() == before


def test_subscriptions_use_up_no_tags_of_calls(ends: Ends, loop: str) -> None:
    async def main() -> None:
        impl = TableImpl()
        gate = impl.gates["many"]
        async with ends(impl) as session:
            table = Table.Channel(1, session)
            running = [task(collect(table.ticks("many", 1, 8))) for _ in range(300)]
            while impl.running < 300:
                await table.empty()
            assert await table.large(b"z", 5) == b"zzzzz"
            # And a call that holds the only tag of calls keeps no subscription from its own.
            holding = task(table.hold("held"))
            await impl.began["held"].wait()
            assert await collect(table.down([1, 2])) == [b"\0", b"\0\0"]
            gate.set()
            impl.gates["held"].set()
            await asyncio.gather(holding, *running)

    run(main, loop=loop)


@pytest.mark.parametrize("most", [1, 2])
def test_subscriptions_can_be_left_when_all_tags_are_taken(
    ends: Ends, most: int, loop: str
) -> None:
    async def main() -> None:
        impl = TableImpl()
        async with ends(impl) as session:
            table = Table.Channel(most, session)
            calls = [task(table.hold(str(n))) for n in range(most)]
            await asyncio.gather(*[impl.began[str(n)].wait() for n in range(most)])
            for n in range(5):
                async with table.ticks(f"left {n}", 1_000_000, 4096) as ticks:
                    await anext(ticks)
                await impl.ended[f"left {n}"].wait()
            for n in range(most):
                impl.gates[str(n)].set()
            assert await asyncio.gather(*calls) == [str(n) for n in range(most)]

    run(main, loop=loop)


# ---- passing on ----


def test_a_service_passes_the_subscriptions_of_another_on(ends: Ends, loop: str) -> None:
    async def main() -> None:
        origin = TableImpl()
        async with ends(origin) as behind:
            middle = Router().register(behind.channel(Table), service=Table)
            async with ends(middle) as session:
                table = session.channel(Table)
                ticks = table.ticks("passed", 3_000, 64)
                assert [number_of(item) async for item in ticks] == list(range(3_000))
                assert ticks.result == "3000 of passed"
                failing = table.breaks(2, "failure")
                items: list[int] = []
                with pytest.raises(CallError, match="Käse"):
                    await collect(failing, items)
                assert items == [0, 1]
                # Leaving it here ends it there; a taker that is slow here holds it up there.
                async with table.ticks("left", 1_000_000, 16 << 10) as left:
                    await anext(left)
                    for _ in range(100):
                        await table.empty()
                    assert origin.produced["left"] * (16 << 10) < 3 * WINDOW
                await origin.ended["left"].wait()

    run(main, loop=loop)


def test_a_small_window_is_kept_too(ends: Ends) -> None:
    window, size = 64 << 10, 1 << 10

    async def main() -> None:
        impl = TableImpl()
        async with ends(impl, limits=Limits(stream_window=window)) as session:
            table = with_options(session.channel(Table), timeout=10.0)
            async with table.ticks("slow", 1_000_000, size) as slow:
                await anext(slow)
                for _ in range(200):
                    await table.empty()
                assert impl.produced["slow"] * size <= window + 2 * size

    run(main)
