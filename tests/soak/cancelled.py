"""Loops that are cancelled at any moment: `python -W error -m tests.soak.cancelled N [uvloop]`.

Each run starts a server, connects, calls, and is cancelled a little later than the one before. What
is never awaited, never closed or raised where nobody sees it ends the program.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from typing import Any

from tests.e2e.services import Echo, EchoImpl
from tests.helpers import join, live_objects, serve

STEPS = 400
"""Passes of the loop after which a run is cancelled at the latest; then they begin anew."""


async def _main(steps: int) -> None:
    me = asyncio.current_task()
    loop = asyncio.get_running_loop()
    assert me is not None

    def count_down(left: int) -> None:
        if left == 0:
            me.cancel()
        else:
            loop.call_soon(count_down, left - 1)

    loop.call_soon(count_down, steps)
    async with serve(EchoImpl(), graceful_timeout=0) as server, join(server) as session:
        echo = session.channel(Echo)
        async with asyncio.TaskGroup() as group:
            for number in range(5):
                group.create_task(echo.echo(str(number)))
                group.create_task(echo.hold("x"))


def _run(count: int, loop: str) -> None:
    factory = asyncio.new_event_loop
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    for number in range(count):
        try:
            with asyncio.Runner(loop_factory=factory) as runner:
                runner.run(_main(number % STEPS))
        except asyncio.CancelledError:
            pass
        else:
            raise AssertionError("it was not cancelled")
        if number % 500 == 499:
            print(f"{number + 1:,} runs", flush=True)
    gc.collect()
    assert not any(live_objects().values()), live_objects()


def _unraisable(told: Any) -> None:
    print(f"unraisable: {told.exc_value!r} {told.err_msg}", flush=True)
    os._exit(70)


if __name__ == "__main__":
    sys.unraisablehook = _unraisable
    _run(int(sys.argv[1]), sys.argv[2])
