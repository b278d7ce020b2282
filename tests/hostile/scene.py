"""A server under attack, a raw client to attack it with, and a bystander that must not notice."""

# A service class only declares.
# mypy: disable-error-code="empty-body"

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jetstream import Client, Connection, Limits, ReceiveStream, SendStream, Server, service

from tests.e2e.services import Echo, EchoImpl
from tests.helpers import client_tls, join, resident, serve
from tests.hostile import wire

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

ECHO_VERSION = "rs.jetstream.proto/echo/1.0.0"
MSIZE = 1 << 20
HOLD, OPTIONS, ECHO, BLOB, SIZE, MAKE = 4, 12, 1, 8, 9, 10


@dataclass
class Tree:
    """A type that nests as deep as its bytes say."""

    child: Tree | None


@service
class Forest:
    """Takes what nests."""

    async def plant(self, tree: Tree) -> bool:
        """Whether it grew."""
        ...


class ForestImpl(Forest):
    """Plants everything."""

    async def plant(self, tree: Tree) -> bool:
        return True


@dataclass
class RawLane:
    """A lane whose frames are made by hand."""

    send: SendStream
    receive: ReceiveStream

    async def frame(self) -> wire.Frame:
        """The next frame from the other end."""
        return await wire.read_frame(self.receive)

    async def ask(self, data: bytes) -> wire.Frame:
        """Sends, and waits for one frame."""
        await self.send.write(data)
        return await self.frame()


@dataclass
class Scene:
    """Who takes part."""

    server: Server
    impl: EchoImpl
    attacker: Connection
    bystander: Echo

    async def lane(self, version: str = ECHO_VERSION, msize: int = MSIZE) -> RawLane:
        """A lane of the attacker's that has agreed on a version."""
        lane = await self.silent_lane()
        answer = await lane.ask(wire.tversion(version, msize))
        assert answer.kind == wire.RVERSION
        return lane

    async def silent_lane(self) -> RawLane:
        """A lane of the attacker's on which nothing has been said."""
        return RawLane(*await self.attacker.open_bi())


@asynccontextmanager
async def under_attack(
    *entries: object, limits: Limits | None = None, slack: int = 64 << 20, **options: Any
) -> AsyncGenerator[Scene]:
    """A server, an attacker and a bystander; afterwards the bystander still gets right answers.

    Args:
        *entries: What else is served.
        limits: Of the server.
        slack: Bytes by which this process may grow meanwhile.
        **options: For the server.
    """
    impl = EchoImpl()
    limits = limits or Limits(msize=MSIZE)
    async with (
        serve(impl, ForestImpl(), *entries, limits=limits, graceful_timeout=0, **options) as server,
        join(server) as session,
        Client(client_tls()) as client,
    ):
        bystander = session.channel(Echo)
        assert await bystander.echo("before") == "before"
        attacker = await client.connect(server.address, "localhost")
        before = resident()
        yield Scene(server, impl, attacker, bystander)
        assert resident() - before < slack
        answers = await asyncio.gather(*[bystander.echo(str(n)) for n in range(20)])
        assert answers == [str(n) for n in range(20)]
        async with join(server) as newcomer:
            assert await newcomer.channel(Echo).add(1, 2) == 3
