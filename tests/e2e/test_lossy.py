"""Lossy subscriptions: the latest item alone counts, over every transport and over bad ways."""

# A service class only declares.
# mypy: disable-error-code="empty-body"

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import AsyncGenerator

import pytest
from jetstream import (
    U32,
    Client,
    Done,
    Interface,
    JetStreamError,
    Limits,
    Subscription,
    method,
    service,
)

from tests.e2e.table import Ends, collect
from tests.faults.proxy import Faults, Proxy
from tests.helpers import client_tls, live_objects, resident, run, serve


@service(name="gauge", version="1.0.0", digest="9a09e")
class Gauge(Interface):
    """A value that changes faster than anybody looks."""

    async def empty(self) -> None:
        """Nothing in, nothing out."""
        ...

    @method(lossy=True)
    def values(self, count: U32, size: U32, pause_after: U32) -> Subscription[bytes, str]:
        """Numbered items of at least that size, as fast as they can be made."""
        ...

    @method(lossy=True)
    def steps(self, count: U32) -> Subscription[U32, None]:
        """Numbers, one for each turn of the loop."""
        ...

    @method(lossy=True)
    def fails(self) -> Subscription[U32, None]:
        """A number and a failure."""
        ...


class GaugeImpl(Gauge):
    """Counts what it makes."""

    def __init__(self) -> None:
        self.produced = 0
        self.ended = asyncio.Event()
        self.gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def empty(self) -> None:
        return None

    @method
    async def values(
        self, count: U32, size: U32, pause_after: U32
    ) -> AsyncGenerator[bytes | Done[str]]:
        try:
            for number in range(count):
                self.produced += 1
                yield number.to_bytes(4, "little").ljust(size, b".")
                if number + 1 == pause_after:
                    self.gates["paused"].set()
                    await self.gates["go on"].wait()
            yield Done(f"{count} values")
        finally:
            self.ended.set()

    @method
    async def steps(self, count: U32) -> AsyncGenerator[U32]:
        for number in range(count):
            yield number
            # Not to wait for anything: each may leave before the next is made.
            await asyncio.sleep(0)

    @method
    async def fails(self) -> AsyncGenerator[U32]:
        yield 1
        raise JetStreamError("no more", code="gauge::broken")


def number_of(item: bytes) -> int:
    return int.from_bytes(item[:4], "little")


def check_increasing(numbers: list[int]) -> None:
    assert all(one < other for one, other in itertools.pairwise(numbers)), numbers


async def round_trips(gauge: Gauge, count: int) -> None:
    for _ in range(count):
        await gauge.empty()


@pytest.mark.parametrize("size", [8, 900, 20_000])
def test_a_slow_taker_gets_few_items_and_the_last_one(ends: Ends, size: int, loop: str) -> None:
    count = 20_000 if size < 10_000 else 4_000

    async def main() -> None:
        impl = GaugeImpl()
        async with ends(impl) as session:
            gauge = session.channel(Gauge)
            values = gauge.values(count, size, 0)
            numbers: list[int] = []
            async for item in values:
                assert len(item) == size
                numbers.append(number_of(item))
                await gauge.empty()
            check_increasing(numbers)
            # At most one for each turn, in which it makes 64.
            assert len(numbers) <= count // 64 + 4
            assert numbers[-1] == count - 1
            assert impl.produced == count, "its producer was not held up"
            assert values.result == f"{count} values"

    before = live_objects()
    run(main, loop=loop)
    assert live_objects() == before


@pytest.mark.parametrize("size", [8, 20_000])
def test_whoever_looks_late_sees_the_latest(ends: Ends, size: int, loop: str) -> None:
    async def main() -> None:
        impl = GaugeImpl()
        async with ends(impl) as session:
            gauge = session.channel(Gauge)
            values = gauge.values(5_001, size, 5_000)
            numbers = [number_of(await anext(values))]
            await impl.gates["paused"].wait()
            # The one that was made last is on its way, and takes the place of any before it.
            await round_trips(gauge, 20)
            numbers.append(number_of(await anext(values)))
            assert numbers[-1] == 4_999
            impl.gates["go on"].set()
            numbers += [number_of(item) async for item in values]
            assert numbers[-1] == 5_000
            check_increasing(numbers)
            assert len(numbers) == 3

    run(main, loop=loop)


