"""Backoff: how long to wait before something is tried again."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that grow from one attempt to the next, up to a cap, and are drawn by lot.

    Each wait lies anywhere between nothing and its bound ("full jitter"): those who failed together
    do not come back together.
    """

    first: float = 0.1
    """The bound of the first wait, in seconds."""
    factor: float = 2.0
    """How many times longer the bound of each wait is than that of the one before."""
    cap: float = 10.0
    """No wait is longer, in seconds."""

    def __post_init__(self) -> None:
        if not (0 <= self.first <= self.cap < float("inf") and self.factor >= 1):
            msg = f"{self}: it must be 0 <= first <= cap, and factor at least 1"
            raise ValueError(msg)

    def bound(self, attempt: int) -> float:
        """The longest wait after so many attempts that failed, from 1."""
        try:
            return min(self.cap, self.first * float(self.factor) ** (attempt - 1))
        except OverflowError:
            return self.cap

    def delay(self, attempt: int) -> float:
        """A wait after so many attempts that failed, from 1; in seconds."""
        return random.uniform(0, self.bound(attempt))  # noqa: S311  no secret
