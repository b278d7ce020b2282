"""Clients that move to another local address while calls are in flight."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from jetstream import I32, INJECTED, Client, ClosedError, Context, SocketAddress, TlsPeer, service
from jetstream.testing import pair

from tests.helpers import client_tls, join, run, serve


@service
class Where:
    """Says who and where the caller is."""

    async def here(self, ctx: Context = INJECTED) -> str:
        """Now."""
        assert isinstance(ctx.peer, TlsPeer)
        return f"{ctx.peer.leaf.common_name} at {ctx.remote}"

    async def blob(self, number: I32, data: bytes) -> bytes:
        """What came in, with its number before it."""
        return number.to_bytes(4, "little") + data


@dataclass(eq=False)
class Waits(Where):
    """Lets calls wait until the test has moved."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0
    all_wait: asyncio.Event = field(default_factory=asyncio.Event)
    moved: list[tuple[SocketAddress, SocketAddress]] = field(default_factory=list)

    async def here(self, ctx: Context = INJECTED) -> str:
        before = ctx.remote
        self.waiting += 1
        if self.waiting == 5:
            self.all_wait.set()
        await self.gate.wait()
        assert before is not None
        assert ctx.remote is not None
        self.moved.append((before, ctx.remote))
        return await super().here(ctx)


def port_of(place: str) -> int:
    """The port at the end of what `here` says."""
    return int(place.rpartition(":")[2])


def test_calls_in_flight_survive_many_moves(loop: str) -> None:
    async def main() -> None:
        async with serve(Where(), graceful_timeout=0) as server, join(server) as session:
            where = session.channel(Where)
            ports: list[int] = []
            for move in range(25):
                data = bytes([move]) * 40_000
                calls = [asyncio.ensure_future(where.blob(n, data)) for n in range(8)]
                # They leave now; their answers come to wherever we are then.
                await asyncio.sleep(0)
                await session.rebind()
                answers = await asyncio.gather(*calls)
                assert answers == [n.to_bytes(4, "little") + data for n in range(8)]
                place = await where.here()
                assert place.startswith("ada at 127.0.0.1:")
                ports.append(port_of(place))
            assert len(set(ports)) > 20, "it was there that they came from"
            assert session.closed is None

    run(main, loop=loop)


def test_a_call_that_waits_sees_where_its_caller_went() -> None:
    async def main() -> None:
        impl = Waits()
        async with serve(impl, graceful_timeout=0) as server, join(server) as session:
            where = session.channel(Where)
            calls = [asyncio.ensure_future(where.here()) for _ in range(5)]
            await impl.all_wait.wait()
            await session.rebind()
            # The server follows the first packet from there.
            await where.blob(0, b"")
            impl.gate.set()
            places = {port_of(place) for place in await asyncio.gather(*calls)}
            assert len(places) == 1
            for before, after in impl.moved:
                assert before.ip == after.ip
                assert before.port != after.port
                assert {after.port} == places

    run(main)


def test_all_connections_of_a_client_move(loop: str) -> None:
    async def main() -> None:
        async with (
            serve(Where(), graceful_timeout=0) as one,
            serve(Where(), graceful_timeout=0) as other,
            Client(client_tls()) as client,
        ):
            sessions = [
                await client.session(server.address, "localhost") for server in (one, other)
            ]

            async def places() -> list[str]:
                return [await session.channel(Where).here() for session in sessions]

            before = await places()
            assert before[0] == before[1]
            await client.rebind("127.0.0.1:0")
            after = await places()
            assert after[0] == after[1] != before[0]
            # Whoever comes later is there too.
            async with await client.session(one.address, "localhost") as session:
                assert await session.channel(Where).here() == after[0]
        with pytest.raises(ClosedError):
            await client.rebind()

    run(main, loop=loop)


def test_an_address_that_cannot_be_had_changes_nothing() -> None:
    async def main() -> None:
        async with serve(Where(), graceful_timeout=0) as server, join(server) as session:
            where = session.channel(Where)
            before = await where.here()
            with pytest.raises(OSError, match="in use"):
                await session.rebind(server.address)
            assert await where.here() == before

    run(main)


def test_ends_in_memory_have_no_address() -> None:
    async def main() -> None:
        async with pair(Where()) as session:
            with pytest.raises(RuntimeError, match="over UDP"):
                await session.rebind()

    run(main)
