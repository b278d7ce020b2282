"""Making certificates for development and tests: an authority, what it issues, what it revokes.

Everything here is in memory and pure of disk and terminal; `_files` writes, `cli.certs` talks. No
certificate made here is meant for production, and nothing is put in a trust store.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Self, cast

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID

from jetstream import _x509
from jetstream._errors import TlsConfigError
from jetstream._files import NewFile, public_file, secret_file
from jetstream._keys import Password
from jetstream._material import Source, load_identity
from jetstream._names import parse_names

AUTHORITY_DAYS = 3650
"""Validity of an authority: ten years, so that it outlives the project it was made for."""

LEAF_DAYS = 14
"""Validity of what it issues. Browsers accept a pinned `serverCertificateHashes` only when the
whole validity is two weeks at most (W3C WebTransport, "verify a certificate hash"), and a key that
lies on a developer's disk should not be worth much for long."""

CRL_DAYS = 7
"""Time until the next revocation list is due."""

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
"""What a development server is reached by."""


class Usage(Enum):
    """What a certificate is for: its extendedKeyUsage (RFC 5280 section 4.2.1.12)."""

    SERVER = "server"
    CLIENT = "client"
    BOTH = "both"

    @property
    def purposes(self) -> tuple[x509.ObjectIdentifier, ...]:
        """The object identifiers of the extension."""
        server = ExtendedKeyUsageOID.SERVER_AUTH
        client = ExtendedKeyUsageOID.CLIENT_AUTH
        match self:
            case Usage.SERVER:
                return (server,)
            case Usage.CLIENT:
                return (client,)
            case Usage.BOTH:
                return (server, client)


