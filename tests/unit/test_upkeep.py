"""What keeps sessions up, without a network."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any, cast

from jetstream import ConnectionLost, Reconnect
from jetstream._attempts import Attempts
from jetstream._pulse import Pulse
from jetstream._upkeep import Upkeep, _until_doubtful

if TYPE_CHECKING:
    from collections.abc import Coroutine


class Core:
    """A connection of which nothing is ever told."""

    heard = 0
    calls = 0
    lost = None

    def wait(self, what: str) -> asyncio.Future[None]:
        return asyncio.get_running_loop().create_future()


class Gone(Core):
    """One that is gone, which is told at once."""

    lost = ConnectionLost("reset")
    early_data = "none"

    def wait(self, what: str) -> asyncio.Future[None]:
        future = super().wait(what)
        if what == "closed":
            future.set_result(None)
        return future


def left(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """A coroutine that waits on a loop which is closed: so it ends with the garbage."""
    loop = asyncio.new_event_loop()

    async def begin() -> asyncio.Task[Any]:
        task = asyncio.ensure_future(coroutine)
        for _ in range(20):
            await asyncio.sleep(0)
        return task

    task = loop.run_until_complete(begin())
    for each in asyncio.all_tasks(loop):
        setattr(each, "_log_destroy_pending", False)  # noqa: B010  asyncio's own word for it
    loop.close()
    return task.get_coro()


def test_nothing_is_called_on_a_loop_that_is_closed() -> None:
    core: Any = Core()
    left(_until_doubtful(core, Pulse(core, 1.0))).close()


async def never() -> Any:
    """An attempt that nothing becomes of."""
    await asyncio.Event().wait()


def test_attempts_end_with_a_loop_that_is_closed() -> None:
    left(Attempts(never, itertools.repeat(3600.0), None).run()).close()


def test_a_session_ends_with_a_loop_that_is_closed() -> None:
    async def dial(*_: object, **__: object) -> Any:
        await never()

    upkeep, core = Upkeep(dial, "here", Reconnect()), Gone()
    upkeep._was_ready = True
    left(upkeep._run(cast("Any", core))).close()
