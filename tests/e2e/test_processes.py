"""Whole processes: signals, loops that never end, forks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow

PREAMBLE = """
import asyncio, os, signal, sys, gc
from jetstream import *
from tests.e2e.services import Echo, EchoImpl
from tests.helpers import join, serve

def unraisable(told):
    sys.__stderr__.write(f"UNRAISABLE {told.exc_value!r} {told.err_msg}\\n")
    sys.__stderr__.flush()
    os._exit(70)

sys.unraisablehook = unraisable
"""


def start(script: str, *flags: str) -> subprocess.Popen[str]:
    """Runs a script with everything it needs imported."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", *flags, "-c", PREAMBLE + script],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    """Waits for its end; returns what it printed."""
    try:
        out, err = process.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        pytest.fail(f"it hangs\n{out}\n{err}")
    assert process.returncode == code, f"{process.returncode}\n{out}\n{err}"
    assert "UNRAISABLE" not in err
    return out + err


def wait_for_line(process: subprocess.Popen[str], part: str) -> None:
    """Reads what it prints, up to a line that contains `part`."""
    assert process.stdout is not None
    for line in process.stdout:
        if part in line:
            return
    pytest.fail(f"it never printed {part!r}: {finish(process, process.wait())}")


RUN = """
import logging
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
async def main():
    impl = EchoImpl()
    server = serve(impl, graceful_timeout=GRACE)
    await server.start()
    running = asyncio.ensure_future(server.run())
    async with join(server) as session:
        held = asyncio.ensure_future(session.channel(Echo).hold("x"))
        await impl.arrival("x").wait()
        # Whoever started this process opens the gate, with a line.
        loop = asyncio.get_running_loop()
        def on_line():
            loop.remove_reader(sys.stdin)
            if sys.stdin.readline():
                impl.gate("x").set()
        loop.add_reader(sys.stdin, on_line)
        print("ready", flush=True)
        try:
            print("answer", await held, flush=True)
        except ConnectionLost as error:
            print("lost", error, flush=True)
        await running
        print("stopped", impl.cancelled, flush=True)
asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_drains(number: signal.Signals) -> None:
    process = start(RUN.replace("GRACE", "10"))
    wait_for_line(process, "ready")
    process.send_signal(number)
    wait_for_line(process, "stopping")
    assert process.stdin is not None
    process.stdin.write("open\n")
    process.stdin.flush()
    out = finish(process)
    assert "answer x" in out
    assert "stopped []" in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_at_once(number: signal.Signals) -> None:
    process = start(RUN.replace("GRACE", "10"))
    wait_for_line(process, "ready")
    process.send_signal(number)
    # The first signal has been taken, so that the second is one.
    wait_for_line(process, "stopping")
    began = time.monotonic()
    process.send_signal(number)
    out = finish(process)
    assert time.monotonic() - began < 5
    assert "lost the peer closed the connection: the server is shutting down" in out
    assert "stopped ['x']" in out


BLOCKED = """
import contextlib, logging, threading
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
running = threading.Event()

@service
class Blocks:
    @method(thread=True)
    def block(self) -> bool:
        print("blocked", flush=True)
        return running.wait(TIME)

async def main():
    server = serve(Blocks())
    await server.start()
    serving = asyncio.ensure_future(server.run())
    async with join(server) as session:
        call = asyncio.ensure_future(session.channel(Blocks).block())
        with contextlib.suppress(ConnectionLost):
            print("answer", await call, flush=True)
        await serving
asyncio.run(main())
print("the loop is over", flush=True)
"""


def test_a_second_signal_does_not_wait_for_threads() -> None:
    process = start(BLOCKED.replace("TIME", "15"))
    wait_for_line(process, "blocked")
    process.send_signal(signal.SIGTERM)
    wait_for_line(process, "stopping")
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    out = finish(process)
    assert time.monotonic() - began < 5
    assert "the loop is over" in out


def test_one_signal_waits_for_threads() -> None:
    process = start(BLOCKED.replace("TIME", "0.2"))
    wait_for_line(process, "blocked")
    process.send_signal(signal.SIGTERM)
    out = finish(process)
    assert "answer False" in out
    assert "the loop is over" in out


def test_handlers_that_outlast_the_grace_are_cancelled() -> None:
    process = start(RUN.replace("GRACE", "0.05"))
    wait_for_line(process, "ready")
    process.send_signal(signal.SIGTERM)
    out = finish(process)
    assert "shutting down" in out
    assert "stopped ['x']" in out


IN_FLIGHT = """
async def main():
    impl = EchoImpl()
    server = serve(impl)
    await server.start()
    session = await join(server)
    echo = session.channel(Echo)
    tasks = [asyncio.ensure_future(echo.hold("x")) for _ in range(20)]
    await impl.arrival("x").wait()
    END
"""


def test_an_interpreter_ends_cleanly_when_the_loop_never_did() -> None:
    """The loop stops in the middle, is never closed, and the interpreter goes."""
    script = IN_FLIGHT.replace("END", "asyncio.get_running_loop().stop(); await asyncio.sleep(0)")
    script += """
loop = asyncio.new_event_loop()
task = loop.create_task(main())
loop.run_forever()
"""
    process = start(script)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert "panic" not in err.lower()
    assert "Fatal" not in err


def test_a_forked_child_is_told_so() -> None:
    script = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
async def main():
    async with serve(EchoImpl()) as server, join(server) as session:
        echo = session.channel(Echo)
        await echo.ping()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                try:
                    echo.ping().send(None)
                except RuntimeError as error:
                    assert "fork" in str(error), error
                    assert "spawn" in str(error), error
                    code = 42
                try:
                    session.channel(Echo, max_concurrent=3)
                    code = 2
                except RuntimeError as error:
                    assert "fork" in str(error), error
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status))
        print(await echo.echo("the parent goes on"))
asyncio.run(main())
"""
    assert finish(start(script)).split("\n")[:2] == ["42", "the parent goes on"]


def test_a_forked_child_may_open_its_own() -> None:
    script = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
async def use():
    async with serve(EchoImpl()) as server, join(server) as session:
        assert await session.channel(Echo).echo("hi") == "hi"
asyncio.run(use())
child = os.fork()
if child == 0:
    code = 1
    try:
        asyncio.run(use())
        code = 42
    finally:
        os._exit(code)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status))
"""
    assert finish(start(script)).strip() == "42"
