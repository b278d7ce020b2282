"""Building blocks of certificates: extensions, validity, signing, hashes, encodings.

One function per rule of RFC 5280; who issues what to whom is `_certs`' business.
"""

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from cryptography.hazmat.primitives.asymmetric.types import (
    CertificateIssuerPrivateKeyTypes,
    PrivateKeyTypes,
)

from jetstream._errors import TlsConfigError
from jetstream._keys import public_der

CLOCK_SKEW = timedelta(hours=1)
"""How far `notBefore` lies in the past, for peers whose clock is late. It counts in the validity,
so that a certificate of 14 days is one of 14 days to a browser too."""

Extensions: TypeAlias = list[tuple[x509.ExtensionType, bool]]
"""Extensions, each with whether it is critical."""

_MAX_COMMON_NAME = 64  # RFC 5280 appendix A.1: ub-common-name
_ORGANIZATION = "JetStream development certificate"
_SECOND = timedelta(seconds=1)


def subject_of(common_name: str | None) -> x509.Name:
    """Make a subject.

    Args:
        common_name: Its common name; None makes an empty subject.

    Returns:
        The name, with an organization that tells people what they look at.

    Raises:
        TlsConfigError: The common name is empty or longer than 64 characters.
    """
    if common_name is None:
        return x509.Name([])
    if not 1 <= len(common_name) <= _MAX_COMMON_NAME:
        raise TlsConfigError(
            f"a common name has 1 to {_MAX_COMMON_NAME} characters (RFC 5280 appendix A.1), "
            f"this one has {len(common_name)}: choose another"
        )
    return x509.Name(
        [
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, _ORGANIZATION),
            x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name),
        ]
    )


def common_name_of(name: x509.Name) -> str | None:
    """Take the common name out of a subject or issuer.

    Args:
        name: The subject or issuer.

    Returns:
        The last, most specific one; None if there is none.
    """
    attributes = name.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(attributes[-1].value) if attributes else None


def fits_common_name(name: str) -> bool:
    """Tell whether a name is short enough to be a common name.

    Args:
        name: The name.

    Returns:
        Whether it has 1 to 64 characters.
    """
    return 1 <= len(name) <= _MAX_COMMON_NAME


def present(now: datetime | None) -> datetime:
    """Take the present in the precision of certificates.

    Args:
        now: A time with a zone; the clock's when None.

    Returns:
        The time in UTC, in whole seconds (RFC 5280 section 4.1.2.5 has no fractions).
    """
    return (now or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0)


def validity(days: int, now: datetime | None) -> tuple[datetime, datetime]:
    """Work out from when to when something is valid.

    Both ends belong to it (RFC 5280 section 4.1.2.5), so that it spans `days` to the second.

    Args:
        days: How long, `CLOCK_SKEW` included; at least 1.
        now: The present; the clock's when None.

    Returns:
        `notBefore` and `notAfter`.

    Raises:
        TlsConfigError: The end lies beyond the calendar, or the time is none at all.
    """
    if days < 1:
        raise TlsConfigError(f"a validity of {days} days is none: give at least 1")
    try:
        start = present(now) - CLOCK_SKEW
        return start, start + timedelta(days=days) - _SECOND
    except OverflowError as error:
        raise TlsConfigError(f"a validity of {days} days ends beyond the year 9999") from error


def authority_extensions(key: ec.EllipticCurvePublicKey, path_length: int | None) -> Extensions:
    """List the extensions of an authority (RFC 5280 sections 4.2.1.2, 4.2.1.3, 4.2.1.9).

    Args:
        key: Its public key.
        path_length: How many authorities may follow below it; None for any number.

    Returns:
        The extensions.
    """
    return [
        (x509.BasicConstraints(ca=True, path_length=path_length), True),
        (_key_usage(signs_certificates=True), True),
        (x509.SubjectKeyIdentifier.from_public_key(key), False),
    ]


