"""Whether a peer is still there, asked before the idle timeout tells."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jetstream import _core

_STEPS = 4
"""Looks in the time of `Reconnect.probe`, while answers are owed; otherwise there is one."""

_SILENT = 3
"""Times `Reconnect.probe` after which a peer counts as silent."""


class Pulse:
    """Watches whether a peer is heard while it owes answers.

    A peer that has restarted is found out by asking it: it answers that it knows nothing of the
    connection (stateless reset, RFC 9000, section 10.3), and that is noticed elsewhere.

    Args:
        core: The connection.
        probe: Seconds of silence after which the peer is asked; `None` never asks.
    """

    def __init__(self, core: _core.Connection, probe: float | None) -> None:
        self._core = core
        self._probe = probe
        self._heard = core.heard

    def _has_been_heard(self) -> bool:
        before, self._heard = self._heard, self._core.heard
        return self._heard != before

    async def until_silent(self) -> None:
        """Waits until the peer is silent; for ever where the transport itself notices that."""
        if self._probe is None or self._heard is None:
            await asyncio.Event().wait()
            return
        loop = asyncio.get_running_loop()
        since: float | None = None
        while True:
            # While nothing is owed there is nothing to be seen: many sessions may be idle.
            await asyncio.sleep(self._probe if since is None else self._probe / _STEPS)
            if self._core.lost is not None:
                # Those who wait for that are told.
                await asyncio.Event().wait()
            heard, busy = self._has_been_heard(), self._core.calls > 0
            if not busy:
                since = None
            elif heard:
                since = loop.time()
            elif since is None:
                # Nothing was heard since the last look, and the call may be as old as that.
                since = loop.time() - self._probe
            if since is None:
                continue
            if loop.time() - since >= _SILENT * self._probe:
                return
            if loop.time() - since >= self._probe:
                self._core.ping()

    async def until_heard(self, seconds: float | None = None) -> bool:
        """Asks until the peer is heard again, or the connection is gone.

        Args:
            seconds: At most so long.

        Returns:
            Whether it is heard.
        """
        loop = asyncio.get_running_loop()
        end = None if seconds is None else loop.time() + seconds
        while self._core.lost is None and not self._has_been_heard():
            if end is not None and loop.time() >= end:
                return False
            self._core.ping()
            await asyncio.sleep((self._probe or 1.0) / _STEPS)
        return self._core.lost is None
