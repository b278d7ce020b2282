"""Certificates, authorities and revocation lists that change while calls run."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from jetstream import (
    Client,
    ClosedError,
    ConnectionLost,
    ServerTls,
    Session,
    TlsConfigError,
    TlsError,
    TlsPeer,
)
from jetstream.testing import ThrowawayCA

from tests.e2e.services import Echo, EchoImpl
from tests.helpers import authority, client_identity, client_tls, join, run, serve, server_tls

if TYPE_CHECKING:
    from pathlib import Path

    from jetstream import JetStreamError


async def ended(session: Session) -> JetStreamError:
    """Why a session is over, at most a second from now."""
    async with asyncio.timeout(1):
        return await session.wait_closed()


class Deployment:
    """A server's files in a folder, and an authority that may take certificates back."""

    def __init__(self, folder: Path) -> None:
        self.ca = ThrowawayCA()
        self.certificate, self.key = folder / "server.pem", folder / "server.key"
        self.client_ca, self.crl = folder / "ca.pem", folder / "ca.crl"
        self.client_ca.write_bytes(self.ca.ca_pem)
        self.crl.write_bytes(self.ca.crl_pem)
        self.renew()
        self.ada, self.bob = self.ca.issue_client("ada"), self.ca.issue_client("bob")

    def renew(self) -> None:
        """A new certificate for the server."""
        issued = self.ca.issue_server()
        self.certificate.write_bytes(issued.chain_pem)
        self.key.write_bytes(issued.key_pem)

    def revoke_ada(self) -> None:
        """Says on the list that ada's certificate is no good."""
        self.ca.revoke(self.ada)
        self.crl.write_bytes(self.ca.crl_pem)

    @property
    def tls(self) -> ServerTls:
        """What the server serves with: all of it from files."""
        return ServerTls(self.certificate, self.key, client_ca=self.client_ca, client_crls=self.crl)


def test_a_revoked_client_is_sent_away_and_others_notice_nothing(tmp_path: Path, loop: str) -> None:
    async def main() -> None:
        at = Deployment(tmp_path)
        impl = EchoImpl()
        ada_tls, bob_tls = (client_tls(who, ca=at.ca.ca_pem) for who in (at.ada, at.bob))
        async with serve(impl, tls=at.tls, graceful_timeout=0) as server:
            ada = await join(server, tls=ada_tls)
            async with join(server, tls=bob_tls) as bob:
                held = asyncio.ensure_future(bob.channel(Echo).hold("gate"))
                doomed = asyncio.ensure_future(ada.channel(Echo).hold("other"))
                for name in ("gate", "other"):
                    await impl.arrival(name).wait()
                at.revoke_ada()
                await server.reload()
                assert "client certificate rejected: revoked" in str(await ended(ada))
                with pytest.raises(ConnectionLost, match="revoked") as caught:
                    await doomed
                assert caught.value.close_code == 7
                impl.gate("gate").set()
                assert await held == "gate"
                assert impl.cancelled == ["other"]
            # A session that could be resumed is not, and no new one is made.
            for again in (ada_tls, client_tls(at.ada, ca=at.ca.ca_pem)):
                with pytest.raises(TlsError, match="client certificate rejected: revoked"):
                    await join(server, tls=again)
            # Bob's can be: his certificate is judged by the new list.
            async with join(server, tls=bob_tls) as bob:
                assert await bob.channel(Echo).echo("still there") == "still there"
                assert bob.resumed
            await ada.close()

    run(main, loop=loop)


def test_clients_of_an_authority_that_is_gone_are_sent_away(tmp_path: Path) -> None:
    async def main() -> None:
        at = Deployment(tmp_path)
        other = ThrowawayCA("Other CA")
        async with (
            serve(EchoImpl(), tls=at.tls, graceful_timeout=0) as server,
            join(server, tls=client_tls(at.ada, ca=at.ca.ca_pem)) as ada,
        ):
            at.client_ca.write_bytes(at.ca.ca_pem + other.ca_pem)
            at.crl.write_bytes(at.ca.crl_pem + other.crl_pem)
            await server.reload()
            assert await ada.channel(Echo).echo("known") == "known"
            at.client_ca.write_bytes(other.ca_pem)
            await server.reload()
            assert 'issuer "JetStream Throwaway CA" is not trusted' in str(await ended(ada))

    run(main)


def test_a_check_of_ones_own_is_asked_about_those_who_are_there() -> None:
    async def main() -> None:
        banned: set[str | None] = set()

        def check(peer: TlsPeer) -> None:
            if peer.leaf.common_name in banned:
                msg = f"{peer.leaf.common_name} is banned"
                raise PermissionError(msg)

        async with (
            serve(EchoImpl(), tls=server_tls(client_check=check), graceful_timeout=0) as server,
            join(server) as session,
        ):
            banned.add("ada")
            await server.reload()
            assert "ada is banned" in str(await ended(session))

    run(main)


