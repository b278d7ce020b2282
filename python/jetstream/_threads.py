"""Threads for methods that block. They end with the process; here nothing is known of methods."""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import functools
import os
import threading
from collections import OrderedDict
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
        self._queue: OrderedDict[Future[Any], Callable[[], Any]] = OrderedDict()
        self._threads = 0
        self._idle = 0
        self._running = 0
        self._abandoned = False

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Runs a function as soon as there is a thread for it.

        Raises:
            RuntimeError: There is no thread, and none can be started.
        """
        future: Future[T] = Future()
        with self._changed:
            self._queue[future] = work
            if self._idle >= len(self._queue):
                self._changed.notify_all()
            elif self._threads < self._most:
                self._start(future)
        return future

    def _start(self, future: Future[Any]) -> None:
        thread = threading.Thread(target=self._work, name="jetstream", daemon=True)
        self._threads += 1
        try:
            thread.start()
        except (RuntimeError, MemoryError):
            self._threads -= 1
            # Those that run take what is queued, though later; the next one to come tries again.
            if not self._threads:
                del self._queue[future]
                raise

    def withdraw(self, future: Future[Any]) -> None:
        """Gives a function up that has not begun: nothing of it is kept. One that runs goes on."""
        with self._changed:
            if self._queue.pop(future, None) is None:
                return
            self._changed.notify_all()
        future.cancel()

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            future, work = taken
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except StopIteration as error:  # no future of asyncio's takes it
                    future.set_exception(_as_generators_do(error))
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
            return self._queue.popitem(last=False)

    def join(self) -> None:
        """Waits until nothing runs, or it is abandoned."""
        with self._changed:
            self._changed.wait_for(lambda: self._abandoned or not (self._running or self._queue))

    def abandon(self) -> None:
        """Whatever runs ends with the process, which waits for nothing any more."""
        with self._changed:
            self._abandoned = True
            self._changed.notify_all()


def _as_generators_do(error: StopIteration) -> RuntimeError:
    """What is raised instead, as where generators and coroutines raise it (PEP 479)."""
    changed = RuntimeError("the method raised StopIteration")
    changed.__cause__ = error
    return changed


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
    threads = _threads
    future: Future[T] = threads.submit(functools.partial(context.run, function, *args, **kwargs))
    try:
        return await asyncio.wrap_future(future)
    except BaseException:
        # Whoever waited may be gone; what still waits for a thread would keep its arguments.
        threads.withdraw(future)
        raise


def abandon_threads() -> None:
    """Lets the process end although functions run in threads."""
    _threads.abandon()
