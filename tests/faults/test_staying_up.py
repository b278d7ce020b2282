"""Sessions that stay up while their server is killed and while their way is dark."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING

import pytest
from jetstream import ConnectionLost, Reconnect, connect

from tests.faults.ledger import Ledger, ask
from tests.faults.proxy import Proxy
from tests.faults.server import ServerProcess
from tests.helpers import client_tls, run

if TYPE_CHECKING:
    from pathlib import Path

AT_ONCE = 64


class Load:
    """Calls without a pause; what is lost is noted, and not repeated."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._numbers = itertools.count(1)
        self.answered: set[int] = set()
        self.lost: set[int] = set()
        self.latest = 0.0
        """When the latest answer came."""
        self._more = asyncio.Event()
        self._callers = [asyncio.ensure_future(self._run()) for _ in range(AT_ONCE)]

    async def _run(self) -> None:
        while True:
            number = next(self._numbers)
            try:
                await ask(self._ledger, number)
            except ConnectionLost:
                self.lost.add(number)
            else:
                self.answered.add(number)
                self.latest = time.monotonic()
                self._more.set()

    async def more(self, count: int) -> None:
        """Waits until so many more calls have been answered."""
        goal = len(self.answered) + count
        while len(self.answered) < goal:
            self._more.clear()
            await self._more.wait()

    async def stop(self) -> None:
        """Ends the callers."""
        for caller in self._callers:
            caller.cancel()
        for end in await asyncio.gather(*self._callers, return_exceptions=True):
            assert isinstance(end, asyncio.CancelledError), end


@pytest.mark.slow
@pytest.mark.parametrize("away", [0.0, 0.3, 0.7, 1.2, 2.0, 3.5])
def test_a_killed_server_is_found_within_a_second_of_its_return(
    tmp_path: Path, away: float, loop: str
) -> None:
    async def main() -> None:
        reconnect = Reconnect(patience=60.0)
        async with connect(server.address, tls=client_tls(), reconnect=reconnect) as session:
            load = Load(session.channel(Ledger))
            for _ in range(2):
                await load.more(2_000)
                await asyncio.to_thread(server.kill)
                await asyncio.sleep(away)
                # Returns when it listens.
                await asyncio.to_thread(server.start)
                began, lost = time.monotonic(), len(load.lost)
                async with asyncio.timeout(5):
                    await load.more(100)
                took = time.monotonic() - began
                assert took < 1, f"{took:.2f} s after the server's return, {lost} lost"
            await load.stop()
            assert load.lost, "it was not killed under load"
            # What was in flight is lost once, and not one call more for each kill.
            assert len(load.lost) <= 2 * AT_ONCE
        entries = server.entries()
        twice = [number for number, count in entries.items() if count > 1]
        assert not twice, f"entered twice: {twice[:10]}"
        assert load.answered <= set(entries), "answered, and not entered"

    with ServerProcess(tmp_path) as server:
        run(main, loop=loop)


@pytest.mark.slow
def test_a_dark_way_costs_no_call(tmp_path: Path, loop: str) -> None:
    async def main() -> None:
        with Proxy(server.address, seed=1) as proxy:
            async with connect(proxy.address, tls=client_tls(), reconnect=True) as session:
                core = session._core
                load = Load(session.channel(Ledger))
                await load.more(1_000)
                proxy.blackhole(True)
                await asyncio.sleep(2)
                proxy.blackhole(False)
                await load.more(1_000)
                await load.stop()
                assert not load.lost, "the connection was still good"
                assert session._core is core
        entries = server.entries()
        assert all(count == 1 for count in entries.values())
        assert load.answered <= set(entries)

    with ServerProcess(tmp_path) as server:
        run(main, loop=loop)
