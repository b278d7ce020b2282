"""What a handler finds around it: its task, its context, and nobody else's.

A handler that does not wait is run in a task that is lent to the next one; none of these may tell.
"""

import asyncio
import contextvars
import gc
import weakref
from typing import Protocol

import pytest
from jetstream import CallError, method, service
from jetstream.testing import pair

from tests.helpers import run

VAR: contextvars.ContextVar[str] = contextvars.ContextVar("VAR", default="clean")


@service
class Probe(Protocol):
    async def keep_task(self) -> str: ...
    async def weak_task(self) -> str: ...
    async def task_name(self, name: str) -> str: ...
    async def set_var(self, value: str) -> str: ...
    async def set_var_direct(self, value: str) -> str: ...
    async def cancel_itself(self) -> str: ...
    async def cancel_and_wait(self) -> str: ...
    async def wait(self, turns: int) -> str: ...
    async def timeout(self, seconds: float) -> str: ...
    async def spawn(self) -> str: ...
    async def raise_base(self, text: str) -> str: ...
    async def raise_base_later(self) -> str: ...
    async def cancel_and_uncancel(self) -> str: ...


class OddError(BaseException):
    """No `Exception`, as those of some libraries."""


class ProbeImpl(Probe):
    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[object]] = []
        self.by_task: weakref.WeakKeyDictionary[asyncio.Task[object], str] = (
            weakref.WeakKeyDictionary()
        )

    def current(self) -> asyncio.Task[object]:
        task = asyncio.current_task()
        assert task is not None
        return task

    async def keep_task(self) -> str:
        self.tasks.append(self.current())
        return "kept"

    async def weak_task(self) -> str:
        # What libraries do that keep something for each task.
        found = self.by_task.get(self.current(), "fresh")
        self.by_task[self.current()] = "seen"
        return found

    async def task_name(self, name: str) -> str:
        assert self.current() in asyncio.all_tasks()
        assert self.current().get_loop() is asyncio.get_running_loop()
        return name

    async def set_var(self, value: str) -> str:
        before = VAR.get()
        VAR.set(value)
        return before

    @method
    def set_var_direct(self, value: str) -> str:
        before = VAR.get()
        VAR.set(value)
        return before

    async def cancel_itself(self) -> str:
        self.current().cancel()
        return "done before it mattered"

    async def cancel_and_wait(self) -> str:
        self.current().cancel()
        await asyncio.sleep(0)
        return "never"

    async def wait(self, turns: int) -> str:
        task = self.current()
        VAR.set("mine")
        for _ in range(turns):
            await asyncio.sleep(0)
            assert self.current() is task
            assert VAR.get() == "mine"
        return "waited"

    async def timeout(self, seconds: float) -> str:
        try:
            async with asyncio.timeout(seconds):
                await asyncio.Event().wait()
        except TimeoutError:
            return "timed out"
        return "never"

    async def spawn(self) -> str:
        VAR.set("parent")

        async def child() -> str:
            return VAR.get()

        return await asyncio.create_task(child())

    async def raise_base(self, text: str) -> str:
        raise ValueError(text)

    async def raise_base_later(self) -> str:
        await asyncio.sleep(0)
        raise OddError

    async def cancel_and_uncancel(self) -> str:
        self.current().cancel()
        self.current().uncancel()
        return "still here"


def probe(loop: str, test: object) -> None:
    async def main() -> None:
        impl = ProbeImpl()
        async with pair(impl) as session:
            await test(impl, session.channel(Probe))  # type: ignore[operator]

    run(main, loop=loop)


def test_a_task_that_somebody_keeps_is_not_lent_again(loop: str) -> None:
    async def test(impl: ProbeImpl, remote: Probe) -> None:
        await asyncio.gather(*(remote.keep_task() for _ in range(5)))
        assert len({id(task) for task in impl.tasks}) == 5
        await asyncio.gather(*impl.tasks)
        # A late cancel is the business of a task that is over, and of no other call.
        for task in impl.tasks:
            assert task.done()
            assert not task.cancel()
        assert await remote.task_name("next") == "next"

    probe(loop, test)


