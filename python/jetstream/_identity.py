"""Who is at the other end: what a peer's certificates, or the kernel, say."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Self, TypeAlias

from jetstream import _core


def pem_of(der: bytes) -> str:
    """A certificate in PEM (RFC 7468)."""
    text = base64.encodebytes(der).decode().replace("\n", "")
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificate:
    """An X.509 certificate (RFC 5280), as far as it says who somebody is."""

    common_name: str | None
    """The subject's most specific common name."""
    fingerprint: str
    """SHA-256 of the DER in the usual form, ``AB:CD:…``."""
    subject: str
    """The subject's name, as RFC 4514 writes it."""
    issuer: str
    """The issuer's name, as RFC 4514 writes it."""
    serial_number: int
    """Unique among the issuer's certificates."""
    not_before: datetime
    """Valid from this moment on, in UTC."""
    not_after: datetime
    """Valid up to this moment, in UTC."""
    dns_names: tuple[str, ...]
    """The DNS names among the alternative names."""
    ip_addresses: tuple[IPv4Address | IPv6Address, ...]
    """The IP addresses among the alternative names."""
    emails: tuple[str, ...]
    """The mail addresses among the alternative names."""
    uris: tuple[str, ...]
    """The URIs among the alternative names; a SPIFFE identity is one."""
    is_ca: bool
    """Whether it may issue others."""
    spki_sha256: bytes = field(repr=False)
    """SHA-256 of the public key: the same after a renewal with the same key."""
    der: bytes = field(repr=False)
    """The certificate itself."""

    def pem(self) -> str:
        """The certificate in PEM (RFC 7468)."""
        return pem_of(self.der)

    @classmethod
    def from_der(cls, der: bytes) -> Self:
        """Reads a certificate.

        Raises:
            ValueError: The bytes are no certificate.
        """
        parsed = _core.parse_certificate(der)
        return cls(
            common_name=parsed["common_name"],
            fingerprint=parsed["fingerprint"],
            subject=parsed["subject"],
            issuer=parsed["issuer"],
            serial_number=int.from_bytes(parsed["serial"], "big"),
            not_before=_moment(parsed["not_before"]),
            not_after=_moment(parsed["not_after"]),
            dns_names=tuple(parsed["dns_names"]),
            ip_addresses=tuple(ip_address(text) for text in parsed["ip_addresses"]),
            emails=tuple(parsed["emails"]),
            uris=tuple(parsed["uris"]),
            is_ca=parsed["is_ca"],
            spki_sha256=parsed["spki_sha256"],
            der=der,
        )


def _moment(seconds: int) -> datetime:
    # Certificates may say 9999-12-31 for "never" (RFC 5280, section 4.1.2.5).
    latest = datetime.max.replace(tzinfo=UTC)
    return datetime.fromtimestamp(min(seconds, int(latest.timestamp()) - 1), UTC)


@dataclass(frozen=True, slots=True)
class TlsPeer:
    """A peer that proved itself with a certificate."""

    chain: tuple[Certificate, ...]
    """Its certificates, its own first."""

    @property
    def leaf(self) -> Certificate:
        """The peer's own certificate."""
        return self.chain[0]

    def __str__(self) -> str:
        leaf = self.leaf
        names = ", ".join([*leaf.dns_names, *map(str, leaf.ip_addresses), *leaf.emails, *leaf.uris])
        return f"CN={leaf.common_name} SHA-256 {leaf.fingerprint} names {names or 'none'}"


@dataclass(frozen=True, slots=True)
class UnixPeer:
    """A process of this machine, told by the kernel."""

    pid: int | None
    """Its process, where it is visible from here."""
    uid: int
    """Its user."""
    gid: int
    """Its group."""

    def __str__(self) -> str:
        return f"process {self.pid or '?'} of user {self.uid}, group {self.gid}"


@dataclass(frozen=True, slots=True)
class TokenPeer:
    """A peer whose identity a hook vouches for, as by a token.

    See `WebTransport` and `Context.identify`.
    """

    subject: str
    """Who it is."""
    claims: Mapping[str, Any] = field(default_factory=dict[str, Any], compare=False)
    """What else is known of it."""
    expires: datetime | None = None
    """When that ends, with its time zone: the session ends with it."""

    def __post_init__(self) -> None:
        if self.expires is not None and self.expires.tzinfo is None:
            msg = f"TokenPeer(expires={self.expires!r}): say the time zone, such as datetime.UTC"
            raise ValueError(msg)

    def __str__(self) -> str:
        return f"{self.subject}, by a token"


Peer: TypeAlias = TlsPeer | UnixPeer | TokenPeer
"""Who is at the other end. `None` stands for somebody who proved nothing."""


def peer_of_chain(chain: Sequence[bytes]) -> TlsPeer | None:
    """The peer that showed `chain`.

    An intermediate certificate that cannot be read is left out: it says nothing about who the peer
    is, and TLS has judged it already.
    """
    if not chain:
        return None
    certificates = [Certificate.from_der(chain[0])]
    for der in chain[1:]:
        try:
            certificates.append(Certificate.from_der(der))
        except ValueError:
            continue
    return TlsPeer(tuple(certificates))


def peer_of(connection: _core.Connection) -> Peer | None:
    """The peer of a connection, made once."""
    known = connection.peer
    if known is None:
        # Nobody is not remembered: before the handshake ends, somebody is nobody.
        credentials = connection.credentials
        known = UnixPeer(*credentials) if credentials else peer_of_chain(connection.peer_chain)
        connection.peer = known
    return known
