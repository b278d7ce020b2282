"""`jetstream serve --reload`: one process looks at files, and another serves until one changes."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

_LIFELINE = "JETSTREAM_RELOADING"
"""The variable with the number of a pipe that ends when the process that looks at files does."""


class _Served:
    """The process that serves, which begins anew now and then."""

    def __init__(self) -> None:
        arguments = [argument for argument in sys.argv[1:] if argument != "--reload"]
        self._command = [sys.executable, "-m", "jetstream", *arguments]
        # Our end of the pipe is closed when we are gone, however that happens.
        self._lifeline, self._ours = os.pipe()
        left_out = "JETSTREAM_SERVE_RELOAD"
        self._environment = {name: value for name, value in os.environ.items() if name != left_out}
        self._environment[_LIFELINE] = str(self._lifeline)
        self._process = self._started()
        self.told = False

    def _started(self) -> subprocess.Popen[bytes]:
        # In a session of its own: what the terminal sends would come twice, from there and from us,
        # and a second signal ends requests at once.
        return subprocess.Popen(  # noqa: S603  our own arguments
            self._command,
            env=self._environment,
            pass_fds=(self._lifeline,),
            start_new_session=True,
        )

    def tell(self) -> None:
        """Lets it end; told again, it does so at once."""
        self.told = True
        self._process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """Returns when it has ended."""
        if not self.told:
            self.tell()
        self._process.wait()

    def begin_anew(self) -> None:
        self._process = self._started()
        # Only now: a signal until here was for the one before, and `stop` makes up for it.
        self.told = False


def serve_reloading(folders: Sequence[str]) -> None:
    """Runs the same command in a process of its own, which begins anew when a file changes.

    Raises:
        click.ClickException: What looks at files is not installed.
    """
    try:
        from watchfiles import PythonFilter, watch
    except ImportError:
        raise click.ClickException("--reload needs watchfiles: pip install watchfiles") from None
    served = _Served()
    over = threading.Event()

    def on_signal(number: int, frame: object) -> None:
        # Whoever ends this process means the other one too, and each signal counts there.
        if over.is_set() or not served.told:
            served.tell()
        over.set()

    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # With nohup it outlives its terminal.
        if each is not signal.SIGHUP or signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, on_signal)
    try:
        for changes in watch(*folders, watch_filter=PythonFilter(), stop_event=over):
            names = ", ".join(sorted({Path(path).name for _, path in changes}))
            logging.getLogger("jetstream.server").info("starting again: %s changed", names)
            served.stop()
            if over.is_set():
                break
            served.begin_anew()
    finally:
        served.stop()


def end_with_parent() -> None:
    """In the process that serves: ends it when the one that looks at files is gone, even killed."""
    number = os.environ.pop(_LIFELINE, None)
    if number is None:
        return
    lifeline = int(number)
    os.set_inheritable(lifeline, False)

    def wait() -> None:
        os.read(lifeline, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="jetstream-reloading", daemon=True).start()
