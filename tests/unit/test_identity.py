"""Identity: what certificates say of a peer."""

import hashlib
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jetstream import Certificate, TlsPeer, TokenPeer, UnixPeer
from jetstream._identity import peer_of, peer_of_chain
from jetstream.testing import ThrowawayCA

CA = ThrowawayCA("Some CA")
NAMES = ("a.example", "*.b.example", "10.0.0.1", "::1", "ada@example.org", "spiffe://example.org/a")


@pytest.fixture(scope="module")
def parsed() -> x509.Certificate:
    """The same certificate as another library reads it."""
    return CA.issue_client("ada", *NAMES).certificate


@pytest.fixture(scope="module")
def certificate(parsed) -> Certificate:
    return Certificate.from_der(parsed.public_bytes(Encoding.DER))


def test_names(certificate):
    assert certificate.common_name == "ada"
    assert certificate.dns_names == ("a.example", "*.b.example")
    assert certificate.ip_addresses == (ip_address("10.0.0.1"), ip_address("::1"))
    assert certificate.emails == ("ada@example.org",)
    assert certificate.uris == ("spiffe://example.org/a",)


def test_facts(certificate, parsed):
    assert certificate.subject == parsed.subject.rfc4514_string()
    assert certificate.issuer == parsed.issuer.rfc4514_string()
    assert "CN=Some CA" in certificate.issuer
    assert certificate.serial_number == parsed.serial_number
    assert certificate.not_before == parsed.not_valid_before_utc
    assert certificate.not_after == parsed.not_valid_after_utc
    assert certificate.not_after.tzinfo is UTC
    assert certificate.is_ca is False
    assert Certificate.from_der(CA.ca_der).is_ca is True


def test_fingerprints(certificate, parsed):
    digest = hashlib.sha256(certificate.der).digest()
    assert certificate.fingerprint == ":".join(f"{byte:02X}" for byte in digest)
    key = parsed.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert certificate.spki_sha256 == hashlib.sha256(key).digest()


def test_pem_is_what_others_write(certificate, parsed):
    assert certificate.pem() == parsed.public_bytes(Encoding.PEM).decode()


def test_secrets_and_blobs_stay_out_of_the_repr(certificate):
    assert "der=" not in repr(certificate)
    assert "spki" not in repr(certificate)
    assert "common_name='ada'" in repr(certificate)


@pytest.mark.parametrize("data", [b"", b"0", b"no certificate", CA.ca_der[:-1], CA.ca_pem])
def test_what_is_no_certificate(data):
    with pytest.raises(ValueError, match=r"."):
        Certificate.from_der(data)


def test_a_certificate_for_ever():
    # RFC 5280, section 4.1.2.5: 99991231235959Z stands for no end.
    end = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(CA.authority.certificate.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(end)
    )
    signed = builder.sign(CA.issue_server().key, CA.authority.certificate.signature_hash_algorithm)
    certificate = Certificate.from_der(signed.public_bytes(Encoding.DER))
    assert timedelta(0) <= end - certificate.not_after <= timedelta(seconds=1)
    assert certificate.common_name is None
    assert certificate.subject == ""


def test_a_peer_is_its_chain(certificate):
    peer = peer_of_chain([certificate.der, CA.ca_der])
    assert peer is not None
    assert peer.leaf == peer.chain[0] == certificate
    assert peer.chain[1].common_name == "Some CA"
    assert str(peer) == (
        f"CN=ada SHA-256 {certificate.fingerprint} names a.example, *.b.example, 10.0.0.1, ::1, "
        "ada@example.org, spiffe://example.org/a"
    )


def test_a_peer_without_names():
    peer = peer_of_chain([CA.issue_client("nobody").certificate.public_bytes(Encoding.DER)])
    assert str(peer).endswith(" names none")


def test_nobody():
    assert peer_of_chain([]) is None


def test_an_unreadable_leaf_is_an_error_and_an_unreadable_issuer_is_left_out(certificate):
    peer = peer_of_chain([certificate.der, b"nonsense", CA.ca_der])
    assert [item.common_name for item in peer.chain] == ["ada", "Some CA"]
    with pytest.raises(ValueError, match=r"."):
        peer_of_chain([b"nonsense"])


class FakeConnection:
    """As much of a connection as identity looks at."""

    def __init__(self, *chain: bytes) -> None:
        self.peer_chain = chain
        self.credentials: tuple[int | None, int, int] | None = None
        self.peer = None


def test_the_peer_of_a_connection_is_made_once():
    connection = FakeConnection(CA.ca_der)
    first = peer_of(connection)
    assert first == peer_of_chain([CA.ca_der])
    connection.peer_chain = (b"not looked at again",)
    assert peer_of(connection) is first


def test_nobody_may_still_become_somebody():
    connection = FakeConnection()
    assert peer_of(connection) is None
    connection.peer_chain = (CA.ca_der,)
    assert peer_of(connection) is not None


def test_the_kernels_word():
    connection = FakeConnection()
    connection.credentials = (1, 2, 3)
    assert peer_of(connection) == UnixPeer(1, 2, 3)
    assert str(UnixPeer(1, 2, 3)) == "process 1 of user 2, group 3"
    assert str(UnixPeer(None, 2, 3)) == "process ? of user 2, group 3"


def test_what_a_hook_vouches_for():
    ends = datetime(2030, 1, 1, tzinfo=UTC)
    peer = TokenPeer("ada", {"admin": True}, ends)
    assert (peer.subject, peer.claims, peer.expires) == ("ada", {"admin": True}, ends)
    assert str(peer) == "ada, by a token"
    # Who it is counts, and until when; not what else is said.
    assert peer == TokenPeer("ada", {"admin": False}, ends)
    assert len({peer, TokenPeer("ada", {}, ends)}) == 1
    assert peer != TokenPeer("ada") != TokenPeer("grace")
    with pytest.raises(ValueError, match=r"say the time zone, such as datetime\.UTC"):
        TokenPeer("ada", expires=datetime(2030, 1, 1))


def test_peers_can_be_told_apart(certificate):
    assert TlsPeer((certificate,)) == TlsPeer((certificate,))
    assert len({TlsPeer((certificate,)), TlsPeer((certificate,)), UnixPeer(1, 2, 3)}) == 2
