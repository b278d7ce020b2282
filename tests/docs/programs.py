"""Runs programs as a reader would, in processes of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

PATIENCE = 30.0

_ANNOUNCED = """
import logging, runpy, sys
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
sys.path.insert(0, "")
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a program with the log that says when it listens."""


def run_program(path: Path, *arguments: str, cwd: Path) -> str:
    """Runs a program to its end; its output. Any warning fails it."""
    done = subprocess.run(
        [sys.executable, "-W", "error", path, *arguments],
        cwd=cwd,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


@contextlib.contextmanager
def server_program(name: str | Path, *arguments: str, cwd: Path) -> Generator[str]:
    """Runs a server of the current folder; gives the line that says where it listens.

    Ctrl-C must end it with status 0.
    """
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", _ANNOUNCED, name, *arguments],
        cwd=cwd,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        try:
            said = ""
            while "listening" not in (line := process.stderr.readline()):
                assert line, said
                said += line
            yield line
            process.send_signal(signal.SIGINT)
            _, rest = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, rest
            assert "Traceback" not in rest, rest
        finally:
            process.kill()


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
