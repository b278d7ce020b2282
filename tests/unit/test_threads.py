"""Threads for methods that block."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest
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