def test_many_are_sent_away_within_a_second(tmp_path: Path) -> None:
    async def main() -> None:
        at = Deployment(tmp_path)
        async with (
            serve(EchoImpl(), tls=at.tls, graceful_timeout=0) as server,
            Client(client_tls(at.ada, ca=at.ca.ca_pem)) as client,
        ):
            sessions = [await client.session(server.address, "localhost") for _ in range(200)]
            at.revoke_ada()
            began = time.perf_counter()
            await server.reload()
            reasons = await asyncio.gather(*(ended(session) for session in sessions))
            assert time.perf_counter() - began < 1
            assert all("revoked" in str(reason) for reason in reasons)

    run(main)


def test_a_new_certificate_is_shown_from_the_next_handshake_on(tmp_path: Path) -> None:
    async def main() -> None:
        at = Deployment(tmp_path)
        tls = client_tls(at.ada, ca=at.ca.ca_pem)

        async def shown(session: Session) -> str:
            assert isinstance(session.peer, TlsPeer)
            assert await session.channel(Echo).echo("x") == "x"
            return session.peer.leaf.fingerprint

        async with (
            serve(EchoImpl(), tls=at.tls, graceful_timeout=0) as server,
            join(server, tls=tls) as before,
        ):
            old = await shown(before)
            at.renew()
            await server.reload()
            async with join(server, tls=tls) as after:
                new = await shown(after)
                assert not after.resumed
            assert old != new
            assert await shown(before) == old, "whoever is there stays"
            async with join(server, tls=tls) as again:
                assert await shown(again) == new
                assert again.resumed

    run(main)


def test_other_settings_may_be_given() -> None:
    async def main() -> None:
        strict = server_tls()
        lax = server_tls(client_auth="optional")
        async with serve(EchoImpl(), tls=strict, graceful_timeout=0) as server:
            await server.reload(lax)
            async with join(server, tls=client_tls()) as session:
                assert await session.channel(Echo).echo("in") == "in"
            await server.reload()
            async with join(server, tls=client_tls()) as session:
                assert await session.channel(Echo).echo("in") == "in"

    run(main)


def test_files_that_cannot_be_used_leave_the_old_ones_in_force(tmp_path: Path) -> None:
    async def main() -> None:
        at = Deployment(tmp_path)
        tls = client_tls(at.ada, ca=at.ca.ca_pem)
        async with serve(EchoImpl(), tls=at.tls, graceful_timeout=0) as server:
            at.key.write_bytes(ThrowawayCA().issue_server().key_pem)
            with pytest.raises(TlsConfigError, match="does not belong to"):
                await server.reload()
            at.key.unlink()
            with pytest.raises(TlsConfigError, match=r"no such file.*server\.key"):
                await server.reload()
            async with join(server, tls=tls) as session:
                assert await session.channel(Echo).echo("as before") == "as before"
        with pytest.raises(ClosedError):
            await serve(EchoImpl(), graceful_timeout=0).reload()

    run(main)


def test_files_that_break_off_leave_the_old_ones_in_force(tmp_path: Path) -> None:
    async def main() -> None:
        at = Deployment(tmp_path)
        other = ThrowawayCA("Other CA")
        both = {at.client_ca: at.ca.ca_pem + other.ca_pem, at.crl: at.ca.crl_pem + other.crl_pem}
        for path, data in both.items():
            path.write_bytes(data)
        bob = client_tls(other.issue_client("bob"), ca=at.ca.ca_pem)
        async with (
            serve(EchoImpl(), tls=at.tls, graceful_timeout=0) as server,
            join(server, tls=bob) as session,
        ):
            for path, data in both.items():
                second = data.rindex(b"-----BEGIN")
                for size in (second + 5, second + 15, second + 40, len(data) - 100, len(data) - 7):
                    path.write_bytes(data[:size])
                    with pytest.raises(TlsConfigError, match=f"{path.name} is damaged"):
                        await server.reload()
                path.write_bytes(data)
            await server.reload()
            assert await session.channel(Echo).echo("as before") == "as before"

    run(main)


