"""The side of a Python peer that faces the harness: one JSON line per word.

A server prints `{"address": ...}` and serves until its stdin closes. A client gets one of

    calls METHOD IN_FLIGHT SIZE SECONDS       keep so many calls in flight on one connection
    spread COUNT IN_FLIGHT SIZE SECONDS       share so many calls in flight out to COUNT connections
    latency IN_FLIGHT SIZE SECONDS            as calls, and look at the time of each
    items METHOD SIZE SECONDS                 take the items of one subscription
    visits KIND SECONDS                       connect and ping, again and again: the time of each
    connections SECONDS                       connect, ping and close, one after the other
    hold COUNT                                open so many connections, ping once on each, hold them

connects, warms up, prints `{"ready": true}`, waits for a line, does its work, prints
`{"count": ..., "seconds": ...}`, with `p50` and `p99` where it looks at the time of each, and holds
everything open until its stdin closes. So the harness can look at both processes right before and
right after the work.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from statistics import quantiles
from typing import Any, Literal, Protocol

WARM_UP = 0.3

Call = Callable[[Any], Awaitable[Any]]
Method = Literal["echo", "order"]
Visit = Literal["first", "resumed", "early"]
"""A full handshake; a resumed one; one that the first call leaves ahead of (0-RTT)."""


class Items(Protocol):
    """A subscription, as both this project and grpc.aio have it."""

    def __aiter__(self) -> AsyncIterator[Any]: ...

    def cancel(self) -> object: ...


@dataclass(frozen=True)
class Session:
    """One connection to the peer's server and the calls it can make."""

    ping: Callable[[], Awaitable[Any]]
    echo: Call
    order: Call
    echoes: Callable[[Any], Items]
    orders: Callable[[Any], Items]


@dataclass(frozen=True)
class Client:
    """How a peer connects, and its values: a string of a size, and the order.

    A peer without resumption makes a full handshake on every kind of visit.
    """

    connect: Callable[[], AbstractAsyncContextManager[Session]]
    visit: Callable[[Visit], AbstractAsyncContextManager[Session]]
    message: Callable[[int], Any]
    order: Any


class Harness:
    """The other end of stdin and stdout."""

    def __init__(self, lines: asyncio.StreamReader) -> None:
        self._lines = lines

    @classmethod
    async def open(cls) -> Harness:
        lines = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        return cls(lines)

    @staticmethod
    def say(**words: object) -> None:
        print(json.dumps(words), flush=True)

    async def go(self) -> None:
        """Says that the measurement may begin and waits for the word."""
        self.say(ready=True)
        if not await self._lines.readline():
            raise EOFError("the harness went away")

    async def end(self) -> None:
        """Waits until the harness has seen enough."""
        await self._lines.read()


async def drive(client: Client, words: list[str]) -> None:
    """Does what the command line asks for."""
    harness = await Harness.open()
    match words:
        case ["calls", "echo" | "order" as method, in_flight, size, seconds]:
            await _calls(client, harness, method, int(in_flight), int(size), float(seconds))
        case ["spread", count, in_flight, size, seconds]:
            await _spread(client, harness, int(count), int(in_flight), int(size), float(seconds))
        case ["latency", in_flight, size, seconds]:
            await _latency(client, harness, int(in_flight), int(size), float(seconds))
        case ["items", "echo" | "order" as method, size, seconds]:
            await _items(client, harness, method, int(size), float(seconds))
        case ["visits", "first" | "resumed" | "early" as kind, seconds]:
            await _visits(client, harness, kind, float(seconds))
        case ["connections", seconds]:
            await _connections(client, harness, float(seconds))
        case ["hold", count]:
            await _hold(client, harness, int(count))
        case _:
            raise SystemExit(f"unknown load: {words}")


async def _calls(
    client: Client, harness: Harness, method: Method, in_flight: int, size: int, seconds: float
) -> None:
    async with client.connect() as session:
        argument = client.message(size) if method == "echo" else client.order
        call = session.echo if method == "echo" else session.order
        if await call(argument) != argument:
            raise ValueError("another value came back")
        await _measured(harness, [call] * in_flight, argument, seconds)


