"""Logging: quiet by default, a line for a call at DEBUG, a traceback for what was not meant."""

import logging
import subprocess
import sys
from typing import Protocol

import pytest
from jetstream import CallError, JetStreamError, _logging, service
from jetstream.testing import pair

from tests.helpers import run


@service
class Echo(Protocol):
    async def put(self, item: str) -> str: ...
    async def fail(self, how: str) -> None: ...


class EchoImpl(Echo):
    def put(self, item: str) -> str:
        return item

    async def fail(self, how: str) -> None:
        raise JetStreamError("meant") if how == "meant" else KeyError("a secret")


def calls() -> None:
    async def main() -> None:
        async with pair(EchoImpl()) as session:
            echo = session.channel(Echo)
            await echo.put("a")
            for how in ("meant", "not meant"):
                with pytest.raises(CallError):
                    await echo.fail(how)

    run(main)


def test_names():
    loggers = (_logging.server, _logging.client, _logging.call)
    assert [logger.name for logger in loggers] == [
        "jetstream.server",
        "jetstream.client",
        "jetstream.call",
    ]


def test_a_line_for_each_call_at_debug(caplog):
    caplog.set_level(logging.DEBUG, "jetstream.call")
    calls()
    lines = [record.getMessage() for record in caplog.records if record.levelname == "DEBUG"]
    assert [line.partition(" after ")[0] for line in lines] == [
        "Echo.put: ok",
        "Echo.fail: JetStreamError",
        "Echo.fail: KeyError",
    ]
    assert all(line.endswith(" ms") for line in lines)


def test_an_exception_that_was_not_meant_has_its_traceback(caplog):
    caplog.set_level(logging.INFO, "jetstream")
    calls()
    (record,) = [record for record in caplog.records if record.name == "jetstream.call"]
    assert (record.levelname, record.getMessage()) == ("ERROR", "Echo.fail failed")
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], KeyError)


def test_methods_are_not_wrapped_for_nothing(caplog, monkeypatch):
    caplog.set_level(logging.INFO, "jetstream")
    monkeypatch.setattr("jetstream._callable._logged", None)  # whoever calls it fails
    calls()


def test_quiet_by_default():
    """A program that sets up no logging sees nothing, not even errors, on its terminal."""
    program = "import jetstream, logging; logging.getLogger('jetstream.call').error('something')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")
