"""Threads for methods that block. They end with the process; here nothing is known of methods."""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import functools
import os
import threading
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

_MOST = min(32, (os.cpu_count() or 1) + 4)
"""Threads at once; as many as asyncio's own pool has."""

_IDLE = 10.0
"""Seconds after which a thread that has nothing to do ends."""


class Threads:
    """Runs functions in threads that are made when they are needed.

    asyncio's pool is joined when the loop ends, whatever happens, and so keeps a process alive that
    has been told twice to go. What runs here is waited for when the interpreter ends, unless it was
    abandoned.

    Args:
        most: Threads at once; more functions wait in order.
        idle: Seconds after which a thread that has nothing to do ends.
    """

    def __init__(self, most: int = _MOST, idle: float = _IDLE) -> None:
        self._most = most
        self._idle_time = idle
        self._changed = threading.Condition()
        self._queue: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._threads = 0
        self._idle = 0
        self._running = 0
        self._abandoned = False

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Runs a function as soon as there is a thread for it."""
        future: Future[T] = Future()
        with self._changed:
            self._queue.append((future, work))
            if self._idle >= len(self._queue):
                self._changed.notify_all()
            elif self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._work, name="jetstream", daemon=True).start()
        return future

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            future, work = taken
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as error:  # it is raised where it is awaited
                    future.set_exception(error)
            # Nothing of it is kept until the next one comes.
            del taken, future, work
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _take(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._queue, self._idle_time)
            self._idle -= 1
            if not self._queue:
                self._threads -= 1
                return None
            self._running += 1
            return self._queue.popleft()

    def join(self) -> None:
        """Waits until nothing runs, or it is abandoned."""
        with self._changed:
            self._changed.wait_for(lambda: self._abandoned or not (self._running or self._queue))

    def abandon(self) -> None:
        """Whatever runs ends with the process, which waits for nothing any more."""
        with self._changed:
            self._abandoned = True
            self._changed.notify_all()


_threads = Threads()


def _begin_anew() -> None:
    global _threads  # a child has none of its parent's threads
    _threads = Threads()


# Only where a process can fork.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
atexit.register(lambda: _threads.join())


async def run_in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What a function returns that runs in a thread, in the present context."""
    context = contextvars.copy_context()
    work = functools.partial(context.run, function, *args, **kwargs)
    return await asyncio.wrap_future(_threads.submit(work))


def abandon_threads() -> None:
    """Lets the process end although functions run in threads."""
    _threads.abandon()
