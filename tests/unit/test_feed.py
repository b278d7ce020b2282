"""Feeds: positions, bounds, slow subscribers, gaps that survive the wire."""

from __future__ import annotations

import asyncio
import itertools
import pickle
import time
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jetstream import U64, CallError, ClosedError, Feed, Gap, JetStreamError, service
from jetstream.testing import pair

from tests.helpers import run


async def take(items: AsyncIterator[tuple[int, str]], count: int) -> list[tuple[int, str]]:
    return [await anext(items) for _ in range(count)]


def filled(count: int, **options) -> Feed[str]:
    feed = Feed[str](start=0, **options)
    for number in range(count):
        feed.publish(str(number))
    return feed


def test_positions_follow_each_other():
    feed = Feed[str](start=41)
    assert (feed.oldest, feed.latest) == (41, 41)
    assert [feed.publish("a"), feed.publish("b")] == [42, 43]
    assert (feed.oldest, feed.latest) == (41, 43)
    assert repr(feed) == "<Feed of 2 items, 41 to 43>"


def test_an_earlier_run_is_before_a_later_one():
    before = time.time_ns() // 1000
    earlier = Feed[str]()
    assert before <= earlier.latest <= time.time_ns() // 1000


def test_kept_items_and_then_those_that_come():
    async def main() -> None:
        feed = filled(3)
        items = feed.subscribe(1)
        assert await take(items, 2) == [(2, "1"), (3, "2")]
        waiting = asyncio.ensure_future(anext(items))
        await asyncio.sleep(0)
        assert not waiting.done()
        feed.publish("new")
        feed.publish("newer")
        assert await waiting == (4, "new")
        assert await anext(items) == (5, "newer")

    run(main)


def test_only_what_comes_is_what_comes_after_subscribing():
    async def main() -> None:
        feed = filled(3)
        items = feed.subscribe()
        feed.publish("new")
        assert await anext(items) == (4, "new")
        assert await take(feed.subscribe(feed.oldest), 4) == [
            (1, "0"),
            (2, "1"),
            (3, "2"),
            (4, "new"),
        ]

    run(main)


def test_the_history_is_bounded():
    feed = filled(10, max_items=4)
    assert (feed.oldest, feed.latest) == (6, 10)


def test_the_history_is_bounded_by_size():
    feed = Feed[str](start=0, max_size=10, size=len)
    for text in ("aaaa", "bbbb", "cc"):
        feed.publish(text)
    assert feed.oldest == 0
    feed.publish("d")
    assert feed.oldest == 1
    # The last one is kept however large it is.
    feed.publish("e" * 100)
    assert (feed.oldest, feed.latest) == (4, 5)
    feed.publish("f")
    assert (feed.oldest, feed.latest) == (5, 6)


@given(
    st.lists(st.integers(0, 20), max_size=60),
    st.integers(1, 10),
    st.one_of(st.none(), st.integers(1, 50)),
)
def test_what_is_kept_is_the_newest_that_fits(sizes, max_items, max_size):
    measure = {} if max_size is None else {"max_size": max_size, "size": lambda item: item}
    feed = Feed[int](start=0, max_items=max_items, **measure)
    for size in sizes:
        feed.publish(size)
    kept = sizes[feed.oldest :]
    assert feed.latest == len(sizes)
    assert len(kept) <= max_items
    bound = float("inf") if max_size is None else max_size
    assert len(kept) <= 1 or sum(kept) <= bound
    if feed.oldest > 0:
        one_more = sizes[feed.oldest - 1 :]
        assert len(one_more) > max_items or sum(one_more) > bound


@pytest.mark.parametrize("since", [-1, 0, 5, 11, 10**20])
def test_a_position_that_is_not_kept_is_a_gap(since):
    async def main() -> None:
        feed = filled(10, max_items=4)
        with pytest.raises(Gap) as told:
            await anext(feed.subscribe(since))
        gap = told.value
        assert (gap.asked, gap.oldest, gap.latest) == (since, 6, 10)
        assert gap.code == "jetstream::gap"
        assert await anext(feed.subscribe(gap.oldest)) == (7, "6")

    run(main)


def test_a_slow_subscriber_falls_out_and_holds_nobody_up():
    async def main() -> None:
        feed = filled(0, max_items=4)
        slow, quick = feed.subscribe(), feed.subscribe()
        feed.publish("first")
        assert await anext(slow) == await anext(quick) == (1, "first")
        for number in range(20):
            assert feed.publish(str(number)) == number + 2
            assert await anext(quick) == (number + 2, str(number))
        with pytest.raises(Gap) as told:
            await anext(slow)
        assert (told.value.asked, told.value.oldest, told.value.latest) == (1, 17, 21)

    run(main)