def leaf_extensions(
    key: ec.EllipticCurvePublicKey, purposes: tuple[x509.ObjectIdentifier, ...]
) -> Extensions:
    """List the extensions of a server's or client's certificate, without its names.

    Args:
        key: Its public key.
        purposes: What it is for (RFC 5280 section 4.2.1.12).

    Returns:
        The extensions.
    """
    return [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_key_usage(signs_certificates=False), True),
        (x509.ExtendedKeyUsage(purposes), False),
        (x509.SubjectKeyIdentifier.from_public_key(key), False),
    ]


def issuer_key_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """Point to the issuer's key (RFC 5280 section 4.2.1.1).

    Args:
        issuer: The issuer's certificate.

    Returns:
        The extension; it repeats the issuer's own identifier where that has one.
    """
    try:
        own = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        own = x509.SubjectKeyIdentifier.from_public_key(issuer.public_key())
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def is_authority(certificate: x509.Certificate) -> bool:
    """Tell whether a certificate may issue others.

    Args:
        certificate: The certificate.

    Returns:
        Whether its basicConstraints say so (RFC 5280 section 4.2.1.9).
    """
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except (x509.ExtensionNotFound, ValueError):
        return False
    return constraints.value.ca


def sign_certificate(
    *,
    subject: x509.Name,
    key: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    issuer_key: CertificateIssuerPrivateKeyTypes,
    valid: tuple[datetime, datetime],
    extensions: Extensions,
) -> x509.Certificate:
    """Sign a certificate of version 3 with a random serial number.

    Args:
        subject: Whose it is.
        key: The subject's public key.
        issuer: Who signs.
        issuer_key: The issuer's private key.
        valid: From when to when, both included.
        extensions: In the order they are to have.

    Returns:
        The certificate. Its serial number has 159 random bits (RFC 5280 section 4.1.2.2: positive,
        at most 20 octets).
    """
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid[0])
        .not_valid_after(valid[1])
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key, signature_hash(issuer_key))


def signature_hash(key: CertificateIssuerPrivateKeyTypes) -> hashes.SHA256 | None:
    """Choose the hash for signatures of a key.

    Args:
        key: The private key that signs.

    Returns:
        SHA-256, or None for the Edwards curves, which bring their own (RFC 8410).
    """
    edwards = (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)
    return None if isinstance(key, edwards) else hashes.SHA256()


def fingerprint(certificate: x509.Certificate) -> str:
    """Hash a certificate, for people to compare.

    Args:
        certificate: The certificate.

    Returns:
        SHA-256 of its DER in upper-case hexadecimal with colons. (`serverCertificateHashes` of
        WebTransport takes the same 32 bytes.)
    """
    return hashlib.sha256(to_der(certificate)).digest().hex(":").upper()


def spki_sha256(
    holder: x509.Certificate | x509.CertificateSigningRequest | PrivateKeyTypes,
) -> str:
    """Hash a public key as HTTP pinning does (RFC 7469 section 2.4).

    Chromium's `--ignore-certificate-errors-spki-list` takes this.

    Args:
        holder: A certificate, a request or a private key.

    Returns:
        SHA-256 of the SubjectPublicKeyInfo in DER, base64, 44 characters.
    """
    digest = hashlib.sha256(public_der(holder.public_key())).digest()
    return base64.b64encode(digest).decode()


def to_pem(certificate: x509.Certificate) -> bytes:
    """Encode a certificate.

    Args:
        certificate: The certificate.

    Returns:
        PEM (RFC 7468).
    """
    return certificate.public_bytes(serialization.Encoding.PEM)


def to_der(certificate: x509.Certificate) -> bytes:
    """Encode a certificate.

    Args:
        certificate: The certificate.

    Returns:
        DER.
    """
    return certificate.public_bytes(serialization.Encoding.DER)


def private_bytes(key: PrivateKeyTypes, encoding: serialization.Encoding) -> bytes:
    """Encode a private key without encryption.

    Args:
        key: The key.
        encoding: PEM or DER.

    Returns:
        PKCS#8 (RFC 5958).
    """
    return key.private_bytes(
        encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,  # ECDSA keys do not encipher
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
