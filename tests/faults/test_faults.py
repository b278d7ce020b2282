"""Calls over ways with faults: every call right, none twice. Each failure tells the seed."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from jetstream import Client, ConnectTimeout, Limits, Session

from tests.faults.feeds import Feeds, FeedsImpl, use
from tests.faults.ledger import Ledger, LedgerImpl, ask, ask_all, check_entries
from tests.faults.proxy import Faults, Proxy
from tests.helpers import client_tls, run, serve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

PATIENT = Limits(handshake_timeout=60.0, idle_timeout=60.0)
"""For ways on which a handshake may lose several flights in a row."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way between client and server, and what must have happened on it."""

    faults: Faults
    happened: tuple[str, ...]
    short: int = 500
    """Calls in the short form."""
    long: int = 3_000
    at_once: int = 8
    rebind_every: float | None = None
    """Seconds between changes of the client's address."""


MIXED = Faults(
    loss=0.02, duplication=0.02, corruption=0.01, reordering=0.05, delay=0.002, jitter=0.004
)

WAYS = {
    "1 % loss": Way(faults=Faults(loss=0.01), happened=("lost",), short=2_000, long=20_000),
    "5 % loss": Way(faults=Faults(loss=0.05), happened=("lost",)),
    "reordering": Way(
        faults=Faults(reordering=0.2, overtaken=4), happened=("reordered",), short=1_000, at_once=64
    ),
    "duplication": Way(
        faults=Faults(duplication=0.5), happened=("duplicated",), short=1_000, long=20_000
    ),
    "corruption": Way(faults=Faults(corruption=0.02), happened=("corrupted",), short=1_000),
    "jitter": Way(
        faults=Faults(delay=0.004, jitter=0.008), happened=("up", "down"), short=500, at_once=64
    ),
    "mixed": Way(
        faults=MIXED,
        happened=("lost", "duplicated", "corrupted", "reordered", "rebound"),
        rebind_every=0.4,
        long=2_000,
    ),
    "a new address every 50 ms": Way(
        faults=Faults(delay=0.002), happened=("rebound",), rebind_every=0.05, short=500
    ),
}


STREAMED = ("5 % loss", "reordering", "corruption", "mixed")


def through(way: Way, seed: int, count: int, *, patience: float = 25.0) -> None:
    """Makes that many calls over the way."""
    numbers = range(1, count + 1)

    async def main() -> None:
        impl = LedgerImpl()
        async with behind_a_proxy(impl, way.faults, seed) as (proxy, client):
            session = await client.session(proxy.address, timeout=patience, call_timeout=None)
            every = asyncio.ensure_future(_repeat(proxy.rebind, way.rebind_every))
            async with asyncio.timeout(patience):
                await ask_all([session.channel(Ledger)], numbers, at_once=way.at_once)
            every.cancel()
            check_entries(impl.entries, numbers)
            for what in way.happened:
                assert proxy.counts[what], f"never {what}"

    run(main)


@asynccontextmanager
async def behind_a_proxy(
    impl: LedgerImpl | FeedsImpl, faults: Faults, seed: int
) -> AsyncGenerator[tuple[Proxy, Client]]:
    """A server, a proxy before it and a client that knows only the proxy."""
    async with serve(impl, limits=PATIENT, graceful_timeout=0) as server:
        target = (str(server.address.ip), server.address.port)
        with Proxy(target, seed=seed, up=faults) as proxy:
            async with Client(client_tls(), limits=PATIENT) as client:
                yield proxy, client


async def _repeat(what: Callable[[], None], seconds: float | None) -> None:
    while seconds is not None:
        await asyncio.sleep(seconds)
        what()


@pytest.mark.parametrize("name", WAYS)
def test_calls_are_right_and_none_happens_twice(name: str) -> None:
    through(WAYS[name], seed=1, count=WAYS[name].short)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
@pytest.mark.parametrize("name", WAYS)
def test_thousands_of_calls_are_right_and_none_happens_twice(name: str, seed: int) -> None:
    through(WAYS[name], seed=seed, count=WAYS[name].long)