@pytest.mark.parametrize("size", [900, 20_000])
def test_nothing_is_kept_for_a_taker_that_does_not_take(ends: Ends, size: int) -> None:
    count = 30_000

    async def main() -> None:
        impl = GaugeImpl()
        # A window of the least size, of which more goes by than a thousand times over.
        async with ends(impl, limits=Limits(stream_window=64 << 10)) as session:
            gauge = session.channel(Gauge)
            async with gauge.values(count, size, 0) as values:
                assert number_of(await anext(values)) < count
                await round_trips(gauge, 3)
                before = resident()
                await impl.ended.wait()
                await round_trips(gauge, 3)
                assert resident() - before < 16 << 20
                rest = [number_of(item) async for item in values]
                assert rest == [count - 1]
                assert values.result == f"{count} values"

    run(main)


def test_leaving_ends_the_producer(ends: Ends, loop: str) -> None:
    async def main() -> None:
        impl = GaugeImpl()
        async with ends(impl) as session:
            gauge = session.channel(Gauge)
            async for _ in gauge.values(1_000_000_000, 8, 0):
                break
            await impl.ended.wait()
            await gauge.empty()

    before = live_objects()
    run(main, loop=loop)
    assert live_objects() == before


def test_a_failure_is_no_end_here_either(ends: Ends, loop: str) -> None:
    async def main() -> None:
        async with ends(GaugeImpl()) as session:
            numbers: list[int] = []
            with pytest.raises(JetStreamError, match="no more") as caught:
                await collect(session.channel(Gauge).fails(), numbers)
            assert caught.value.code == "gauge::broken"
            assert numbers in ([], [1])

    run(main, loop=loop)


def test_many_side_by_side_do_not_mix(ends: Ends) -> None:
    async def main() -> None:
        async with ends(GaugeImpl()) as session:
            gauge = session.channel(Gauge)

            async def take(count: int) -> None:
                numbers = [number async for number in gauge.steps(count)]
                check_increasing(numbers)
                assert numbers[-1] == count - 1

            # More than there are lanes.
            await asyncio.gather(*[take(20 + n) for n in range(200)])

    run(main)


WAYS = {
    "reordering": Faults(reordering=0.4, overtaken=3),
    "jitter": Faults(delay=0.001, jitter=0.004),
    "duplication": Faults(duplication=0.5, reordering=0.2),
    "loss": Faults(loss=0.1),
    "all of it": Faults(
        loss=0.05, duplication=0.1, reordering=0.2, corruption=0.02, delay=0.001, jitter=0.002
    ),
}


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_no_item_overtakes_a_later_one_on_a_bad_way(name: str, seed: int, loop: str) -> None:
    faults, count = WAYS[name], 1_500
    patient = Limits(handshake_timeout=20.0)

    async def main() -> None:
        async with (
            serve(GaugeImpl(), limits=patient, graceful_timeout=1.0) as server,
            Client(client_tls(), limits=patient) as client,
        ):
            target = (str(server.address.ip), server.address.port)
            with Proxy(target, seed=seed, up=faults) as proxy:
                session = await client.session(proxy.address, timeout=20.0)
                gauge = session.channel(Gauge)
                steps = gauge.steps(count)
                numbers = [number async for number in steps]
                check_increasing(numbers)
                # The end comes behind the last, which is not lost.
                assert numbers[-1] == count - 1
                assert len(numbers) > 10
                assert steps.result is None
                if faults.reordering:
                    assert proxy.counts["reordered"] > 10
                if faults.loss:
                    assert proxy.counts["lost"] > 3
                await session.close()

    run(main, loop=loop)
