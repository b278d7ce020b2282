"""The service of the interop table, what serves it, and the transports that the table runs over."""

# A service class only declares.
# mypy: disable-error-code="empty-body"

from __future__ import annotations

import asyncio
import functools
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from jetstream import (
    INJECTED,
    U32,
    Context,
    Done,
    Interface,
    JetStreamError,
    Limits,
    Session,
    Subscription,
    method,
    service,
    time_left,
)
from jetstream.testing import pair

from tests.helpers import join, serve
from tests.transports import joined

# ---- transports ----


@asynccontextmanager
async def quic(*entries: object, limits: Limits | None = None) -> AsyncGenerator[Session]:
    """A client and a server over QUIC with mutual TLS."""
    async with (
        serve(*entries, limits=limits, graceful_timeout=1.0) as server,
        join(server, limits=limits) as session,
    ):
        yield session


Ends = Callable[..., AbstractAsyncContextManager[Session]]
"""Makes a session with the services that it is given; takes `limits`, of both ends."""

TRANSPORTS: dict[str, Ends] = {
    "quic": quic,
    "tcp": functools.partial(joined, "tcp", graceful_timeout=1.0),
    "unix": functools.partial(joined, "unix", graceful_timeout=1.0),
    "webtransport": functools.partial(joined, "webtransport", graceful_timeout=1.0),
    "memory": pair,
    "single lane": functools.partial(pair, single_lane=True),
}
"""What the table runs over."""

# ---- the service ----


@dataclass
class Ask:
    """One way of ping-pong: so many bytes are wanted back."""

    want: U32
    payload: bytes


@service(name="table", version="1.0.0", digest="7ab1e")
class Table(Interface):
    """The calls of the table."""

    async def empty(self) -> None:
        """Nothing in, nothing out."""
        ...

    async def large(self, data: bytes, want: U32) -> bytes:
        """Bytes in, so many out."""
        ...

    def down(self, sizes: list[U32]) -> Subscription[bytes, None]:
        """Items of these sizes."""
        ...

    async def up(self, items: AsyncIterator[bytes]) -> list[U32]:
        """The sizes of the items that came."""
        ...

    def ping_pong(self, asks: AsyncIterator[Ask]) -> Subscription[bytes, U32]:
        """An item for each that comes; then their number."""
        ...

    async def hold(self, name: str) -> str:
        """Answers when the gate of that name opens."""
        ...

    async def stubborn(self, name: str) -> str:
        """The same, cancelled or not."""
        ...

    def ticks(self, name: str, count: U32, size: U32) -> Subscription[bytes, str]:
        """Numbered items of at least that size."""
        ...

    def breaks(self, after: U32, how: str) -> Subscription[U32, None]:
        """Some items, then the end, a failure or the loss of the connection."""
        ...

    async def fail(self) -> None:
        """Raises."""
        ...

    async def say(self, fail: bool) -> list[str]:
        """The metadata that came; the answer has some, too."""
        ...

    def murmur(self, fail: bool) -> Subscription[str, str]:
        """The same as items."""
        ...

    async def left(self) -> float | None:
        """Seconds that are left."""
        ...

    def left_of_stream(self) -> Subscription[float | None, None]:
        """The same as an item."""
        ...


@service(name="table", version="1.0.0", digest="7ab1e")
class NewerTable(Table):
    """What a client has that is newer than its server: a method more."""

    async def unheard_of(self) -> None:
        """A method that the server does not have."""
        ...


@service(name="unserved", version="1.0.0", digest="0")
class Unserved(Interface):
    """A service that nobody serves."""

    async def call(self) -> None:
        """Never comes about."""
        ...

    def listen(self) -> Subscription[U32, None]:
        """Neither."""
        ...


def task(awaitable: Any) -> asyncio.Task[Any]:
    """A task that awaits it; a call is no coroutine for type checkers."""
    return asyncio.ensure_future(awaitable)


async def collect(
    subscription: Subscription[Any, Any], items: list[Any] | None = None
) -> list[Any]:
    """All items; those that come before an error are in `items`."""
    items = [] if items is None else items
    async for item in subscription:
        items.append(item)
    return items


def as_lines(metadata: Any) -> list[str]:
    """Metadata as what a method returns."""
    return [f"{key}={bytes(value).decode('latin-1')}" for key, value in metadata.items()]


