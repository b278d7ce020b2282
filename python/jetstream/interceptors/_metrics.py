"""Counts and latencies in memory."""

from __future__ import annotations

import time
from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from jetstream._interception import Call
from jetstream._subscription import Done
from jetstream.interceptors._outcome import outcome_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence

C = TypeVar("C", bound=Call)

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""The upper bounds of the latencies that are counted together, in seconds."""

_MOST_OUTCOMES = 64
"""Codes come from the peer, which could invent one after the other."""

_OTHERS = "other"


class Histogram(TypedDict):
    """Latencies, as monitoring systems take them."""

    count: int
    sum: float
    """All of them together, in seconds."""
    buckets: dict[str, int]
    """For each upper bound how many were not above it; the last one is ``+Inf``."""


class MethodMetrics(TypedDict):
    """What was counted of one method."""

    in_flight: int
    """Calls that have begun and not ended."""
    outcomes: dict[str, int]
    """How many ended ``ok``, ``cancelled``, or with an error of this code or class."""
    items: int
    """Items that subscriptions gave."""
    seconds: Histogram
    """How long they took."""


class _Tally:
    """What was counted of one method, as it is kept."""

    __slots__ = ("buckets", "in_flight", "items", "outcomes", "sum")

    def __init__(self, buckets: int) -> None:
        self.in_flight = 0
        self.outcomes: dict[str, int] = {}
        self.items = 0
        self.sum = 0.0
        self.buckets = [0] * buckets


class Metrics:
    """Counts calls, and how long they take, for either end.

    One object may serve any number of servers and channels. Nothing is exported by itself:
    `snapshot` gives numbers and strings for whatever monitoring there is.

    Args:
        buckets: The upper bounds of the latency histogram in seconds, ascending.

    Raises:
        ValueError: The bounds do not ascend.
    """

    def __init__(self, buckets: Sequence[float] = BUCKETS) -> None:
        self._bounds = tuple(buckets)
        if not self._bounds or any(
            low >= high for low, high in zip(self._bounds, self._bounds[1:], strict=False)
        ):
            raise ValueError("the bounds of a histogram must ascend")
        self._tallies: dict[str, _Tally] = {}

    async def intercept_call(self, call: C, proceed: Callable[[C], Awaitable[Any]], /) -> Any:
        """Counts a call."""
        tally, began = self._begin(call)
        try:
            result = await proceed(call)
        except BaseException as error:
            self._end(tally, began, error)
            raise
        self._end(tally, began, None)
        return result

    async def intercept_stream(
        self, call: C, proceed: Callable[[C], AsyncIterator[Any]], /
    ) -> AsyncGenerator[Any]:
        """Counts a subscription and its items."""
        tally, began = self._begin(call)
        try:
            async for item in proceed(call):
                tally.items += type(item) is not Done
                yield item
        except BaseException as error:
            self._end(tally, began, error)
            raise
        self._end(tally, began, None)

    def _begin(self, call: Call) -> tuple[_Tally, float]:
        what = call.method.what
        tally = self._tallies.get(what)
        if tally is None:
            tally = self._tallies[what] = _Tally(len(self._bounds) + 1)
        tally.in_flight += 1
        return tally, time.perf_counter()

    def _end(self, tally: _Tally, began: float, error: BaseException | None) -> None:
        seconds = time.perf_counter() - began
        outcome = outcome_of(error)
        if outcome not in tally.outcomes and len(tally.outcomes) >= _MOST_OUTCOMES:
            outcome = _OTHERS
        tally.in_flight -= 1
        tally.outcomes[outcome] = tally.outcomes.get(outcome, 0) + 1
        tally.sum += seconds
        tally.buckets[bisect_left(self._bounds, seconds)] += 1

    def snapshot(self) -> dict[str, MethodMetrics]:
        """What was counted so far, by method, such as ``Echo.put``. JSON can carry it."""
        labels = [*map(str, self._bounds), "+Inf"]
        return {
            what: MethodMetrics(
                in_flight=tally.in_flight,
                outcomes=dict(tally.outcomes),
                items=tally.items,
                seconds=Histogram(
                    count=sum(tally.buckets),
                    sum=tally.sum,
                    buckets=dict(zip(labels, accumulate(tally.buckets), strict=True)),
                ),
            )
            for what, tally in self._tallies.items()
        }
