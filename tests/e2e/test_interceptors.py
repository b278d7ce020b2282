"""Interceptors over real sockets: certificates, traces between servers, feeds that go on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from operator import itemgetter
from typing import Any

import pytest
from jetstream import (
    U64,
    Backoff,
    CallError,
    ClientTls,
    Feed,
    Gap,
    Server,
    connect,
    resume,
    service,
    with_options,
)
from jetstream.interceptors import (
    Authorize,
    Logging,
    Metrics,
    Retry,
    Trace,
    TraceContext,
    current_trace,
)

from tests.e2e.services import Echo, EchoImpl
from tests.helpers import (
    anonymous_tls,
    authority,
    client_tls,
    join,
    live_objects,
    run,
    serve,
    server_tls,
)

SOON = Backoff(0.01, 2, 0.1)


def tls_of(*names: str, common_name: str = "somebody") -> ClientTls:
    """A client with a certificate of these names."""
    return client_tls(authority().issue_client(common_name, *names))


@service
class Ticker:
    def __init__(self, feed: Feed[str]) -> None:
        self.feed = feed

    async def ticks(self, since: U64) -> AsyncIterator[tuple[U64, str]]:
        async for entry in self.feed.subscribe(since):
            yield entry


@service
class Relay:
    """Asks another server."""

    def __init__(self, behind: Echo) -> None:
        self.behind = behind

    async def ask(self) -> str:
        trace = current_trace()
        assert trace is not None
        return f"{trace.trace_id} {await self.behind.echo('there')}"


def test_who_may_call_is_decided_by_certificate(loop: str) -> None:
    rules = {
        "Echo.echo": ["uri:spiffe://example.org/importer", "dns:ada.example"],
        "Echo.ping": ["anybody"],
        "Ticker.*": ["dns:ada.example"],
    }

    async def may(server: Server, tls: ClientTls) -> list[str]:
        found: list[str] = []
        async with join(server, tls=tls) as session:
            echo, ticker = session.channel(Echo), session.channel(Ticker)
            for name, call in (
                ("ping", echo.ping()),
                ("echo", echo.echo("a")),
                ("add", echo.add(1, 2)),
                ("ticks", anext(ticker.ticks(0))),
            ):
                try:
                    await call
                except CallError as error:
                    assert error.code == "jetstream::permission_denied"  # noqa: PT017
                else:
                    found.append(name)
        return found

    async def main() -> None:
        feed = Feed[str](start=0)
        feed.publish("first")
        tls = server_tls(client_auth="optional")
        around = [Authorize(rules)]
        async with serve(EchoImpl(), Ticker(feed), tls=tls, interceptors=around) as server:
            assert await may(server, anonymous_tls()) == ["ping"]
            assert await may(server, tls_of("bob.example", common_name="ada.example")) == ["ping"]
            assert await may(server, tls_of("spiffe://example.org/importer")) == ["ping", "echo"]
            assert await may(server, tls_of("ada.example")) == ["ping", "echo", "ticks"]

    run(main, loop=loop)


def test_a_trace_goes_through_two_servers(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    class Traced(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            trace = current_trace()
            record.trace = trace and trace.trace_id
            return True

    async def main() -> None:
        caplog.set_level(logging.INFO, "tests.e2e")
        logger = logging.getLogger("tests.e2e.traced")
        logger.addFilter(Traced())
        carry, log = TraceContext(), Logging(logger)
        async with serve(EchoImpl(), interceptors=[carry, log]) as last, join(last) as behind:
            echo = behind.channel(Echo, interceptors=[TraceContext()])
            async with (
                serve(Relay(echo), interceptors=[carry, log]) as first,
                join(first, interceptors=[TraceContext()]) as session,
            ):
                relay = session.channel(Relay)
                told = [(await relay.ask()).split() for _ in range(2)]
                own = Trace.begin(sampled=True)
                said = {"traceparent": own.traceparent.encode()}
                told.append((await with_options(relay, metadata=said).ask()).split())
        assert {text for _, text in told} == {"there"}
        traces = [trace for trace, _ in told]
        assert len(set(traces)) == 3
        assert traces[2] == own.trace_id
        # Both servers wrote of each trace, the inner one first.
        records: list[Any] = [each for each in caplog.records if each.name == logger.name]
        assert [(record.rpc_method, record.trace) for record in records] == [
            (name, trace) for trace in traces for name in ("Echo.echo", "Relay.ask")
        ]
        assert all("from ada.example at 127.0.0.1:" in each.getMessage() for each in records)

    run(main, loop=loop)


def test_everything_at_once_and_nothing_is_left_behind(loop: str) -> None:
    async def main() -> None:
        metrics, own = Metrics(), Metrics()
        around = [TraceContext(), metrics, Authorize({"*": ["authenticated"]})]
        client = [Retry(), own, TraceContext()]
        async with (
            serve(EchoImpl(), interceptors=around) as server,
            join(server, interceptors=client) as session,
        ):
            echo = session.channel(Echo)
            answers = await asyncio.gather(*[echo.echo(str(n)) for n in range(500)])
            assert answers == [str(n) for n in range(500)]
            assert await asyncio.gather(*[echo.add(n, 1) for n in range(500)]) == [
                n + 1 for n in range(500)
            ]
        for counted in (metrics.snapshot(), own.snapshot()):
            assert counted["Echo.echo"]["outcomes"] == {"ok": 500}
            assert counted["Echo.add"]["outcomes"] == {"ok": 500}

    before = live_objects()
    run(main, loop=loop)
    assert live_objects() == before


def test_a_feed_goes_on_when_its_server_is_restarted(loop: str) -> None:
    async def main() -> None:
        feed = Feed[str](start=0)
        first = serve(Ticker(feed))
        await first.start()
        address = first.address

        async def ticks(since: int) -> AsyncIterator[tuple[int, str]]:
            async with connect(address, tls=client_tls()) as session:
                async for entry in session.channel(Ticker).ticks(since):
                    yield entry

        items = resume(ticks, 0, position=itemgetter(0), backoff=SOON)
        got: list[tuple[int, str]] = []

        async def take() -> None:
            async for item in items:
                got.append(item)

        taker = asyncio.create_task(take())
        server = first
        for round_ in range(3):
            for number in range(5):
                feed.publish(f"{round_} {number}")
            await server.close(graceful_timeout=0)
            feed.publish(f"{round_} while away")
            server = serve(Ticker(feed), port=address.port)
            await server.start()
        feed.close()
        await taker
        assert [position for position, _ in got] == list(range(1, 19))
        assert len({text for _, text in got}) == 18
        await server.close()

    run(main, loop=loop)


def test_a_feed_that_began_anew_is_a_gap(loop: str) -> None:
    async def main() -> None:
        old = Feed[str]()
        old.publish("before the restart")
        async with serve(Ticker(old)) as server, join(server) as session:
            position, _ = await anext(session.channel(Ticker).ticks(old.oldest))
        # It counts from a later moment: what was published meanwhile is not to be left out.
        new = Feed[str]()
        new.publish("after the restart")
        async with serve(Ticker(new)) as server, join(server) as session:
            ticker = session.channel(Ticker)
            with pytest.raises(Gap) as told:
                await anext(ticker.ticks(position))
            assert told.value.asked == position < told.value.oldest
            assert await anext(ticker.ticks(told.value.oldest)) == (
                told.value.latest,
                "after the restart",
            )

    run(main, loop=loop)


async def _read(items: AsyncIterator[tuple[int, str]], positions: list[int]) -> Gap:
    try:
        async for position, _ in items:
            positions.append(position)
    except Gap as gap:
        return gap
    raise AssertionError("it did not fall out")


def test_a_subscriber_that_does_not_read_falls_out_of_the_feed() -> None:
    async def main() -> None:
        feed = Feed[str](start=0, max_items=100)
        async with serve(Ticker(feed)) as server, join(server) as session:
            ticker = session.channel(Ticker)
            slow, quick = ticker.ticks(0), ticker.ticks(0)
            text = "x" * 10_000
            feed.publish(text)
            await anext(slow)
            # Far more than any window: it is held up, and nobody else.
            for _ in range(2_000):
                feed.publish(text)
                await anext(quick)
            positions: list[int] = []
            told = await _read(slow, positions)
            assert positions == list(range(2, len(positions) + 2))
            assert told.asked >= positions[-1]
            assert told.oldest >= 1_901

    run(main)
