"""Sessions that stay up: what becomes of calls, what is reported, and when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from jetstream import (
    ClosedError,
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    DeadlineExceeded,
    LimitExceeded,
    Limits,
    NoSharedProtocol,
    Reconnect,
    Router,
    Server,
    Session,
    TlsError,
    Unavailable,
    VersionMismatch,
    service,
)
from jetstream.testing import ThrowawayCA

from tests.e2e.counter import Tally, TallyImpl
from tests.helpers import join, live_objects, run, serve, server_tls
from tests.transports import SOCKETS, Way, listening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SWIFT = Reconnect(first=0.02, most=0.1, patience=30.0)


def vanish(server: Server) -> int:
    """Ends a server without a word, as SIGKILL does; returns its port."""
    port = server.address.port
    endpoint: Any = server._endpoint  # pyright: ignore[reportPrivateUsage]
    endpoint.close()
    return port


@contextlib.asynccontextmanager
async def back(port: int, impl: object, **options: Any) -> AsyncIterator[Server]:
    """A server where another was, with the same key."""
    async with serve(impl, port=port, **options) as server:
        yield server


async def vanished(impl: TallyImpl) -> int:
    """The port of a server that was there."""
    server = serve(impl)
    await server.start()
    return vanish(server)


async def staying(port: int, options: Reconnect = SWIFT, **more: Any) -> Session:
    """A session that stays up, with a server that has a name of its own."""
    session: Session = await join_port(port, reconnect=options, **more)
    return session


def join_port(port: int, **options: Any) -> Any:
    """What `connect` gives for a port of loopback."""
    from jetstream import connect

    from tests.helpers import client_tls

    options.setdefault("tls", client_tls())
    return connect(("127.0.0.1", port), **options)


def test_channels_go_on_when_the_server_is_back(loop: str) -> None:
    async def main() -> None:
        before, after = TallyImpl(name="before"), TallyImpl(name="after")
        server = serve(before)
        await server.start()
        async with join(server, reconnect=SWIFT) as session:
            tally = session.channel(Tally)
            assert await tally.whose() == "before"
            core = session._core
            assert session.state == "ready"
            port = vanish(server)
            async with back(port, after):
                assert await tally.put(1) == 1, "idempotent: it may be sent again"
                assert await tally.whose() == "after"
                assert session.state == "ready"
                assert session.closed is None
                assert session._core is not core
        assert session.state == "closed"
        assert isinstance(session.closed, ClosedError)

    run(main, loop=loop)


def test_only_what_may_run_twice_is_sent_again(loop: str) -> None:
    async def main() -> None:
        counts: Counter[int] = Counter()
        before, after = TallyImpl(counts), TallyImpl(counts)
        after.gate.set()
        server = serve(before)
        await server.start()
        async with join(server, reconnect=SWIFT) as session:
            tally = session.channel(Tally)
            once = [asyncio.ensure_future(tally.hold(n)) for n in range(10)]
            again = [asyncio.ensure_future(tally.hold_again(n)) for n in range(10, 20)]
            for _ in range(20):
                await before.arrived.get()
            port = vanish(server)
            async with back(port, after):
                ends = await asyncio.gather(*once, return_exceptions=True)
                assert all(type(end) is ConnectionLost for end in ends), ends
                assert await asyncio.gather(*again) == list(range(10, 20))
        assert counts == {n: 1 if n < 10 else 2 for n in range(20)}

    run(main, loop=loop)


def test_what_has_not_left_is_sent_to_the_next_server(loop: str) -> None:
    async def main() -> None:
        counts: Counter[int] = Counter()
        before, after = TallyImpl(counts), TallyImpl(counts)
        after.gate.set()
        server = serve(before)
        await server.start()
        async with join(server, reconnect=SWIFT) as session:
            tally = session.channel(Tally, max_concurrent=1)
            first = asyncio.ensure_future(tally.hold(0))
            await before.arrived.get()
            # The only tag is taken, so these wait here.
            rest = [asyncio.ensure_future(tally.add(n)) for n in range(1, 50)]
            await asyncio.sleep(0)
            port = vanish(server)
            async with back(port, after):
                assert await asyncio.gather(*rest) == list(range(1, 50))
                with pytest.raises(ConnectionLost):
                    await first
        assert set(counts.values()) == {1}

    run(main, loop=loop)


def test_a_request_that_waits_for_the_end_of_the_turn_has_not_left(loop: str) -> None:
    async def main() -> None:
        counts: Counter[int] = Counter()
        async with (
            serve(TallyImpl(counts)) as server,
            join(server, reconnect=SWIFT) as session,
        ):
            tally = session.channel(Tally)
            await tally.whose()
            calls = [asyncio.ensure_future(tally.add(n)) for n in range(50)]
            # They have begun, and the turn that would send them comes after this task's.
            await asyncio.sleep(0)
            session._core.give_up()
            assert await asyncio.gather(*calls) == list(range(50))
        assert counts == dict.fromkeys(range(50), 1)

    run(main, loop=loop)


def test_calls_wait_while_there_is_no_connection(loop: str) -> None:
    async def main() -> None:
        server = serve(TallyImpl())
        await server.start()
        async with join(server, reconnect=SWIFT) as session:
            tally = session.channel(Tally)
            await tally.whose()
            port = vanish(server)
            session._core.give_up()
            await session.wait_for("connecting")
            after = TallyImpl(name="after")
            waiting = [asyncio.ensure_future(tally.add(n)) for n in range(100)]
            made_now = session.channel(Tally, max_concurrent=7)
            waiting.append(asyncio.ensure_future(made_now.add(100)))
            with pytest.raises(DeadlineExceeded):
                await tally.add(1000, timeout=0.05)  # type: ignore[call-arg]
            async with back(port, after):
                assert await asyncio.gather(*waiting) == list(range(101))
            assert after.counts == dict.fromkeys(range(101), 1)

    run(main, loop=loop)


def test_calls_fail_at_once_when_patience_is_over_unless_they_wait(loop: str) -> None:
    async def main() -> None:
        server = serve(TallyImpl())
        await server.start()
        options = Reconnect(first=0.02, most=0.1, patience=0.1)
        async with join(server, reconnect=options) as session:
            tally = session.channel(Tally)
            patient = session.channel(Tally, wait_for_ready=True)
            await tally.whose()
            port = vanish(server)
            session._core.give_up()
            await session.wait_for("connecting")
            early = asyncio.ensure_future(tally.add(1))
            waits = asyncio.ensure_future(patient.add(2))
            with pytest.raises(Unavailable, match=r"there is no connection to 127\.0\.0\.1"):
                await early
            assert session.state == "unavailable"
            with pytest.raises(Unavailable, match="connecting goes on"):
                await tally.add(3)
            with pytest.raises(Unavailable):
                await session.channel(Tally, max_concurrent=3).add(4)
            with pytest.raises(DeadlineExceeded):
                await patient.add(5, timeout=0.05)  # type: ignore[call-arg]
            assert not waits.done()
            after = TallyImpl()
            async with back(port, after):
                assert await waits == 2
                assert await tally.add(6) == 6
                assert session.state == "ready"
            assert after.counts == {2: 1, 6: 1}

    run(main, loop=loop)


def test_only_so_many_calls_wait() -> None:
    async def main() -> None:
        server = serve(TallyImpl())
        await server.start()
        limits = Limits(max_waiting=10)
        async with join(server, reconnect=SWIFT, limits=limits) as session:
            tally = session.channel(Tally)
            await tally.whose()
            vanish(server)
            session._core.give_up()
            await session.wait_for("connecting")
            waiting = [asyncio.ensure_future(tally.add(n)) for n in range(10)]
            await asyncio.sleep(0)
            with pytest.raises(LimitExceeded, match=r"11 .* 10; .*max_waiting") as caught:
                await tally.add(10)
            assert (caught.value.size, caught.value.allowed, caught.value.side) == (11, 10, "here")
            assert not any(call.done() for call in waiting)
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(end, ClosedError) for end in ends)

    run(main)


def test_every_state_is_told(loop: str) -> None:
    async def main() -> None:
        server = serve(TallyImpl())
        await server.start()
        seen: list[str] = []
        options = Reconnect(first=0.02, most=0.1, patience=0.05)
        async with join(server, reconnect=options) as session:

            async def watch() -> None:
                async for state in session.states():
                    seen.append(state)

            watching = asyncio.ensure_future(watch())
            await asyncio.sleep(0)
            port = vanish(server)
            session._core.give_up()
            await session.wait_for("unavailable")
            async with back(port, TallyImpl()):
                await session.wait_for("ready")
                while seen[-1] != "ready":  # noqa: ASYNC110  the watcher takes its steps
                    await asyncio.sleep(0)
                await session.close()
            with pytest.raises(ClosedError):
                await session.wait_for("ready")
            await session.wait_for("closed")
            await watching
        assert seen == ["ready", "connecting", "unavailable", "ready", "closed"]

    run(main, loop=loop)


def test_a_plain_session_has_two_states(loop: str) -> None:
    async def main() -> None:
        async with serve(TallyImpl()) as server, join(server) as session:
            assert session.state == "ready"
            await session.wait_for("ready")
            never = asyncio.ensure_future(session.wait_for("unavailable"))
            states = session.states()
            assert await anext(states) == "ready"
            await server.close()
            assert await anext(states) == "closed"
            with pytest.raises(StopAsyncIteration):
                await anext(states)
            with pytest.raises(ConnectionLost):
                await never
            await session.wait_for("closed")
            assert session.state == "closed"

    run(main, loop=loop)


def test_the_first_connection_fails_at_once_unless_it_is_waited_for(loop: str) -> None:
    async def main() -> None:
        port = await vanished(TallyImpl())
        with pytest.raises(ConnectTimeout):
            await join_port(port, reconnect=True, timeout=0.1)
        options = Reconnect(first=0.02, most=0.1, wait_for_ready=True)
        connecting = asyncio.ensure_future(staying(port, options, timeout=5))
        async with back(port, TallyImpl(name="here")):
            session = await connecting
            assert await session.channel(Tally).whose() == "here"
            await session.close()
        attempts = Reconnect(first=0.02, most=0.1, attempts=3, wait_for_ready=True)
        with pytest.raises(ConnectTimeout):
            await staying(port, attempts, timeout=0.2)

    run(main, loop=loop)


class Nothing:
    """A protocol of its own."""

    def alpns(self) -> list[str]:
        return ["nothing/1"]

    async def accept(self, ctx: object, connection: object) -> None: ...


@pytest.mark.parametrize("waits", [False, True])
def test_a_server_that_is_refused_at_first_is_never_tried_again(loop: str, waits: bool) -> None:
    async def main() -> None:
        stranger = ThrowawayCA().issue_server()
        options = Reconnect(first=0.02, most=0.1, wait_for_ready=waits)
        async with serve(TallyImpl(), tls=server_tls(stranger)) as server:
            with pytest.raises(TlsError, match="server certificate rejected"):
                await join(server, reconnect=options)

    run(main, loop=loop)


def test_a_server_that_is_refused_later_is_tried_again(loop: str) -> None:
    async def main() -> None:
        server = serve(TallyImpl())
        await server.start()
        stranger = ThrowawayCA().issue_server()
        options = Reconnect(first=0.02, most=0.1, patience=0.1)
        async with join(server, reconnect=options) as session:
            tally = session.channel(Tally)
            patient = session.channel(Tally, wait_for_ready=True)
            await tally.whose()
            assert session.unavailable is None
            port = vanish(server)
            session._core.give_up()
            waits = asyncio.ensure_future(patient.add(1))
            async with back(port, TallyImpl(), tls=server_tls(stranger), graceful_timeout=0):
                await session.wait_for("unavailable")
                while not isinstance(session.unavailable, TlsError):  # noqa: ASYNC110  only looking tells
                    await asyncio.sleep(0.01)
                with pytest.raises(Unavailable, match="server certificate rejected: "):
                    await tally.add(2)
                assert session.state == "unavailable"
                assert session.closed is None
                assert not waits.done()
            after = TallyImpl()
            async with back(port, after):
                assert await waits == 1
                assert await tally.add(3) == 3
                assert session.unavailable is None
            assert after.counts == {1: 1, 3: 1}

    run(main, loop=loop)


def test_a_reload_is_tried_at_once(loop: str) -> None:
    async def main() -> None:
        from jetstream import Client

        from tests.helpers import authority, client_tls

        theirs = ThrowawayCA()
        server = serve(TallyImpl())
        await server.start()
        # By themselves, attempts would not come in the time of this test.
        options = Reconnect(first=0.02, most=1000.0, patience=0.1)
        async with Client(client_tls()) as client:
            session = await client.session(server.address, reconnect=options)
            patient = session.channel(Tally, wait_for_ready=True)
            await patient.whose()
            port = vanish(server)
            session._core.give_up()
            moved = server_tls(theirs.issue_server())
            async with back(port, TallyImpl(name="moved"), tls=moved):
                while not isinstance(session.unavailable, TlsError):  # noqa: ASYNC110  only looking tells
                    await asyncio.sleep(0.01)
                await client.reload(client_tls(ca=authority().ca_pem + theirs.ca_pem))
                assert await patient.whose() == "moved"
                await session.close()

    run(main, loop=loop)


def test_a_server_of_another_protocol_in_its_place_ends_no_session(loop: str) -> None:
    async def main() -> None:
        server = serve(TallyImpl())
        await server.start()
        options = Reconnect(first=0.02, most=0.1, patience=30.0)
        async with join(server, reconnect=options) as session:
            tally = session.channel(Tally)
            await tally.whose()
            port = vanish(server)
            session._core.give_up()
            waits = asyncio.ensure_future(tally.add(1))
            upkeep: Any = session._upkeep
            async with back(port, Router(Nothing()), graceful_timeout=0):
                # Alerts of a handshake come from whoever can see it, too.
                while not isinstance(upkeep.reason, NoSharedProtocol):  # noqa: ASYNC110  only looking tells
                    await asyncio.sleep(0.01)
            async with back(port, TallyImpl()):
                assert await waits == 1

    run(main, loop=loop)


def test_a_name_that_cannot_be_a_servers_is_not_tried_again() -> None:
    async def main() -> None:
        async with serve(TallyImpl()) as server:
            with pytest.raises(ConnectError) as caught:
                await join(server, reconnect=Reconnect(wait_for_ready=True), server_name="a b")
            assert caught.value.code == "jetstream::server_name"

    run(main)


@service(version="2.0.0")
class Other:
    """Nothing that the servers here serve."""

    async def nothing(self) -> None: ...


def test_an_unknown_service_fails_its_channel_and_not_the_session(loop: str) -> None:
    async def main() -> None:
        async with serve(TallyImpl()) as server, join(server, reconnect=SWIFT) as session:
            for _ in range(2):
                with pytest.raises(VersionMismatch):
                    await session.channel(Other).nothing()
            assert await session.channel(Tally).add(1) == 1
            assert session.state == "ready"

    run(main, loop=loop)


def test_attempts_can_have_an_end() -> None:
    async def main() -> None:
        server = serve(TallyImpl())
        await server.start()
        options = Reconnect(first=0.01, most=0.02, attempts=3)
        async with join(server, reconnect=options, timeout=0.2) as session:
            patient = session.channel(Tally, wait_for_ready=True)
            await patient.whose()
            vanish(server)
            session._core.give_up()
            await session.wait_for("connecting")
            waits = asyncio.ensure_future(patient.add(1))
            assert isinstance(await session.wait_closed(), ConnectTimeout)
            with pytest.raises(ConnectionLost, match="no answer within"):
                await waits

    run(main)


def test_other_addresses_are_tried(loop: str) -> None:
    async def main() -> None:
        first, second = serve(TallyImpl(name="first")), serve(TallyImpl(name="second"))
        await first.start()
        await second.start()
        from jetstream import connect

        from tests.helpers import client_tls

        addresses = [first.address, second.address]
        async with connect(addresses, tls=client_tls(), reconnect=SWIFT) as session:
            tally = session.channel(Tally)
            assert await tally.whose() == "first"
            vanish(first)
            session._core.give_up()
            assert await tally.whose() == "second"
        await second.close()

    run(main, loop=loop)


def silent(count: int) -> list[socket.socket]:
    """UDP sockets that nobody answers from."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    return sockets


