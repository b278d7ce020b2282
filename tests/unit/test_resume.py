"""Resumed subscriptions: nothing twice, nothing left out, and a gap is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from operator import itemgetter
from typing import Any

import pytest
from jetstream import (
    U64,
    Backoff,
    CallError,
    ClosedError,
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    Done,
    Feed,
    Gap,
    JetStreamError,
    Subscription,
    TlsError,
    Unavailable,
    reply_metadata,
    resume,
    service,
)
from jetstream.testing import pair

from tests.helpers import run

AT_ONCE = Backoff(0, 1, 0)


class Source:
    """What is subscribed to: for each time what it gives, and how it ends."""

    def __init__(self, *times: list[Any]) -> None:
        self.times = list(times)
        self.asked: list[int] = []
        self.closed = 0

    async def __call__(self, since: int) -> AsyncIterator[tuple[int, str]]:
        self.asked.append(since)
        try:
            for item in self.times.pop(0):
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self.closed += 1


def resumed(source: Any, since: int = 0, **options: Any) -> Any:
    options.setdefault("backoff", AT_ONCE)
    return resume(source, since, position=itemgetter(0), **options)


LOSSES = [
    ConnectionLost("gone"),
    Unavailable("going away"),
    CallError("the server is shutting down", code="jetstream::unavailable"),
    ConnectError("nobody there"),
    ConnectTimeout("nobody there"),
]


@pytest.mark.parametrize("error", LOSSES)
def test_it_goes_on_after_the_last_item(error):
    async def main() -> None:
        source = Source([(1, "a"), (2, "b"), error], [error], [(3, "c")])
        items = resumed(source)
        assert [item async for item in items] == [(1, "a"), (2, "b"), (3, "c")]
        assert source.asked == [0, 2, 2]
        assert source.closed == 3
        assert items.position == 3
        assert items.result is None

    run(main)


@pytest.mark.parametrize(
    "error",
    [
        Gap(2, 5, 9),
        CallError("no", code="shop::no"),
        TlsError("not trusted"),
        JetStreamError("else"),
        ValueError("else"),
    ],
)
def test_other_errors_are_raised(error):
    async def main() -> None:
        source = Source([(1, "a"), error], [(2, "b")])
        items = resumed(source)
        assert await anext(items) == (1, "a")
        with pytest.raises(type(error)) as told:
            await anext(items)
        assert told.value is error
        assert items.position == 1
        assert source.asked == [0]

    run(main)


def test_attempts_in_a_row_are_bounded_and_an_item_begins_a_new_row():
    async def main() -> None:
        lost = ConnectionLost("gone")
        source = Source([lost], [lost], [(1, "a"), lost], [lost], [lost], [(2, "b")])
        items = resumed(source, attempts=3)
        assert await anext(items) == (1, "a")
        with pytest.raises(ConnectionLost):
            await anext(items)
        assert source.asked == [0, 0, 0, 1, 1]
        with pytest.raises(ConnectionLost):
            _ = items.result

    run(main)


@pytest.mark.parametrize(
    ("seconds", "error", "counts"),
    [
        (6.0, ConnectionLost("gone"), True),
        (6.0, CallError("the server is shutting down", code="jetstream::unavailable"), True),
        (4.0, ConnectionLost("gone"), False),
        (6.0, Unavailable("not begun"), False),
        (6.0, ConnectTimeout("nobody there"), False),
    ],
)
def test_a_subscription_that_stood_for_long_begins_a_new_row(seconds, error, counts, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("jetstream._resume.monotonic", lambda: now[0])

    class Noted(Backoff):
        def delay(self, attempt: int) -> float:
            return 0

    class Lasting(Source):
        async def __call__(self, since: int) -> AsyncIterator[tuple[int, str]]:
            now[0] += seconds
            async for item in super().__call__(since):
                yield item

    async def main() -> None:
        source = Lasting(*[[error] for _ in range(10)], [(1, "a")])
        items = resumed(source, backoff=Noted(cap=5), attempts=3)
        if counts:
            assert await anext(items) == (1, "a")
        else:
            with pytest.raises(type(error)):
                await anext(items)
            assert source.asked == [0, 0, 0]

    run(main)


def test_attempts_without_end():
    async def main() -> None:
        source = Source(*[[ConnectionLost("gone")] for _ in range(100)], [(1, "a")])
        assert [item async for item in resumed(source, attempts=None)] == [(1, "a")]

    run(main)


def test_waits_between_attempts():
    waits: list[int] = []

    class Noted(Backoff):
        def delay(self, attempt: int) -> float:
            waits.append(attempt)
            return 0

    async def main() -> None:
        lost = ConnectionLost("gone")
        source = Source([lost], [lost], [(1, "a"), lost], [])
        async for _ in resumed(source, backoff=Noted()):
            pass

    run(main)
    assert waits == [1, 2, 1]


def test_cancelling_ends_a_wait_for_the_next_attempt():
    async def main() -> None:
        class Long(Backoff):
            def delay(self, attempt: int) -> float:
                waits.set()
                return 3600

        waits = asyncio.Event()
        source = Source([(1, "a"), ConnectionLost("gone")])
        items = resumed(source, backoff=Long())

        got: list[Any] = []

        async def take() -> None:
            async for item in items:
                got.append(item)

        task = asyncio.create_task(take())
        await waits.wait()
        items.cancel()
        with pytest.raises(ClosedError, match="given up"):
            await task
        assert got == [(1, "a")]
        assert repr(items) == "<subscription to a resumed method, over>"

    run(main)


def test_cancelling_the_task_is_no_end():
    async def main() -> None:
        async def forever(since: int) -> AsyncIterator[tuple[int, str]]:
            yield 1, "a"
            await asyncio.Event().wait()

        items = resumed(forever)
        assert await anext(items) == (1, "a")
        task = asyncio.ensure_future(anext(items))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(ClosedError, match="given up"):
            await anext(items)

    run(main)


def test_leaving_closes_what_is_underneath():
    async def main() -> None:
        source = Source([(1, "a"), (2, "b")])
        async with resumed(source) as items:
            assert await anext(items) == (1, "a")
        assert source.closed == 1
        source = Source([(1, "a"), (2, "b")])
        async for _ in resumed(source):
            break
        while source.closed == 0:  # noqa: ASYNC110
            await asyncio.sleep(0)

    run(main)


# ---- over a channel ----


@service
class Ticker:
    """Its feed is followed; each subscription gives so many items and then goes away."""

    def __init__(self) -> None:
        self.feed = Feed[str](start=0, max_items=100)
        self.patience = 3

    def ticks(self, since: U64) -> Subscription[tuple[U64, str], str]:
        return self._ticks(since)  # type: ignore[return-value]

    async def _ticks(self, since: int) -> AsyncIterator[tuple[int, str] | Done[str]]:
        count = 0
        async for entry in self.feed.subscribe(since):
            yield entry
            count += 1
            if count == self.patience:
                raise JetStreamError("going away", code="jetstream::unavailable")
        yield Done("all of it")


def test_a_feed_is_followed_over_losses_to_its_result():
    async def main() -> None:
        ticker = Ticker()
        for number in range(10):
            ticker.feed.publish(str(number))
        ticker.feed.close()
        async with pair(ticker) as session:
            channel = session.channel(Ticker)
            items = resume(channel.ticks, 0, position=itemgetter(0), backoff=AT_ONCE)
            assert reply_metadata(items) == {}
            assert [text async for _, text in items] == [str(number) for number in range(10)]
            assert items.result == "all of it"
            assert items.position == 10

    run(main)


def test_who_was_away_too_long_is_told_of_the_gap():
    async def main() -> None:
        ticker = Ticker()
        ticker.feed.publish("first")
        ticker.patience = 1
        async with pair(ticker) as session:
            items = resume(
                session.channel(Ticker).ticks, 0, position=itemgetter(0), backoff=AT_ONCE
            )
            assert await anext(items) == (1, "first")
            for number in range(200):
                ticker.feed.publish(str(number))
            with pytest.raises(Gap) as told:
                await anext(items)
            assert (told.value.asked, told.value.oldest) == (1, 101)

    run(main)
