"""`jetstream serve --reload`: the process that looks at files, and the one that serves."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

APP = """
import asyncio
import sys

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError
    print("asked", scope["path"], file=sys.stderr, flush=True)
    await asyncio.sleep(float(scope["path"].strip("/")))
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"done"})
"""


def _heed() -> None:
    for each in (signal.SIGINT, signal.SIGHUP):
        signal.signal(each, signal.SIG_DFL)


@contextlib.contextmanager
def reloading(folder: Path, *before: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command in a session of its own, as in a terminal, and where it listens."""
    (folder / "main.py").write_text(APP)
    command = [*before, sys.executable, "-m", "jetstream", "serve", "main:app", "--reload"]
    process = subprocess.Popen(
        [*command, "--port", "0"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # As in a terminal, whatever ignores them around the tests.
        preexec_fn=_heed,
    )
    try:
        where = until(process, "listening on").split("listening on ")[1].split()[0]
        yield process, where
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def until(process: subprocess.Popen[str], text: str) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if text in line:
            return line
    raise AssertionError(process.wait())


def ask(where: str) -> str:
    return httpx.get(where, trust_env=False, timeout=30).text


def test_an_interrupt_from_the_terminal_lets_requests_end(tmp_path: Path) -> None:
    with reloading(tmp_path) as (process, where), ThreadPoolExecutor() as threads:
        answer = threads.submit(ask, f"{where}/1.5")
        until(process, "asked")
        # Whoever is in the foreground gets it, not the first process alone.
        os.killpg(process.pid, signal.SIGINT)
        assert answer.result() == "done"
        _, rest = process.communicate(timeout=20)
        assert process.returncode == 0
        assert "Traceback" not in rest


def test_a_second_one_does_not_wait(tmp_path: Path) -> None:
    with reloading(tmp_path) as (process, where), ThreadPoolExecutor() as threads:
        answer = threads.submit(ask, f"{where}/8")
        until(process, "asked")
        began = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        until(process, "stopping")
        os.killpg(process.pid, signal.SIGINT)
        with pytest.raises(httpx.TransportError):
            answer.result()
        process.communicate(timeout=20)
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("end", [signal.SIGHUP, signal.SIGKILL])
def test_the_one_that_serves_does_not_outlive_the_other(
    end: signal.Signals, tmp_path: Path
) -> None:
    with reloading(tmp_path) as (process, where):
        assert ask(f"{where}/0") == "done"
        process.send_signal(end)
        # Both have its standard error, so it ends with the last of them.
        process.communicate(timeout=20)
        assert process.returncode == (0 if end == signal.SIGHUP else -end)
        with pytest.raises(httpx.ConnectError):
            ask(f"{where}/0")


def test_without_a_terminal_it_goes_on_under_nohup(tmp_path: Path) -> None:
    with reloading(tmp_path, "nohup") as (process, where):
        process.send_signal(signal.SIGHUP)
        assert ask(f"{where}/0") == "done"
        assert process.poll() is None
        process.terminate()
        process.communicate(timeout=20)
        assert process.returncode == 0
