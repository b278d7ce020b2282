"""Feeds: the last items of something that goes on, for subscribers who come, go and come again."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Generic, TypeVar

from jetstream._errors import ClosedError, Gap

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

T = TypeVar("T")


class Feed(Generic[T]):
    """A history of bounded length that any number of subscribers follow.

    Every item has a position, one more than that of the item before. A subscriber says after which
    position to go on, and gets every item after it or a `Gap`: nothing is left out in silence. A
    subscriber that is too slow for the history falls out of it with a `Gap`; neither the publisher
    nor others wait for it.

    It belongs to one event loop's thread; from others use ``loop.call_soon_threadsafe(feed.publish,
    item)``.

    Args:
        max_items: How many items are kept.
        max_size: How much is kept by what `size` says; the last item always is.
        size: The size of an item, such as its bytes. Goes with `max_size`.
        start: The position before the first item. By default the time in microseconds since 1970,
            so that a position of an earlier run of the program is older than all of this one, and
            not mistaken for one of it.

    Raises:
        ValueError: A bound that is less than 1, or `max_size` without `size`.
    """

    def __init__(
        self,
        *,
        max_items: int = 1024,
        max_size: int | None = None,
        size: Callable[[T], int] | None = None,
        start: int | None = None,
    ) -> None:
        if max_items < 1 or (max_size is not None and max_size < 1):
            raise ValueError("a feed keeps at least one item")
        if (max_size is None) != (size is None):
            raise ValueError("max_size and size go together: a bound, and what is measured")
        self._max_items = max_items
        self._max_size = max_size
        self._size_of = size
        self._latest = time.time_ns() // 1000 if start is None else start
        self._items: dict[int, tuple[T, int]] = {}
        self._size = 0
        self._waiting: set[asyncio.Future[None]] = set()
        self._closed = False

    @property
    def latest(self) -> int:
        """The position of the last item: to subscribe to what comes."""
        return self._latest

    @property
    def oldest(self) -> int:
        """The oldest position after which everything is kept: to subscribe to all of it."""
        return self._latest - len(self._items)

    def publish(self, item: T) -> int:
        """Adds an item, and returns its position. Never waits.

        Raises:
            ClosedError: The feed is closed.
        """
        if self._closed:
            raise ClosedError("the feed is closed")
        size = 0 if self._size_of is None else self._size_of(item)
        self._latest += 1
        self._items[self._latest] = item, size
        self._size += size
        while len(self._items) > self._max_items or self._is_too_large():
            _, size = self._items.pop(self.oldest + 1)
            self._size -= size
        self._wake()
        return self._latest

    def _is_too_large(self) -> bool:
        return self._max_size is not None and self._size > self._max_size and len(self._items) > 1

    def subscribe(self, since: int | None = None) -> AsyncGenerator[tuple[int, T]]:
        """Every item after a position, with its own, as they come; ends when the feed is closed.

        Args:
            since: The position to go on after: the last one that was seen, or `oldest`. By default
                `latest`.

        Raises:
            Gap: In the iteration: something after that position is no longer kept, or no item had
                that position yet.
        """
        return self._follow(self._latest if since is None else since)

    async def _follow(self, position: int) -> AsyncGenerator[tuple[int, T]]:
        if position > self._latest:
            raise Gap(position, self.oldest, self._latest)
        while True:
            while position < self._latest:
                if position < self.oldest:
                    raise Gap(position, self.oldest, self._latest)
                position += 1
                yield position, self._items[position][0]
            if self._closed:
                return
            await self._wait()

    async def _wait(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        try:
            await waiter
        finally:
            self._waiting.discard(waiter)

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()

    def close(self) -> None:
        """Says that nothing more comes: subscriptions end when they have given what is kept."""
        self._closed = True
        self._wake()

    def __repr__(self) -> str:
        state = ", closed" if self._closed else ""
        return f"<Feed of {len(self._items)} items, {self.oldest} to {self._latest}{state}>"