def test_falling_out_while_waiting_for_the_turn():
    async def main() -> None:
        feed = filled(0, max_items=2)
        waiting = asyncio.ensure_future(anext(feed.subscribe()))
        await asyncio.sleep(0)
        for number in range(3):
            feed.publish(str(number))
        with pytest.raises(Gap):
            await waiting

    run(main)


def test_a_closed_feed_gives_what_it_has_and_ends():
    async def main() -> None:
        feed = filled(2)
        waiting = asyncio.ensure_future(anext(feed.subscribe(), None))
        await asyncio.sleep(0)
        feed.close()
        assert await waiting is None
        assert [item async for item in feed.subscribe(0)] == [(1, "0"), (2, "1")]
        with pytest.raises(ClosedError):
            feed.publish("late")
        assert repr(feed).endswith(", closed>")

    run(main)


def test_who_stops_waiting_leaves_nothing_behind():
    async def main() -> None:
        feed = filled(0)
        for _ in range(100):
            waiting = asyncio.ensure_future(anext(feed.subscribe()))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert feed._waiting == set()
        feed.publish("nobody waits")

    run(main)


@pytest.mark.parametrize(
    "options", [{"max_items": 0}, {"max_size": 0, "size": len}, {"max_size": 1}, {"size": len}]
)
def test_bounds_that_cannot_be(options):
    with pytest.raises(ValueError, match=r"at least one|go together"):
        Feed(**options)


# ---- gaps ----


@service
class Ticker:
    def __init__(self) -> None:
        self.feed = filled(10, max_items=4)

    async def ticks(self, since: U64) -> AsyncIterator[tuple[U64, str]]:
        async for entry in self.feed.subscribe(since):
            yield entry

    async def fail(self, message: str) -> None:
        raise JetStreamError(message, code="jetstream::gap", help="help", url="https://a.example/")


def test_a_gap_is_a_gap_at_the_calling_end():
    async def main() -> None:
        async with pair(Ticker()) as session:
            ticker = session.channel(Ticker)
            items = ticker.ticks(2)
            with pytest.raises(Gap) as told:
                await anext(items)
            assert (told.value.asked, told.value.oldest, told.value.latest) == (2, 6, 10)
            assert told.value.code == "jetstream::gap"
            assert "take up again after 6" in str(told.value)
            with pytest.raises(Gap):
                _ = items.result
            assert await anext(ticker.ticks(6)) == (7, "6")

    run(main)


@pytest.mark.parametrize("position", [0, -3, 2**64 - 1, -(2**127), 2**128 - 1])
def test_positions_of_any_size_survive_the_wire(position):
    async def main() -> None:
        async with pair(Ticker()) as session:
            message = Gap(position, position, position).message
            with pytest.raises(Gap) as told:
                await session.channel(Ticker).fail(message)
            gap = told.value
            assert gap.asked == gap.oldest == gap.latest == position
            assert (gap.help, gap.url) == ("help", "https://a.example/")

    run(main)


@pytest.mark.parametrize(
    "message",
    [
        "something else",
        Gap(1, 2, 3).message + " ",
        Gap(1, 2, 3).message.replace("1", "1" * 40),
        Gap(1, 2, 3).message.replace("1", "\N{FULLWIDTH DIGIT ONE}"),
    ],
)
def test_somebody_elses_gap_is_just_an_error(message):
    async def main() -> None:
        async with pair(Ticker()) as session:
            with pytest.raises(CallError) as told:
                await session.channel(Ticker).fail(message)
            assert type(told.value) is CallError
            assert (told.value.message, told.value.code) == (message, "jetstream::gap")

    run(main)


def test_a_gap_can_be_pickled():
    gap = pickle.loads(pickle.dumps(Gap(1, 2, 3)))
    assert isinstance(gap, Gap)
    assert (gap.asked, gap.oldest, gap.latest, str(gap)) == (1, 2, 3, str(Gap(1, 2, 3)))


def test_many_subscribers_each_get_everything():
    async def main() -> None:
        feed = filled(0, max_items=1000)
        subscribers = [feed.subscribe() for _ in range(50)]
        tasks = [asyncio.ensure_future(take(items, 200)) for items in subscribers]
        for number in itertools.count():
            if number == 200:
                break
            feed.publish(str(number))
            if number % 7 == 0:
                await asyncio.sleep(0)
        expected = [(number + 1, str(number)) for number in range(200)]
        assert all(found == expected for found in await asyncio.gather(*tasks))

    run(main)
