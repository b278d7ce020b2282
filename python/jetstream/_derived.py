"""Subscriptions made of others: an async generator of items, with a `Done` last, becomes one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from jetstream._errors import given_up
from jetstream._subscription import Done, Subscription

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from types import TracebackType

T = TypeVar("T")
R = TypeVar("R")


class DerivedSubscription(Subscription[T, R]):
    """What an async generator yields, as a subscription.

    Args:
        what: The method, for messages.
        items: The generator.
    """

    __slots__ = (
        "_cancelled",
        "_failure",
        "_items",
        "_left",
        "_loop",
        "_over",
        "_result",
        "_taker",
        "_what",
    )

    def __init__(self, what: str, items: AsyncIterator[Any]) -> None:
        self._over = True  # until it could be made
        self._cancelled = False
        self._left = False  # before the end
        self._what = what
        self._items = items
        self._result: Done[Any] | None = None
        self._failure: BaseException | None = None
        self._taker: asyncio.Task[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = False

    async def __anext__(self) -> T:
        if self._taker is not None:
            msg = "another task is waiting for the next item already: a stream has one taker"
            raise RuntimeError(msg)
        if self._left:
            raise given_up(self._what)
        if self._over:
            raise StopAsyncIteration
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        self._taker = taker = asyncio.current_task()
        try:
            item = await self._items.__anext__()
            if isinstance(item, Done):
                await self._run_out()
        except StopAsyncIteration:
            item = Done(None)
        except asyncio.CancelledError:
            self._left = True
            await self._end()
            # `cancel` wakes the task that waits, which is not to be cancelled for that.
            if self._cancelled and taker is not None and taker.uncancel() == 0:
                raise given_up(self._what) from None
            raise
        except BaseException as error:
            self._failure = error
            await self._end()
            raise
        finally:
            self._taker = None
        if isinstance(item, Done):
            self._result = item
            await self._end()
            raise StopAsyncIteration
        return cast("T", item)

    async def _run_out(self) -> None:
        """Lets the generator run to its end: what stands behind the last `yield` counts, too."""
        async for more in self._items:
            msg = f"{self._what}: {more!r} came after the result, which must be the last"
            raise RuntimeError(msg)

    async def _end(self) -> None:
        self._over = True
        await self._closing()

    def _closing(self) -> Coroutine[Any, Any, None]:
        """Closes the generator, also when the subscription itself has been deleted."""
        return _close(self._items)

    @property
    def result(self) -> R:
        if self._result is not None:
            return cast("R", self._result.value)
        if self._failure is not None:
            raise self._failure
        if self._left:
            raise given_up(self._what)
        msg = f"{self._what} has not ended: its result comes after its last item"
        raise RuntimeError(msg)

    def cancel(self) -> None:
        if self._over:
            return
        self._over = self._left = True
        if self._taker is not None:
            self._cancelled = True
            self._taker.cancel()
            return
        loop = _running_loop()
        if loop is not None:  # else it has ended, and its generators with it
            _see_to(loop, self._closing())

    async def aclose(self) -> None:
        if self._taker is not None:
            self.cancel()
        elif not self._over:
            self._left = True
            await self._end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        # Who leaves a loop ends the method now, not when the garbage is collected, which any thread
        # may do.
        loop = self._loop
        if loop is None or self._over or loop is _running_loop():
            self.cancel()
            return
        closing = self._closing()
        try:
            loop.call_soon_threadsafe(_see_to, loop, closing)
        except RuntimeError:
            closing.close()  # the loop has ended, and its generators with it

    def __repr__(self) -> str:
        return f"<subscription to {self._what}, {'over' if self._over else 'open'}>"


_tasks: set[asyncio.Task[None]] = set()
"""Generators that are being closed: a loop holds its tasks weakly."""


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _see_to(loop: asyncio.AbstractEventLoop, closing: Coroutine[Any, Any, None]) -> None:
    task = loop.create_task(closing)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


async def _close(items: AsyncIterator[Any]) -> None:
    if (close := getattr(items, "aclose", None)) is not None:
        await close()
