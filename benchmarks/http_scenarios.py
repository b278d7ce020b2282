"""What is measured of servers of HTTP, and one measurement of one peer.

Everything goes over TLS with the same certificate, HTTP/1.1 too, and what asks is the same program
for all peers. Server and client are fresh for every measurement and have a core each.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.network import ObstacleError
from benchmarks.peers import GRANIAN, HYPERCORN, RUST16_HTTP, UVICORN, Peer, h3load
from benchmarks.peers.load import WARM_UP
from benchmarks.peers.order import sample_order
from benchmarks.process import START_TIMEOUT, Program, ProgramError, running
from benchmarks.scenarios import KILO, MEGA, SLACK, Effort, Measurement, cores

IN_FLIGHT = 64
ORDER = json.dumps(sample_order(), separators=(",", ":")).encode()


@dataclass(frozen=True)
class Page:
    """What is asked for, and how long the answer is; with a body, it is posted."""

    path: str
    length: int
    body: bytes | None = None


HELLO = Page("/hello", len("Hello, world!"))
MIB = Page("/mib", 1024 * 1024)
ECHO = Page("/order", len(ORDER), ORDER)


@dataclass(frozen=True)
class Version:
    """A version of HTTP, and what asks for pages over it."""

    number: str
    connections: int
    """Among which requests are shared out, where that is not what a scenario is about."""

    @property
    def name(self) -> str:
        return f"HTTP/{self.number}"

    @property
    def load(self) -> str:
        return self.name.lower()

    @property
    def streams(self) -> int:
        return IN_FLIGHT // self.connections

    @property
    def late(self) -> float:
        """How long after the word the work begins that counts."""
        return 0 if self is HTTP3 else WARM_UP

    def client(self, kind: str) -> tuple[str, ...]:
        """The words of the command, up to the address.

        Raises:
            ObstacleError: There is no h2load.
        """
        if self is HTTP3:
            return (h3load(),)
        if shutil.which("h2load") is None:
            raise ObstacleError(
                "this takes h2load, which is not installed (Debian: nghttp2-client)"
            )
        module = "benchmarks.peers.h2load"
        return (sys.executable, "-m", module, self.number.partition(".")[0], kind)


HTTP1 = Version("1.1", connections=IN_FLIGHT)
HTTP2 = Version("2", connections=4)
HTTP3 = Version("3", connections=4)


@dataclass(frozen=True, kw_only=True)
class Requests:
    """Requests in flight: how many are answered, and the CPU time that each takes.

    Where the client's core is the busy one, the server could do more than the rate says.
    """

    name: str
    version: Version
    page: Page
    connections: int
    streams: int
    targets: Mapping[str, float] = field(default_factory=dict)
    """At least how many times a peer's rate ours is to be."""

    @property
    def load(self) -> str:
        return self.version.load

    async def measure(self, peer: Peer, certificates: Path, effort: Effort) -> list[Measurement]:
        words = (self.connections, self.streams, effort.seconds)
        command = self.version.client("calls")
        async with _pair(peer, certificates, command, self.page, *words) as (server, client):
            watch = _busy((server, client), self.version.late, effort.seconds)
            watching = asyncio.create_task(watch)
            client.go()
            work = await _work(client, effort)
            busy = await watching
        rate, target = _rate(work), self.targets.get(peer.name)
        if self.page is MIB:
            first = Measurement("rate", rate * self.page.length / MEGA, "MB/s", target)
        else:
            first = Measurement("rate", rate, "requests/s", target)
        each = [share / rate * MEGA for share in busy]
        return [
            first,
            Measurement("cpu time of the server", each[0], "µs/request"),
            Measurement("cpu time of the client", each[1], "µs/request"),
        ]


@dataclass(frozen=True, kw_only=True)
class Waits:
    """One request in flight on each of the connections: how long an answer takes.

    The time to the first byte is another: that from connecting to the first byte of the body of the
    first answer, handshake included. Over TCP all connect at once; over QUIC eight at a time, for
    of more than sixteen hypercorn loses some for good.
    """

    name: str
    version: Version
    connections: int

    @property
    def load(self) -> str:
        return self.version.load

    async def measure(self, peer: Peer, certificates: Path, effort: Effort) -> list[Measurement]:
        words = (self.connections, 1, effort.seconds)
        command = self.version.client("latency")
        async with _pair(peer, certificates, command, HELLO, *words) as (_, client):
            client.go()
            work = await _work(client, effort)
        return [
            Measurement("median time", work["p50"] * KILO, "ms"),
            Measurement("99th percentile of the time", work["p99"] * KILO, "ms"),
            Measurement("time to the first byte, mean", work["first_byte"] * KILO, "ms"),
        ]


