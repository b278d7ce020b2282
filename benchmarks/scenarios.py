"""What is measured, and one measurement of one peer.

Server and client are a process each and fresh for every measurement. One at a time they share one
core: on two idle cores that number would say how fast the machine wakes a core. Everything else
runs with the server on one core and the client on another, where there are two.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from benchmarks.network import delayed, lossy
from benchmarks.peers import Peer
from benchmarks.peers.load import Method, Visit
from benchmarks.process import START_TIMEOUT, Program, ProgramError, running

KILO = 1e3
MEGA = 1e6
# What a slow peer may need beyond the time it was given, to open its connections above all.
SLACK = 30.0
SETTLE = 0.2

VISITS: dict[str, Visit] = {
    "first visit": "first",
    "resumed": "resumed",
    "resumed with early data (0-RTT)": "early",
}


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How long one measurement takes."""

    seconds: float
    connections: int


@dataclass(frozen=True)
class Measurement:
    """One number of one round."""

    metric: str
    value: float
    unit: str
    target: float | None = None
    """At least how many times this peer's value ours is to be."""


@dataclass(frozen=True, kw_only=True)
class Calls:
    """Calls in flight on one connection: time or rate, and CPU time of both processes per call."""

    name: str
    method: Method = "echo"
    in_flight: int
    size: int = 0
    one_core: bool = False
    load: ClassVar = "calls"

    async def measure(self, peer: Peer, certificates: Path, effort: Effort) -> list[Measurement]:
        load = (self.load, self.method, str(self.in_flight), str(self.size), str(effort.seconds))
        async with _pair(peer, certificates, *load, one_core=self.one_core) as pair:
            work, cpu = await pair.work_and_cpu(effort.seconds)
        per_call = Measurement("cpu time of client and server", cpu / work.count * MEGA, "µs/call")
        if self.one_core:
            return [Measurement("time", work.seconds / work.count * MEGA, "µs/call"), per_call]
        return [Measurement("rate", work.rate, "calls/s"), per_call]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Calls in flight, shared out to one connection or to many.

    With the same number in all, both ends have the same calls to make and to answer, and what
    connections cost is state of their own, and packets of their own for what would have shared one.
    With one call on each, every call has its packets anyway, and what is left is what the number of
    connections costs; on one core, so that nobody waits for a core that has to wake.
    """

    name: str
    connections: int
    in_flight: int
    size: int
    one_core: bool = False
    load: ClassVar = "spread"

    async def measure(self, peer: Peer, certificates: Path, effort: Effort) -> list[Measurement]:
        words = (str(self.connections), str(self.in_flight), str(self.size), str(effort.seconds))
        async with _pair(peer, certificates, self.load, *words, one_core=self.one_core) as pair:
            work, cpu = await pair.work_and_cpu(effort.seconds)
        per_call = Measurement("cpu time of client and server", cpu / work.count * MEGA, "µs/call")
        return [Measurement("rate", work.rate, "calls/s"), per_call]


@dataclass(frozen=True, kw_only=True)
class Items:
    """Items of one subscription on one connection, as fast as the caller takes them."""

    name: str
    method: Method = "echo"
    size: int = 0
    load: ClassVar = "items"

    async def measure(self, peer: Peer, certificates: Path, effort: Effort) -> list[Measurement]:
        words = (self.method, str(self.size), str(effort.seconds))
        async with _pair(peer, certificates, self.load, *words) as pair:
            work, cpu = await pair.work_and_cpu(effort.seconds)
        per_item = Measurement("cpu time of client and server", cpu / work.count * MEGA, "µs/item")
        return [Measurement("rate", work.rate, "items/s"), per_item]


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Calls in flight on one connection where packets get lost, each way: the time of each call.

    See `network.lossy`. TCP's congestion control is the machine's own.
    """

    name: str
    percent: float
    in_flight: int
    size: int
    load: ClassVar = "latency"

    async def measure(self, peer: Peer, certificates: Path, effort: Effort) -> list[Measurement]:
        # One call in a hundred is the one that counts here.
        seconds = 3 * effort.seconds
        words = (str(self.in_flight), str(self.size), str(seconds))
        with lossy(self.percent) as inside:
            async with _pair(peer, certificates, self.load, *words, inside=inside) as pair:
                work = await pair.work(seconds)
        return [
            Measurement("median time", work.p50 * KILO, "ms"),
            Measurement("99th percentile of the time", work.p99 * KILO, "ms"),
            Measurement("rate", work.rate, "calls/s"),
        ]


@dataclass(frozen=True, kw_only=True)
class Visits:
    """From connecting to the answer of the first call, with mutual TLS.

    A peer that knows no resumption makes a full handshake every time, and stands beside ours so.
    """

    name: str
    kind: Visit
    delay: float = 0
    load: ClassVar = "visits"

    async def measure(self, peer: Peer, certificates: Path, effort: Effort) -> list[Measurement]:
        words = (self.kind, str(effort.seconds))
        async with _pair(peer, certificates, self.load, *words, delay=self.delay) as pair:
            work = await pair.work(effort.seconds)
        return [Measurement("median time", work.p50 * KILO, "ms")]


