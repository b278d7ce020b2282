"""Servers that go away while clients call: those that stay up notice nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from jetstream import (
    U32,
    CallError,
    Client,
    ConnectionLost,
    JetStreamError,
    Reconnect,
    Server,
    Session,
    Unavailable,
    connect,
    method,
)

from tests.e2e.counter import Tally, TallyImpl
from tests.e2e.table import Table, TableImpl, collect
from tests.forwarder import Forwarder
from tests.helpers import client_tls, join, run, serve
from tests.transports import SOCKETS, served

SWIFT = Reconnect(first=0.02, most=0.1, patience=30.0)


class Load:
    """Calls without a pause from many tasks, each with a number of its own."""

    def __init__(self, tally: Tally, callers: int = 32) -> None:
        self._tally = tally
        self._next = 0
        self.answered: list[int] = []
        self._more = asyncio.Event()
        self._stopped = False
        self._tasks = [asyncio.ensure_future(self._run()) for _ in range(callers)]

    async def _run(self) -> None:
        while not self._stopped:
            number, self._next = self._next, self._next + 1
            assert await self._tally.add(number) == number
            self.answered.append(number)
            self._more.set()

    async def more(self, count: int) -> None:
        """Waits until so many more have been answered."""
        goal = len(self.answered) + count
        while len(self.answered) < goal:
            for task in self._tasks:
                if task.done():
                    await task
            self._more.clear()
            await self._more.wait()

    async def stop(self) -> None:
        """Lets every caller finish; fails if one call did."""
        self._stopped = True
        await asyncio.gather(*self._tasks)
        assert sorted(self.answered) == list(range(self._next))


def test_two_servers_take_turns_and_no_call_fails(loop: str) -> None:
    async def main() -> None:
        counts: Counter[int] = Counter()
        first = serve(TallyImpl(counts, "0"))
        second = serve(TallyImpl(counts, "1"))
        await first.start()
        await second.start()
        ports = [first.address.port, second.address.port]
        addresses = [first.address, second.address]
        servers = [first, second]
        async with connect(addresses, tls=client_tls(), reconnect=SWIFT) as session:
            tally = session.channel(Tally)
            load = Load(tally)
            for turn in range(6):
                await load.more(300)
                at = turn % 2
                async with asyncio.timeout(5):
                    await servers[at].close()
                await load.more(300)
                assert await tally.whose() == str(1 - at)
                servers[at] = serve(TallyImpl(counts, str(at)), port=ports[at])
                await servers[at].start()
            await load.stop()
        for server in servers:
            await server.close()
        assert set(counts.values()) == {1}
        assert set(counts) == set(load.answered)

    run(main, loop=loop)


def test_a_server_restarts_on_its_port_and_no_call_fails(loop: str) -> None:
    async def main() -> None:
        counts: Counter[int] = Counter()
        server = serve(TallyImpl(counts))
        await server.start()
        port = server.address.port
        async with join(server, reconnect=SWIFT) as session:
            load = Load(session.channel(Tally))
            for _ in range(4):
                await load.more(300)
                async with asyncio.timeout(5):
                    await server.close()
                server = serve(TallyImpl(counts), port=port)
                await server.start()
            await load.more(300)
            await load.stop()
        await server.close()
        assert set(counts.values()) == {1}
        assert set(counts) == set(load.answered)

    run(main, loop=loop)


def test_servers_that_go_away_one_soon_after_another(loop: str) -> None:
    async def main() -> None:
        counts: Counter[int] = Counter()
        servers = {str(n): serve(TallyImpl(counts, str(n))) for n in range(8)}
        for server in servers.values():
            await server.start()
        addresses = [server.address for server in servers.values()]
        async with connect(addresses, tls=client_tls(), reconnect=True) as session:
            tally = session.channel(Tally)
            load = Load(tally, callers=4)
            while len(servers) > 1:
                await load.more(10)
                # No connection lasts for long, and none of that is anybody's fault.
                await servers.pop(await tally.whose()).close()
            await load.more(10)
            await load.stop()
        for server in servers.values():
            await server.close()
        assert set(counts.values()) == {1}

    run(main, loop=loop)


def test_slow_calls_end_where_they_began_and_hold_nobody_up(loop: str) -> None:
    async def main() -> None:
        counts: Counter[int] = Counter()
        old, new = TallyImpl(counts, "old"), TallyImpl(counts, "new")
        first, second = serve(old), serve(new)
        await first.start()
        await second.start()
        addresses = [first.address, second.address]
        async with connect(addresses, tls=client_tls(), reconnect=SWIFT) as session:
            tally = session.channel(Tally)
            slow = [asyncio.ensure_future(tally.hold(n)) for n in range(5)]
            given_up = asyncio.ensure_future(tally.hold(5))
            late = asyncio.ensure_future(tally.hold(6, timeout=0.5))  # type: ignore[call-arg]
            # The last may be late indeed, and begin nowhere.
            for _ in range(6):
                await old.arrived.get()
            closing = asyncio.ensure_future(first.close())
            # The old server waits for its methods; others are called on the new one meanwhile.
            # (What is asked before the word of that is out is still the old one's.)
            while await tally.whose() != "new":
                pass
            assert await asyncio.gather(*(tally.add(n) for n in range(10, 200)))
            assert not closing.done()
            given_up.cancel()
            # Whoever notices first says so.
            with pytest.raises(JetStreamError) as told:
                await late
            assert told.value.code == "jetstream::deadline_exceeded"
            assert not any(call.done() for call in slow)
            old.gate.set()
            assert await asyncio.gather(*slow) == list(range(5))
            await closing
            assert await tally.whose() == "new"
        await second.close()
        assert set(counts.values()) == {1}

    run(main, loop=loop)


def test_what_was_not_begun_is_begun_elsewhere(loop: str) -> None:
    async def main() -> None:
        counts: Counter[int] = Counter()
        old, new = TallyImpl(counts, "old"), TallyImpl(counts, "new")
        from jetstream import Limits

        # Two methods at once: the third call waits in the server.
        first, second = serve(old, limits=Limits(max_handlers=2)), serve(new)
        new.gate.set()
        await first.start()
        await second.start()
        addresses = [first.address, second.address]
        async with connect(addresses, tls=client_tls(), reconnect=SWIFT) as session:
            tally = session.channel(Tally)
            calls = [asyncio.ensure_future(tally.hold(n)) for n in range(20)]
            begun = {await old.arrived.get(), await old.arrived.get()}
            closing = asyncio.ensure_future(first.close())
            rest = [call for number, call in enumerate(calls) if number not in begun]
            assert sorted(await asyncio.gather(*rest)) == sorted(set(range(20)) - begun)
            assert not closing.done(), "they did not wait for those that had begun"
            old.gate.set()
            assert sorted(await asyncio.gather(*calls)) == list(range(20))
            await closing
        await second.close()
        assert set(counts.values()) == {1}
        assert new.arrived.qsize() == 18

    run(main, loop=loop)


def test_a_plain_session_is_told_what_had_not_begun(loop: str) -> None:
    async def main() -> None:
        from jetstream import Limits

        impl = TallyImpl()
        server = serve(impl, limits=Limits(max_handlers=2))
        await server.start()
        async with join(server) as session:
            tally = session.channel(Tally)
            calls = [asyncio.ensure_future(tally.hold(n)) for n in range(10)]
            begun = {await impl.arrived.get(), await impl.arrived.get()}
            closing = asyncio.ensure_future(server.close())
            for number, call in enumerate(calls):
                if number not in begun:
                    with pytest.raises(Unavailable):
                        await call
            with pytest.raises(Unavailable):
                await tally.add(100)
            with pytest.raises(Unavailable):
                await session.channel(Tally, max_concurrent=3).add(101)
            impl.gate.set()
            assert {await calls[number] for number in begun} == begun
            await closing
            assert isinstance(await session.wait_closed(), ConnectionLost)
        assert set(impl.counts) == begun

    run(main, loop=loop)


def test_a_forced_end_repeats_nothing(loop: str) -> None:
    async def main() -> None:
        counts: Counter[int] = Counter()
        old, new = TallyImpl(counts, "old"), TallyImpl(counts, "new")
        new.gate.set()
        first, second = serve(old), serve(new)
        await first.start()
        await second.start()
        addresses = [first.address, second.address]
        async with connect(addresses, tls=client_tls(), reconnect=SWIFT) as session:
            tally = session.channel(Tally)
            slow = [asyncio.ensure_future(tally.hold(n)) for n in range(5)]
            again = asyncio.ensure_future(tally.hold_again(5))
            for _ in range(6):
                await old.arrived.get()
            await first.close(graceful_timeout=0.05)
            for call in slow:
                with pytest.raises((ConnectionLost, CallError)):
                    await call
            with contextlib.suppress(CallError):
                assert await again == 5
            assert await tally.whose() == "new"
        await second.close()
        assert {counts[number] for number in range(5)} == {1}

    run(main, loop=loop)


def test_subscriptions_that_had_not_begun_begin_elsewhere(loop: str) -> None:
    async def main() -> None:
        old, new = TallyImpl(name="old"), TallyImpl(name="new")
        first, second = serve(old), serve(new)
        await first.start()
        await second.start()
        addresses = [first.address, second.address]
        async with connect(addresses, tls=client_tls(), reconnect=SWIFT) as session:
            tally = session.channel(Tally)

            async def total() -> tuple[list[int], str]:
                items = tally.count(3)
                return [item async for item in items], items.result

            assert await total() == ([0, 1, 2], "old")
            closing = asyncio.ensure_future(first.close())
            # Made while the server goes away, at whatever moment that is.
            for _ in range(20):
                numbers, name = await total()
                assert numbers == [0, 1, 2]
            async with asyncio.timeout(5):
                await closing
            assert name == "new"
        await second.close()

    run(main, loop=loop)


@pytest.mark.parametrize("reconnect", [False, SWIFT], ids=["plain", "stays up"])
@pytest.mark.parametrize("transport", SOCKETS)
def test_a_subscription_that_the_server_ends_is_lost_with_it(
    transport: str, reconnect: Reconnect | bool
) -> None:
    async def main() -> None:
        impl = TableImpl()
        impl.gates["shut"].clear()
        async with served(transport, impl) as way, way.join(reconnect=reconnect) as session:
            table = session.channel(Table)
            ticks = table.ticks("shut", 2, 4)
            items: list[bytes] = []
            taking = asyncio.ensure_future(collect(ticks, items))
            await impl.began["shut"].wait()
            while len(items) < 2:
                await table.empty()
            await way.server.close()
            with pytest.raises(ConnectionLost, match="shutting down") as caught:
                await taking
            # It had begun, so it is no call that can just be sent elsewhere.
            assert type(caught.value) is ConnectionLost
            assert caught.value.by_peer
            with pytest.raises(ConnectionLost):
                _ = ticks.result

    run(main)


def test_a_method_that_fails_for_want_of_another_server_has_failed(loop: str) -> None:
    async def main() -> None:
        class Front(TableImpl):
            async def fail(self) -> None:
                raise Unavailable("nobody behind")

            @method
            async def breaks(self, after: U32, how: str) -> AsyncGenerator[U32]:
                yield 1
                await self.fail()

        async with serve(Front()) as server, join(server) as session:
            table = session.channel(Table)
            with pytest.raises(CallError) as caught:
                await table.fail()
            assert caught.value.code == "jetstream::unavailable"
            with pytest.raises(CallError, match="nobody behind") as caught:
                await collect(table.breaks(1, ""))
            assert caught.value.code == "jetstream::unavailable"

    run(main, loop=loop)


def test_a_stream_that_ends_as_the_server_closes_does_not_hold_it_up(loop: str) -> None:
    async def main() -> None:
        server = serve(TallyImpl(name="here"))
        await server.start()
        async with join(server) as session:
            items = session.channel(Tally).count(3)
            assert [item async for item in items] == [0, 1, 2]
            # The client's word that it is done with the lane crosses the server's that it is.
            async with asyncio.timeout(5):
                await server.close()

    run(main, loop=loop)


def test_a_lane_that_comes_too_late_goes_elsewhere(loop: str) -> None:
    async def main() -> None:
        counts: Counter[int] = Counter()
        old, new = TallyImpl(counts, "old"), TallyImpl(counts, "new")
        first, second = serve(old), serve(new)
        await first.start()
        await second.start()
        addresses = [first.address, second.address]
        async with (
            Client(client_tls()) as other,
            connect(addresses, tls=client_tls(), reconnect=SWIFT) as session,
        ):
            # Something of somebody else's keeps the server from ending.
            elsewhere: Session = await other.session(first.address)
            held = asyncio.ensure_future(elsewhere.channel(Tally).hold(1))
            await old.arrived.get()
            closing = asyncio.ensure_future(first.close())
            with pytest.raises(Unavailable):
                await elsewhere.channel(Tally, max_concurrent=2).add(2)
            assert not closing.done()
            # This session has no lane yet, and so has not been told.
            assert await session.channel(Tally).whose() == "new"
            assert not closing.done()
            old.gate.set()
            assert await held == 1
            await closing
        await second.close()

    run(main, loop=loop)


@pytest.mark.slow  # two seconds of silence
def test_a_client_that_is_gone_does_not_hold_a_server_up(loop: str) -> None:
    async def main() -> None:
        impl = TallyImpl()
        async with (
            serve(impl, graceful_timeout=60) as server,
            Forwarder(server.address) as way,
        ):
            session = await connect(way.address, server_name="localhost", tls=client_tls())
            tally = session.channel(Tally)
            assert await tally.add(1) == 1
            # Its machine is switched off: it never hears the next answer.
            way.hold_down = True
            unheard = asyncio.ensure_future(tally.hold(2))
            await impl.arrived.get()
            way.hold_up = True
            impl.gate.set()
            async with asyncio.timeout(20):
                await server.close()
            unheard.cancel()
            await session.close()

    run(main, loop=loop)


def test_closing_twice_and_at_once(loop: str) -> None:
    async def main() -> None:
        impl = TallyImpl()
        server: Server = serve(impl)
        await server.start()
        session: Any = await join(server)
        held = asyncio.ensure_future(session.channel(Tally).hold(1))
        await impl.arrived.get()
        closing = asyncio.ensure_future(server.close())
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await server.close(graceful_timeout=0)
        with pytest.raises((ConnectionLost, CallError)):
            await held
        closing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await closing
        await session.close()

    run(main, loop=loop)
