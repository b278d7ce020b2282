"""A server that is killed without a word, and started again in the same place."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from typing import TYPE_CHECKING

import pytest
from jetstream import Client, ConnectionLost, Limits, Reconnect, Session, connect

from tests.faults.ledger import Ledger, answer_to, ask
from tests.faults.server import ServerProcess
from tests.helpers import client_tls, run

if TYPE_CHECKING:
    from pathlib import Path

AT_ONCE = 64
USUALLY, AT_MOST = 1.0, 5.0
"""Seconds until calls go on: in most rounds, and on a machine that does much else."""


class Load:
    """Calls without end, each with a number of its own; a lost one is not repeated.

    Whoever made a lost call connects again, by `connect`.
    """

    def __init__(self, client: Client, server: ServerProcess) -> None:
        self._client = client
        self._server = server
        self._numbers = itertools.count(1)
        self._session: Session | None = None
        self._connecting = asyncio.Lock()
        self.answered: set[int] = set()
        self.lost: set[int] = set()
        self._goal = asyncio.Event()
        self._goal_at = 0
        self.connected = asyncio.Event()
        """Set when a session was made."""

    async def session(self) -> Session:
        """The session that works, or a new one."""
        async with self._connecting:
            if self._session is None or self._session.closed is not None:
                self._session = await self._client.session(self._server.address)
                self.connected.set()
            return self._session

    async def run(self) -> None:
        """Calls and calls."""
        while True:
            ledger = (await self.session()).channel(Ledger)
            number = next(self._numbers)
            try:
                await ask(ledger, number)
            except ConnectionLost:
                self.lost.add(number)
            else:
                self.answered.add(number)
                if len(self.answered) == self._goal_at:
                    self._goal.set()

    async def more(self, count: int) -> None:
        """Waits until so many more calls have been answered."""
        self._goal.clear()
        self._goal_at = len(self.answered) + count
        await self._goal.wait()


def check_times(took: list[float]) -> None:
    """Most rounds were quick; of a single one a busy machine says nothing."""
    if len(took) > 1:
        assert statistics.median(took) < USUALLY, took


def killed_under_load(folder: Path, rounds: int) -> None:
    async def main() -> None:
        async with Client(client_tls()) as client:
            load, took = Load(client, server), list[float]()
            callers = [asyncio.ensure_future(load.run()) for _ in range(AT_ONCE)]
            for _ in range(rounds):
                await load.more(2_000)
                load.connected.clear()
                server.kill()
                # The loop goes on meanwhile: it is the callers' packets that are answered.
                await asyncio.to_thread(server.start)
                began = time.monotonic()
                async with asyncio.timeout(AT_MOST):
                    await load.connected.wait()
                    await load.more(100)
                took.append(time.monotonic() - began)
            check_times(took)
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)
            assert load.lost, "it was not killed under load"
            entries = server.entries()
            twice = [number for number, count in entries.items() if count > 1]
            assert not twice, f"entered twice: {twice[:10]}"
            assert load.answered <= set(entries), "answered, and not entered"

    with ServerProcess(folder) as server:
        run(main, patience=120)


def test_a_server_that_is_killed_and_restarted_under_load(tmp_path: Path) -> None:
    killed_under_load(tmp_path, rounds=1)


@pytest.mark.slow
def test_a_server_that_is_killed_and_restarted_again_and_again(tmp_path: Path) -> None:
    killed_under_load(tmp_path, rounds=10)


def stays_up(folder: Path, rounds: int) -> None:
    """A session that stays up, under load: calls that change something are sent once at most, and
    those that do not are all answered."""

    async def main() -> None:
        numbers = itertools.count(1)
        answered: set[int] = set()
        lost: set[int] = set()
        fresh, looked = asyncio.Event(), asyncio.Event()
        took: list[float] = []

        async def enter(ledger: Ledger) -> None:
            while True:
                number = next(numbers)
                try:
                    await ask(ledger, number)
                except ConnectionLost:
                    lost.add(number)
                else:
                    answered.add(number)
                    fresh.set()

        async def look(ledger: Ledger) -> None:
            while True:
                assert not await ledger.has(2**63), "nobody has entered that"
                looked.set()

        # However long a loaded machine takes to start a process, nothing fails for that.
        stays_up = Reconnect(patience=60.0)
        async with connect(server.address, tls=client_tls(), reconnect=stays_up) as session:
            ledger = session.channel(Ledger)
            tasks = [asyncio.ensure_future(enter(ledger)) for _ in range(AT_ONCE)]
            lookers = [asyncio.ensure_future(look(ledger)) for _ in range(8)]
            for _ in range(rounds):
                for _ in range(500):
                    fresh.clear()
                    await fresh.wait()
                server.kill()
                await asyncio.to_thread(server.start)
                began = time.monotonic()
                fresh.clear()
                async with asyncio.timeout(AT_MOST):
                    await fresh.wait()
                took.append(time.monotonic() - began)
            check_times(took)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for _ in range(100):
                looked.clear()
                await looked.wait()
            assert not any(looker.done() for looker in lookers), "an idempotent call failed"
            for looker in lookers:
                looker.cancel()
            await asyncio.gather(*lookers, return_exceptions=True)
        assert lost, "it was not killed under load"
        entries = server.entries()
        twice = [number for number, count in entries.items() if count > 1]
        assert not twice, f"entered twice: {twice[:10]}"
        assert answered <= set(entries), "answered, and not entered"

    with ServerProcess(folder) as server:
        run(main, patience=120)


def test_a_session_that_stays_up(tmp_path: Path) -> None:
    stays_up(tmp_path, rounds=1)


@pytest.mark.slow
def test_a_session_that_stays_up_again_and_again(tmp_path: Path) -> None:
    stays_up(tmp_path, rounds=10)


def test_every_call_ends_when_the_server_is_gone_for_good(tmp_path: Path) -> None:
    limits = Limits(idle_timeout=1.0, keep_alive=0.3)

    async def main() -> None:
        async with Client(client_tls(), limits=limits) as client:
            session = await client.session(server.address, call_timeout=None)
            ledger = session.channel(Ledger)
            assert await ledger.enter(1) == answer_to(1)
            server.kill()
            calls = [asyncio.ensure_future(ask(ledger, number)) for number in range(2, 1_002)]
            async with asyncio.timeout(5):
                ends = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(end, ConnectionLost) for end in ends)

    with ServerProcess(tmp_path) as server:
        run(main)
