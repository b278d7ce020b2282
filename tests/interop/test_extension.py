"""The extension `.x1` and peers that know nothing of it: it is offered, and stays off.

A bridge between both ends writes down what they say to each other, so that it is seen and not
guessed that no frame of ours reaches them. The crate would end the lane at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from jetstream import (
    U32,
    CallError,
    DeadlineExceeded,
    Generation,
    LocalProtocolError,
    Router,
    Server,
    Session,
    alpn_of,
    connect,
    service,
    with_options,
)
from jetstream._definition import definition_of

from tests.model.frame import NO_TAG, RERROR, RVERSION, TVERSION, Frame, request
from tests.model.version import read

from .bridge import Bridge, bridged, kinds
from .cases import TEST_TIMEOUT, client_tls, failures, report_of, server_tls
from .conftest import CrateServer
from .services import (
    EchoServer,
    Values,
    Values15,
    Values151,
    ValuesServer,
)

PING, ADD, FAIL, SLEEP = 0, 1, 2, 4

METHODS = set(range(102, 256, 2))
"""The types of requests: nothing else may come after the version."""


@service(name="values", version="16.0.0", digest="00000000")
class Streaming(Values):
    """`Values` with a method more, which takes what only the extension carries."""

    async def put(self, items: AsyncIterator[U32]) -> U32: ...


@asynccontextmanager
async def scene(
    certificates: Path, address: str, alpn: str = "jetstream"
) -> AsyncGenerator[tuple[Session, Bridge]]:
    """Our client, a bridge, and the server at that address."""
    async with (
        asyncio.timeout(TEST_TIMEOUT),
        bridged(certificates, address, alpn) as (server, bridge),
        connect(
            server.address,
            tls=client_tls(certificates),
            server_name="localhost",
            alpns=[alpn],
        ) as session,
    ):
        yield session, bridge


def requests(bridge: Bridge, method: int) -> list[Frame]:
    return [frame for frame in bridge.asked if frame.kind == request(method)]


class TestOurClient:
    """On the server on 16.0.0, which echoes the version that it was asked for."""

    def test_an_echo_of_the_offer_is_no_yes(
        self, crate_server: CrateServer, certificates: Path
    ) -> None:
        async def main() -> None:
            async with scene(certificates, crate_server.address) as (session, bridge):
                values = session.channel(Values)
                assert await values.add(1, 2) == 3
                assert [frame.kind for frame in bridge.asked] == [TVERSION, request(ADD)]
                asked, answered = read(bridge.asked[0].payload), read(bridge.answered[0].payload)
                assert asked is not None
                assert asked.version == f"{definition_of(Values).version_string}.x1"
                assert answered == asked
                (lane,) = session._lanes.values()
                assert lane.agreed == (asked.msize, False)

        asyncio.run(main())

    def test_calls_say_nothing_beside_themselves(
        self, crate_server: CrateServer, certificates: Path
    ) -> None:
        """Neither how long they have, whoever says it, nor that they were given up."""

        async def main() -> None:
            async with scene(certificates, crate_server.address) as (session, bridge):
                values = session.channel(Values, timeout=7)
                await values.ping()
                await with_options(values, timeout=5).ping()
                with pytest.raises(CallError):
                    await values.fail("no", None, None, None)
                with pytest.raises(DeadlineExceeded):
                    await with_options(values, timeout=0.05).sleep_ms(300)
                given_up = asyncio.ensure_future(values.sleep_ms(300))
                while len(requests(bridge, SLEEP)) < 2:
                    await values.ping()
                given_up.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await given_up
                # Answered after both of them, on the same lane.
                assert await values.sleep_ms(600) == 600
                assert len(session._lanes) == 1
                assert kinds(bridge.asked) - METHODS == {TVERSION}
                assert len(requests(bridge, SLEEP)) == 3
                assert kinds(bridge.answered) == {RVERSION, RERROR, 103, 111}

        asyncio.run(main())

    def test_the_tag_of_a_call_given_up_rests_until_it_is_answered(
        self, crate_server: CrateServer, certificates: Path
    ) -> None:
        async def main() -> None:
            async with scene(certificates, crate_server.address) as (session, bridge):
                values = session.channel(Values)
                await values.ping()
                with pytest.raises(DeadlineExceeded):
                    await with_options(values, timeout=0.05).sleep_ms(400)
                (asleep,) = requests(bridge, SLEEP)
                for number in range(50):
                    assert await values.add(number, 1) == number + 1
                assert asleep.tag not in {frame.tag for frame in requests(bridge, ADD)}
                assert Frame(111, asleep.tag, asleep.payload) not in bridge.answered
                assert await values.sleep_ms(500) == 500
                assert Frame(111, asleep.tag, asleep.payload) in bridge.answered

        asyncio.run(main())

    def test_metadata_is_refused_or_left_out(
        self, crate_server: CrateServer, certificates: Path
    ) -> None:
        async def main() -> None:
            async with scene(certificates, crate_server.address) as (session, bridge):
                values = session.channel(Values)
                telling = with_options(values, metadata={"traceparent": b"00-ab"})
                # Before the version is agreed, and after: both fail, and nothing was sent.
                for _ in range(2):
                    with pytest.raises(LocalProtocolError, match="metadata needs a peer"):
                        await telling.ping()
                # A bridge hands on in order: what came before would be there.
                assert await values.add(1, 1) == 2
                assert not requests(bridge, PING)
                await with_options(telling, metadata_required=False).ping()
                assert requests(bridge, PING) == [Frame(request(PING), bridge.asked[-1].tag)]
                assert kinds(bridge.asked) - METHODS == {TVERSION}

        asyncio.run(main())

    def test_a_stream_from_the_caller_is_refused_before_it_leaves(
        self, crate_server: CrateServer, certificates: Path
    ) -> None:
        async def items() -> AsyncIterator[U32]:
            yield 1

        async def main() -> None:
            async with scene(certificates, crate_server.address) as (session, bridge):
                streaming = session.channel(Streaming)
                for _ in range(2):
                    with pytest.raises(LocalProtocolError, match="a stream from the caller"):
                        await streaming.put(items())
                await streaming.ping()
                # Lanes were opened for them, perhaps; no more was said there than the version.
                assert kinds(bridge.asked) == {TVERSION, request(PING)}

        asyncio.run(main())

    def test_many_given_up_at_once(self, crate_server: CrateServer, certificates: Path) -> None:
        """Half of what is in flight is given up; the other half is answered, on the same lane."""

        async def main() -> None:
            async with scene(certificates, crate_server.address) as (session, bridge):
                values = session.channel(Values)
                calls = [asyncio.ensure_future(values.sleep_ms(200 + n % 50)) for n in range(400)]
                while len(requests(bridge, SLEEP)) < 400:
                    await values.ping()
                for call in calls[::2]:
                    call.cancel()
                kept = await asyncio.gather(*calls[1::2])
                assert kept == [200 + n % 50 for n in range(1, 400, 2)]
                await values.sleep_ms(300)
                assert sum(frame.kind == 111 for frame in bridge.answered) == 401
                assert kinds(bridge.asked) - METHODS == {TVERSION}

        asyncio.run(main())


@pytest.mark.parametrize(
    ("generation", "values_class", "fixture"),
    [
        ("15.2", Values15, "crate_server_15"),
        pytest.param("15.1", Values151, "crate_server_15_1", marks=pytest.mark.slow),
    ],
    ids=["15.2", "15.1"],
)
def test_nothing_but_calls_goes_to_the_crates_15(
    request: pytest.FixtureRequest,
    certificates: Path,
    generation: Generation,
    values_class: type[Values],
    fixture: str,
) -> None:
    """No version, so no offer either."""
    crate: CrateServer = request.getfixturevalue(fixture)
    first = 102 if generation == "15.2" else 101

    async def main() -> None:
        alpn = alpn_of(values_class, generation)
        async with scene(certificates, crate.address, alpn) as (session, bridge):
            values = session.channel(values_class, timeout=7)
            await values.ping()
            with pytest.raises(DeadlineExceeded):
                await with_options(values, timeout=0.05).sleep_ms(300)
            with pytest.raises(LocalProtocolError, match="metadata needs a peer"):
                await with_options(values, metadata={"k": b"v"}).ping()
            assert await values.sleep_ms(500) == 500
            assert [frame.kind - first for frame in bridge.asked] == [0, 2 * SLEEP, 2 * SLEEP]
            assert [frame.kind - first for frame in bridge.answered] == [1, 9, 9]

    asyncio.run(main())


@pytest.mark.slow
class TestOurServer:
    """With the client on 16.0.0: all of its calls, every frame of them written down."""

    def test_it_hears_nothing_that_it_does_not_know(self, rust16: Path, certificates: Path) -> None:
        async def main() -> None:
            router = Router(ValuesServer(), EchoServer())
            async with (
                Server(router, tls=server_tls(certificates), port=0) as server,
                bridged(certificates, str(server.address)) as (bridge_server, bridge),
            ):
                report = await report_of(rust16, str(bridge_server.address), certificates)
                assert failures(report) == {}
                assert len(report) > 40
            assert not any(frame.kind in range(6, 100) for frame in bridge.answered)
            offers = [frame for frame in bridge.answered if frame.kind == RVERSION]
            versions = {offer.version for frame in offers if (offer := read(frame.payload))}
            assert versions == {
                "unknown",
                "rs.jetstream.proto/values/16.0.0+00000000",
                "rs.jetstream.proto/echo/16.0.0+00000000",
            }
            assert {frame.tag for frame in offers} == {1, NO_TAG}

        asyncio.run(main())
