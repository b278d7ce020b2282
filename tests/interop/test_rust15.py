"""Our client on the servers of the crates 15, and their clients on our server.

Those of 15.1.0 are the slow tests: few will meet such a peer, and it is one more program to build.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from jetstream import (
    CallError,
    ClientTls,
    ConnectionLost,
    DeadlineExceeded,
    EncodeError,
    Generation,
    JetStreamError,
    LimitExceeded,
    Limits,
    NoSharedProtocol,
    Router,
    Server,
    Session,
    TlsPeer,
    VersionMismatch,
    alpn_of,
    connect,
    service,
)

from .cases import (
    TEST_TIMEOUT,
    VALUES,
    client_tls,
    failures,
    first_certificate,
    report_of,
    server_tls,
)
from .conftest import CrateServer
from .services import (
    DIGESTS,
    Echo15,
    Echo151,
    EchoServer,
    NextEcho,
    Values,
    Values15,
    Values151,
    ValuesServer,
    crate_fingerprint,
)

Body = Callable[[Session], Awaitable[None]]


@dataclass(frozen=True)
class Old:
    """A generation of the crate, and the services as it finds them."""

    generation: Generation
    values: type[Values15] | type[Values151]
    echo: type[Echo15] | type[Echo151]
    fixture: str
    program: str

    def alpn(self, service: type) -> str:
        return alpn_of(service, self.generation)

    def __str__(self) -> str:
        return self.generation


OLD = [
    Old("15.2", Values15, Echo15, "crate_server_15", "rust15"),
    pytest.param(
        Old("15.1", Values151, Echo151, "crate_server_15_1", "rust15_1"), marks=pytest.mark.slow
    ),
]


@pytest.fixture(scope="module", params=OLD, ids=str)
def old(request: pytest.FixtureRequest) -> Old:
    """The generation that the test is about."""
    assert isinstance(request.param, Old)
    return request.param


class TestOurClient:
    """On the crate's server."""

    @pytest.fixture
    def crate(self, request: pytest.FixtureRequest, old: Old) -> CrateServer:
        """The crate's server."""
        server = request.getfixturevalue(old.fixture)
        assert isinstance(server, CrateServer)
        return server

    @pytest.fixture
    def run(self, old: Old, crate: CrateServer, certificates: Path) -> Callable[[Body], None]:
        """Runs a test's body with a session for the values of the crate's server."""

        async def connected(body: Body) -> None:
            async with (
                asyncio.timeout(TEST_TIMEOUT),
                connect(
                    crate.address,
                    tls=client_tls(certificates),
                    server_name="localhost",
                    alpns=[old.alpn(old.values)],
                ) as session,
            ):
                await body(session)

        return lambda body: asyncio.run(connected(body))

    def test_the_crate_announces_what_is_declared_here(self, old: Old, crate: CrateServer) -> None:
        """The digest included: whoever changes the trait writes the new one into `services.py`."""
        assert crate.services == {"Values": old.alpn(old.values), "Echo": old.alpn(old.echo)}

    @pytest.mark.parametrize(("method", "value"), VALUES, ids=lambda part: f"{part!s:.24}")
    def test_a_value_comes_back(self, run: Any, old: Old, method: str, value: Any) -> None:
        async def body(session: Session) -> None:
            echo = getattr(session.channel(old.values), method)
            reply = await echo(value)
            assert reply == value
            assert type(reply) is type(value)

        run(body)

    def test_nan_comes_back(self, run: Any, old: Old) -> None:
        async def body(session: Session) -> None:
            assert math.isnan(await values_of(session, old).echo_f64(math.nan))

        run(body)

    def test_arguments_keep_their_order(self, run: Any, old: Old) -> None:
        async def body(session: Session) -> None:
            values = values_of(session, old)
            await values.ping()
            assert await values.add(-70_000, 70_001) == 1

        run(body)

    @pytest.mark.parametrize(
        "parts",
        [
            ("no such café", "shop::missing", "look around", "https://example.com/missing"),
            ("plain", "c", None, None),
        ],
    )
    def test_an_error_keeps_its_parts(
        self, run: Any, old: Old, parts: tuple[str, str | None, str | None, str | None]
    ) -> None:
        async def body(session: Session) -> None:
            values = values_of(session, old)
            with pytest.raises(CallError) as caught:
                await values.fail(*parts)
            error = caught.value
            assert (error.message, error.code, error.help, error.url) == parts
            await values.ping()

        run(body)

    def test_both_know_who_the_other_is(self, run: Any, old: Old, certificates: Path) -> None:
        fingerprint = crate_fingerprint(first_certificate(certificates / "client.pem"))

        async def body(session: Session) -> None:
            assert await values_of(session, old).whoami() == f"client {fingerprint}"
            assert isinstance(session.peer, TlsPeer)
            assert session.peer.leaf.der == first_certificate(certificates / "server.pem")

        run(body)

    def test_a_thousand_calls_at_once(self, run: Any, old: Old) -> None:
        async def body(session: Session) -> None:
            values = values_of(session, old)
            sums = await asyncio.gather(*(values.add(i, 1_000_000) for i in range(1000)))
            assert sums == list(range(1_000_000, 1_001_000))

        run(body)

    @pytest.mark.slow
    def test_every_tag_at_once(self, run: Any, old: Old) -> None:
        """70,000 calls over 65,535 tags: the last ones wait for tags to come back."""

        async def body(session: Session) -> None:
            values: Values = session.channel(old.values, max_concurrent=65_535)
            sums = await asyncio.gather(*(values.add(i, 1) for i in range(70_000)))
            assert sums == list(range(1, 70_001))

        run(body)

    def test_a_quick_call_overtakes_a_slow_one(self, run: Any, old: Old) -> None:
        async def body(session: Session) -> None:
            values = values_of(session, old)
            async with asyncio.TaskGroup() as group:
                slow = group.create_task(values.sleep_ms(500))
                await values.ping()
                assert not slow.done()
            assert slow.result() == 500

        run(body)

    def test_calls_given_up_do_not_disturb_the_next(self, run: Any, old: Old) -> None:
        """The crate knows no frame that cancels, and its late replies find nobody waiting."""

        async def body(session: Session) -> None:
            values = values_of(session, old)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await values.sleep_ms(200)
            with pytest.raises(DeadlineExceeded):
                await session.channel(old.values, timeout=0.05).sleep_ms(200)
            # The crate answers this one after those given up.
            assert await values.sleep_ms(400) == 400
            await values.ping()

        run(body)

    def test_large_values(self, run: Any, old: Old) -> None:
        async def body(session: Session) -> None:
            values = values_of(session, old)
            large = bytes(range(256)) * 15_000
            assert await values.echo_bytes(large) == large
            several = await asyncio.gather(*(values.echo_bytes(large) for _ in range(4)))
            assert several == [large] * 4

        run(body)

    def test_what_does_not_fit_is_refused_before_it_leaves(self, run: Any, old: Old) -> None:
        async def body(session: Session) -> None:
            values = values_of(session, old)
            with pytest.raises(EncodeError):
                await values.echo_str("x" * 65_536)
            # There is no version to say what the crate takes: our own limit holds both ways.
            with pytest.raises(LimitExceeded):
                await values.echo_bytes(bytes(Limits().msize))
            assert await values.echo_str("x") == "x"

        run(body)

    def test_a_session_is_for_one_service(self, run: Any, old: Old) -> None:
        async def body(session: Session) -> None:
            with pytest.raises(VersionMismatch, match=r"is for .*/values/"):
                session.channel(old.echo)
            with pytest.raises(VersionMismatch):
                session.channel(NextEcho)
            await values_of(session, old).ping()

        run(body)

    def test_several_lanes(self, run: Any, old: Old) -> None:
        async def body(session: Session) -> None:
            lanes = [session.channel(old.values, max_concurrent=n) for n in range(1, 5)]
            assert await asyncio.gather(*(lane.add(1, 2) for lane in lanes)) == [3] * 4

        run(body)

    def test_an_unknown_method_ends_the_lane(self, run: Any, old: Old) -> None:
        """The crate ends it without a word, and the connection lives."""

        @service(name="values", version=f"{old.generation}.0", digest=DIGESTS["values"])
        class Longer(Values):
            """One method more than the crate's."""

            async def one_more(self) -> None: ...

        async def body(session: Session) -> None:
            with pytest.raises(ConnectionLost):
                await session.channel(Longer).one_more()
            await values_of(session, old).ping()

        run(body)

    @pytest.mark.parametrize("offer", ["another digest", "the protocol of 16", "the other joint"])
    def test_another_protocol_is_refused(
        self, old: Old, crate: CrateServer, certificates: Path, offer: str
    ) -> None:
        alpn = old.alpn(old.values)
        other = {
            "another digest": alpn[:-8] + "00000000",
            "the protocol of 16": "jetstream",
            "the other joint": alpn_of(old.values, "15.1" if old.generation == "15.2" else "15.2"),
        }[offer]

        async def body() -> None:
            tls = client_tls(certificates)
            with pytest.raises(NoSharedProtocol):
                await connect(crate.address, tls=tls, server_name="localhost", alpns=[other])

        asyncio.run(body())

    def test_a_client_can_offer_what_either_generation_speaks(
        self, old: Old, crate: CrateServer, certificates: Path
    ) -> None:
        async def body() -> None:
            async with connect(
                crate.address,
                tls=client_tls(certificates),
                server_name="localhost",
                alpns=["jetstream", old.alpn(old.echo)],
            ) as session:
                assert session.protocol == old.alpn(old.echo)
                echo = session.channel(old.echo)
                assert await echo.echo("hello") == "hello"

        asyncio.run(body())

    def test_without_a_certificate_there_is_no_reply(
        self, old: Old, crate: CrateServer, certificates: Path
    ) -> None:
        async def body() -> None:
            tls = ClientTls(ca=str(certificates / "ca.pem"))
            async with (
                asyncio.timeout(TEST_TIMEOUT),
                connect(
                    crate.address,
                    tls=tls,
                    server_name="localhost",
                    alpns=[old.alpn(old.values)],
                ) as session,
            ):
                await values_of(session, old).ping()

        with pytest.raises(JetStreamError):
            asyncio.run(body())


