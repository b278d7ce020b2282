"""The side of a Python peer that faces the harness: one JSON line per word.

A server prints `{"address": ...}` and serves until its stdin closes. A client gets one of

    calls METHOD IN_FLIGHT SIZE SECONDS    keep so many calls in flight on one connection
    connections SECONDS                    connect, ping and close, one after the other
    hold COUNT                             open so many connections, ping once on each, hold them

connects, warms up, prints `{"ready": true}`, waits for a line, does its work, prints
`{"count": ..., "seconds": ...}` and holds everything open until its stdin closes. So the harness
can look at both processes right before and right after the work.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Any, Literal

WARM_UP = 0.3

Call = Callable[[Any], Awaitable[Any]]
Method = Literal["echo", "order"]


@dataclass(frozen=True)
class Session:
    """One connection to the peer's server and the calls it can make."""

    ping: Callable[[], Awaitable[Any]]
    echo: Call
    order: Call


@dataclass(frozen=True)
class Client:
    """How a peer connects, and its values: a string of a size, and the order."""

    connect: Callable[[], AbstractAsyncContextManager[Session]]
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
        await _load(call, argument, in_flight, WARM_UP)
        await harness.go()
        started = time.perf_counter()
        count = await _load(call, argument, in_flight, seconds)
        harness.say(count=count, seconds=time.perf_counter() - started)
        await harness.end()


async def _load(call: Call, argument: object, in_flight: int, seconds: float) -> int:
    running = True

    def stop() -> None:
        nonlocal running
        running = False

    async def worker() -> int:
        count = 0
        while running:
            await call(argument)
            count += 1
        return count

    asyncio.get_running_loop().call_later(seconds, stop)
    return sum(await asyncio.gather(*(worker() for _ in range(in_flight))))


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
