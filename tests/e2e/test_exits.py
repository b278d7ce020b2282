"""Interpreters that end with calls in flight: at once, in silence, with their own exit code."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.helpers import LOOPS

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
SECONDS = 2.0
"""In which an interpreter must be gone, from the word on."""

COMMON = """
import asyncio, os, signal, sys, threading
sys.unraisablehook = lambda told: (sys.__stderr__.write(f"UNRAISABLE {told!r}\\n"), os._exit(70))
import uvloop
from tests.e2e.services import Echo, EchoImpl
from tests.helpers import client_tls, join, serve

factory = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}[sys.argv[1]]
kept = []

async def in_flight():
    impl = EchoImpl()
    server = serve(impl)
    await server.start()
    session = await join(server)
    echo = session.channel(Echo)
    calls = [asyncio.ensure_future(echo.hold(str(n))) for n in range(20)]
    calls.append(asyncio.ensure_future(echo.make(1 << 20)))
    await asyncio.gather(*[impl.arrival(str(n)).wait() for n in range(20)])
    kept.append((server, session, calls))
    return server, session

def run(main):
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)

def ready():
    print("ready", flush=True)
"""


@dataclass(frozen=True)
class End:
    """How a program ends."""

    program: str
    code: int = 0
    interrupt: bool = False
    """It is sent SIGINT when it is ready."""
    complaint: str = ""
    """How what asyncio itself has to say about such an end begins."""


ENDS = {
    "main returns": End("""
async def main():
    await in_flight()
    ready()
run(main())
"""),
    "nothing is kept": End("""
async def main():
    await in_flight()
    kept.clear()
    ready()
run(main())
"""),
    "a cycle": End("""
async def main():
    server, session = await in_flight()
    server.me = server
    session.all = (session, server, kept[0][2])
    kept.clear()
    ready()
run(main())
"""),
    "sys.exit in a task": End(
        """
async def main():
    await in_flight()
    ready()
    sys.exit(3)
run(main())
""",
        code=3,
    ),
    "sys.exit in a handler that waits": End(
        """
class Leaving(EchoImpl):
    async def ping(self):
        await asyncio.sleep(0)
        sys.exit(3)
async def main():
    await in_flight()
    async with serve(Leaving()) as server, join(server) as session:
        ready()
        await session.channel(Echo).ping()
run(main())
""",
        code=3,
        complaint="Task exception was never retrieved",
    ),
    "sys.exit in a handler that does not": End(
        """
class Leaving(EchoImpl):
    async def ping(self):
        sys.exit(3)
async def main():
    await in_flight()
    async with serve(Leaving()) as server, join(server) as session:
        ready()
        await session.channel(Echo).ping()
run(main())
""",
        code=3,
    ),
    "the server is closed and the client is not": End("""
async def main():
    server, session = await in_flight()
    ready()
    await server.close(graceful_timeout=0)
run(main())
"""),
    "the client is closed and the server is not": End("""
async def main():
    server, session = await in_flight()
    ready()
    await session.close()
run(main())
"""),
    "SIGINT in asyncio.run": End(
        """
async def main():
    await in_flight()
    ready()
    await asyncio.Event().wait()
try:
    run(main())
except KeyboardInterrupt:
    pass
""",
        interrupt=True,
    ),
    "SIGINT inside async with": End(
        """
async def main():
    impl = EchoImpl()
    async with serve(impl, graceful_timeout=0) as server, join(server) as session:
        calls = asyncio.gather(*[session.channel(Echo).hold(str(n)) for n in range(20)])
        await impl.arrival("19").wait()
        ready()
        await calls
try:
    run(main())
except KeyboardInterrupt:
    pass
""",
        interrupt=True,
    ),
    "a daemon thread": End("""
def elsewhere():
    async def main():
        await in_flight()
        ready()
        echo = kept[0][1].channel(Echo)
        while True:
            await echo.ping()
    run(main())
thread = threading.Thread(target=elsewhere, daemon=True)
thread.start()
while not kept:
    thread.join(0.01)
thread.join(0.1)
"""),
    "handlers in threads": End("""
async def main():
    server, session = await in_flight()
    calls = [asyncio.ensure_future(session.channel(Echo).thread()) for _ in range(100)]
    await calls[0]
    ready()
run(main())
"""),
}


def leave(name: str, loop: str) -> str:
    """Runs the program to its end; says what was wrong with it, or nothing."""
    end = ENDS[name]
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", COMMON + end.program, loop],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'python'}:{ROOT}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watchdog = threading.Timer(20, process.kill)
    watchdog.start()
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = process.stdout.readline()
        began = time.monotonic()
        if end.interrupt and said:
            process.send_signal(2)
        complaints = process.stderr.read()
        process.wait()
        seconds = time.monotonic() - began
    watchdog.cancel()
    silent = complaints.startswith(end.complaint) if end.complaint else not complaints
    if silent and (said, process.returncode) == ("ready\n", end.code) and seconds < SECONDS:
        return ""
    return f"{name} on {loop}: code {process.returncode} after {seconds:.2f} s\n{complaints}"


def leave_all(jobs: Sequence[tuple[str, str]]) -> None:
    """Runs programs to their ends, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        wrong = [problem for problem in pool.map(lambda job: leave(*job), jobs) if problem]
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENDS)
def test_an_interpreter_ends(name: str) -> None:
    leave_all([(name, loop) for loop in LOOPS])


@pytest.mark.slow
def test_interpreters_end_fifty_times() -> None:
    jobs = [(name, loop) for name in ENDS for loop in LOOPS]
    leave_all((jobs * 3)[:50])