@dataclass(frozen=True, kw_only=True)
class Connections:
    """Connections with mutual TLS and one ping each, one after the other."""

    name: str
    load: ClassVar = "connections"

    async def measure(self, peer: Peer, certificates: Path, effort: Effort) -> list[Measurement]:
        async with _pair(peer, certificates, self.load, str(effort.seconds)) as pair:
            work = await pair.work(effort.seconds)
        return [Measurement("rate", work.rate, "connections/s")]


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Growth of the server's resident memory by connections that were used once and then idle."""

    name: str
    load: ClassVar = "hold"

    async def measure(self, peer: Peer, certificates: Path, effort: Effort) -> list[Measurement]:
        async with _pair(peer, certificates, self.load, str(effort.connections)) as pair:
            before = pair.server.resident_bytes()
            work = await pair.work(0)
            await asyncio.sleep(SETTLE)
            growth = pair.server.resident_bytes() - before
        return [Measurement("server memory", growth / work.count / 1024, "KiB/connection")]


Scenario = Calls | Spread | Items | Loss | Visits | Connections | Memory

SCENARIOS: tuple[Scenario, ...] = (
    Calls(name="one call at a time, 16 bytes, one core", in_flight=1, size=16, one_core=True),
    Calls(name="64 calls in flight, 16 bytes", in_flight=64, size=16),
    Calls(name="512 calls in flight, 16 bytes", in_flight=512, size=16),
    Calls(name="64 calls in flight, 16 KiB", in_flight=64, size=16 * 1024),
    Calls(name="64 calls in flight, nested struct of 1 KiB", method="order", in_flight=64),
    *(
        Spread(
            name=f"1,000 calls in flight, 16 bytes, connections: {count:,}",
            connections=count,
            in_flight=1000,
            size=16,
        )
        for count in (1, 10, 100, 1000)
    ),
    *(
        Spread(
            name=f"one call in flight on each, 16 bytes, one core, connections: {count:,}",
            connections=count,
            in_flight=count,
            size=16,
            one_core=True,
        )
        for count in (1, 10, 100, 1000)
    ),
    Items(name="one subscription, items of 16 bytes", size=16),
    Items(name="one subscription, items that are a nested struct of 1 KiB", method="order"),
    *(
        Loss(
            name=f"64 calls in flight, 16 bytes, {percent} % of packets lost",
            percent=percent,
            in_flight=64,
            size=16,
        )
        for percent in (1, 5)
    ),
    *(
        Visits(name=f"from connecting to the first reply: {visit}, {way}", kind=kind, delay=delay)
        for way, delay in (("loopback", 0), ("10 ms each way", 0.01))
        for visit, kind in VISITS.items()
    ),
    Connections(name="connections with mutual TLS, one after the other"),
    Memory(name="idle connections"),
)


@dataclass(frozen=True)
class _Work:
    """How much a client did in what time, and the time of each where it looked at that."""

    count: int
    seconds: float
    p50: float = 0
    p99: float = 0

    @property
    def rate(self) -> float:
        return self.count / self.seconds


@dataclass(frozen=True)
class _Pair:
    """A server and a client that is ready to work."""

    server: Program
    client: Program

    async def work(self, seconds: float) -> _Work:
        """Lets the client work."""
        self.client.go()
        work = _Work(**await self.client.read(seconds + SLACK))
        if work.count < 1:
            raise ProgramError("not a single one was done in time")
        return work

    async def work_and_cpu(self, seconds: float) -> tuple[_Work, float]:
        """Lets the client work, and counts the CPU time of both in seconds."""
        before = self._cpu_seconds()
        work = await self.work(seconds)
        return work, self._cpu_seconds() - before

    def _cpu_seconds(self) -> float:
        return self.server.cpu_seconds() + self.client.cpu_seconds()


@asynccontextmanager
async def _pair(
    peer: Peer,
    certificates: Path,
    *load: str,
    one_core: bool = False,
    inside: tuple[str, ...] = (),
    delay: float = 0,
) -> AsyncGenerator[_Pair]:
    server_cores, client_cores = cores(one=one_core)
    # What suits tokio best was measured: one worker where both share a core, else two. Left alone
    # it would count one core in either case. The other peers have one thread and do not read this.
    environment = {"TOKIO_WORKER_THREADS": "1" if one_core else "2"}
    command = (*peer.server, str(certificates))
    async with AsyncExitStack() as stack:
        start = partial(running, environment=environment, inside=inside)
        server = await stack.enter_async_context(start(command, server_cores))
        address = (await server.read(START_TIMEOUT))["address"]
        if delay:
            address = await stack.enter_async_context(delayed(address, peer.carrier, delay))
        command = (*peer.client, address, str(certificates), *load)
        client = await stack.enter_async_context(start(command, client_cores))
        await client.read(START_TIMEOUT)
        yield _Pair(server, client)


def cores(*, one: bool) -> tuple[frozenset[int], frozenset[int]]:
    """The cores of the server and of the client."""
    mine = sorted(os.sched_getaffinity(0))
    return frozenset(mine[:1]), frozenset(mine[:1] if one else mine[-1:])
