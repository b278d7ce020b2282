"""The states of a session, and who waits for them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

SessionState: TypeAlias = Literal["connecting", "ready", "unavailable", "closed"]
"""What a session is doing.

``connecting``: there is no connection, or the server is going away; another is being made, and
calls wait for it. ``ready``: calls are sent. ``unavailable``: there has been no connection for
`Reconnect.patience`; calls fail at once unless they wait for ready, and connecting goes on.
``closed``: the session is over, for good.
"""

STATES: tuple[SessionState, ...] = get_args(SessionState)
"""All of them."""


class States:
    """One session's state, as it changes."""

    def __init__(self, state: SessionState) -> None:
        self._state: SessionState = state
        self._changes = 0
        self._waiters: set[tuple[SessionState | None, asyncio.Future[None]]] = set()

    @property
    def now(self) -> SessionState:
        """The present state."""
        return self._state

    def change(self, state: SessionState) -> bool:
        """Goes over to a state; false if that is the present one, or there are no more."""
        if state == self._state or self._state == "closed":
            return False
        self._state = state
        self._changes += 1
        for wanted, future in self._waiters:
            if not future.done() and (wanted in (None, state) or state == "closed"):
                future.set_result(None)
        return True

    async def wait_for(self, state: SessionState) -> bool:
        """Waits until a state is reached; false if it never will be."""
        if self._state in (state, "closed"):
            return self._state == state
        # It is told at the moment; by the time that whoever waits runs, it may have passed.
        await self._next(state)
        return state == "closed" or self.now != "closed"

    async def _next(self, state: SessionState | None) -> None:
        waiter = (state, asyncio.get_running_loop().create_future())
        self._waiters.add(waiter)
        try:
            await waiter[1]
        finally:
            self._waiters.discard(waiter)

    async def follow(self) -> AsyncGenerator[SessionState]:
        """The present state and those that follow, to the last.

        Whoever is slow gets the latest and misses those between.
        """
        while True:
            seen, state = self._changes, self._state
            yield state
            if state == "closed":
                return
            while self._changes == seen:
                await self._next(None)
