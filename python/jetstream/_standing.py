"""What a session knows of its addresses: which to try last, and which not yet."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeAlias

from jetstream._errors import JetStreamError, NoSharedProtocol, TlsError
from jetstream._reconnect import Reconnect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from jetstream import _core

Address: TypeAlias = "tuple[str, tuple[str, int]]"
"""What carries it, and where to."""

_RECENT = 60.0
"""Seconds after which an address is as good as it was, although it has not answered."""

_BRIEF = 1.0
"""Seconds that a connection must have lasted for its end to say nothing of its address."""

_FLOOR = 0.25
"""Seconds from one connection to the next with an address whose server has gone away in order: a
successor is there soon, and one that sends everybody away does not keep its clients busy."""


_USUAL = Reconnect()


def _ignore(_: JetStreamError) -> None:
    """Nobody needs to be told."""


class Standing:
    """How the addresses of one session have done lately.

    Attempts that run beside each other share it: each begins where the others have not been yet, so
    that a live address is found behind however many dead ones.

    An address whose connections end as soon as they have begun is connected to at growing
    distances, from one beginning to the next, and one that refuses us, or that we refuse, at the
    longest. That holds up no other address.

    Args:
        options: The distances.
        told: Is told why an address did not answer, or answered wrongly.
        now: What time it is, in seconds; for tests.
    """

    def __init__(
        self,
        options: Reconnect = _USUAL,
        told: Callable[[JetStreamError], None] = _ignore,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._told = told
        self._now = now
        self._known: tuple[Address, ...] = ()
        self._tried: dict[Address, float] = {}
        """When it was tried and has not answered since; the latest come last."""
        self._reached: dict[_core.Connection, tuple[Address, float]] = {}
        """Where a connection leads, and when it came about."""
        self._brief: dict[Address, Iterator[float]] = {}
        """The distances of those whose connections end too soon."""
        self._barred: dict[Address, float] = {}
        """When it may be tried again."""

    def resolved(self, addresses: Iterable[Address]) -> None:
        """These are all that there are now; of others nothing is kept."""
        self._known = tuple(addresses)
        for each in (self._tried, self._brief, self._barred):
            for address in each.keys() - set(self._known):
                del each[address]

    def next_of(self, addresses: Iterable[Address]) -> Address | None:
        """The address to try next: the first that is not in doubt, or tried longest ago.

        `None` if none may be tried now.
        """
        now = self._now()
        for address, when in list(self._tried.items()):
            if when < now - _RECENT:
                del self._tried[address]
        places = {address: place for place, address in enumerate(self._tried, start=1)}
        open_ones = (address for address in addresses if self._barred.get(address, 0.0) <= now)
        return min(open_ones, key=lambda address: places.get(address, 0), default=None)

    def pause(self) -> float:
        """Seconds until one of the addresses may be tried."""
        first = min((self._barred.get(address, 0.0) for address in self._known), default=0.0)
        return max(0.0, first - self._now())

    def tried(self, address: Address) -> None:
        """It does not answer, or there has been no time for that yet."""
        self._tried.pop(address, None)
        self._tried[address] = self._now()

    def reached(self, address: Address, core: _core.Connection) -> None:
        """It answers: this is the connection."""
        self._tried.pop(address, None)
        self._reached = {core: at for core, at in self._reached.items() if core.lost is None}
        self._reached[core] = address, self._now()

    def failed(self, address: Address, error: JetStreamError) -> None:
        """There is no connection to it, and this is why."""
        if isinstance(error, TlsError | NoSharedProtocol):
            # It will not change its mind at once, and a handshake costs it something.
            self._barred[address] = self._now() + self._options.longest()
        self._told(error)

    def forgive(self) -> None:
        """Something has changed here: every address may be tried at once."""
        self._tried.clear()
        self._brief.clear()
        self._barred.clear()

    def doubted(self, core: _core.Connection) -> None:
        """A connection is silent: its address is tried after the others."""
        if core in self._reached:
            self.tried(self._reached[core][0])

    def ended(self, core: _core.Connection) -> None:
        """A connection is gone, or its server is going away."""
        address, began = self._reached.pop(core, (None, 0.0))
        if address is None:
            return
        self.tried(address)
        if self._now() - began >= _BRIEF:
            self._brief.pop(address, None)
        elif core.going_away:
            # Its server has done nothing wrong.
            self._barred[address] = began + _FLOOR
        else:
            distances = self._brief.setdefault(address, self._options.distances())
            self._barred[address] = began + next(distances)
