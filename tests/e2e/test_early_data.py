"""Calls that leave ahead of the handshake: who may run then, and what becomes of a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from jetstream import (
    I32,
    INJECTED,
    ClientTls,
    ConnectionLost,
    Context,
    LimitExceeded,
    Limits,
    Reconnect,
    Server,
    Session,
    Subscription,
    TlsError,
    TlsPeer,
    Unavailable,
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
                assert session.early_data in {"sent", "accepted"}
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


def test_what_waits_for_the_handshake_is_bounded() -> None:
    async def main() -> None:
        impl, tls = Store(), client_tls()
        async with (
            serve(impl, limits=Limits(max_queued=16 << 10), graceful_timeout=0) as server,
            Forwarder(server.address) as way,
        ):
            await acquaint(server, tls, way)
            impl.got.clear()
            session = await return_early(way, tls)
            way.up.clear()
            store = session.channel(Store)
            first = asyncio.ensure_future(store.get("first"))
            blobs = [asyncio.ensure_future(store.blob(n, bytes(4_000))) for n in range(10)]
            # It may run twice and runs at once; they leave with it, and wait.
            await impl.got.wait()
            await way.until(lambda: sum(map(len, way.up)) > 10 * 4_000)
            assert impl.blobs == 0
            way.release_down()
            assert await first == "ada early first"
            outcomes = await asyncio.gather(*blobs, return_exceptions=True)
            refused = [outcome for outcome in outcomes if isinstance(outcome, LimitExceeded)]
            assert {(error.side, error.setting) for error in refused} == {
                ("peer", "Limits(max_queued=...)")
            }
            assert impl.blobs == len(blobs) - len(refused)
            assert 1 <= impl.blobs <= 4
            await session.close()

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
        with pytest.raises(ConnectionLost, match=r"not over within 0\.2 s; .*handshake_timeout"):
            await session.channel(Store).get("g")
        await session.close()

    run(main)


SWIFT = Reconnect(first=0.02, most=0.1, patience=30.0)


async def gone(tls: ClientTls, *, port: int = 0, times: int = 1) -> int:
    """The port of a server that was visited, and is not there."""
    async with serve(Store(), port=port, graceful_timeout=0) as server:
        for _ in range(times):
            await acquaint(server, tls)
        return server.address.port


def test_a_session_that_stays_up_is_connecting_until_somebody_answers(loop: str) -> None:
    async def main() -> None:
        impl, tls = Store(), client_tls()
        async with (
            serve(impl, graceful_timeout=0) as server,
            Forwarder(server.address) as way,
        ):
            for reconnect in (False, SWIFT):
                await acquaint(server, tls, way)
                impl.got.clear()
                way.hold_down = True
                session = await connect(
                    way.address,
                    server_name="localhost",
                    tls=tls,
                    early_data=True,
                    reconnect=reconnect,
                )
                states = session.states()
                assert (session.state, await anext(states)) == ("connecting", "connecting")
                call = asyncio.ensure_future(session.channel(Store).get("early"))
                await impl.got.wait()
                assert impl.gets[-1] == "ada early early"
                assert session.state == "connecting"
                way.release_down()
                assert await call == "ada early early"
                await session.wait_for("ready")
                assert await anext(states) == "ready"
                await session.close()
                assert [state async for state in states] == ["closed"]

    run(main, loop=loop)


def test_early_calls_to_nobody_fail_when_patience_is_over(loop: str) -> None:
    async def main() -> None:
        tls = client_tls()
        port = await gone(tls)
        session = await connect(
            ("127.0.0.1", port),
            server_name="localhost",
            tls=tls,
            early_data=True,
            reconnect=Reconnect(first=0.02, most=0.1, patience=0.1),
        )
        assert session.early_data == "sent"
        store = session.channel(Store)
        ends = await asyncio.gather(store.get("a"), store.put("b"), return_exceptions=True)
        for end in ends:
            assert isinstance(end, Unavailable), "neither can have run"
            assert "there is no connection to" in str(end)
        assert session.state == "unavailable"
        impl = Store()
        async with serve(impl, port=port, graceful_timeout=0):
            await session.wait_for("ready")
            assert await store.put("c") == "c"
            assert impl.puts == ["late c"]
            await session.close()

    run(main, loop=loop)


def test_early_calls_are_sent_again_when_the_handshake_comes_to_nothing(loop: str) -> None:
    async def main() -> None:
        impl, tls = Store(), client_tls()
        async with (
            serve(impl, graceful_timeout=0) as server,
            Forwarder(server.address) as way,
        ):
            await acquaint(server, tls, way)
            impl.got.clear()
            way.hold_down = True
            session = await connect(
                way.address, server_name="localhost", tls=tls, early_data=True, reconnect=SWIFT
            )
            store = session.channel(Store)
            calls = asyncio.gather(store.get("a"), store.put("b"), taken(store.count(3)))
            await impl.got.wait()
            session._core.give_up()
            way.hold_down = False
            got, put, counted = await calls
            # What may run twice did; what may not waited for a handshake that never came.
            assert (got, put, counted) == ("ada late a", "b", [0, 1, 2])
            assert impl.gets[1:3].count("ada early a") == 1
            assert impl.puts == ["late b"]
            assert session.state == "ready"
            await session.close()

    run(main, loop=loop)


@pytest.mark.parametrize("reconnect", [False, True])
def test_no_address_wins_a_race_without_an_answer(loop: str, reconnect: bool) -> None:
    async def main() -> None:
        tls = client_tls()
        port = await gone(tls, times=2)
        async with serve(Store(), graceful_timeout=0) as server:
            await acquaint(server, tls)
            addresses = [("127.0.0.1", port), server.address]
            async with connect(
                addresses, server_name="localhost", tls=tls, early_data=True, reconnect=reconnect
            ) as session:
                assert session.remote == server.address
                assert session.early_data == "none"
                assert session.resumed
                assert await session.channel(Store).put("x") == "x"

    run(main, loop=loop)


def test_who_waits_for_ready_waits_for_an_answer(loop: str) -> None:
    async def main() -> None:
        tls = client_tls()
        port = await gone(tls)
        options = Reconnect(first=0.02, most=0.1, wait_for_ready=True)
        connecting = asyncio.ensure_future(
            _joined(port, tls=tls, early_data=True, reconnect=options)
        )
        done, _ = await asyncio.wait((connecting,), timeout=0.05)
        assert not done
        async with serve(Store(), port=port, graceful_timeout=0):
            session = await connecting
            assert session.state == "ready"
            assert session.early_data == "none"
            await session.close()

    run(main, loop=loop)


async def _joined(port: int, **options: Any) -> Session:
    return await connect(("127.0.0.1", port), server_name="localhost", **options)


def test_connecting_again_waits_for_an_answer(loop: str) -> None:
    async def main() -> None:
        tls = client_tls()
        first, second, third = (serve(Store(), graceful_timeout=0) for _ in range(3))
        servers = (first, second, third)
        for server in servers:
            await server.start()
            await acquaint(server, tls)
        addresses = [server.address for server in servers]
        async with connect(
            addresses, server_name="localhost", tls=tls, early_data=True, reconnect=SWIFT
        ) as session:
            store = session.channel(Store)
            assert await store.put("a") == "a"
            await second.close()
            await first.close()
            # The second is dead, and known; it is not taken for one that answers.
            assert await store.put("b") == "b"
            assert session.state == "ready"
            assert session.remote == third.address
            assert session.early_data == "none"
        await third.close()

    run(main, loop=loop)


def test_a_refusal_of_the_first_handshake_is_final_ahead_of_it_too(tmp_path: Path) -> None:
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
                server.address, server_name="localhost", tls=tls, early_data=True, reconnect=SWIFT
            )
            call = asyncio.ensure_future(session.channel(Store).get("g"))
            assert isinstance(await session.wait_closed(), TlsError)
            with pytest.raises(ConnectionLost, match="client certificate rejected: revoked"):
                await call
            assert len(impl.gets) == 1
            await session.close()

    run(main)
