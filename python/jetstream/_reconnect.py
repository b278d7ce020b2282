"""How a session that stays up connects again: when, how often, and when not."""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jetstream._errors import (
    ClosedError,
    JetStreamError,
    NoSharedProtocol,
    SessionRefused,
    TlsConfigError,
    TlsError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UNUSABLE_NAME = "jetstream::server_name"
"""The code of a server's name that no certificate can have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconnect:
    """How a session stays up: ``connect(addr, reconnect=Reconnect(...))``.

    Attempts begin at growing distances (capped exponential backoff with jitter, as gRPC's), the
    first at once; one that is not answered goes on beside the next ones, so that a server that is
    back is found within the present distance. Each resolves the names again.

    Raises:
        ValueError: A number is out of its range.
    """

    first: float = 0.05
    """Seconds from the first attempt to the second. gRPC says 1: its attempts over TCP are told
    when nobody listens, and ours over UDP are not."""

    factor: float = 1.6
    """By how much each distance is longer than the one before; gRPC says the same."""

    most: float = 2.0
    """Seconds that distances do not grow beyond: how long a server that was away for long may wait
    for its clients. An attempt asks again after a second, and four run beside each other, so it is
    asked about once a second. gRPC says 120: its attempts are handshakes of TCP, and ours are one
    datagram until somebody answers."""

    jitter: float = 0.2
    """How much distances vary, as a part of each, so that a thousand clients do not come at once;
    gRPC says the same."""

    attempts: int | None = None
    """Attempts after which the session is over with the last one's error; `None` for no end."""

    patience: float = 2.0
    """Seconds without a connection for which calls wait for the next; then they fail at once with
    `Unavailable`, unless they wait for ready. Long enough for a server that restarts."""

    wait_for_ready: bool = False
    """Whether to wait for a server that is not there: the first connection is tried as often as
    the later ones, and calls wait as long as they have time, unless their channel says otherwise
    (``session.channel(..., wait_for_ready=...)``)."""

    probe: float | None = 1.0
    """Seconds of silence, with calls in flight, after which the server is asked for a sign of life;
    after three times as many another connection is tried, and is used if it comes about and
    the old one stays silent. `None` leaves that to the idle timeout."""

    def __post_init__(self) -> None:
        for name in ("first", "factor", "most", "jitter", "patience", "probe"):
            self._check(name, getattr(self, name))
        self._check_attempts(self.attempts)

    def _check_attempts(self, value: object) -> None:
        if value is None:
            return
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            msg = f"Reconnect(attempts={value!r}): at least 1, or None for no end"
            raise ValueError(msg)

    def _check(self, name: str, value: object) -> None:
        # No infinity, and no whole number that a float cannot hold.
        ranges = {"factor": (1.0, sys.float_info.max), "jitter": (0.0, 1.0)}
        least, most = ranges.get(name, (0.0, sys.float_info.max))
        if value is None and name == "probe":
            return
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not least <= value <= most
            or (value == 0 and name != "jitter")
        ):
            whats = {
                "factor": "at least 1",
                "jitter": "from 0 to 1",
                "probe": "more than 0, or None",
            }
            what = whats.get(name, "more than 0")
            msg = f"Reconnect({name}={value!r}): it must be {what}"
            raise ValueError(msg)

    def distances(
        self, uniform: Callable[[float, float], float] = random.uniform
    ) -> Iterator[float]:
        """Seconds from each attempt to the next.

        Args:
            uniform: Gives a number between two others; for tests.
        """
        distance = self.first
        while True:
            distance = min(distance, self.most)
            yield distance * uniform(1 - self.jitter, 1 + self.jitter)
            distance *= self.factor

    def longest(self) -> float:
        """Seconds from one attempt to the next where there is no hurry."""
        return self.most * random.uniform(1 - self.jitter, 1 + self.jitter)  # noqa: S311  no secret


def reconnect_of(given: object) -> Reconnect | None:
    """How a session stays up; `None` for one that does not.

    Raises:
        TypeError: It says neither how nor whether.
    """
    if isinstance(given, bool):
        return Reconnect() if given else None
    if not isinstance(given, Reconnect):
        msg = f"reconnect={given!r}: it must be True, False or a Reconnect, as in Reconnect(most=5)"
        raise TypeError(msg)
    return given


def can_heal(error: BaseException, *, was_ready: bool = False) -> bool:
    """Whether another attempt may end otherwise than with this error.

    Args:
        error: How an attempt ended.
        was_ready: Whether there has been a connection. Then all names and certificates were right
            once, and what is refused now is another server on that port, a certificate that will
            be renewed, or the word of somebody on the way: what aborts a handshake is not proved to
            be the server's (RFC 9001, section 5).
    """
    if isinstance(error, TlsError | NoSharedProtocol):
        return was_ready
    if isinstance(error, SessionRefused):
        # As gRPC maps them: what asks too early, too often or of a server in trouble may ask again.
        return error.status >= 500 or error.status in (408, 425, 429)
    if isinstance(error, TlsConfigError | ClosedError):
        return False
    if isinstance(error, JetStreamError):
        return error.code != UNUSABLE_NAME
    return isinstance(error, OSError)
