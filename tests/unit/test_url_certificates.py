"""Certificates in URLs: whose are taken, in which forms, and for how long they may be valid."""

from __future__ import annotations

import base64
from datetime import timedelta
from urllib.parse import parse_qsl

import pytest
from jetstream import TlsConfigError
from jetstream._certs import Usage
from jetstream._url_certificates import CertificatesInUrls
from jetstream.testing import ThrowawayCA
from jetstream.webtransport import RefuseSession

CA = ThrowawayCA("Pages")
OTHER = ThrowawayCA("Pages")
DAY = timedelta(days=1)


def certificate(ca: ThrowawayCA = CA, usage: Usage = Usage.CLIENT, days: int = 1) -> bytes:
    """One for ada, in DER."""
    return ca.authority.issue(
        ["ada.example"], usage=usage, common_name="ada", days=days
    ).certificate_der


def taker(lifetime: timedelta = DAY) -> CertificatesInUrls:
    return CertificatesInUrls(CA.ca_pem, lifetime)


def refused(text: str, lifetime: timedelta = DAY) -> RefuseSession:
    with pytest.raises(RefuseSession) as caught:
        taker(lifetime).peer_of(text)
    return caught.value


def standard(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_one_that_is_good(encode):
    # Many, so that every sign of the alphabet comes.
    for _ in range(5):
        der = certificate()
        peer = taker().peer_of(encode(der).decode())
        assert peer.leaf.der == der
        assert peer.leaf.common_name == "ada"
        assert len(peer.chain) == 1


def test_one_whose_alphabet_shows_in_one_sign_alone():
    der = next(der for _ in range(50) if b"/" in base64.b64encode(der := certificate()))
    assert taker().peer_of(standard(der).replace("/", "_")).leaf.der == der


def test_a_plus_sign_that_became_a_space():
    der = next(der for _ in range(50) if b"+" in base64.b64encode(der := certificate()))
    ((_, text),) = parse_qsl(f"cert={standard(der)}")
    assert " " in text
    assert taker().peer_of(text).leaf.der == der


def test_those_of_another_authority():
    error = refused(standard(certificate(OTHER)))
    assert error.status == 403
    assert "not accepted" in error.reason


def test_one_that_has_expired():
    error = refused(standard(CA.expired_client("ada", "ada.example").certificate_der), DAY * 9999)
    assert error.status == 403
    assert "not accepted" in error.reason


def test_a_servers_is_no_clients():
    assert refused(standard(certificate(usage=Usage.SERVER))).status == 403


def test_the_authority_is_nobody():
    assert refused(standard(CA.ca_der), DAY * 99_999).status == 403


def test_one_that_is_valid_for_too_long():
    der = certificate(days=2)
    error = refused(standard(der))
    assert error.status == 403
    assert "valid for 1 day, 23:59:59, over 1 day, 0:00:00" in error.reason
    assert refused(standard(der), DAY * 2 - timedelta(seconds=2)).status == 403
    assert taker(DAY * 2).peer_of(standard(der)).leaf.der == der


@pytest.mark.parametrize(
    "text",
    [
        "",
        "=",
        "a",
        "!!!!",
        "ada",
        "\u00e4\u00f6\u00fc",
        "-_-_",
        standard(b"no certificate"),
        standard(b""),
        standard(certificate()[:-1]),
        standard(certificate() + b"\0"),
        CA.ca_pem.decode(),
    ],
)
def test_garbage(text):
    error = refused(text)
    assert error.status == 400
    assert "DER and base64" in error.reason


def test_too_much():
    error = refused("A" * 17_000)
    assert error.status == 400
    assert "too large" in error.reason
    assert "AAAA" not in str(error)


def test_authorities_that_cannot_be_read():
    with pytest.raises(TlsConfigError):
        CertificatesInUrls(b"nonsense", DAY)