def refusal() -> JetStreamError:
    """What `fail` raises. A new one each time: an error keeps the frames that it went through."""
    return JetStreamError(
        "Käse ist aus — 売り切れ 🧀\u0000\n\tend",
        code="shop::empty",
        help="come back später",
        url="https://example.com/ü?a=1",
    )


ERROR = refusal()
"""What it looks like."""


@dataclass(eq=False)
class TableImpl(Table):
    """Answers, and says what runs."""

    gates: defaultdict[str, asyncio.Event] = field(
        default_factory=lambda: defaultdict(asyncio.Event)
    )
    began: defaultdict[str, asyncio.Event] = field(
        default_factory=lambda: defaultdict(asyncio.Event)
    )
    ended: defaultdict[str, asyncio.Event] = field(
        default_factory=lambda: defaultdict(asyncio.Event)
    )
    cancelled: list[str] = field(default_factory=list[str])
    produced: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    running: int = 0
    most: int = 0

    async def empty(self) -> None:
        return None

    async def large(self, data: bytes, want: U32) -> bytes:
        return data[:1] * want

    @method
    async def down(self, sizes: list[U32]) -> AsyncGenerator[bytes]:
        for size in sizes:
            yield bytes(size)

    async def up(self, items: AsyncIterator[bytes]) -> list[U32]:
        return [len(item) async for item in items]

    @method
    async def ping_pong(self, asks: AsyncIterator[Ask]) -> AsyncGenerator[bytes | Done[U32]]:
        self._begin("ping_pong")
        count = 0
        try:
            async for ask in asks:
                assert ask.payload == bytes(len(ask.payload))
                count += 1
                yield bytes(ask.want)
            yield Done(count)
        except asyncio.CancelledError:
            self.cancelled.append("ping_pong")
            raise
        finally:
            self._end("ping_pong")

    async def hold(self, name: str) -> str:
        self._begin(name)
        try:
            await self.gates[name].wait()
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise
        finally:
            self._end(name)
        return name

    async def stubborn(self, name: str) -> str:
        self._begin(name)
        while not self.gates[name].is_set():
            try:
                await self.gates[name].wait()
            except asyncio.CancelledError:
                if name in self.cancelled:  # by the loop, at the end of a test that failed
                    raise
                self.cancelled.append(name)
        self._end(name)
        return name

    @method
    async def ticks(self, name: str, count: U32, size: U32) -> AsyncGenerator[bytes | Done[str]]:
        """Waits for the gate before its end, if it has that name's."""
        self._begin(name)
        try:
            for number in range(count):
                self.produced[name] += 1
                yield number.to_bytes(4, "little").ljust(size, b".")
            if name in self.gates:
                await self.gates[name].wait()
            yield Done(f"{count} of {name}")
        finally:
            self._end(name)

    @method
    async def breaks(self, after: U32, how: str, ctx: Context = INJECTED) -> AsyncGenerator[U32]:
        for number in range(after):
            yield number
        if how == "failure":
            raise refusal()
        if how == "loss":
            connection: Any = ctx._connection  # pyright: ignore[reportPrivateUsage]
            connection.close(7, b"gone")
            await asyncio.Event().wait()

    async def fail(self) -> None:
        raise refusal()

    async def say(self, fail: bool, ctx: Context = INJECTED) -> list[str]:
        self._answer(ctx)
        if fail:
            raise refusal()
        return as_lines(ctx.metadata)

    @method
    async def murmur(self, fail: bool, ctx: Context = INJECTED) -> AsyncGenerator[str | Done[str]]:
        for line in as_lines(ctx.metadata):
            yield line
        self._answer(ctx)
        if fail:
            raise refusal()
        yield Done("said")

    async def left(self) -> float | None:
        return time_left()

    @method
    async def left_of_stream(self) -> AsyncGenerator[float | None]:
        yield time_left()

    def _answer(self, ctx: Context) -> None:
        ctx.reply_metadata["heard"] = str(len(ctx.metadata)).encode()
        ctx.reply_metadata["binary"] = bytes(range(256))

    def _begin(self, name: str) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        self.began[name].set()

    def _end(self, name: str) -> None:
        self.running -= 1
        self.ended[name].set()
