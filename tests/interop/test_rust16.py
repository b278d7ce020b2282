"""Our client on the crate's server, and the crate's client on our server."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from jetstream import (
    CallError,
    ClientTls,
    ConnectionLost,
    EncodeError,
    JetStreamError,
    Router,
    Server,
    Session,
    TlsError,
    TlsPeer,
    VersionMismatch,
    connect,
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
    VERSION,
    Echo,
    EchoServer,
    NextEcho,
    NoSuch,
    Values,
    ValuesServer,
    crate_fingerprint,
)


class TestOurClient:
    """On the crate's server."""

    @pytest.fixture
    def run(
        self, crate_server: CrateServer, certificates: Path
    ) -> Callable[[Callable[[Session], Awaitable[None]]], None]:
        """Runs a test's body with a session to the crate's server."""

        async def connected(body: Callable[[Session], Awaitable[None]]) -> None:
            tls = client_tls(certificates)
            async with (
                asyncio.timeout(TEST_TIMEOUT),
                connect(crate_server.address, tls=tls, server_name="localhost") as session,
            ):
                await body(session)

        return lambda body: asyncio.run(connected(body))

    def test_the_crate_announces_the_version_declared_here(self, crate_server: CrateServer) -> None:
        announced = crate_server.services
        assert announced["Values"].startswith(f"rs.jetstream.proto/values/{VERSION}+")
        assert announced["Echo"].startswith(f"rs.jetstream.proto/echo/{VERSION}+")

    @pytest.mark.parametrize(("method", "value"), VALUES, ids=lambda part: f"{part!s:.24}")
    def test_a_value_comes_back(self, run: Any, method: str, value: Any) -> None:
        async def body(session: Session) -> None:
            echo = getattr(session.channel(Values), method)
            reply = await echo(value)
            assert reply == value
            assert type(reply) is type(value)

        run(body)

    def test_nan_comes_back(self, run: Any) -> None:
        async def body(session: Session) -> None:
            assert math.isnan(await session.channel(Values).echo_f64(math.nan))

        run(body)

    def test_arguments_keep_their_order(self, run: Any) -> None:
        async def body(session: Session) -> None:
            values = session.channel(Values)
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
        self, run: Any, parts: tuple[str, str | None, str | None, str | None]
    ) -> None:
        async def body(session: Session) -> None:
            values = session.channel(Values)
            with pytest.raises(CallError) as caught:
                await values.fail(*parts)
            error = caught.value
            assert (error.message, error.code, error.help, error.url) == parts
            await values.ping()

        run(body)

    def test_the_crate_knows_who_we_are(self, run: Any, certificates: Path) -> None:
        fingerprint = crate_fingerprint(first_certificate(certificates / "client.pem"))

        async def body(session: Session) -> None:
            assert await session.channel(Values).whoami() == f"client {fingerprint}"

        run(body)

    def test_we_know_who_the_crate_is(self, run: Any, certificates: Path) -> None:
        der = first_certificate(certificates / "server.pem")

        async def body(session: Session) -> None:
            assert isinstance(session.peer, TlsPeer)
            leaf = session.peer.leaf
            assert leaf.der == der
            assert bytes.fromhex(leaf.fingerprint.replace(":", "")) == sha256(der).digest()
            assert "localhost" in leaf.dns_names

        run(body)

    def test_a_thousand_calls_at_once(self, run: Any) -> None:
        async def body(session: Session) -> None:
            values = session.channel(Values)
            sums = await asyncio.gather(*(values.add(i, 1_000_000) for i in range(1000)))
            assert sums == list(range(1_000_000, 1_001_000))

        run(body)

    @pytest.mark.slow
    def test_every_tag_at_once(self, run: Any) -> None:
        """70,000 calls over 65,535 tags: the last ones wait for tags to come back."""

        async def body(session: Session) -> None:
            echo = session.channel(Echo, max_concurrent=65_535)
            sums = await asyncio.gather(*(echo.add(i, 1) for i in range(70_000)))
            assert sums == list(range(1, 70_001))

        run(body)

    def test_a_quick_call_overtakes_a_slow_one(self, run: Any) -> None:
        async def body(session: Session) -> None:
            values = session.channel(Values)
            async with asyncio.TaskGroup() as group:
                slow = group.create_task(values.sleep_ms(500))
                await values.ping()
                assert not slow.done()
            assert slow.result() == 500

        run(body)

    def test_a_call_given_up_does_not_disturb_the_next(self, run: Any) -> None:
        """The crate knows no frame that cancels, and its late reply finds nobody waiting."""

        async def body(session: Session) -> None:
            values = session.channel(Values)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await values.sleep_ms(200)
            # The crate answers this one after the one given up.
            assert await values.sleep_ms(400) == 400
            await values.ping()

        run(body)

    def test_what_does_not_fit_is_refused_before_it_leaves(self, run: Any) -> None:
        async def body(session: Session) -> None:
            values = session.channel(Values)
            with pytest.raises(EncodeError):
                await values.echo_str("x" * 65_536)
            assert await values.echo_str("x") == "x"

        run(body)

    def test_two_services_share_a_session(self, run: Any) -> None:
        async def body(session: Session) -> None:
            values, echo = session.channel(Values), session.channel(Echo)
            await values.ping()
            assert await echo.echo("hello") == "hello"
            assert await values.add(1, 2) == await echo.add(2, 1)

        run(body)

    def test_an_unknown_service_fails_and_the_session_lives(self, run: Any) -> None:
        """The crate closes the lane without a word."""

        async def body(session: Session) -> None:
            with pytest.raises((VersionMismatch, ConnectionLost)):
                await session.channel(NoSuch).ping()
            await session.channel(Echo).ping()

        run(body)

    def test_the_crate_accepts_any_version(self, run: Any) -> None:
        """It echoes the version that it was asked for, even of another major."""

        async def body(session: Session) -> None:
            await session.channel(NextEcho).ping()

        run(body)

    def test_without_a_certificate_there_is_no_reply(
        self, crate_server: CrateServer, certificates: Path
    ) -> None:
        async def body() -> None:
            tls = ClientTls(ca=str(certificates / "ca.pem"))
            async with (
                asyncio.timeout(TEST_TIMEOUT),
                connect(crate_server.address, tls=tls, server_name="localhost") as session,
            ):
                await session.channel(Echo).ping()

        with pytest.raises(JetStreamError):
            asyncio.run(body())

    def test_another_server_name_is_refused(
        self, crate_server: CrateServer, certificates: Path
    ) -> None:
        async def body() -> None:
            tls = client_tls(certificates)
            async with connect(crate_server.address, tls=tls, server_name="elsewhere.example"):
                pass

        with pytest.raises(TlsError):
            asyncio.run(body())


class TestOurServer:
    """With the crate's client."""

    def test_the_crate_finds_nothing_to_report(self, rust16: Path, certificates: Path) -> None:
        async def body() -> dict[str, str]:
            router = Router(ValuesServer(), EchoServer())
            async with Server(router, tls=server_tls(certificates), port=0) as server:
                return await report_of(rust16, str(server.address), certificates)

        report = asyncio.run(body())
        assert failures(report) == {}
        assert len(report) > 40
