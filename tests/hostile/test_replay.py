"""A first flight that somebody recorded and sends again: nothing may run twice."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from jetstream import Limits, connect

from tests.e2e.test_early_data import Store, acquaint
from tests.forwarder import Forwarder
from tests.helpers import authority, client_tls, join, resident, run, serve, server_tls

if TYPE_CHECKING:
    from jetstream import ClientTls, Server, Session

COPIES = 100


async def replay(
    flight: list[bytes], server: Server, bystander: Session, copies: int = COPIES
) -> None:
    """Sends a flight from as many addresses, and waits until the server has taken all of it in."""
    target = (str(server.address.ip), server.address.port)
    for _ in range(copies):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for datagram in flight:
                sender.sendto(datagram, target)
        # What comes to a socket later is read later.
        await bystander.channel(Store).blob(0, b"")


def has_early_data(datagram: bytes) -> bool:
    """Whether one of the packets in it is of early data (RFC 9000, section 17.2)."""
    at = 0

    def number() -> int:
        nonlocal at
        size = 1 << (datagram[at] >> 6)
        value = int.from_bytes(datagram[at : at + size], "big") & ((1 << (8 * size - 2)) - 1)
        at += size
        return value

    while at < len(datagram) and datagram[at] & 0x80:
        kind = datagram[at] & 0x30
        if kind == 0x10:
            return True
        at += 5
        for _ in ("destination", "source"):
            at += 1 + datagram[at]
        if kind == 0:
            at += number()
        at += number()
    return False


async def departed(
    way: Forwarder, tls: ClientTls
) -> tuple[Session, asyncio.Future[list[str]], list[bytes]]:
    """A session whose first flight has left, with two calls in it; nothing has come back."""
    way.hold_down = True
    session = await connect(way.address, server_name="localhost", tls=tls, early_data=True)
    store = session.channel(Store)
    await way.until(lambda: any(has_early_data(datagram) for datagram in way.up))
    # The lane has been opened; the calls leave in one datagram.
    count = len(way.up)
    calls = asyncio.gather(store.get("mine"), store.put("mine"))
    await way.until(lambda: len(way.up) > count)
    # Long headers only: the end of the visit before does not belong to it.
    return session, calls, [datagram for datagram in way.up if datagram[0] & 0x80]


async def give_up(session: Session, calls: asyncio.Future[list[str]]) -> None:
    """The client goes away."""
    calls.cancel()
    with suppress(asyncio.CancelledError):
        await calls
    await session.close()


def test_a_copy_of_what_was_accepted_runs_nothing(loop: str) -> None:
    async def main() -> None:
        impl, tls = Store(), client_tls()
        limits = Limits(handshake_timeout=0.5)
        async with (
            serve(impl, limits=limits, graceful_timeout=0) as server,
            Forwarder(server.address) as way,
            join(server) as bystander,
        ):
            await acquaint(server, tls, way)
            way.up.clear()
            session, calls, flight = await departed(way, tls)
            # While the handshake is not complete …
            await replay(flight, server, bystander, 10)
            way.release_down()
            assert await calls == ["ada early mine", "mine"]
            # … while the connection is there …
            await replay(flight, server, bystander)
            assert session.early_data == "accepted"
            await session.close()
            # … and when it is gone.
            while server.connections > 1:  # noqa: ASYNC110  nothing tells
                await asyncio.sleep(0.01)
            await replay(flight, server, bystander)
            assert impl.gets[1:] == ["ada early mine"]
            assert impl.puts == ["late mine"]

    run(main, loop=loop)


@pytest.mark.slow
def test_a_copy_that_comes_first_runs_only_what_may_run_twice() -> None:
    async def main() -> None:
        impl, tls = Store(), client_tls()
        limits = Limits(handshake_timeout=0.5)
        async with (
            serve(impl, limits=limits, graceful_timeout=0) as server,
            Forwarder(server.address) as way,
            join(server) as bystander,
        ):
            await acquaint(server, tls, way)
            way.up.clear()
            way.hold_up = True
            session, calls, flight = await departed(way, tls)
            await replay(flight, server, bystander)
            # Nobody but the client can complete the handshake, so the other call waits in vain.
            assert impl.gets[1:] == ["ada early mine"]
            assert impl.puts == []
            # Until the copies are given up, they stand in the way of the original.
            while server.connections > 2:  # noqa: ASYNC110  nothing tells
                await asyncio.sleep(0.01)
            way.release_down()
            way.release_up()
            # The ticket is used up: the client sends its calls again after a full handshake.
            assert await calls == ["ada late mine", "mine"]
            assert session.early_data == "refused"
            assert impl.gets[1:] == ["ada early mine", "ada late mine"]
            assert impl.puts == ["late mine"]
            await session.close()

    run(main)


def test_a_copy_runs_nothing_after_a_restart_or_a_reload() -> None:
    async def main() -> None:
        impl, tls = Store(), client_tls()
        limits = Limits(handshake_timeout=0.5)
        async with serve(impl, limits=limits, graceful_timeout=0) as server:
            async with Forwarder(server.address) as way, join(server) as bystander:
                await acquaint(server, tls, way)
                way.up.clear()
                way.hold_up = True
                session, calls, flight = await departed(way, tls)
                await give_up(session, calls)
                await server.reload(server_tls(authority().issue_server()))
                await replay(flight, server, bystander, 10)
            number = server.address.port
        async with (
            serve(impl, limits=limits, port=number, graceful_timeout=0) as server,
            join(server) as bystander,
        ):
            await replay(flight, server, bystander, 10)
        assert (impl.gets[1:], impl.puts) == ([], [])

    run(main)


def test_others_are_served_while_copies_come() -> None:
    async def main() -> None:
        impl, tls = Store(), client_tls()
        async with (
            serve(impl, limits=Limits(handshake_timeout=0.5), graceful_timeout=0) as server,
            Forwarder(server.address) as way,
            join(server) as bystander,
        ):
            await acquaint(server, tls, way)
            way.up.clear()
            way.hold_up = True
            session, calls, flight = await departed(way, tls)
            before = resident()
            await replay(flight, server, bystander, 10 * COPIES)
            assert impl.blobs == 10 * COPIES
            assert resident() - before < 16 << 20
            assert (len(impl.gets[1:]), impl.puts) == (1, [])
            await give_up(session, calls)

    run(main)
