"""Subscriptions that go on: after a loss, subscribed again from the last position."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from jetstream._backoff import Backoff
from jetstream._derived import DerivedSubscription
from jetstream._errors import (
    CallError,
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    JetStreamError,
    SessionRefused,
    Unavailable,
)
from jetstream._interception import with_result
from jetstream._reconnect import can_heal
from jetstream._subscription import Done, Subscription

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Mapping

P = TypeVar("P")
T = TypeVar("T")
R = TypeVar("R")

_LEAST = 0.1
"""Seconds that a subscription must have stood at least to count: with a cap of 0 each one would."""


class Resumed(DerivedSubscription[T, R], Generic[T, R, P]):
    """A subscription that goes on where it was lost; `resume` makes it."""

    __slots__ = ("_place",)

    def __init__(self, items: AsyncIterator[Any], place: _Place[P]) -> None:
        super().__init__("a resumed method", items)
        self._place = place

    @property
    def position(self) -> P:
        """That of the last item; before there is one, where it began."""
        return self._place.position

    @property
    def metadata(self) -> Mapping[str, bytes]:
        """What the method said the last time that it was subscribed to."""
        source = self._place.source
        return source.metadata if isinstance(source, Subscription) else {}


class _Place(Generic[P]):
    """How far a resumed subscription has come."""

    def __init__(self, position: P) -> None:
        self.position = position
        self.source: AsyncIterable[Any] | None = None


# A Subscription is an AsyncIterable, too, were it not told apart first.
@overload
def resume(  # type: ignore[overload-overlap]
    subscribe: Callable[[P], Subscription[T, R]],
    since: P,
    *,
    position: Callable[[T], P],
    backoff: Backoff = ...,
    attempts: int | None = ...,
) -> Resumed[T, R, P]: ...


@overload
def resume(
    subscribe: Callable[[P], AsyncIterable[T]],
    since: P,
    *,
    position: Callable[[T], P],
    backoff: Backoff = ...,
    attempts: int | None = ...,
) -> Resumed[T, None, P]: ...


def resume(
    subscribe: Callable[[P], AsyncIterable[T]],
    since: P,
    *,
    position: Callable[[T], P],
    backoff: Backoff | None = None,
    attempts: int | None = 10,
) -> Resumed[T, Any, P]:
    """A subscription that is subscribed to again when its connection or its server goes away.

    Each time it says the position of the last item that came; what the server sends goes on right
    after it, or there is a `Gap`, which is raised. Any other error is raised, too.

    Args:
        subscribe: Subscribes after a position: a channel's method, or an async generator function
            that connects first.
        since: The position to begin after.
        position: The position of an item.
        backoff: How long to wait before subscribing again.
        attempts: After so many attempts in a row without an item the last error is raised; `None`
            for never. A subscription that stood longer than `backoff` ever waits begins a new row,
            too: where nothing happens for long, there is no item to come.
    """
    place = _Place(since)
    items = _resumed(subscribe, place, position, backoff or Backoff(), attempts)
    return Resumed(items, place)


async def _resumed(
    subscribe: Callable[[P], AsyncIterable[T]],
    place: _Place[P],
    position: Callable[[T], P],
    backoff: Backoff,
    attempts: int | None,
) -> AsyncGenerator[Any]:
    failures = 0
    while True:
        began = monotonic()
        place.source = subscribe(place.position)
        items = with_result(place.source)
        try:
            async for item in items:
                if not isinstance(item, Done):
                    place.position = position(item)
                    failures = 0
                yield item
        except JetStreamError as error:
            if _had_begun(error) and monotonic() - began > max(backoff.cap, _LEAST):
                failures = 0
            failures += 1
            if not _is_loss(error) or (attempts is not None and failures >= attempts):
                raise
        else:
            return
        finally:
            if (close := getattr(items, "aclose", None)) is not None:
                await close()
        await asyncio.sleep(backoff.delay(failures))


def _had_begun(error: JetStreamError) -> bool:
    """Whether a loss ended a subscription, and not the wait for a server to begin it."""
    return not isinstance(error, ConnectError | Unavailable)


def _is_loss(error: JetStreamError) -> bool:
    if isinstance(error, CallError):
        # A server behind the server went away; or this one did, without the extension to say so.
        return error.code == Unavailable.default_code
    # No connection may be had for a while; a certificate that is refused stays refused.
    if isinstance(error, SessionRefused):
        return can_heal(error)
    nobody_there = type(error) in (ConnectError, ConnectTimeout)
    return nobody_there or isinstance(error, ConnectionLost)
