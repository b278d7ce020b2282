"""What a session knows of the addresses that it may connect to: which to try last."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jetstream import _core

Address: TypeAlias = "tuple[str, tuple[str, int]]"
"""What carries it, and where to."""

_RECENT = 60.0
"""Seconds after which an address is as good as it was, although it has not answered."""


class Standing:
    """How the addresses of one session have done lately.

    Attempts that run beside each other share it: each begins where the others have not been yet, so
    that a live address is found behind however many dead ones.

    Args:
        now: What time it is, in seconds; for tests.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._tried: dict[Address, float] = {}
        """When it was tried and has not answered since; the latest come last."""
        self._reached: dict[_core.Connection, Address] = {}

    def next_of(self, addresses: Iterable[Address]) -> Address | None:
        """The address to try next: the first that is not in doubt, or that was tried longest ago."""
        oldest = self._now() - _RECENT
        for address, when in list(self._tried.items()):
            if when < oldest:
                del self._tried[address]
        places = {address: place for place, address in enumerate(self._tried, start=1)}
        return min(addresses, key=lambda address: places.get(address, 0), default=None)

    def tried(self, address: Address) -> None:
        """It does not answer, or there has been no time for that yet."""
        self._tried.pop(address, None)
        self._tried[address] = self._now()

    def reached(self, address: Address, core: _core.Connection) -> None:
        """It answers: this is the connection."""
        self._tried.pop(address, None)
        self._reached = {core: at for core, at in self._reached.items() if core.lost is None}
        self._reached[core] = address

    def doubted(self, core: _core.Connection) -> None:
        """A connection is gone, or silent: its address is tried after the others."""
        address = self._reached.get(core)
        if address is not None:
            self.tried(address)
