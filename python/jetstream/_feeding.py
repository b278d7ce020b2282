"""Streams from the caller: the task that takes items from the caller's iterator."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from jetstream import _core


async def feed(outlet: _core.FeedOutlet, stream: Any) -> None:
    """Sends what `stream` gives, as fast as the other end takes it.

    An exception of the iterator's ends the call, and is what the call raises.
    """
    items = stream if hasattr(stream, "__aiter__") else _plain(stream)
    try:
        async for item in items:
            while (waiting := outlet.ready()) is not None:
                await waiting
            if not outlet.send(item):
                return
        while (waiting := outlet.ready()) is not None:
            await waiting
        outlet.end()
    except asyncio.CancelledError as error:
        if _is_cancelled():
            raise
        # Something that the iterator waited for was cancelled: an exception like any other.
        outlet.fail(error)
    except BaseException as error:
        outlet.fail(error)
        if not isinstance(error, Exception):
            raise
    finally:
        close = getattr(items, "aclose", None)
        if close is not None:
            await close()


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


async def _plain(stream: Iterable[Any]) -> AsyncIterator[Any]:
    for item in stream:
        yield item