def test_what_is_kept_for_a_task_is_not_seen_by_the_next_call(loop: str) -> None:
    async def test(impl: ProbeImpl, remote: Probe) -> None:
        seen = await asyncio.gather(*(remote.weak_task() for _ in range(10)))
        assert seen == ["fresh"] * 10

    probe(loop, test)


def test_context_variables_are_each_calls_own(loop: str) -> None:
    async def test(impl: ProbeImpl, remote: Probe) -> None:
        VAR.set("the client's")
        for call in (remote.set_var, remote.set_var_direct):
            seen = await asyncio.gather(*(call(str(n)) for n in range(5)))
            assert seen == ["clean"] * 5
        assert await asyncio.gather(*(remote.wait(3) for _ in range(5))) == ["waited"] * 5
        assert await remote.spawn() == "parent"
        assert await remote.set_var("x") == "clean"
        assert VAR.get() == "the client's"

    probe(loop, test)


def test_a_handler_that_cancels_itself_takes_no_other_with_it(loop: str) -> None:
    async def test(impl: ProbeImpl, remote: Probe) -> None:
        assert await remote.cancel_itself() == "done before it mattered"
        with pytest.raises(CallError) as caught:
            await remote.cancel_and_wait()
        assert caught.value.code == "jetstream::cancelled"
        calls = [remote.task_name(str(n)) for n in range(20)]
        assert await asyncio.gather(*calls) == [str(n) for n in range(20)]
        assert await remote.wait(2) == "waited"

    probe(loop, test)


@pytest.mark.parametrize("how", ["from outside", "from inside"])
def test_a_task_that_was_cancelled_while_it_stood_ready_is_given_to_nobody(
    loop: str, how: str
) -> None:
    async def test(impl: ProbeImpl, remote: Probe) -> None:
        for _ in range(3):
            assert await remote.task_name("first") == "first"
            if how == "from inside":
                assert await remote.cancel_and_uncancel() == "still here"
            else:
                # As those do who cancel all tasks of a loop.
                for task in asyncio.all_tasks():
                    if "ready" in repr(task.get_coro()):
                        task.cancel()
            assert await remote.wait(2) == "waited"

    probe(loop, test)


def test_what_is_no_exception_is_answered_and_told_to_the_loop(loop: str) -> None:
    async def test(impl: ProbeImpl, remote: Probe) -> None:
        told: asyncio.Queue[BaseException] = asyncio.Queue()
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: told.put_nowait(context["exception"])
        )
        with pytest.raises(CallError) as caught:
            await remote.raise_base_later()
        assert caught.value.code == "jetstream::internal"
        gc.collect()
        assert isinstance(await told.get(), OddError)
        assert await remote.wait(2) == "waited"

    probe(loop, test)


def test_timeouts_work_inside_handlers(loop: str) -> None:
    async def test(impl: ProbeImpl, remote: Probe) -> None:
        waiting = [remote.timeout(0.01) for _ in range(3)]
        assert await asyncio.gather(*waiting, remote.wait(2)) == ["timed out"] * 3 + ["waited"]

    probe(loop, test)


def test_handlers_that_wait_and_handlers_that_do_not_take_turns(loop: str) -> None:
    async def test(impl: ProbeImpl, remote: Probe) -> None:
        calls = [remote.wait(n % 4) if n % 3 else remote.task_name("at once") for n in range(200)]
        answers = await asyncio.gather(*calls)
        assert answers == ["waited" if n % 3 else "at once" for n in range(200)]
        ours = [task for task in asyncio.all_tasks() if "ready" in repr(task.get_coro())]
        assert len(ours) <= 1, "one task stands ready, and no more"

    probe(loop, test)
