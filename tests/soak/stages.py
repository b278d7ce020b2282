"""What a soak does: each stage short for the tests, and in full size for `make soak`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from jetstream import Client, ClosedError, connect

from tests.faults.feeds import Feeds, use
from tests.faults.ledger import Ledger, answer_to, ask, ask_all
from tests.helpers import LOOPS, client_tls, live_objects
from tests.soak.crowd import Crowd
from tests.soak.server import ROOT, Figures, SoakServer, settled

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable
    from pathlib import Path

PER_CONNECTION = 60_000
"""Bytes of the server's memory that a connection may take."""

NOTHING = {"connections": 0, "lanes": 0, "calls": 0}
PROCESSES = 2
"""From which connections are held."""


GROWTH = 1 << 20
"""Bytes by which an end may grow after its warm-up."""

AT_ONCE = 64
"""Calls in flight."""


class Memory:
    """How much both ends have grown since the warm-up; made by `after_warm_up`."""

    def __init__(self, server: SoakServer, connections: int) -> None:
        self._server = server
        self._connections = connections
        self._before = self._now()

    @classmethod
    async def after_warm_up(cls, server: SoakServer, *, connections: int) -> Memory:
        """Measures what there is now.

        Args:
            server: The other end.
            connections: How many there are then, when all others have drained.
        """
        await _drained(server, connections)
        return cls(server, connections)

    def _now(self) -> tuple[int, int]:
        return settled(), self._server.figures().resident

    def grown(self) -> tuple[int, int]:
        """Bytes here and at the server."""
        here, there = self._now()
        return here - self._before[0], there - self._before[1]

    async def check(self) -> None:
        """Fails if an end has grown by too much."""
        await _drained(self._server, self._connections)
        for where, grown in zip(("the client", "the server"), self.grown(), strict=True):
            assert grown <= GROWTH, f"{where} has grown by {grown:,} bytes"

    def __str__(self) -> str:
        return "grown by {:,} bytes here, {:,} at the server".format(*self.grown())


async def _drained(server: SoakServer, connections: int) -> None:
    """Waits until those that ended last have been forgotten (RFC 9000, section 10.2)."""
    figures = await asyncio.to_thread(until, server, lambda now: now.connections == connections, 30)
    assert figures.connections == connections