async def _spread(
    client: Client, harness: Harness, count: int, in_flight: int, size: int, seconds: float
) -> None:
    async with AsyncExitStack() as held:
        sessions = [await held.enter_async_context(client.connect()) for _ in range(count)]
        calls = [sessions[number % count].echo for number in range(in_flight)]
        await _measured(harness, calls, client.message(size), seconds)


async def _latency(
    client: Client, harness: Harness, in_flight: int, size: int, seconds: float
) -> None:
    times: list[float] = []
    async with client.connect() as session:

        async def timed(argument: object) -> None:
            started = time.perf_counter()
            await session.echo(argument)
            times.append(time.perf_counter() - started)

        argument = client.message(size)
        await _load([timed] * in_flight, argument, WARM_UP)
        await harness.go()
        times.clear()
        started = time.perf_counter()
        count = await _load([timed] * in_flight, argument, seconds)
        harness.say(count=count, seconds=time.perf_counter() - started, **percentiles(times))
        await harness.end()


async def _measured(
    harness: Harness, calls: Sequence[Call], argument: object, seconds: float
) -> None:
    """A load whose rate is asked for."""
    await _load(calls, argument, WARM_UP)
    await harness.go()
    started = time.perf_counter()
    count = await _load(calls, argument, seconds)
    harness.say(count=count, seconds=time.perf_counter() - started)
    await harness.end()


async def _load(calls: Sequence[Call], argument: object, seconds: float) -> int:
    """Makes each of the calls again and again."""
    running = True

    def stop() -> None:
        nonlocal running
        running = False

    async def worker(call: Call) -> int:
        count = 0
        while running:
            await call(argument)
            count += 1
        return count

    asyncio.get_running_loop().call_later(seconds, stop)
    return sum(await asyncio.gather(*map(worker, calls)))


async def _items(
    client: Client, harness: Harness, method: Method, size: int, seconds: float
) -> None:
    async with client.connect() as session:
        argument = client.message(size) if method == "echo" else client.order
        items = (session.echoes if method == "echo" else session.orders)(argument)
        if await anext(aiter(items)) != argument:
            raise ValueError("another value came")
        await _take(items, WARM_UP)
        await harness.go()
        started = time.perf_counter()
        count = await _take(items, seconds)
        harness.say(count=count, seconds=time.perf_counter() - started)
        await harness.end()
        items.cancel()


async def _take(items: Items, seconds: float) -> int:
    """Takes items for a while; how many came."""
    running = True

    def stop() -> None:
        nonlocal running
        running = False

    asyncio.get_running_loop().call_later(seconds, stop)
    count = 0
    async for _ in items:
        count += 1
        if not running:
            break
    return count


async def _visits(client: Client, harness: Harness, kind: Visit, seconds: float) -> None:
    async def visit() -> float:
        started = time.perf_counter()
        async with client.visit(kind) as session:
            await session.ping()
            took = time.perf_counter() - started
            # For the sake of the next visit: a ticket comes when the handshake is complete, and
            # the answer of a call that may not be early tells that it is.
            await session.echo(client.message(0))
        return took

    await visit()
    await harness.go()
    times: list[float] = []
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        times.append(await visit())
    elapsed = time.perf_counter() - started
    harness.say(count=len(times), seconds=elapsed, **percentiles(times))
    await harness.end()


def percentiles(times: list[float]) -> dict[str, float]:
    """The median and the 99th percentile, in seconds."""
    cuts = quantiles(times, n=100, method="inclusive")
    return {"p50": cuts[49], "p99": cuts[98]}


async def _connections(client: Client, harness: Harness, seconds: float) -> None:
    async with client.connect() as session:
        await session.ping()
    await harness.go()
    started = time.perf_counter()
    count = 0
    while time.perf_counter() - started < seconds:
        async with client.connect() as session:
            await session.ping()
        count += 1
    harness.say(count=count, seconds=time.perf_counter() - started)
    await harness.end()


async def _hold(client: Client, harness: Harness, count: int) -> None:
    async with AsyncExitStack() as held:

        async def one() -> None:
            session = await held.enter_async_context(client.connect())
            await session.ping()

        await one()
        await harness.go()
        started = time.perf_counter()
        for _ in range(count):
            await one()
        harness.say(count=count, seconds=time.perf_counter() - started)
        await harness.end()
