"""Calls that leave ahead of the handshake: who may run then, and what becomes of a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from jetstream import (
    I32,
    INJECTED,
    ClientTls,
    ConnectionLost,
    Context,
    LimitExceeded,
    Limits,
    Server,
    Session,
    Subscription,
    TlsError,
    TlsPeer,
    connect,
    method,
    service,
)
from jetstream.testing import ThrowawayCA

from tests.forwarder import Forwarder
from tests.helpers import authority, client_tls, join, run, serve, server_tls

if TYPE_CHECKING:
    from pathlib import Path


@service
@dataclass(eq=False)
class Store:
    """Counts what was run, and when."""

    gets: list[str] = field(default_factory=list[str])
    puts: list[str] = field(default_factory=list[str])
    blobs: int = 0
    got: asyncio.Event = field(default_factory=asyncio.Event)

    @method(idempotent=True)
    async def get(self, key: str, ctx: Context = INJECTED) -> str:
        """May run twice."""
        assert isinstance(ctx.peer, TlsPeer)
        told = f"{ctx.peer.leaf.common_name} {'early' if ctx.early else 'late'} {key}"
        self.gets.append(told)
        self.got.set()
        return told

    @method
    async def put(self, key: str, ctx: Context = INJECTED) -> str:
        """May not."""
        self.puts.append(f"{'early' if ctx.early else 'late'} {key}")
        return key

    @method(idempotent=True)
    async def count(self, count: I32, ctx: Context = INJECTED) -> Subscription[I32, None]:
        """Items to the caller."""
        self.gets.append(f"count {'early' if ctx.early else 'late'}")
        self.got.set()
        for number in range(count):
            yield number

    @method
    async def total(self, numbers: AsyncIterator[I32]) -> I32:
        """Items from the caller."""
        return sum([number async for number in numbers])

    @method
    async def blob(self, number: I32, data: bytes) -> I32:
        """Something large, once."""
        self.blobs += 1
        return number + len(data)


async def numbers(count: int) -> AsyncIterator[I32]:
    """A stream from the caller."""
    for number in range(count):
        yield number
        await asyncio.sleep(0)


async def taken(subscription: Subscription[I32, None]) -> list[int]:
    """All items of a subscription."""
    return [item async for item in subscription]


async def acquaint(server: Server, tls: ClientTls, via: Forwarder | None = None) -> None:
    """A first visit; with its answer the ticket has come."""
    addr = server.address if via is None else via.address
    async with connect(addr, server_name="localhost", tls=tls) as session:
        await session.channel(Store).get("first")
        assert session.early_data == "none"


async def return_early(way: Forwarder, tls: ClientTls) -> Session:
    """A session whose calls leave ahead of the handshake, as the server's answers do not come."""
    way.hold_down = True
    session = await connect(way.address, server_name="localhost", tls=tls, early_data=True)
    assert session.early_data == "sent"
    return session


def test_the_first_calls_are_answered_before_the_handshake_is_complete(loop: str) -> None:
    async def main() -> None:
        impl, tls = Store(), client_tls()
        async with (
            serve(impl, graceful_timeout=0) as server,
            Forwarder(server.address) as way,
        ):
            await acquaint(server, tls, way)
            impl.got.clear()
            session = await return_early(way, tls)
            assert not session.resumed, "who knows"
            call = asyncio.ensure_future(session.channel(Store).get("second"))
            # The server runs it, and nothing of the server has come to the client.
            await impl.got.wait()
            assert impl.gets[-1] == "ada early second"
            assert not call.done()
            # The answer comes with the server's first flight: nothing of the client reaches the
            # server any more, so the handshake is not complete there.
            way.hold_up = True
            way.release_down()
            assert await call == "ada early second"
            assert session.early_data == "accepted"
            assert session.resumed
            way.release_up()
            assert await session.channel(Store).put("x") == "x"
            assert await session.channel(Store).get("third") == "ada late third"
            await session.close()

    run(main, loop=loop)


def test_other_methods_wait_for_the_handshake_and_run_once(loop: str) -> None:
    async def main() -> None:
        impl, tls = Store(), client_tls()
        async with (
            serve(impl, graceful_timeout=0) as server,
            Forwarder(server.address) as way,
        ):
            await acquaint(server, tls, way)
            impl.got.clear()
            session = await return_early(way, tls)
            store = session.channel(Store)
            calls = [
                asyncio.ensure_future(call)
                for call in (store.get("a"), store.put("b"), store.get("c"))
            ]
            await impl.got.wait()
            # What comes behind one that waits, waits too.
            assert impl.gets[1:] == ["ada early a"]
            assert impl.puts == []
            way.release_down()
            assert await asyncio.gather(*calls) == ["ada early a", "b", "ada late c"]
            assert impl.puts == ["late b"]
            assert session.early_data == "accepted"
            await session.close()

    run(main, loop=loop)


