"""Much at once: calls in flight on one connection, connections of one server."""

# A service class only declares.
# mypy: disable-error-code="empty-body"

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import pytest
from jetstream import U64, Interface, Limits, service

from tests.faults.ledger import answer_to
from tests.helpers import join, live_objects, run, serve
from tests.soak.stages import cancel_runs, hold_connections, make_calls, reconnect, vary

if TYPE_CHECKING:
    from pathlib import Path


@service
class Gate(Interface):
    """Holds every call until it is opened."""

    async def knock(self, number: U64) -> U64:
        """Answers what only this number is answered, once the gate is open."""
        ...


class GateImpl(Gate):
    """Lets a test know when all have arrived."""

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self.numbers: set[int] = set()
        self.full = asyncio.Event()
        self.open = asyncio.Event()

    async def knock(self, number: U64) -> U64:
        assert number not in self.numbers, "asked twice"
        self.numbers.add(number)
        if len(self.numbers) == self._expected:
            self.full.set()
        await self.open.wait()
        return answer_to(number)


@pytest.mark.parametrize("count", [5_000, pytest.param(60_000, marks=pytest.mark.slow)])
def test_calls_in_flight_on_one_connection(count: int, loop: str) -> None:
    before = live_objects()

    async def main() -> None:
        impl = GateImpl(count)
        limits = Limits(max_handlers=65_535)
        async with serve(impl, limits=limits) as server, join(server) as session:
            gate = session.channel(Gate)
            calls = [asyncio.ensure_future(gate.knock(number)) for number in range(count)]
            await impl.full.wait()
            assert not any(call.done() for call in calls)
            assert live_objects()["calls"] - before["calls"] == count
            impl.open.set()
            answers = await asyncio.gather(*calls)
            assert answers == [answer_to(number) for number in range(count)]

    run(main, loop=loop)
    gc.collect()
    assert live_objects() == before


@pytest.mark.slow
def test_5000_connections_are_held_at_60_kb_each(tmp_path: Path) -> None:
    hold_connections(tmp_path, 5_000)


@pytest.mark.slow
def test_50000_calls_leave_nothing(tmp_path: Path) -> None:
    make_calls(tmp_path, 50_000, warm_up=20_000)


@pytest.mark.slow
def test_streams_cancellations_and_failures_leave_nothing(tmp_path: Path) -> None:
    vary(tmp_path, 4_000, warm_up=2_000)


@pytest.mark.slow
def test_300_connections_leave_nothing(tmp_path: Path) -> None:
    reconnect(tmp_path, 300, warm_up=300)


@pytest.mark.slow
def test_runs_that_are_cancelled_at_any_moment(tmp_path: Path) -> None:
    cancel_runs(tmp_path, 400)