def test_a_live_address_is_found_behind_dead_ones(loop: str) -> None:
    async def main() -> None:
        from jetstream import connect

        from tests.helpers import client_tls

        counts: Counter[int] = Counter()
        first, last = serve(TallyImpl(counts, "first")), serve(TallyImpl(counts, "last"))
        await first.start()
        await last.start()
        dead = silent(12)
        addresses = [first.address, *(each.getsockname() for each in dead), last.address]
        async with connect(addresses, tls=client_tls(), reconnect=True) as session:
            tally = session.channel(Tally)
            assert await tally.whose() == "first"
            vanish(first)
            session._core.give_up()
            # Within the patience that sessions have.
            assert await tally.add(1) == 1
            assert await tally.whose() == "last"
        await last.close()
        for each in dead:
            each.close()

    run(main, loop=loop)


def has_ipv6() -> bool:
    """Whether loopback has an IPv6 address."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        probe.bind(("::1", 0))
        return True
    return False


@pytest.mark.skipif(not has_ipv6(), reason="loopback has no IPv6 address")
def test_lanes_move_to_the_socket_of_another_family(loop: str) -> None:
    async def main() -> None:
        counts: Counter[int] = Counter()
        four = serve(TallyImpl(counts, "four"))
        await four.start()
        six = serve(TallyImpl(counts, "six"), host="::1")
        await six.start()
        from jetstream import connect

        from tests.helpers import client_tls

        addresses = [four.address, six.address]
        async with connect(addresses, tls=client_tls(), reconnect=SWIFT) as session:
            tally = session.channel(Tally)
            assert await tally.whose() == "four"
            port = vanish(four)
            session._core.give_up()
            assert await tally.whose() == "six"
            assert await asyncio.gather(*(tally.add(n) for n in range(100))) == list(range(100))
            with pytest.raises(DeadlineExceeded):
                # Its time is kept by the socket that the lane began on.
                await tally.hold(100, timeout=0.05)  # type: ignore[call-arg]
            async with back(port, TallyImpl(counts, "four again")):
                vanish(six)
                session._core.give_up()
                assert await tally.whose() == "four again"
        assert set(counts.values()) == {1}

    run(main, loop=loop)


@pytest.mark.parametrize("transport", SOCKETS)
def test_sessions_stay_up_over_every_transport(transport: str, tmp_path: Path, loop: str) -> None:
    async def main() -> None:
        counts: Counter[int] = Counter()
        first = listening(transport, tmp_path, TallyImpl(counts, "first"))
        await first.start()
        again: dict[str, Any] = {}
        if transport in ("quic", "webtransport"):
            again = {"port": first.address.port}
        elif transport == "tcp":
            again = {"tcp": first.tcp_address}
        async with Way(transport, first).join(reconnect=SWIFT) as session:
            tally = session.channel(Tally)
            assert await tally.whose() == "first"
            numbers = range(100)
            calls = [asyncio.ensure_future(tally.add(n)) for n in numbers]
            await asyncio.sleep(0)
            await first.close()
            second = listening(transport, tmp_path, TallyImpl(counts, "second"), **again)
            await second.start()
            assert await asyncio.gather(*calls) == list(numbers)
            assert await tally.whose() == "second"
            assert [item async for item in tally.count(3)] == [0, 1, 2]
            for endpoint in second._endpoints:
                endpoint.close()
            third = listening(transport, tmp_path, TallyImpl(counts, "third"), **again)
            await third.start()
            assert await tally.put(1000) == 1000, "idempotent: it may be sent again"
            assert await tally.whose() == "third"
        await third.close()
        assert set(counts.values()) == {1}

    run(main, loop=loop)


def test_closing_while_there_is_no_connection(loop: str) -> None:
    async def main() -> None:
        before = live_objects()
        server = serve(TallyImpl())
        await server.start()
        session = await join(server, reconnect=SWIFT)
        tally = session.channel(Tally)
        await tally.whose()
        vanish(server)
        session._core.give_up()
        await session.wait_for("connecting")
        waits = asyncio.ensure_future(tally.add(1))
        await asyncio.sleep(0)
        await session.close()
        with pytest.raises(ClosedError):
            await waits
        with pytest.raises(ClosedError):
            await tally.add(1)
        await session.close()
        del session, tally, waits, server
        await asyncio.sleep(0)
        assert live_objects() == before
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main, loop=loop)


@pytest.mark.parametrize("steps", range(0, 40, 3))
def test_cancelling_leaves_nothing_behind(steps: int) -> None:
    async def main() -> None:
        before = live_objects()

        async def use() -> None:
            server = serve(TallyImpl())
            await server.start()
            try:
                async with join(server, reconnect=SWIFT) as session:
                    tally = session.channel(Tally)
                    await tally.whose()
                    port = vanish(server)
                    session._core.give_up()
                    async with back(port, TallyImpl()):
                        await tally.whose()
            finally:
                # What serves on would have a task that stands ready for the next call.
                vanish(server)

        task = asyncio.ensure_future(use())
        # However far it is by then.
        for _ in range(steps * steps // 4):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        del task
        async with asyncio.timeout(10):
            while live_objects() != before or len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110  it tells nobody
                await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert live_objects() == before

    run(main)


def test_a_silent_connection_is_replaced_if_another_comes_about(loop: str) -> None:
    async def main() -> None:
        counts: Counter[int] = Counter()
        first = serve(TallyImpl(counts, "first"))
        second = serve(TallyImpl(counts, "second"))
        await first.start()
        await second.start()
        from jetstream import connect

        from tests.helpers import client_tls

        options = Reconnect(first=0.02, most=0.1, probe=0.1)
        addresses = [first.address, second.address]
        async with connect(addresses, tls=client_tls(), reconnect=options) as session:
            tally = session.channel(Tally)
            assert await tally.whose() == "first"
            # Nobody answers there any more, not even that it is forgotten.
            vanish(first)
            with pytest.raises(ConnectionLost, match="answers on another connection"):
                await tally.add(1)
            assert await tally.whose() == "second"
            assert await tally.put(2) == 2
        await second.close()
        assert counts == {2: 1}

    run(main, loop=loop)


def test_a_slow_method_is_not_silence(loop: str) -> None:
    async def main() -> None:
        impl = TallyImpl()
        options = Reconnect(first=0.02, most=0.1, probe=0.02)
        async with serve(impl) as server, join(server, reconnect=options) as session:
            core = session._core
            held = asyncio.ensure_future(session.channel(Tally).hold(1))
            await impl.arrived.get()
            heard = core.heard
            # It is asked, and answers, several times.
            while core.heard < heard + 5:  # noqa: ASYNC110  only looking tells
                await asyncio.sleep(0.01)
            impl.gate.set()
            assert await held == 1
            assert session._core is core
            assert impl.counts == {1: 1}

    run(main, loop=loop)


def test_a_client_that_is_closed_ends_its_sessions(loop: str) -> None:
    async def main() -> None:
        from jetstream import Client

        from tests.helpers import client_tls

        async with serve(TallyImpl()) as server:
            async with Client(client_tls()) as client:
                session = await client.session(server.address, reconnect=SWIFT)
                tally = session.channel(Tally)
                await tally.whose()
            assert isinstance(session.closed, ClosedError)
            with pytest.raises(ClosedError):
                await tally.add(1)
            await session.close()

    run(main, loop=loop)


@pytest.mark.parametrize("options", [False, SWIFT, Reconnect(first=30.0, wait_for_ready=True)])
@pytest.mark.parametrize("waits", [0.0, 0.05])
def test_a_client_that_is_closed_connects_no_further(
    options: Reconnect | bool, waits: float
) -> None:
    async def main() -> None:
        from jetstream import Client

        from tests.helpers import client_tls

        before = live_objects()
        dead = ("127.0.0.1", await vanished(TallyImpl()))
        async with serve(TallyImpl()) as server:
            client = Client(client_tls())
            connecting = asyncio.ensure_future(
                client.session([dead, server.address], "localhost", reconnect=options)
            )
            alone = asyncio.ensure_future(client.session(dead, "localhost", reconnect=options))
            while not client._endpoints:  # noqa: ASYNC110  only looking tells
                await asyncio.sleep(0)
            # Whether or not the next attempt is near.
            await asyncio.sleep(waits)
            await client.close()
            async with asyncio.timeout(5):
                for each in (connecting, alone):
                    with pytest.raises(ClosedError):
                        await each
            assert not client._endpoints, "nobody would close them"
            with pytest.raises(ClosedError):
                await client.session(server.address, "localhost", reconnect=options)
        del client, connecting, alone, each, server
        await asyncio.sleep(0)
        assert live_objects() == before

    run(main)