def test_a_refusal_goes_unnoticed_and_nothing_runs_twice(loop: str) -> None:
    async def main() -> None:
        impl, tls = Store(), client_tls()
        async with (
            serve(impl, graceful_timeout=0) as server,
            Forwarder(server.address) as way,
        ):
            await acquaint(server, tls, way)
            # With another certificate the server forgets its tickets, as after a restart.
            await server.reload(server_tls(authority().issue_server()))
            session = await return_early(way, tls)
            store = session.channel(Store)
            sent = len(way.up)
            calls = [store.blob(n, bytes(n * 1_000)) for n in range(100)]
            answers = asyncio.gather(
                *calls,
                store.put("p"),
                store.get("g"),
                store.total(numbers(50)),
                taken(store.count(50)),
            )
            await way.until(lambda: len(way.up) >= sent + 10)
            way.release_down()
            *sums, put, got, total, counted = await answers
            assert sums == [n + n * 1_000 for n in range(100)]
            assert (put, got, total, counted) == ("p", "ada late g", 1225, list(range(50)))
            assert session.early_data == "refused"
            assert not session.resumed
            assert (impl.blobs, impl.puts) == (100, ["late p"])
            assert sorted(impl.gets[1:]) == ["ada late g", "count late"]
            await session.close()

    run(main, loop=loop)


def test_streams_both_ways_go_ahead_too(loop: str) -> None:
    async def main() -> None:
        impl, tls = Store(), client_tls()
        async with (
            serve(impl, graceful_timeout=0) as server,
            Forwarder(server.address) as way,
        ):
            await acquaint(server, tls, way)
            impl.got.clear()
            session = await return_early(way, tls)
            store = session.channel(Store)
            answers = asyncio.gather(taken(store.count(50)), store.total(numbers(50)))
            await impl.got.wait()
            way.release_down()
            assert await answers == [list(range(50)), 1225]
            assert impl.gets[1:] == ["count early"]
            assert session.early_data == "accepted"
            await session.close()

    run(main, loop=loop)


def test_a_server_may_take_no_early_data() -> None:
    async def main() -> None:
        impl, tls = Store(), client_tls()
        async with serve(impl, tls=server_tls(early_data=False), graceful_timeout=0) as server:
            await acquaint(server, tls)
            async with connect(
                server.address, server_name="localhost", tls=tls, early_data=True
            ) as session:
                assert session.early_data == "none"
                assert session.resumed
                assert await session.channel(Store).get("g") == "ada late g"

    run(main)


def test_what_was_too_large_on_the_last_visit_waits_for_the_answer_of_this_one() -> None:
    async def main() -> None:
        impl, tls = Store(), client_tls()
        small = Limits(msize=8192)
        async with serve(impl, limits=small, graceful_timeout=0) as server:
            await acquaint(server, tls)
            port = server.address.port

        async def visit(server: Server) -> tuple[int, ...]:
            async with connect(
                server.address, server_name="localhost", tls=tls, early_data=True
            ) as session:
                assert session.early_data == "sent"
                store = session.channel(Store)
                calls = [store.blob(1, b""), store.blob(2, bytes(50_000)), store.blob(3, b"")]
                return tuple(await asyncio.gather(*calls))

        # The same server is there again, and takes more.
        async with serve(impl, port=port, graceful_timeout=0) as server:
            assert await visit(server) == (1, 50_002, 3)
            assert await visit(server) == (1, 50_002, 3), "and that is remembered"
        async with serve(impl, port=port, limits=small, graceful_timeout=0) as server:
            with pytest.raises(LimitExceeded, match=r"over the peer's limit of 8,192"):
                await visit(server)

    run(main)


def test_without_being_asked_nothing_is_early() -> None:
    async def main() -> None:
        impl, tls = Store(), client_tls()
        async with serve(impl, graceful_timeout=0) as server:
            await acquaint(server, tls)
            async with join(server, tls=tls, server_name="localhost") as session:
                assert session.early_data == "none"
                assert session.resumed
                assert await session.channel(Store).get("g") == "ada late g"

    run(main)


def test_a_client_that_was_revoked_meanwhile_is_told_by_its_first_call(tmp_path: Path) -> None:
    async def main() -> None:
        ca, impl = ThrowawayCA(), Store()
        ada, crl = ca.issue_client("ada"), tmp_path / "crl.pem"
        crl.write_bytes(ca.crl_pem)
        tls = client_tls(ada, ca=ca.ca_pem)
        there = server_tls(ca.issue_server(), client_ca=ca.ca_pem, client_crls=crl)
        async with serve(impl, tls=there, graceful_timeout=0) as server:
            await acquaint(server, tls)
            ca.revoke(ada)
            crl.write_bytes(ca.crl_pem)
            await server.reload()
            session = await connect(
                server.address, server_name="localhost", tls=tls, early_data=True
            )
            with pytest.raises(TlsError, match="client certificate rejected: revoked"):
                await session.channel(Store).get("g")
            assert len(impl.gets) == 1
            await session.close()

    run(main)


def test_a_server_that_is_gone_is_told_by_the_first_call() -> None:
    async def main() -> None:
        tls = client_tls()
        async with serve(Store(), graceful_timeout=0) as server:
            await acquaint(server, tls)
            address = server.address
        session = await connect(
            address,
            server_name="localhost",
            tls=tls,
            early_data=True,
            limits=Limits(handshake_timeout=0.2),
        )
        with pytest.raises(ConnectionLost, match="nothing was heard"):
            await session.channel(Store).get("g")
        await session.close()

    run(main)