def make_calls(
    folder: Path, count: int, warm_up: int, say: Callable[[str], None] = lambda _: None
) -> None:
    """Makes that many calls; none fails or happens twice, and nothing grows."""

    async def work(server: SoakServer) -> None:
        async with Client(client_tls()) as client:
            session = await client.session(server.address)
            ledgers = [session.channel(Ledger), session.channel(Ledger, max_concurrent=8)]
            await ask_all(ledgers, range(warm_up), at_once=AT_ONCE)
            memory = await Memory.after_warm_up(server, connections=1)
            share = -(-count // 10)
            for first in range(warm_up, warm_up + count, share):
                await ask_all(ledgers, range(first, first + share), at_once=AT_ONCE)
                say(f"{first + share - warm_up:,} calls, {memory}")
            figures = server.figures()
            assert (figures.entered, figures.twice) == (warm_up + 10 * share, 0)
            await memory.check()
            say(f"at rest: {memory}")

    _with_server(folder, work, 300 + count / 1_000)


def vary(
    folder: Path, count: int, warm_up: int, say: Callable[[str], None] = lambda _: None
) -> None:
    """Subscribes, streams, cancels, misses deadlines and fails that often."""

    async def work(server: SoakServer) -> None:
        async with Client(client_tls()) as client:
            session = await client.session(server.address)
            feeds = session.channel(Feeds)
            await _together(16, range(warm_up), lambda number: use(feeds, number))
            memory = await Memory.after_warm_up(server, connections=1)
            share = -(-count // 10)
            for first in range(warm_up, warm_up + count, share):
                numbers = range(first, first + share)
                await _together(16, numbers, lambda number: use(feeds, number))
                say(f"{first + share - warm_up:,} uses, {memory}")
            # The last ones are cancelled, and their handlers end soon.
            idle = await asyncio.to_thread(until, server, lambda now: not now.running, 5)
            assert idle.running == 0
            await memory.check()
            say(f"at rest: {memory}")

    _with_server(folder, work, 60 + count / 100)


async def _together(
    at_once: int, numbers: Iterable[int], work: Callable[[int], Coroutine[None, None, None]]
) -> None:
    todo = iter(numbers)

    async def some() -> None:
        for number in todo:
            await work(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(some())


def reconnect(
    folder: Path, count: int, warm_up: int, say: Callable[[str], None] = lambda _: None
) -> None:
    """Makes and ends that many connections, in every way; nothing is left of them."""

    async def work(server: SoakServer) -> None:
        async with Client(client_tls()) as client:
            await _together(8, range(warm_up), lambda number: _visit(client, server, number))
            memory = await Memory.after_warm_up(server, connections=0)
            share = -(-count // 10)
            for first in range(warm_up, warm_up + count, share):
                numbers = range(first, first + share)
                await _together(8, numbers, lambda number: _visit(client, server, number))
                say(f"{first + share - warm_up:,} connections, {memory}")
            assert server.figures().twice == 0
            await memory.check()
            say(f"at rest: {memory}")

    _with_server(folder, work, 60 + count / 20)


async def _visit(client: Client, server: SoakServer, number: int) -> None:
    """One connection, and one of the ways to use and to end it."""
    if number % 5 == 1:
        async with connect(server.address, tls=client_tls()) as session:
            await ask(session.channel(Ledger), number)
    elif number % 5 == 2:
        attempt = asyncio.ensure_future(client.session(server.address))
        for _ in range(number % 17):
            await asyncio.sleep(0)
        attempt.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await (await attempt).close()
    elif number % 5 == 3:
        session = await client.session(server.address)
        call = asyncio.ensure_future(session.channel(Ledger).enter(number))
        await asyncio.sleep(0)
        await session.close()
        with contextlib.suppress(ClosedError):
            assert await call == answer_to(number)
    else:
        stays_up = number % 5 == 4
        async with await client.session(server.address, reconnect=stays_up) as session:
            await ask(session.channel(Ledger), number)


def _with_server(
    folder: Path, work: Callable[[SoakServer], Coroutine[None, None, None]], seconds: float
) -> None:
    before = live_objects()
    complaints: list[object] = []

    async def main(server: SoakServer) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
        async with asyncio.timeout(seconds):
            await work(server)

    with SoakServer(folder) as server:
        asyncio.run(main(server))
        assert live_objects() == before
        assert not complaints, complaints
        assert server.close().live == NOTHING


def until(server: SoakServer, done: Callable[[Figures], bool], seconds: float) -> Figures:
    """The server's figures once they are so, or after so many seconds."""
    deadline = time.monotonic() + seconds
    while not done(figures := server.figures()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return figures


def cancel_runs(folder: Path, count: int, say: Callable[[str], None] = lambda _: None) -> None:
    """Cancels that many `asyncio.run`, half of them on uvloop, under `-W error`."""
    del folder
    for loop in LOOPS:
        command = [sys.executable, "-W", "error", "-m", "tests.soak.cancelled"]
        with subprocess.Popen(
            [*command, str(count // len(LOOPS)), loop],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            said: list[str] = []
            for line in process.stdout:
                said.append(line)
                say(f"{loop}: {line.strip()}")
        assert process.returncode == 0, "".join(said[-30:])


def hold_connections(folder: Path, count: int, say: Callable[[str], None] = lambda _: None) -> None:
    """Holds that many connections; each costs little, works at the end and leaves nothing."""
    with SoakServer(folder) as server, contextlib.ExitStack() as stack:
        port = server.address[1]
        # What one connection makes the server load for good is not the price of a connection.
        warm = stack.enter_context(Crowd(folder, port, 100, 2 * count))
        warm.wait()
        before = server.figures()
        share = count // PROCESSES
        began = time.monotonic()
        crowds = [
            stack.enter_context(Crowd(folder, port, share, 2 * share * index))
            for index in range(PROCESSES)
        ]
        for crowd in crowds:
            crowd.wait()
        held = server.figures()
        assert held.connections == 100 + PROCESSES * share
        each = (held.resident - before.resident) / (held.connections - before.connections)
        say(f"{held.connections:,} connections after {time.monotonic() - began:.0f} s")
        say(f"{each:,.0f} bytes each, {held.resident:,} in all")
        for crowd in (*crowds, warm):
            crowd.go_on()
        after = server.figures()
        assert after.entered == 2 * after.connections
        say("each was called again")
        for crowd in (*crowds, warm):
            crowd.go_on()
        left = until(server, lambda figures: figures.connections == 0, 30)
        assert left.connections == 0
        assert left.live == NOTHING
        assert left.twice == 0
        assert each <= PER_CONNECTION, f"{each:,.0f} bytes each"
        assert server.close().live == NOTHING
        say("all closed, nothing left")
