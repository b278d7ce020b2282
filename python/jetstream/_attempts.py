"""Attempts to connect, each begun a while after the one before and beside it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from jetstream import _logging
from jetstream._reconnect import can_heal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from jetstream import _core

_AT_ONCE = 4
"""Attempts beside each other. One that nobody has answered says little more: QUIC doubles the time
between its packets (RFC 9002, section 6.2.1)."""


class Attempts:
    """Connects, and goes on until a connection has come about.

    Args:
        dial: One attempt, which gives up by itself.
        distances: Seconds from each attempt to the next.
        limit: At most so many.
        pause: Seconds for which no attempt may begin.
        goes_on: Is told of every failure; whether another attempt may end otherwise.
    """

    def __init__(
        self,
        dial: Callable[[], Awaitable[_core.Connection]],
        distances: Iterator[float],
        limit: int | None,
        pause: Callable[[], float] = lambda: 0.0,
        goes_on: Callable[[BaseException], bool] = can_heal,
    ) -> None:
        self._dial = dial
        self._distances = distances
        self._left = limit
        self._pause = pause
        self._goes_on = goes_on
        self._hurry = asyncio.Event()
        self._running: list[asyncio.Future[_core.Connection]] = []
        self._error: BaseException | None = None

    @property
    def error(self) -> BaseException | None:
        """Why the latest attempt that has failed did."""
        return self._error

    async def run(self, *, after: float = 0.0) -> _core.Connection:
        """The first connection that comes about.

        Args:
            after: Seconds until the first attempt.

        Raises:
            JetStreamError: Why no attempt can succeed, or the last one did not.
        """
        try:
            winner = await self._first_within(after)
            while winner is None:
                if self._left == 0 and not self._running and self._error is not None:
                    raise self._error
                self._begin()
                winner = await self._first_within(next(self._distances))
            return winner
        finally:
            running = self._running.copy()
            self._running.clear()
            for task in running:
                await stop(task)

    def hurry(self) -> None:
        """The next attempt is made now."""
        self._hurry.set()

    def _begin(self) -> None:
        if self._left == 0:
            return
        if self._left is not None:
            self._left -= 1
        elif len(self._running) >= _AT_ONCE:
            _give_up(self._running.pop(0))
        self._running.append(asyncio.ensure_future(self._dial()))

    async def _first_within(self, seconds: float) -> _core.Connection | None:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        hurrying = asyncio.ensure_future(self._hurry.wait())
        try:
            while (left := max(until - loop.time(), self._pause())) > 0 and not hurrying.done():
                ends: list[asyncio.Future[Any]] = [hurrying, *self._running]
                await asyncio.wait(ends, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                winner = self._harvest()
                if winner is not None:
                    return winner
        finally:
            discard(hurrying)
            self._hurry.clear()
        return None

    def _harvest(self) -> _core.Connection | None:
        for task in [task for task in self._running if task.done()]:
            self._running.remove(task)
            failure = task.exception()
            if failure is None:
                return task.result()
            if not self._goes_on(failure):
                raise failure
            _logging.client.debug("an attempt to connect failed: %s", failure)
            self._error = failure
        return None


async def established(core: _core.Connection) -> None:
    """Waits until both ends have accepted the other."""
    await core.wait("connected")
    if core.resumed:
        # The server judged our certificate when it looked at the ticket, before it answered.
        return
    # A client's handshake is over before the server has looked at its certificate (RFC 8446,
    # section 2); the server's word that it has ends the handshake for good.
    await core.wait("confirmed")


async def stop(task: asyncio.Future[_core.Connection]) -> None:
    """Gives an attempt up, and waits until nothing of it is left."""
    _give_up(task)
    if not task.done() and not task.get_loop().is_closed():
        await asyncio.wait((task,))


def discard(future: asyncio.Future[Any]) -> None:
    """Nobody waits for it any more, however it ends."""
    if future.get_loop().is_closed():
        # Nothing can be called there, not even to say so.
        return
    if not future.cancel() and not future.cancelled():
        future.exception()


def _give_up(task: asyncio.Future[_core.Connection]) -> None:
    discard(task)
    if not task.get_loop().is_closed():
        # The connection may come about all the same.
        task.add_done_callback(_close)


def _close(task: asyncio.Future[_core.Connection]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close(0, b"")
