"""When a peer is asked whether it is still there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from jetstream._pulse import Pulse

from tests.helpers import run


class Core:
    """A connection that a test moves."""

    def __init__(self) -> None:
        self.lost = None
        self.alive = False
        self._heard = 0
        self.looks = 0
        self.pings = 0
        self.busy = False

    @property
    def heard(self) -> int:
        self._heard += self.alive
        return self._heard

    @property
    def calls(self) -> int:
        self.looks += 1
        return int(self.busy)

    def ping(self) -> None:
        self.pings += 1


class Time:
    """Seconds that pass when somebody sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(asyncio, "sleep", self._sleep)
        self.steps: list[float] = []
        self.until = asyncio.Event()
        self.end = 0.0

    async def _sleep(self, seconds: float) -> None:
        if self.now + seconds > self.end:
            self.until.set()
            await asyncio.Event().wait()
        self.now += seconds
        self.steps.append(seconds)


async def passes(time: Time, core: Core, seconds: float) -> bool:
    """Whether the peer is silent after so many seconds."""
    loop: Any = asyncio.get_running_loop()
    time.end = time.now + seconds
    made: Any = Pulse(core, 1.0)  # type: ignore[arg-type]
    before, loop.time = loop.time, lambda: time.now
    try:
        silent = asyncio.ensure_future(made.until_silent())
        stopped = asyncio.ensure_future(time.until.wait())
        await asyncio.wait((silent, stopped), return_when=asyncio.FIRST_COMPLETED)
        return silent.done()
    finally:
        loop.time = before
        silent.cancel()
        stopped.cancel()


def test_an_idle_session_is_looked_at_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        core, time = Core(), Time(monkeypatch)
        assert not await passes(time, core, 100)
        assert core.looks == 100
        assert core.pings == 0

    run(main)


def test_silence_is_noticed_in_three_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        core, time = Core(), Time(monkeypatch)
        core.busy = True
        assert await passes(time, core, 100)
        assert time.now == 3
        assert core.pings == 8, "at the first look, and four times a second"

    run(main)


def test_whoever_is_heard_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        core, time = Core(), Time(monkeypatch)
        core.busy = core.alive = True
        assert not await passes(time, core, 100)
        assert core.pings == 0

    run(main)
