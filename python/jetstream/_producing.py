"""Subscriptions at the serving end: what runs the async generator of a method."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from jetstream._subscription import Done, Subscription

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from jetstream import _core

# Untyped, so that what it tells apart stays whatever it is.
_DONE: Any = Done
_SUBSCRIPTION: Any = Subscription


def producer(
    what: str, function: Callable[..., AsyncIterator[Any]]
) -> Callable[..., Coroutine[Any, Any, Any]]:
    """A coroutine function that sends what `function` gives to an outlet, and returns the result.

    Args:
        what: The method, for messages.
        function: An async generator function, or any that returns an async iterator.
    """

    @functools.wraps(function)
    async def produce(outlet: _core.Outlet, *args: Any) -> Any:
        items: Any = aiter(function(*args))
        if isinstance(items, _SUBSCRIPTION):
            return await _pass_on(outlet, items)
        send = outlet.send
        try:
            async for item in items:
                if type(item) is _DONE:
                    await _expect_end(what, items)
                    outlet.finish()
                    return item.value
                # What it gives to wait for is seldom there: the peer takes no more, or it is the
                # others' turn.
                if (waiting := send(item)) is not None:
                    await waiting
        finally:
            # However it ended: a generator that is left, its `finally` runs now and not some day.
            if (close := getattr(items, "aclose", None)) is not None:
                await close()
        outlet.finish()
        return None

    return produce


async def _expect_end(what: str, items: AsyncIterator[Any]) -> None:
    async for _ in items:
        msg = f"{what} yielded something after Done(...), which must be the last"
        raise RuntimeError(msg)


async def _pass_on(outlet: _core.Outlet, subscription: Subscription[Any, Any]) -> Any:
    """Sends the items of somebody else's method, for a channel that is served."""
    async with subscription:
        async for item in subscription:
            if (waiting := outlet.send(item)) is not None:
                await waiting
        outlet.finish()
        return subscription.result
