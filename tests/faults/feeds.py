"""Everything but plain calls: streams both ways, cancellation, deadlines, failures."""

# A service class only declares.
# mypy: disable-error-code="empty-body"

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable

from jetstream import (
    U64,
    Done,
    Interface,
    JetStreamError,
    Subscription,
    service,
)

from tests.faults.ledger import answer_to


@service
class Feeds(Interface):
    """Streams, and calls that do not end well."""

    def count(self, upto: U64) -> Subscription[U64, U64]:
        """Numbers below `upto`, and `upto` at the end."""
        ...

    def forever(self) -> Subscription[bytes, None]:
        """Items without end."""
        ...

    async def total(self, numbers: AsyncIterator[U64]) -> U64:
        """The sum of the numbers."""
        ...

    def mirror(self, numbers: AsyncIterator[U64]) -> Subscription[U64, None]:
        """What only each number is answered."""
        ...

    async def never(self) -> None:
        """Does not answer."""
        ...

    async def fail(self) -> None:
        """Fails."""
        ...


class FeedsImpl(Feeds):
    """Counts what runs, so that what was not ended shows."""

    def __init__(self) -> None:
        self.running = 0
        self.ended = asyncio.Event()

    async def count(self, upto: U64) -> AsyncGenerator[U64 | Done[U64]]:
        self.running += 1
        try:
            for number in range(upto):
                yield number
            yield Done(upto)
        finally:
            self._end()

    async def forever(self) -> AsyncGenerator[bytes]:
        self.running += 1
        try:
            while True:
                yield bytes(1_000)
        finally:
            self._end()

    async def total(self, numbers: AsyncIterator[U64]) -> U64:
        self.running += 1
        try:
            return sum([number async for number in numbers])
        finally:
            self._end()

    async def mirror(self, numbers: AsyncIterator[U64]) -> AsyncGenerator[U64]:
        self.running += 1
        try:
            async for number in numbers:
                yield answer_to(number)
        finally:
            self._end()

    async def never(self) -> None:
        self.running += 1
        try:
            await asyncio.Event().wait()
        finally:
            self._end()

    def _end(self) -> None:
        self.running -= 1
        self.ended.set()

    async def fail(self) -> None:
        raise JetStreamError("as ever", code="feeds::fail")


async def _numbers(upto: int) -> AsyncIterator[int]:
    for number in range(upto):
        yield number


async def use(feeds: Feeds, number: int) -> None:
    """One of the ways to use it, by the number; everything must come right, or be ended."""
    match number % 8:
        case 0:
            ticks = feeds.count(200)
            assert [tick async for tick in ticks] == list(range(200))
            assert ticks.result == 200
        case 1:
            async with feeds.count(10_000) as ticks:
                seen = 0
                async for tick in ticks:
                    assert tick == seen
                    seen += 1
                    if seen == 50:
                        break
        case 2:
            items = feeds.forever()
            async for item in items:
                assert len(item) == 1_000
                break
            items.cancel()
        case 3:
            assert await feeds.total(_numbers(100)) == 4_950
        case 4:
            echoed = [item async for item in feeds.mirror(_numbers(50))]
            assert echoed == [answer_to(item) for item in range(50)]
        case 5:
            call = asyncio.ensure_future(feeds.never())
            for _ in range(number % 5):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait([call])
            assert call.cancelled()
        case 6:
            await _fails(feeds.never(timeout=0.01), "jetstream::deadline_exceeded")  # type: ignore[call-arg]
        case _:
            await _fails(feeds.fail(), "feeds::fail")


async def _fails(call: Awaitable[None], code: str) -> None:
    try:
        await call
    except JetStreamError as error:
        if error.code != code:
            raise
    else:
        msg = f"no failure with {code}"
        raise AssertionError(msg)