def streams_through(way: Way, seed: int, count: int) -> None:
    """Uses everything but plain calls that often over the way; all of it ends."""

    async def main() -> None:
        impl = FeedsImpl()
        async with behind_a_proxy(impl, way.faults, seed) as (proxy, client):
            session = await client.session(proxy.address, timeout=25, call_timeout=None)
            feeds = session.channel(Feeds)
            every = asyncio.ensure_future(_repeat(proxy.rebind, way.rebind_every))
            todo = iter(range(count))

            async def some() -> None:
                for number in todo:
                    await use(feeds, number)

            async with asyncio.timeout(25), asyncio.TaskGroup() as group:
                for _ in range(8):
                    group.create_task(some())
            every.cancel()
            await session.close()
            # What was cancelled last has been told so by now, or by the end of the connection.
            async with asyncio.timeout(5):
                while impl.running:
                    await impl.ended.wait()
                    impl.ended.clear()

    run(main)


@pytest.mark.parametrize("name", STREAMED)
def test_streams_are_right_and_end(name: str) -> None:
    streams_through(WAYS[name], seed=1, count=64)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
@pytest.mark.parametrize("name", STREAMED)
def test_many_streams_are_right_and_end(name: str, seed: int) -> None:
    streams_through(WAYS[name], seed=seed, count=400)


@pytest.mark.slow
def test_a_way_of_750_ms() -> None:
    slow = Way(faults=Faults(delay=0.75), happened=("up", "down"), at_once=1_000)
    through(slow, seed=1, count=4_000)


@pytest.mark.slow
def test_a_new_address_every_second() -> None:
    moving = Way(faults=Faults(delay=0.005), happened=("rebound",), rebind_every=1.0)
    through(moving, seed=1, count=3_000)


def darkness(seconds: float) -> None:
    """Calls go on when a way that was dead for a while is not any more."""
    numbers = range(1, 401)

    async def main() -> None:
        impl = LedgerImpl()
        async with behind_a_proxy(impl, Faults(delay=0.002), seed=1) as (proxy, client):
            session = await client.session(proxy.address, call_timeout=None)
            ledger = session.channel(Ledger)
            before, after = numbers[:200], numbers[200:]
            await ask_all([ledger], before, at_once=8)
            proxy.blackhole(True)
            calls = asyncio.ensure_future(ask_all([ledger], after, at_once=8))
            _, unfinished = await asyncio.wait([calls], timeout=seconds)
            assert unfinished, "nothing was swallowed"
            proxy.blackhole(False)
            # QUIC's probes come after twice the time of those before (RFC 9002, section 6.2.1).
            async with asyncio.timeout(2 * seconds + 2):
                await calls
            check_entries(impl.entries, numbers)
            assert proxy.counts["swallowed"]

    run(main)


def test_a_short_darkness() -> None:
    darkness(0.2)


@pytest.mark.slow
def test_a_blackhole_of_2_seconds() -> None:
    darkness(2.0)


async def connected(client: Client, proxy: Proxy) -> Session:
    """A session, at the fourth attempt at the latest.

    The first probe of a handshake comes after a second, each further one after twice the time (RFC
    9002, section 6.2.4): it is better to begin anew than to wait for the fifth.
    """
    for _ in range(3):
        with contextlib.suppress(ConnectTimeout):
            return await client.session(proxy.address, timeout=8, call_timeout=60)
    return await client.session(proxy.address, timeout=8, call_timeout=60)


def handshakes(count: int, loss: float, *, seed: int) -> None:
    """Connections that are made while flights are lost, and one call on each."""
    numbers = range(1, count + 1)

    async def main() -> None:
        impl = LedgerImpl()

        async with behind_a_proxy(impl, Faults(loss=loss), seed) as (proxy, client):

            async def visit(number: int) -> None:
                async with await connected(client, proxy) as session:
                    await ask(session.channel(Ledger), number)

            async with asyncio.TaskGroup() as group:
                for number in numbers:
                    group.create_task(visit(number))
            check_entries(impl.entries, numbers)
            assert proxy.counts["lost"]

    run(main, patience=90)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_fifty_handshakes_with_30_percent_loss(seed: int) -> None:
    handshakes(50, 0.3, seed=seed)


@pytest.mark.slow
def test_handshakes_with_5_percent_loss() -> None:
    handshakes(200, 0.05, seed=1)