@dataclass(frozen=True)
class Issued:
    """A certificate with its private key.

    Attributes:
        certificate: The certificate itself.
        key: Its private key, ECDSA P-256.
        intermediates: What lies between it and the root, nearest first; the root is not among them.
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)
    intermediates: tuple[x509.Certificate, ...] = ()

    @property
    def chain_pem(self) -> bytes:
        """The chain in PEM, own certificate first, without the root: what a peer is sent."""
        return b"".join(_x509.to_pem(each) for each in (self.certificate, *self.intermediates))

    @property
    def chain_der(self) -> list[bytes]:
        """The same chain in DER."""
        return [_x509.to_der(each) for each in (self.certificate, *self.intermediates)]

    @property
    def certificate_der(self) -> bytes:
        """The certificate alone in DER."""
        return _x509.to_der(self.certificate)

    @property
    def key_pem(self) -> bytes:
        """The private key as unencrypted PKCS#8 PEM (RFC 5958)."""
        return _x509.private_bytes(self.key, serialization.Encoding.PEM)

    @property
    def key_der(self) -> bytes:
        """The private key as unencrypted PKCS#8 DER (RFC 5958)."""
        return _x509.private_bytes(self.key, serialization.Encoding.DER)

    @property
    def common_name(self) -> str | None:
        """The subject's common name, if it has one."""
        return _x509.common_name_of(self.certificate.subject)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate in DER, as `AB:CD:…`."""
        return _x509.fingerprint(self.certificate)

    @property
    def spki_sha256(self) -> str:
        """Hash of the public key, base64: see `spki_sha256`."""
        return _x509.spki_sha256(self.certificate)

    def pkcs12(self, password: str | None = None) -> bytes:
        """Pack certificate, intermediates and key into one PKCS#12 file (RFC 7292).

        The root stays outside, so that importing the file makes nobody trust it.

        Args:
            password: Encrypts key and certificates (AES-256-CBC, PBKDF2). None or empty: nothing is
                encrypted and the integrity check uses the empty password, which is what
                `openssl pkcs12 -passin pass:` and import dialogs left empty expect. Apple's
                Keychain imports no file without a password.

        Returns:
            The file's content.
        """
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if password:
            encryption = serialization.BestAvailableEncryption(password.encode())
        name = (self.common_name or "jetstream").encode()
        return pkcs12.serialize_key_and_certificates(
            name, self.key, self.certificate, self.intermediates or None, encryption
        )

    def files(
        self, folder: Path, stem: str, usage: Usage, *, p12_password: str | None = None
    ) -> list[NewFile]:
        """Lay out the files that tools want; nothing is written.

        `STEM.pem` and `STEM.key` always; for servers `STEM.crt` (DER) and `STEM.spki` (see
        `spki_sha256`); for clients `STEM.p12`. The key comes first: who waits for the certificate
        finds its key.

        Args:
            folder: Where they go.
            stem: The file names without their endings.
            usage: Which of the files are wanted.
            p12_password: For the PKCS#12 file.

        Returns:
            What to hand to `write_files`.
        """
        files = [secret_file(folder / f"{stem}.key", self.key_pem)]
        if usage is not Usage.SERVER:
            files.append(secret_file(folder / f"{stem}.p12", self.pkcs12(p12_password)))
        if usage is not Usage.CLIENT:
            files.append(public_file(folder / f"{stem}.crt", self.certificate_der))
            files.append(public_file(folder / f"{stem}.spki", f"{self.spki_sha256}\n".encode()))
        return [*files, public_file(folder / f"{stem}.pem", self.chain_pem)]


class Authority:
    """A certificate authority: issues, revokes, and signs the list of what it revoked.

    Attributes:
        certificate: Its own certificate.
        intermediates: Itself and what lies between it and the root, when it is not the root.
    """

    def __init__(
        self,
        certificate: x509.Certificate,
        key: CertificateIssuerPrivateKeyTypes,
        intermediates: tuple[x509.Certificate, ...] = (),
    ) -> None:
        self.certificate = certificate
        self.intermediates = intermediates
        self._key = key
        self._revoked: dict[int, x509.RevokedCertificate] = {}
        self._crl_number = 0

    def __repr__(self) -> str:
        return f"Authority({self.certificate.subject.rfc4514_string()!r})"

    @classmethod
    def make(
        cls,
        common_name: str = "JetStream Dev CA",
        *,
        days: int = AUTHORITY_DAYS,
        path_length: int | None = 0,
        now: datetime | None = None,
    ) -> Self:
        """Make a new root.

        Args:
            common_name: Its name, at most 64 characters.
            days: Its validity.
            path_length: How many authorities may follow below it (RFC 5280 section 4.2.1.9); 0 for
                one that issues directly, None for no limit.
            now: The present; the clock's when None.

        Returns:
            The authority, with a new key.

        Raises:
            TlsConfigError: The name is empty or too long, or the validity leaves the calendar.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _x509.subject_of(common_name)
        extensions = _x509.authority_extensions(key.public_key(), path_length)
        certificate = _x509.sign_certificate(
            subject=subject,
            key=key.public_key(),
            issuer=subject,
            issuer_key=key,
            valid=_x509.validity(days, now),
            extensions=extensions,
        )
        return cls(certificate, key)

    @classmethod
    def load(
        cls, certificate: Source, key: Source | None = None, password: Password | None = None
    ) -> Self:
        """Load an authority from its files.

        Args:
            certificate: Its certificate, and what it was issued by if it is not a root.
            key: Its private key; None when it is in `certificate`.
            password: For an encrypted key.

        Returns:
            The authority. It knows of no earlier revocations.

        Raises:
            TlsConfigError: The files cannot be used, or the certificate is not an authority's.
        """
        chain_der, key_der = load_identity(certificate, key, password)
        chain = [x509.load_der_x509_certificate(der) for der in chain_der]
        if not _x509.is_authority(chain[0]):
            name = _x509.common_name_of(chain[0].subject) or chain[0].subject.rfc4514_string()
            raise TlsConfigError(
                f"the certificate of {name} may not issue others (basicConstraints, RFC 5280 "
                "section 4.2.1.9): name the authority's certificate, ca.pem"
            )
        # `load_identity` lets only kinds of keys through that sign.
        loaded = serialization.load_der_private_key(key_der, None)
        between = tuple(each for each in chain if each.subject != each.issuer)
        return cls(chain[0], cast(CertificateIssuerPrivateKeyTypes, loaded), between)

    @property
    def certificate_pem(self) -> bytes:
        """Its certificate in PEM: what peers are told to trust."""
        return _x509.to_pem(self.certificate)

    @property
    def certificate_der(self) -> bytes:
        """Its certificate in DER."""
        return _x509.to_der(self.certificate)

    @property
    def key_pem(self) -> bytes:
        """Its private key as unencrypted PKCS#8 PEM (RFC 5958)."""
        return _x509.private_bytes(self._key, serialization.Encoding.PEM)

    def files(self, folder: Path, stem: str = "ca") -> list[NewFile]:
        """Lay out `STEM.key` and `STEM.pem`; nothing is written.

        Args:
            folder: Where they go.
            stem: The file names without their endings.

        Returns:
            What to hand to `write_files`.
        """
        return [
            secret_file(folder / f"{stem}.key", self.key_pem),
            public_file(folder / f"{stem}.pem", self.certificate_pem),
        ]

    def issue(
        self,
        names: Iterable[str],
        *,
        usage: Usage = Usage.SERVER,
        common_name: str | None = None,
        days: int = LEAF_DAYS,
        now: datetime | None = None,
    ) -> Issued:
        """Issue a certificate with a new key.

        Its validity ends with the authority's at the latest. For one that is expired already, give
        a `now` that lies more than `days` in the past.

        Args:
            names: Its alternative names, in any form that `parse_name` knows.
            usage: What it is for.
            common_name: The subject's name; None takes the first name, if that is short enough.
            days: Its validity, the allowance for late clocks included.
            now: The present; the clock's when None.

        Returns:
            Certificate and key.

        Raises:
            TlsConfigError: It would have no name at all, a name has no known form, or the authority
                itself has expired.
        """
        written = list(names)
        alternatives = parse_names(written)
        if common_name is None and written and _x509.fits_common_name(written[0]):
            common_name = written[0]
        if not alternatives and common_name is None:
            raise TlsConfigError("a certificate needs a name: give one")
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _x509.subject_of(common_name)
        extensions = _x509.leaf_extensions(key.public_key(), usage.purposes)
        if alternatives:  # RFC 5280 section 4.2.1.6: critical when the subject is empty
            alternative = x509.SubjectAlternativeName(alternatives)
            extensions.append((alternative, common_name is None))
        return Issued(
            self._issue(key.public_key(), subject, days, now, extensions), key, self.intermediates
        )

    def subordinate(
        self,
        common_name: str = "JetStream Dev Intermediate CA",
        *,
        days: int = AUTHORITY_DAYS,
        now: datetime | None = None,
    ) -> "Authority":
        """Make an authority below this one; the chains it issues contain it.

        Args:
            common_name: Its name, at most 64 characters.
            days: Its validity.
            now: The present; the clock's when None.

        Returns:
            The intermediate authority.

        Raises:
            TlsConfigError: This authority's path length allows none below it.
        """
        own = self.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        if own.path_length == 0:
            name = _x509.common_name_of(self.certificate.subject)
            raise TlsConfigError(
                f"{name} allows no authority below it: make it with path_length=None"
            )
        key = ec.generate_private_key(ec.SECP256R1())
        below = None if own.path_length is None else own.path_length - 1
        extensions = _x509.authority_extensions(key.public_key(), below)
        certificate = self._issue(
            key.public_key(), _x509.subject_of(common_name), days, now, extensions
        )
        return Authority(certificate, key, (certificate, *self.intermediates))

    def revoke(
        self,
        certificate: "Issued | x509.Certificate | int",
        *,
        reason: x509.ReasonFlags | None = None,
        now: datetime | None = None,
    ) -> None:
        """Put a certificate on the next revocation list; once more changes nothing.

        Args:
            certificate: The certificate or its serial number.
            reason: Why; None leaves it out, as RFC 5280 section 5.3.1 wants for "unspecified".
            now: The time of revocation; the clock's when None.
        """
        if isinstance(certificate, Issued):
            certificate = certificate.certificate
        serial = certificate if isinstance(certificate, int) else certificate.serial_number
        entry = (
            x509.RevokedCertificateBuilder()
            .serial_number(serial)
            .revocation_date(_x509.present(now))
        )
        if reason is not None:
            entry = entry.add_extension(x509.CRLReason(reason), critical=False)
        self._revoked.setdefault(serial, entry.build())

    def crl(
        self, *, days: int = CRL_DAYS, now: datetime | None = None
    ) -> x509.CertificateRevocationList:
        """Sign the list of what was revoked (RFC 5280 section 5), also when that is nothing.

        Args:
            days: Time until the next list is due, the allowance for late clocks included.
            now: The present; the clock's when None.

        Returns:
            A version 2 list whose number is higher than that of every list before.
        """
        present = _x509.present(now)
        self._crl_number = max(self._crl_number + 1, int(present.timestamp()))
        not_before, not_after = _x509.validity(days, now)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(not_before)
            .next_update(not_after)
            .add_extension(x509.CRLNumber(self._crl_number), critical=False)
            .add_extension(_x509.issuer_key_identifier(self.certificate), critical=False)
        )
        for entry in self._revoked.values():
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self._key, _x509.signature_hash(self._key))

    def crl_pem(self, *, days: int = CRL_DAYS, now: datetime | None = None) -> bytes:
        """Sign the list of what was revoked, in PEM.

        Args:
            days: As for `crl`.
            now: As for `crl`.

        Returns:
            The list.
        """
        return self.crl(days=days, now=now).public_bytes(serialization.Encoding.PEM)

    def _issue(
        self,
        key: ec.EllipticCurvePublicKey,
        subject: x509.Name,
        days: int,
        now: datetime | None,
        extensions: _x509.Extensions,
    ) -> x509.Certificate:
        end = self.certificate.not_valid_after_utc
        if end <= _x509.present(now):
            raise TlsConfigError(
                f"the authority {_x509.common_name_of(self.certificate.subject)} expired on "
                f"{end:%Y-%m-%d}: make a new one with 'jetstream certs init --force'"
            )
        not_before, not_after = _x509.validity(days, now)
        identifier = _x509.issuer_key_identifier(self.certificate)
        return _x509.sign_certificate(
            subject=subject,
            key=key,
            issuer=self.certificate.subject,
            issuer_key=self._key,
            valid=(not_before, min(not_after, end)),
            extensions=[*extensions, (identifier, False)],
        )
