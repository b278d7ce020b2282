"""Who may talk to whom: the ways to verify a peer, and the forms that certificates come in."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)
from jetstream import (
    ClientTls,
    ClientVerifier,
    Limits,
    ServerTls,
    TlsConfigError,
    TlsError,
    TlsPeer,
)
from jetstream._material import Source
from jetstream.testing import ThrowawayCA

from tests.e2e.services import Echo, EchoImpl
from tests.helpers import (
    anonymous_tls,
    authority,
    client_identity,
    client_tls,
    join,
    run,
    serve,
    server_identity,
    server_tls,
)


async def caller(tls: ServerTls, client: ClientTls) -> str:
    """Who the server thinks is calling."""
    async with (
        serve(EchoImpl(), tls=tls, graceful_timeout=0) as server,
        join(server, tls=client) as session,
    ):
        answer: str = await session.channel(Echo).last("")
        return answer.split()[0]


def accept(peer: TlsPeer) -> None:
    """A check that takes everybody."""


def let_through(peer: TlsPeer) -> None:
    """A check that must not be asked."""
    pytest.fail(f"{peer} was let through")


def test_client_auth_none_asks_nobody(loop: str) -> None:
    async def main() -> None:
        tls = server_tls(client_ca=None, client_auth="none")
        assert await caller(tls, anonymous_tls()) == "nobody"
        assert await caller(tls, client_tls()) == "nobody"

    run(main, loop=loop)


def test_either_end_takes_no_larger_chain_than_its_setting_says() -> None:
    small = Limits(max_chain=200)

    async def main() -> None:
        async with serve(EchoImpl(), graceful_timeout=0) as server:
            with pytest.raises(TlsError, match=r"limit is 200; .*Limits\(max_chain=") as caught:
                async with join(server, limits=small):
                    pass
            assert caught.value.reason == "malformed"
            # With the same settings, and no such limit.
            async with join(server) as session:
                assert await session.channel(Echo).echo("x") == "x"
        async with serve(EchoImpl(), limits=small, graceful_timeout=0) as server:
            with pytest.raises(TlsError, match=r"rejected by the peer.*Limits\(max_chain="):
                async with join(server):
                    pass

    run(main)


def test_client_auth_optional_takes_both_but_no_stranger() -> None:
    async def main() -> None:
        for tls in (
            server_tls(client_auth="optional"),
            ServerTls.with_verifier(
                server_identity().chain_pem,
                server_identity().key_pem,
                ClientVerifier(authority().ca_pem).allow_unauthenticated(),
            ),
        ):
            assert await caller(tls, anonymous_tls()) == "nobody"
            assert await caller(tls, client_tls()) == "ada"
            with pytest.raises(TlsError, match="client certificate rejected"):
                await caller(tls, client_tls(ThrowawayCA("Elsewhere").issue_client()))

    run(main)


def test_client_auth_required_is_what_a_client_ca_means() -> None:
    async def main() -> None:
        for tls in (server_tls(), server_tls(client_auth="required")):
            assert await caller(tls, client_tls()) == "ada"
            with pytest.raises(TlsError, match="required but none was presented"):
                await caller(tls, anonymous_tls())

    run(main)


def test_a_servers_own_check(loop: str) -> None:
    seen: list[TlsPeer] = []

    def check(peer: TlsPeer) -> None:
        seen.append(peer)
        if peer.leaf.common_name != "ada":
            msg = f"{peer.leaf.common_name} is not on the list"
            raise PermissionError(msg)

    async def main() -> None:
        tls = server_tls(client_check=check)
        assert await caller(tls, client_tls()) == "ada"
        with pytest.raises(TlsError) as caught:
            await caller(tls, client_tls(authority().issue_client("bob")))
        assert "client certificate rejected" in str(caught.value)
        assert "bob is not on the list" in str(caught.value)

    run(main, loop=loop)
    assert [peer.leaf.common_name for peer in seen] == ["ada", "bob"]


def test_a_check_comes_after_all_others() -> None:
    async def main() -> None:
        tls = server_tls(client_check=let_through)
        with pytest.raises(TlsError, match="client certificate rejected"):
            await caller(tls, client_tls(ThrowawayCA("Elsewhere").issue_client()))

    run(main)


def test_a_check_may_be_the_only_one() -> None:
    async def main() -> None:
        tls = server_tls(client_ca=None, client_check=accept)
        assert await caller(tls, client_tls(ThrowawayCA().issue_client("eve"))) == "eve"

    run(main)


def test_a_clients_own_check() -> None:
    def refuse(peer: TlsPeer) -> None:
        msg = f"not the pinned key of {peer.leaf.dns_names[0]}"
        raise ValueError(msg)

    async def main() -> None:
        async with serve(EchoImpl()) as server:
            with pytest.raises(TlsError, match="not the pinned key of localhost") as caught:
                async with join(server, tls=client_tls(server_check=refuse)):
                    pass
            assert caught.value.reason == "refused"
            async with join(server, tls=client_tls(server_check=accept)) as session:
                await session.channel(Echo).ping()

    run(main)


def test_revoked_certificates() -> None:
    async def main() -> None:
        ca = ThrowawayCA()
        good, bad = ca.issue_client("good"), ca.issue_client("bad")
        ca.revoke(bad)
        server, gone = ca.issue_server(), ca.issue_server()
        ca.revoke(gone)
        tls = server_tls(server, client_ca=ca.ca_pem, client_crls=ca.crl_pem)
        assert await caller(tls, client_tls(good, ca=ca.ca_pem)) == "good"
        with pytest.raises(TlsError, match="client certificate rejected: revoked"):
            await caller(tls, client_tls(bad, ca=ca.ca_pem))
        tls = server_tls(gone, client_ca=ca.ca_pem)
        with pytest.raises(TlsError, match="server certificate rejected: revoked"):
            await caller(tls, client_tls(good, ca=ca.ca_pem, crls=ca.crl_pem))

    run(main)


def test_danger_accept_any_server() -> None:
    async def main() -> None:
        tls = server_tls(ThrowawayCA().issue_server("x.example"), client_ca=None)
        with pytest.raises(TlsError):
            await caller(tls, anonymous_tls())
        assert await caller(tls, ClientTls(danger_accept_any_server=True)) == "nobody"
        with pytest.raises(TlsConfigError, match="contradict"):
            ClientTls(ca=authority().ca_pem, danger_accept_any_server=True)

    run(main)


def test_several_authorities() -> None:
    async def main() -> None:
        other = ThrowawayCA("Other")
        tls = server_tls(client_ca=[authority().ca_pem, other.ca_der])
        assert await caller(tls, client_tls()) == "ada"
        assert await caller(tls, client_tls(other.issue_client("olga"))) == "olga"

    run(main)


def forms(folder: Path) -> dict[str, tuple[Source, Source | None, str | None]]:
    """The client's identity in every form: certificate, key, password."""
    issued = client_identity()
    locked = issued.key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    (folder / "ada.pem").write_bytes(issued.chain_pem)
    (folder / "ada.key").write_bytes(locked)
    (folder / "ada.crt").write_bytes(issued.certificate_der)
    (folder / "ada.p12").write_bytes(issued.pkcs12("secret"))
    return {
        "PEM": (issued.chain_pem, issued.key_pem, None),
        "PEM with an encrypted key": (folder / "ada.pem", folder / "ada.key", "secret"),
        "one PEM with both": (issued.chain_pem + issued.key_pem, None, None),
        "DER": (folder / "ada.crt", issued.key_der, None),
        "PKCS#12": (issued.pkcs12(), None, None),
        "PKCS#12 with a password": (folder / "ada.p12", None, "secret"),
    }


@pytest.mark.parametrize(
    "form",
    [
        "PEM",
        "PEM with an encrypted key",
        "one PEM with both",
        "DER",
        "PKCS#12",
        "PKCS#12 with a password",
    ],
)
def test_forms_of_certificates_and_keys(form: str, tmp_path: Path) -> None:
    async def main() -> None:
        certificate, key, password = forms(tmp_path)[form]
        client = ClientTls(
            ca=authority().ca_der, certificate=certificate, key=key, password=password
        )
        assert await caller(server_tls(), client) == "ada"

    run(main)


def test_a_wrong_password(tmp_path: Path) -> None:
    async def main() -> None:
        for form in ("PEM with an encrypted key", "PKCS#12 with a password"):
            certificate, key, _ = forms(tmp_path)[form]
            for password in ("wrong", None):
                tls = ClientTls(
                    ca=authority().ca_pem, certificate=certificate, key=key, password=password
                )
                with pytest.raises(TlsConfigError, match=r"(?i)password"):
                    await caller(server_tls(), tls)

    run(main)
