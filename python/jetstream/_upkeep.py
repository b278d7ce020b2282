"""What keeps a session up: notices that its connection goes, makes another, moves the lanes."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from typing import TYPE_CHECKING, Any

from jetstream import _logging
from jetstream._attempts import Attempts, discard, established, stop
from jetstream._errors import (
    ClosedError,
    ConnectError,
    ConnectTimeout,
    JetStreamError,
    Unavailable,
)
from jetstream._pulse import Pulse
from jetstream._reconnect import Reconnect, can_heal
from jetstream._standing import Standing
from jetstream._states import States

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from jetstream import _core


_HEAD_START = 0.25
"""Seconds that the first connection has, where calls have gone ahead on it, before another is tried
beside it; as addresses have (RFC 8305, section 5)."""


class Upkeep:
    """Keeps one session up.

    Args:
        dial: Makes a connection: one attempt. It is given the standing of the addresses, and
            ``again=True`` for all attempts but a caller's only one.
        where: The server, for people.
        options: When, and how often.
    """

    def __init__(
        self,
        dial: Callable[..., Awaitable[_core.Connection]],
        where: str,
        options: Reconnect,
    ) -> None:
        self.options = options
        self.states = States("connecting")
        self.error: JetStreamError | None = None
        """Why the session is over."""
        self.unavailable: str | None = None
        """Why calls fail, while they do; in words."""
        self.reason: JetStreamError | None = None
        """Why there is no connection, as far as is known."""
        self._dial = dial
        self._where = where
        self._lanes: Callable[[], Collection[_core.Lane]] = tuple
        self._use: Callable[[_core.Connection], None] = _ignore
        self._former: set[_core.Connection] = set()
        self._standing = Standing(options, self._because)
        self._attempting: Attempts | None = None
        self._was_ready = False
        self._ahead: _core.Connection | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._opening: asyncio.Future[_core.Connection] | None = None

    async def open(self) -> _core.Connection:
        """The first connection, for which there are further attempts only if that is wished."""
        if not self.options.wait_for_ready:
            return await self._dial(self._standing)
        self._opening = asyncio.ensure_future(self._attempts().run())
        try:
            return await self._opening
        except asyncio.CancelledError:
            # By whoever waits, or because the session is over before it began.
            self.check()
            raise
        finally:
            self._opening = None

    def start(
        self,
        core: _core.Connection,
        lanes: Callable[[], Collection[_core.Lane]],
        use: Callable[[_core.Connection], None],
    ) -> None:
        """Begins to watch the first connection.

        Args:
            core: The connection.
            lanes: The session's lanes.
            use: Called with each later connection.
        """
        self._lanes, self._use = lanes, use
        if core.early_data == "sent":
            self._expect(ConnectTimeout("no answer yet"))
        else:
            self._ready()
        self._task = asyncio.get_running_loop().create_task(self._run(core))

    def stop(self, error: JetStreamError) -> None:
        """Ends the upkeep, and whatever waits for a connection; the session is over."""
        if self.error is not None:
            return
        self.error = error
        self._calm()
        if self._opening is not None:
            self._opening.cancel()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
        for core in self._former:
            core.close(0, b"")
        why = str(error) if not isinstance(error, ClosedError) else None
        for lane in list(self._lanes()):
            lane.end(why)
        self.states.change("closed")

    def retry(self) -> None:
        """Something has changed here: whatever is waited for is tried at once."""
        self._standing.forgive()
        if self._attempting is not None:
            self._attempting.hurry()

    async def wait_stopped(self) -> None:
        """Waits until nothing of it runs any more."""
        if self._task is not None and self._task is not asyncio.current_task():
            await asyncio.wait((self._task,))

    def check(self) -> None:
        """Raises why the session is over, if it is."""
        if self.error is not None:
            raise copy.copy(self.error)

    # ---- the task ----

    async def _run(self, core: _core.Connection) -> None:
        try:
            if not self._was_ready:
                core = await self._shake(core)
            while True:
                pulse = Pulse(core, self.options.probe)
                await _until_doubtful(core, pulse)
                new = await self._replace(core, pulse)
                if new is not core:
                    self._install(new, core)
                    core = new
        except asyncio.CancelledError:
            raise
        except Exception as error:
            reason = error if isinstance(error, JetStreamError) else JetStreamError(str(error))
            _logging.client.error("the session with %s is over: %s", self._where, error)
            self.stop(reason)
            if not isinstance(error, JetStreamError | OSError):
                raise

    async def _shake(self, core: _core.Connection) -> _core.Connection:
        """The first connection, which calls have gone ahead on, or another if it comes to nothing.

        What a server begins ahead of the handshake may run twice, so all of it can be sent again.
        """
        self._ahead = core
        shaken = asyncio.ensure_future(established(core))
        dialling = asyncio.ensure_future(self._attempts().run(after=_HEAD_START))
        new = core
        try:
            await asyncio.wait((shaken, dialling), return_when=asyncio.FIRST_COMPLETED)
            if shaken.done():
                error = shaken.exception()
                if error is None:
                    self._calm()
                    self._ready()
                    return core
                if not self._goes_on(error):
                    raise error
                self._disconnected(core)
            new = await dialling
        finally:
            self._ahead = None
            discard(shaken)
            if new is core:
                await stop(dialling)
        core.give_up()
        self._install(new, core)
        return new

    async def _replace(self, core: _core.Connection, pulse: Pulse) -> _core.Connection:
        """Another connection; or the old one, if it was only silent and is heard again."""
        if not _is_doubtful(core):
            self._disconnected(core)
        dialling = asyncio.ensure_future(self._attempts().run())
        new = core
        try:
            new = await self._next(core, pulse, dialling)
        finally:
            if new is core:
                await stop(dialling)
        return new

    async def _next(
        self, core: _core.Connection, pulse: Pulse, dialling: asyncio.Future[_core.Connection]
    ) -> _core.Connection:
        if _is_doubtful(core):
            _logging.client.info("%s is silent; connecting beside", self._where)
            self._standing.doubted(core)
            if await _first(pulse.until_heard(), dialling):
                return core
            if core.lost is not None:
                self._disconnected(core)
        try:
            new = await dialling
        except JetStreamError as error:
            if _is_doubtful(core) and self._goes_on(error):
                return core
            raise
        if _is_doubtful(core) and not await self._is_dead(core, pulse):
            return core
        return new

    async def _is_dead(self, core: _core.Connection, pulse: Pulse) -> bool:
        """Whether a silent connection stays so although the server answers on a new one."""
        if await pulse.until_heard(self.options.probe):
            return False
        core.give_up()
        return True

    def _attempts(self) -> Attempts:
        self._attempting = Attempts(
            lambda: self._dial(self._standing, again=True),
            self.options.distances(),
            self.options.attempts,
            self._standing.pause,
            self._goes_on,
        )
        return self._attempting

    def _goes_on(self, error: BaseException) -> bool:
        """Whether connecting goes on after an attempt has ended so."""
        heals = can_heal(error, was_ready=self._was_ready)
        if heals:
            self._because(error if isinstance(error, JetStreamError) else ConnectError(str(error)))
        return heals

    def _because(self, reason: JetStreamError) -> None:
        """This is why there is no connection now."""
        self.reason = reason
        if self.unavailable is not None:
            self._suspend()

    def _disconnected(self, core: _core.Connection) -> None:
        why = core.lost or Unavailable("the server is going away")
        if isinstance(why, ClosedError):
            # That was us.
            raise why
        self._standing.ended(core)
        if self.states.change("connecting"):
            _logging.client.info("%s: %s; connecting again", self._where, why)
        self._expect(why)

    def _expect(self, why: JetStreamError) -> None:
        """There is no connection, and calls wait for one for as long as they have patience."""
        if self._patience is None:
            self.reason = why
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(self.options.patience, self._suspend)

    def _suspend(self) -> None:
        """Calls fail from now on, unless they wait for ready; or do so for another reason."""
        why = str(self.reason).splitlines()[0]
        self.unavailable = f"there is no connection to {self._where}: {why}; connecting goes on"
        if self.states.change("unavailable"):
            _logging.client.warning("%s", self.unavailable)
        for lane in list(self._lanes()):
            lane.suspend(self.unavailable)
        if self._ahead is not None:
            # What has gone ahead on it fails as well.
            self._ahead.give_up()

    def _calm(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        self.unavailable = None
        self.reason = None
        self._attempting = None

    def _ready(self) -> None:
        self._was_ready = True
        self.states.change("ready")

    def _install(self, new: _core.Connection, old: _core.Connection) -> None:
        self._calm()
        if old.lost is None:
            # It answers what it has begun, and is closed by the server.
            self._former.add(old)
            old.wait("closed").add_done_callback(lambda _: self._former.discard(old))
        self._use(new)
        for lane in list(self._lanes()):
            # The new one may be gone already, which the next round sees.
            with contextlib.suppress(JetStreamError):
                lane.attach(new)
        self._ready()
        _logging.client.info("connected to %s again", self._where)


def _ignore(core: _core.Connection) -> None:
    """Nobody uses connections before the first one is there."""


def _is_doubtful(core: _core.Connection) -> bool:
    """Whether a connection may still be good: neither lost nor about to be closed."""
    return core.lost is None and not core.going_away


async def _until_doubtful(core: _core.Connection, pulse: Pulse) -> None:
    """Waits until a connection is gone, going or silent."""
    silent = asyncio.ensure_future(pulse.until_silent())
    ends: tuple[asyncio.Future[Any], ...] = (core.wait("closed"), core.wait("going_away"), silent)
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for end in ends:
            discard(end)


async def _first(heard: Awaitable[bool], dialling: asyncio.Future[_core.Connection]) -> bool:
    """Whether the old connection is heard before the new one is there."""
    task = asyncio.ensure_future(heard)
    try:
        await asyncio.wait((task, dialling), return_when=asyncio.FIRST_COMPLETED)
        return task.done() and not dialling.done() and task.result()
    finally:
        discard(task)
