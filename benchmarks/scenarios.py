"""What is measured, and one measurement of one peer.

Server and client are a process each and fresh for every measurement. One at a time they share one
core: on two idle cores that number would say how fast the machine wakes a core. Everything else
runs with the server on one core and the client on another, where there are two.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import Peer
from benchmarks.process import START_TIMEOUT, Program, ProgramError, running

MEGA = 1e6
# What a slow peer may need beyond the time it was given, to open its connections above all.
SLACK = 30.0
SETTLE = 0.2


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


@dataclass(frozen=True, kw_only=True)
class Calls:
    """Calls in flight on one connection: time or rate, and CPU time of both processes per call."""

    name: str
    method: str = "echo"
    in_flight: int
    size: int = 0
    one_core: bool = False

    async def measure(self, peer: Peer, certificates: Path, effort: Effort) -> list[Measurement]:
        load = ("calls", self.method, str(self.in_flight), str(self.size), str(effort.seconds))
        async with _pair(peer, certificates, *load, one_core=self.one_core) as pair:
            before = pair.cpu_seconds()
            count, seconds = await pair.work(effort.seconds)
            cpu = pair.cpu_seconds() - before
        per_call = Measurement("cpu time of client and server", cpu / count * MEGA, "µs/call")
        if self.one_core:
            return [Measurement("time", seconds / count * MEGA, "µs/call"), per_call]
        return [Measurement("rate", count / seconds, "calls/s"), per_call]


@dataclass(frozen=True, kw_only=True)
class Connections:
    """Connections with mutual TLS and one ping each, one after the other."""

    name: str

    async def measure(self, peer: Peer, certificates: Path, effort: Effort) -> list[Measurement]:
        async with _pair(peer, certificates, "connections", str(effort.seconds)) as pair:
            count, seconds = await pair.work(effort.seconds)
        return [Measurement("rate", count / seconds, "connections/s")]


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Growth of the server's resident memory by connections that were used once and then idle."""

    name: str

    async def measure(self, peer: Peer, certificates: Path, effort: Effort) -> list[Measurement]:
        async with _pair(peer, certificates, "hold", str(effort.connections)) as pair:
            before = pair.server.resident_bytes()
            count, _ = await pair.work(0)
            await asyncio.sleep(SETTLE)
            growth = pair.server.resident_bytes() - before
        return [Measurement("server memory", growth / count / 1024, "KiB/connection")]


Scenario = Calls | Connections | Memory

SCENARIOS: tuple[Scenario, ...] = (
    Calls(name="one call at a time, 16 bytes, one core", in_flight=1, size=16, one_core=True),
    Calls(name="64 calls in flight, 16 bytes", in_flight=64, size=16),
    Calls(name="512 calls in flight, 16 bytes", in_flight=512, size=16),
    Calls(name="64 calls in flight, 16 KiB", in_flight=64, size=16 * 1024),
    Calls(name="64 calls in flight, nested struct of 1 KiB", method="order", in_flight=64),
    Connections(name="connections with mutual TLS, one after the other"),
    Memory(name="idle connections"),
)


@dataclass(frozen=True)
class _Pair:
    """A server and a client that is ready to work."""

    server: Program
    client: Program

    async def work(self, seconds: float) -> tuple[int, float]:
        """Lets the client work; how much it did in what time."""
        self.client.go()
        answer = await self.client.read(seconds + SLACK)
        if answer["count"] < 1:
            raise ProgramError("not a single one was done in time")
        return answer["count"], answer["seconds"]

    def cpu_seconds(self) -> float:
        return self.server.cpu_seconds() + self.client.cpu_seconds()


@asynccontextmanager
async def _pair(
    peer: Peer, certificates: Path, *load: str, one_core: bool = False
) -> AsyncGenerator[_Pair]:
    server_cores, client_cores = _cores(one=one_core)
    # What suits tokio best was measured: one worker where both share a core, else two. Left alone
    # it would count one core in either case. The other peers have one thread and do not read this.
    environment = {"TOKIO_WORKER_THREADS": "1" if one_core else "2"}
    command = (*peer.server, str(certificates))
    async with running(command, server_cores, environment) as server:
        address = (await server.read(START_TIMEOUT))["address"]
        command = (*peer.client, address, str(certificates), *load)
        async with running(command, client_cores, environment) as client:
            await client.read(START_TIMEOUT)
            yield _Pair(server, client)


def _cores(*, one: bool) -> tuple[frozenset[int], frozenset[int]]:
    """The cores of the server and of the client."""
    mine = sorted(os.sched_getaffinity(0))
    return frozenset(mine[:1]), frozenset(mine[:1] if one else mine[-1:])