def test_the_log_says_what_is_trusted_and_who_had_to_go(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        at = Deployment(tmp_path)
        other = ThrowawayCA("Other CA")
        at.client_ca.write_bytes(at.ca.ca_pem + other.ca_pem)
        at.crl.write_bytes(at.ca.crl_pem + other.crl_pem)
        async with (
            serve(EchoImpl(), tls=at.tls, graceful_timeout=0) as server,
            join(server, tls=client_tls(at.ada, ca=at.ca.ca_pem)) as ada,
            join(server, tls=client_tls(other.issue_client("eve"), ca=at.ca.ca_pem)) as eve,
        ):
            await server.reload()
            # Cut at the end of the first one: these files can be read.
            at.client_ca.write_bytes(at.ca.ca_pem)
            at.crl.write_bytes(at.ca.crl_pem)
            await server.reload()
            await ended(eve)
            assert await ada.channel(Echo).echo("known") == "known"

    with caplog.at_level(logging.INFO, "jetstream.server"):
        run(main)
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    reloaded = "reloaded: the new TLS settings count from now on; client authorities: "
    assert ("INFO", reloaded + "2 (2 before), revocation lists: 2 (2 before)") in said
    assert ("WARNING", reloaded + "1 (2 before), revocation lists: 1 (2 before)") in said
    closed = "connections were closed, because the new TLS settings refuse them"
    assert ("INFO", f"1 of 2 {closed}") in said


def test_an_authority_may_change_its_key(tmp_path: Path) -> None:
    async def main() -> None:
        at = Deployment(tmp_path)
        new = ThrowawayCA()
        eve = new.issue_client("eve")
        at.client_ca.write_bytes(at.ca.ca_pem + new.ca_pem)
        at.crl.write_bytes(at.ca.crl_pem + new.crl_pem)
        async with serve(EchoImpl(), tls=at.tls, graceful_timeout=0) as server:
            ada_tls, eve_tls = (client_tls(who, ca=at.ca.ca_pem) for who in (at.ada, eve))
            async with join(server, tls=ada_tls) as ada:
                async with join(server, tls=eve_tls) as session:
                    new.revoke(eve)
                    at.crl.write_bytes(at.ca.crl_pem + new.crl_pem)
                    await server.reload()
                    assert "client certificate rejected: revoked" in str(await ended(session))
                assert await ada.channel(Echo).echo("known") == "known"

    run(main)


def test_a_hangup_signal_reloads(
    tmp_path: Path, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        at = Deployment(tmp_path)
        server = serve(EchoImpl(), tls=at.tls, graceful_timeout=0)
        running = asyncio.ensure_future(server.run())
        while server.connections == 0:
            with suppress(ClosedError):
                ada = await join(server, tls=client_tls(at.ada, ca=at.ca.ca_pem))
            await asyncio.sleep(0)
        good = at.key.read_bytes()
        at.key.write_bytes(b"")
        told = asyncio.Event()

        class Told(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                told.set()

        handler = Told(logging.ERROR)
        logging.getLogger("jetstream").addHandler(handler)
        os.kill(os.getpid(), signal.SIGHUP)
        await told.wait()
        logging.getLogger("jetstream").removeHandler(handler)
        assert await ada.channel(Echo).echo("as before") == "as before"
        at.key.write_bytes(good)
        at.revoke_ada()
        os.kill(os.getpid(), signal.SIGHUP)
        assert "revoked" in str(await ended(ada))
        await ada.close()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    run(main, loop=loop)
    assert "not reloaded, the old TLS settings stay" in caplog.text
    assert "server.key is empty" in caplog.text


def test_a_client_leaves_a_server_that_was_revoked(tmp_path: Path, loop: str) -> None:
    async def main() -> None:
        ca, impl = ThrowawayCA(), EchoImpl()
        crl = tmp_path / "servers.crl"
        crl.write_bytes(ca.crl_pem)
        bad, good = ca.issue_server(), ca.issue_server()
        tls = client_tls(client_identity(), ca=ca.ca_pem, crls=crl)
        async with (
            serve(impl, tls=server_tls(bad), graceful_timeout=0) as one,
            serve(impl, tls=server_tls(good), graceful_timeout=0) as other,
            Client(tls) as client,
        ):
            to_one = await client.session(one.address, "localhost")
            to_other = await client.session(other.address, "localhost")
            doomed = asyncio.ensure_future(to_one.channel(Echo).hold("gate"))
            await impl.arrival("gate").wait()
            ca.revoke(bad)
            crl.write_bytes(ca.crl_pem)
            await client.reload()
            assert isinstance(await ended(to_one), TlsError)
            with pytest.raises(TlsError, match="server certificate rejected: revoked"):
                await doomed
            assert await to_other.channel(Echo).echo("here") == "here"
            with pytest.raises(TlsError, match="server certificate rejected: revoked"):
                await client.session(one.address, "localhost")
            crl.write_bytes(b"")
            with pytest.raises(TlsConfigError, match="empty"):
                await client.reload()
            async with await client.session(other.address, "localhost") as session:
                assert await session.channel(Echo).echo("here") == "here"
        with pytest.raises(ClosedError):
            await client.reload()

    run(main, loop=loop)


def test_a_client_shows_its_new_certificate_from_the_next_connection_on() -> None:
    async def main() -> None:
        async with (
            serve(EchoImpl(), graceful_timeout=0) as server,
            Client(client_tls()) as client,
        ):
            seen: list[str] = []
            for common_name in ("ada", "grace", "hedy"):
                if seen:
                    await client.reload(client_tls(authority().issue_client(common_name)))
                async with await client.session(server.address, "localhost") as session:
                    seen.append((await session.channel(Echo).last("")).split()[0])
                    assert not session.resumed
            assert seen == ["ada", "grace", "hedy"]

    run(main)