class TestOurServer:
    """With the crate's client."""

    @pytest.mark.slow
    def test_the_crate_finds_nothing_to_report(
        self, request: pytest.FixtureRequest, old: Old, certificates: Path
    ) -> None:
        program = request.getfixturevalue(old.program)

        async def body() -> dict[str, str]:
            router = Router(generations=["16", old.generation])
            router.register(ValuesServer(), service=old.values)
            router.register(EchoServer(), service=old.echo)
            async with Server(router, tls=server_tls(certificates), port=0) as server:
                return await report_of(program, str(server.address), certificates)

        report = asyncio.run(body())
        assert failures(report) == {}
        assert len(report) > 35

    @pytest.mark.parametrize("another", [False, True], ids=["16 alone", "another version"])
    def test_a_server_without_that_name_is_not_found(
        self, request: pytest.FixtureRequest, old: Old, certificates: Path, another: bool
    ) -> None:
        """One that speaks 16 alone, or serves another version: every letter must match."""
        program = request.getfixturevalue(old.program)

        async def body() -> None:
            other = Values151 if old.values is Values15 else Values15
            generations: list[Generation] = ["16", "15.2", "15.1"] if another else ["16"]
            router = Router(generations=generations)
            router.register(ValuesServer(), service=other if another else old.values)
            async with Server(router, tls=server_tls(certificates), port=0) as server:
                with pytest.raises(AssertionError, match="no shared protocol"):
                    await report_of(program, str(server.address), certificates)

        asyncio.run(body())


def values_of(session: Session, old: Old) -> Values:
    return session.channel(old.values)