@dataclass(frozen=True, kw_only=True)
class Beside:
    """Requests and calls at the same time to one process, beside what each is alone.

    Their clients share a core, as both share the server's. A request takes more than a call, but
    their endpoints have the loop in turns, so each should keep about half of its rate; nobody
    starves as long as the 99th percentiles stay at milliseconds.
    """

    name: str
    version: Version

    @property
    def load(self) -> str:
        return f"rpc and {self.version.load}"

    async def measure(self, peer: Peer, certificates: Path, effort: Effort) -> list[Measurement]:
        run = partial(self._run, peer, certificates, effort)
        requests = await run("requests")
        calls = await run("calls")
        both = await run("requests", "calls")
        shares = {
            what: 100 * _rate(both[what]) / _rate(alone[what])
            for what, alone in (("requests", requests), ("calls", calls))
        }
        waits = {what: both[what]["p99"] * KILO for what in both}
        return [
            *(
                Measurement(f"rate of {what}", share, "% of alone")
                for what, share in shares.items()
            ),
            *(
                Measurement(f"99th percentile of {what}", wait, "ms")
                for what, wait in waits.items()
            ),
        ]

    async def _run(
        self, peer: Peer, certificates: Path, effort: Effort, *kinds: str
    ) -> dict[str, dict[str, Any]]:
        version = self.version
        async with AsyncExitStack() as stack:
            _, address = await stack.enter_async_context(_server(peer, certificates))
            # Calls go on for as long as requests do, with those that do not count.
            words = (address, certificates, "latency", IN_FLIGHT, 16, effort.seconds + version.late)
            clients: dict[str, Program] = {}
            for kind in kinds:
                if kind == "calls":
                    client = _client(*peer.client, *words)
                else:
                    asking = version.client("latency")
                    where = (address, certificates, HELLO, version.connections, version.streams)
                    client = _asking(asking, *where, effort.seconds)
                clients[kind] = await stack.enter_async_context(client)
            for program in clients.values():
                program.go()
            return {kind: await _work(client, effort) for kind, client in clients.items()}


HttpScenario = Requests | Waits | Beside

HELLO_TARGETS = {
    HTTP3: {HYPERCORN: 40.0, RUST16_HTTP: 0.6},
    HTTP2: {GRANIAN: 1.0, HYPERCORN: 15.0},
    HTTP1: {GRANIAN: 1.0, UVICORN: 2.5},
}
MIB_TARGETS = {HTTP3: {RUST16_HTTP: 0.7}}


def _of(version: Version) -> Generator[HttpScenario]:
    """All that is measured over a version of HTTP."""
    on = f"64 in flight on {version.connections} connections"
    yield Requests(
        name=f"{version.name}, hello, {on}",
        version=version,
        page=HELLO,
        connections=version.connections,
        streams=version.streams,
        targets=HELLO_TARGETS[version],
    )
    yield Requests(
        name=f"{version.name}, JSON echo, {on}",
        version=version,
        page=ECHO,
        connections=version.connections,
        streams=version.streams,
    )
    # Over HTTP/1.1 a connection has one request at a time.
    connections, streams = (4, 1) if version is HTTP1 else (1, 4)
    yield Requests(
        name=f"{version.name}, 1 MiB, 4 in flight, connections: {connections}",
        version=version,
        page=MIB,
        connections=connections,
        streams=streams,
        targets=MIB_TARGETS.get(version, {}),
    )
    yield Waits(
        name=f"{version.name}, hello, one in flight on each of 64 connections",
        version=version,
        connections=64,
    )
    yield Beside(name=f"{version.name}, hello, {on}, beside 64 calls in flight", version=version)


HTTP_SCENARIOS: tuple[HttpScenario, ...] = tuple(
    scenario for version in (HTTP3, HTTP2, HTTP1) for scenario in _of(version)
)


def _rate(work: Mapping[str, Any]) -> float:
    return float(work["count"] / work["seconds"])


async def _work(client: Program, effort: Effort) -> dict[str, Any]:
    """What a client did that was given the word."""
    work = await client.read(effort.seconds + SLACK)
    if work["count"] < 1:
        raise ProgramError("not a single one was done in time")
    return work


async def _busy(programs: Sequence[Program], late: float, seconds: float) -> list[float]:
    """How many cores each keeps busy during the work."""
    margin = seconds / 10
    await asyncio.sleep(late + margin)
    before, started = [program.cpu_seconds() for program in programs], time.monotonic()
    await asyncio.sleep(seconds - 2 * margin)
    after, elapsed = [program.cpu_seconds() for program in programs], time.monotonic() - started
    return [(end - begin) / elapsed for begin, end in zip(before, after, strict=True)]


@asynccontextmanager
async def _pair(
    peer: Peer, certificates: Path, asking: tuple[str, ...], page: Page, *load: float
) -> AsyncGenerator[tuple[Program, Program]]:
    """A server, and a client that is ready to ask it."""
    async with (
        _server(peer, certificates) as (server, address),
        _asking(asking, address, certificates, page, *load) as client,
    ):
        yield server, client


@asynccontextmanager
async def _server(peer: Peer, certificates: Path) -> AsyncGenerator[tuple[Program, str]]:
    """A server and its address."""
    # As for calls, two workers suit tokio best; no other peer reads this.
    environment = {"TOKIO_WORKER_THREADS": "2"}
    command = (*peer.server, str(certificates))
    async with running(command, cores(one=False)[0], environment) as server:
        yield server, (await server.read(START_TIMEOUT))["address"]


@asynccontextmanager
async def _asking(
    command: tuple[str, ...], address: str, certificates: Path, page: Page, *load: float
) -> AsyncGenerator[Program]:
    """A client that is ready to ask for a page."""
    with _file(page.body) as body:
        words = (*command, address, certificates, page.path, page.length, *load, *body)
        async with _client(*words) as client:
            yield client


@asynccontextmanager
async def _client(*command: object) -> AsyncGenerator[Program]:
    async with running(tuple(map(str, command)), cores(one=False)[1], {}) as client:
        await client.read(START_TIMEOUT)
        yield client


@contextmanager
def _file(body: bytes | None) -> Generator[tuple[str, ...]]:
    """The name of a file that holds this, or nothing."""
    if body is None:
        yield ()
        return
    with tempfile.NamedTemporaryFile(prefix="bench-", suffix=".json") as file:
        file.write(body)
        file.flush()
        yield (file.name,)
