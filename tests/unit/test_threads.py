"""Threads for methods that block."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import weakref

import pytest
from jetstream import _threads
from jetstream._threads import Threads, run_in_thread

from tests.helpers import PATIENCE, run


def test_functions_run_beside_each_other_up_to_the_most() -> None:
    threads, gate, begun = Threads(most=2), threading.Event(), threading.Semaphore(0)

    def work() -> str:
        begun.release()
        assert gate.wait(PATIENCE)
        return threading.current_thread().name

    futures = [threads.submit(work) for _ in range(5)]
    assert begun.acquire(timeout=PATIENCE)
    assert begun.acquire(timeout=PATIENCE)
    assert not begun.acquire(blocking=False)
    assert futures[4].cancel(), "it had not begun"
    gate.set()
    assert {future.result(PATIENCE) for future in futures[:4]} == {"jetstream"}
    threads.join()
    assert threads._threads <= 2


def test_a_thread_is_taken_again_and_ends_when_there_is_nothing_to_do() -> None:
    threads = Threads(idle=PATIENCE)
    first = threads.submit(threading.current_thread).result(PATIENCE)
    threads.join()
    with threads._changed:
        assert threads._changed.wait_for(lambda: threads._idle == 1, PATIENCE)
    assert threads.submit(threading.current_thread).result(PATIENCE) is first
    assert first.daemon
    brief = Threads(idle=0.0)
    thread = brief.submit(threading.current_thread).result(PATIENCE)
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert brief._threads == 0


def test_what_is_abandoned_is_not_waited_for() -> None:
    threads, gate = Threads(), threading.Event()
    future = threads.submit(lambda: gate.wait(PATIENCE))
    joining = threading.Thread(target=threads.join)
    joining.start()
    assert joining.is_alive()
    threads.abandon()
    joining.join(PATIENCE)
    assert not joining.is_alive()
    assert not future.done()
    gate.set()
    assert future.result(PATIENCE)


def test_what_is_withdrawn_is_not_kept() -> None:
    threads, gate, begun = Threads(most=1), threading.Event(), threading.Event()

    class Work:
        def __call__(self) -> None:
            raise AssertionError

    def run() -> bool:
        begun.set()
        return gate.wait(PATIENCE)

    runs = threads.submit(run)
    assert begun.wait(PATIENCE)
    work = Work()
    kept, waits = weakref.ref(work), threads.submit(work)
    del work
    joining = threading.Thread(target=threads.join)
    threads.withdraw(waits)
    assert kept() is None
    assert waits.cancelled()
    assert not threads._queue
    threads.withdraw(waits)
    threads.withdraw(runs)
    assert not runs.cancelled(), "it had begun"
    joining.start()
    gate.set()
    assert runs.result(PATIENCE)
    joining.join(PATIENCE)
    assert not joining.is_alive()


def test_what_waits_for_a_thread_goes_with_its_caller(
    loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, gate, begun = Threads(most=1), threading.Event(), threading.Event()
    monkeypatch.setattr(_threads, "_threads", threads)

    def work() -> bool:
        begun.set()
        return gate.wait(PATIENCE)

    async def main() -> None:
        runs = asyncio.ensure_future(run_in_thread(work))
        waits = asyncio.ensure_future(run_in_thread(len, bytes(3)))
        await asyncio.sleep(0)
        assert begun.wait(PATIENCE)
        assert len(threads._queue) == 1
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
        assert not threads._queue
        gate.set()
        assert await runs

    run(main, loop=loop)


def test_stop_iteration_is_an_error_of_the_method(loop: str) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="the method raised StopIteration") as caught:
            await run_in_thread(next, iter(()))
        assert isinstance(caught.value.__cause__, StopIteration)

    run(main, loop=loop, patience=5)


def test_threads_that_cannot_be_started_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, gate = Threads(most=2), threading.Event()

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(3):
            with pytest.raises(RuntimeError, match="can't start"):
                threads.submit(gate.wait)
    assert threads._threads == 0
    assert not threads._queue
    first = threads.submit(lambda: gate.wait(PATIENCE))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        later = [threads.submit(threading.current_thread) for _ in range(3)]
    assert threads._threads == 1
    gate.set()
    assert first.result(PATIENCE)
    assert len({future.result(PATIENCE) for future in later}) == 1, "the one that ran takes them"


def test_results_errors_and_the_context_cross(loop: str) -> None:
    word: contextvars.ContextVar[str] = contextvars.ContextVar("word")

    def look(more: str) -> str:
        return word.get() + more

    def fail() -> None:
        raise ZeroDivisionError

    async def main() -> None:
        word.set("here")
        assert await run_in_thread(look, more="!") == "here!"
        with pytest.raises(ZeroDivisionError):
            await run_in_thread(fail)
        gate = threading.Event()
        waits = asyncio.ensure_future(run_in_thread(gate.wait))
        await asyncio.sleep(0)
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
        gate.set()

    run(main, loop=loop)
