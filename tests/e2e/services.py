"""The service that the end-to-end tests call, and an implementation with gates to wait at."""

# A service class only declares.
# mypy: disable-error-code="empty-body"

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field

from jetstream import (
    I32,
    INJECTED,
    Context,
    Interface,
    JetStreamError,
    TlsPeer,
    method,
    service,
)


@service
class Echo(Interface):
    """A bit of everything."""

    async def ping(self) -> None:
        """Nothing in, nothing out."""
        ...

    async def echo(self, message: str) -> str:
        """What came in."""
        ...

    async def add(self, a: I32, b: I32) -> I32:
        """Answered by a plain `def`."""
        ...

    async def thread(self) -> bool:
        """Whether it ran in a thread that is not the loop's."""
        ...

    async def hold(self, name: str) -> str:
        """Answers when the gate of that name opens."""
        ...

    async def first(self, ctx: Context = INJECTED, message: str = "") -> str:
        """The context before the arguments."""
        ...

    async def middle(self, a: str, ctx: Context, b: str) -> str:
        """The context between the arguments."""
        ...

    async def last(self, a: str, ctx: Context = INJECTED) -> str:
        """The context behind the arguments."""
        ...

    async def blob(self, data: bytes) -> bytes:
        """Bytes, both ways."""
        ...

    async def size(self, data: bytes) -> I32:
        """Bytes in only."""
        ...

    async def make(self, size: I32) -> bytes:
        """Bytes out only."""
        ...

    async def fail(self, kind: str) -> None:
        """Raises."""
        ...

    async def options(self, values: list[int | None], flag: bool) -> str:
        """Values that can be malformed in many ways."""
        ...


class SecretError(Exception):
    """What a caller must not see."""


def name_of(ctx: Context) -> str:
    """The caller's common name."""
    peer = ctx.peer
    return str(peer.leaf.common_name) if isinstance(peer, TlsPeer) else "nobody"


@dataclass(eq=False)
class EchoImpl(Echo):
    """Answers, and lets a test hold answers back."""

    gates: dict[str, asyncio.Event] = field(default_factory=dict[str, asyncio.Event])
    arrived: dict[str, asyncio.Event] = field(default_factory=dict[str, asyncio.Event])
    order: list[str] = field(default_factory=list[str])
    cancelled: list[str] = field(default_factory=list[str])
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    running: int = 0
    most: int = 0

    def gate(self, name: str) -> asyncio.Event:
        """What `hold(name)` waits for."""
        return self.gates.setdefault(name, asyncio.Event())

    def arrival(self, name: str) -> asyncio.Event:
        """Set when `hold(name)` runs."""
        return self.arrived.setdefault(name, asyncio.Event())

    async def ping(self) -> None:
        return None

    async def echo(self, message: str) -> str:
        self.order.append(message)
        return message

    @method
    def add(self, a: I32, b: I32) -> I32:
        return a + b

    @method(thread=True)
    def thread(self) -> bool:
        return threading.current_thread() is not threading.main_thread()

    async def hold(self, name: str) -> str:
        self.order.append(name)
        self.running += 1
        self.most = max(self.most, self.running)
        self.arrival(name).set()
        try:
            await self.gate(name).wait()
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise
        finally:
            self.running -= 1
            self.ended.set()
        return name

    async def first(self, ctx: Context = INJECTED, message: str = "") -> str:
        return f"{name_of(ctx)} {ctx.method} {message}"

    async def middle(self, a: str, ctx: Context, b: str) -> str:
        return f"{name_of(ctx)} {ctx.method} {a}{b}"

    async def last(self, a: str, ctx: Context = INJECTED) -> str:
        return f"{name_of(ctx)} {ctx.method} {a}"

    async def blob(self, data: bytes) -> bytes:
        return data

    @method
    def size(self, data: bytes) -> I32:
        return len(data)

    @method
    def make(self, size: I32) -> bytes:
        return b"\xa5" * size

    async def fail(self, kind: str) -> None:
        if kind == "told":
            raise JetStreamError(
                "out of cheese", code="shop::empty", help="come back", url="https://example.com/"
            )
        raise SecretError("the password is hunter2")

    async def options(self, values: list[int | None], flag: bool) -> str:
        return f"{values} {flag}"
