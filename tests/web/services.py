"""The service that the TypeScript tests call; typescript/test/node-service.ts has its channel."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from ipaddress import IPv4Address, IPv6Address

from jetstream import (
    I32,
    INJECTED,
    U8,
    U32,
    U64,
    U128,
    Context,
    Done,
    Feed,
    Gap,
    JetStreamError,
    SocketAddress,
    Some,
    Url,
    method,
    service,
    time_left,
)


@dataclass(frozen=True)
class Tick:
    """An item."""

    n: U32
    text: str


@service
class Lab:
    """Something of everything."""

    def __init__(self) -> None:
        self._ended: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._made = 0
        self._feed: Feed[float] = Feed(max_items=3, start=0)
        for price in (1.0, 1.5, 1.25, 1.75):
            self._feed.publish(price)

    @method(idempotent=True)
    async def echo(self, message: str) -> str:
        return message

    async def add(self, a: I32, b: I32) -> I32:
        return a + b

    async def fail(self, how: str) -> None:
        if how == "told":
            raise JetStreamError("no", code="lab::no", help="ask", url="https://x")
        if how == "gap":
            raise Gap(1, 5, 9)
        msg = "a secret"
        raise RuntimeError(msg)

    async def wait(self, name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self._ended[name].set()

    async def ended(self, name: str) -> None:
        await self._ended[name].wait()
        self._ended[name].clear()

    async def left(self) -> float | None:
        return time_left()

    async def meta(self, key: str, ctx: Context = INJECTED) -> str:
        ctx.reply_metadata["seen"] = bytes([len(ctx.metadata)])
        return ctx.metadata[key].decode()

    @method
    async def ticks(self, count: U32) -> AsyncIterator[Tick | Done[str]]:
        try:
            for n in range(count):
                self._made = n + 1
                yield Tick(n, "x" * 1000 if count > 10_000 else "")
            yield Done(f"{count} ticks")
        finally:
            self._ended["ticks"].set()

    async def made(self) -> U32:
        return self._made

    async def total(self, numbers: AsyncIterator[U32]) -> U64:
        total = 0
        async for number in numbers:
            total += number
        return total

    @method
    async def doubled(self, numbers: AsyncIterator[U32]) -> AsyncIterator[U32]:
        async for number in numbers:
            yield 2 * number

    @method
    async def follow(self, since: U64) -> AsyncIterator[tuple[U64, float]]:
        async for entry in self._feed.subscribe(since):
            yield entry

    @method(lossy=True)
    async def position(self) -> AsyncIterator[U32]:
        for number in range(1000):
            yield number


class Colour(Enum):
    """An enum."""

    RED = "r"
    GREEN = "g"


@dataclass(frozen=True)
class Circle:
    """One variant."""

    radius: float


@dataclass(frozen=True)
class Square:
    """The other."""

    side: float


@dataclass
class All:
    """One field of each kind."""

    small: I32
    big: int
    huge: U128
    real: float
    endless: float
    yes: bool
    text: str
    raw: bytes
    at: datetime
    host: IPv4Address | IPv6Address
    where: SocketAddress
    home: Url
    list: list[int]
    names: dict[str, U8]
    numbers: dict[U8, str]
    set: set[str]
    pair: tuple[U8, str]
    none: str | None
    nested: Some[int | None] | None
    colour: Colour
    shape: Circle | Square


@service
class Values:
    """Gives back what it is given."""

    async def same(self, value: All) -> All:
        return value

    async def bytes(self, data: bytes) -> bytes:
        return data
