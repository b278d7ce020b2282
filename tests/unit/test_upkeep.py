"""What keeps sessions up, without a network."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from jetstream._pulse import Pulse
from jetstream._upkeep import _until_doubtful


class Core:
    """A connection of which nothing is ever told."""

    heard = 0
    calls = 0
    lost = None

    def wait(self, what: str) -> asyncio.Future[None]:
        return asyncio.get_running_loop().create_future()


def test_nothing_is_called_on_a_loop_that_is_closed() -> None:
    loop = asyncio.new_event_loop()

    async def begin() -> asyncio.Task[None]:
        core: Any = Core()
        task = asyncio.ensure_future(_until_doubtful(core, Pulse(core, 1.0)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return task

    task = loop.run_until_complete(begin())
    for each in asyncio.all_tasks(loop):
        setattr(each, "_log_destroy_pending", False)  # noqa: B010  asyncio's own word for it
    loop.close()
    # So it ends when the garbage is collected.
    cast("Any", task.get_coro()).close()
