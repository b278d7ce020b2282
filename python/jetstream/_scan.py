"""What is in these bytes: certificates, keys, CRLs, requests, PKCS#12; PEM or DER.

Recognises and cuts apart; what is wanted and what is an error is the caller's business. Nothing
here decrypts anything.
"""

import binascii
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

_BEGIN, _END, _DASHES = "-----BEGIN ", "-----END ", "-----"
_OID_PKCS7_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")  # what PowerShell's `>` writes
_UTF8_MARK = b"\xef\xbb\xbf"


class Kind(Enum):
    """What a thing is; the value completes the sentence "this is …"."""

    CERTIFICATE = "a certificate"
    KEY = "a private key"
    ENCRYPTED_KEY = "an encrypted private key"
    PUBLIC_KEY = "a public key"
    REQUEST = "a certificate signing request"
    CRL = "a certificate revocation list"
    PKCS12 = "a PKCS#12 file"
    PKCS7 = "a PKCS#7 bundle"
    OPENSSL_TRUSTED = "a certificate in OpenSSL's own 'TRUSTED CERTIFICATE' form"
    SSH_KEY = "an SSH key"
    UNKNOWN = "PEM of another kind"


@dataclass(frozen=True, repr=False)
class Item:
    """One thing that was found.

    Attributes:
        kind: What it is.
        data: Its DER bytes; of a key in PEM, the PEM text, since its label and headers matter.
        pem: Whether `data` is PEM.
    """

    kind: Kind
    data: bytes
    pem: bool = False

    def __repr__(self) -> str:
        return f"Item({self.kind.name}, {len(self.data)} bytes)"  # never the bytes of a key


class DamagedError(Exception):
    """The bytes began like PEM and broke off or are not base64; the message says where."""


def scan(data: bytes) -> list[Item]:
    """Find what the bytes hold, in their order.

    PEM (RFC 7468) may have text between its blocks, CRLF line ends, a byte order mark, or be
    UTF-16. Everything else is taken as one DER (or, for PKCS#12, BER) value.

    Args:
        data: The content of a file.

    Returns:
        The items; empty when nothing was recognised.

    Raises:
        DamagedError: A PEM block has no beginning, no end or is not base64.
    """
    text = _as_pem_text(data)
    if text is not None:
        return list(_pem_items(text))
    kind = _der_kind(data)
    return [] if kind is Kind.UNKNOWN else [Item(kind, data)]


_LABELS = {
    "CERTIFICATE": Kind.CERTIFICATE,
    "X509 CERTIFICATE": Kind.CERTIFICATE,
    "TRUSTED CERTIFICATE": Kind.OPENSSL_TRUSTED,
    "PRIVATE KEY": Kind.KEY,
    "EC PRIVATE KEY": Kind.KEY,
    "RSA PRIVATE KEY": Kind.KEY,
    "DSA PRIVATE KEY": Kind.KEY,
    "ENCRYPTED PRIVATE KEY": Kind.ENCRYPTED_KEY,
    "OPENSSH PRIVATE KEY": Kind.SSH_KEY,
    "PUBLIC KEY": Kind.PUBLIC_KEY,
    "RSA PUBLIC KEY": Kind.PUBLIC_KEY,
    "CERTIFICATE REQUEST": Kind.REQUEST,
    "NEW CERTIFICATE REQUEST": Kind.REQUEST,
    "X509 CRL": Kind.CRL,
    "PKCS7": Kind.PKCS7,
    "CMS": Kind.PKCS7,
}


def _as_pem_text(data: bytes) -> str | None:
    if data.startswith(_UTF16_MARKS):
        text = data.decode("utf-16", "replace")
    else:
        text = data.removeprefix(_UTF8_MARK).decode("latin-1")
    if _BEGIN not in text:
        return None
    return text if any(line.lstrip().startswith(_BEGIN) for line in text.splitlines()) else None


def _pem_items(text: str) -> Iterator[Item]:
    label: str | None = None
    lines: list[str] = []
    line = ""
    for raw_line in text.splitlines():
        line = raw_line.strip()
        if line.startswith(_BEGIN):
            if not line.endswith(_DASHES):
                raise DamagedError(f"the line {line[:80]!r} breaks off")
            if label is not None:
                raise DamagedError(f"a {label} begins and has no end")
            label, lines = line[len(_BEGIN) : -len(_DASHES)], []
        elif label is not None and line == f"{_END}{label}{_DASHES}":
            yield _pem_item(label, lines)
            label = None
        elif label is not None:
            lines.append(line)
    if label is not None:
        raise DamagedError(f"a {label} begins and has no end")
    if line.startswith(_DASHES) and _BEGIN.startswith(line):
        # A file that was cut while it was written: what is missing may be what somebody trusts.
        raise DamagedError(f"it breaks off at {line!r}")


def _pem_item(label: str, lines: list[str]) -> Item:
    kind = _LABELS.get(label, Kind.UNKNOWN)
    if kind in (Kind.KEY, Kind.ENCRYPTED_KEY):
        # RFC 1421 headers, as OpenSSL's traditional formats have them.
        if any(line.startswith("Proc-Type:") and "ENCRYPTED" in line for line in lines):
            kind = Kind.ENCRYPTED_KEY
        block = [f"{_BEGIN}{label}{_DASHES}", *lines, f"{_END}{label}{_DASHES}", ""]
        return Item(kind, "\n".join(block).encode("latin-1", "replace"), pem=True)
    if kind in (Kind.UNKNOWN, Kind.SSH_KEY):
        return Item(kind, b"")
    try:
        der = binascii.a2b_base64("".join("".join(lines).split()), strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise DamagedError(f"a {label} is not valid base64") from error
    return Item(kind, der)


def _der_kind(data: bytes) -> Kind:
    if len(data) < 2 or data[0] != 0x30:  # every one of them is an ASN.1 SEQUENCE
        return Kind.UNKNOWN
    content = data[2 + (data[1] & 0x7F if data[1] & 0x80 else 0) :]
    if content.startswith(b"\x02\x01\x03\x30"):  # RFC 7292 section 4: version 3, then a SEQUENCE
        return Kind.PKCS12
    if content.startswith(_OID_PKCS7_SIGNED_DATA):
        return Kind.PKCS7
    return next((kind for kind, parse in _parsers() if _parses(parse, data)), _key_kind(data))


def _parsers() -> list[tuple[Kind, Callable[[bytes], object]]]:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    return [
        (Kind.CERTIFICATE, x509.load_der_x509_certificate),
        (Kind.CRL, x509.load_der_x509_crl),
        (Kind.REQUEST, x509.load_der_x509_csr),
        (Kind.PUBLIC_KEY, serialization.load_der_public_key),
    ]


def _parses(parse: Callable[[bytes], object], data: bytes) -> bool:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        parse(data)
    except UnsupportedAlgorithm:
        return True
    except (ValueError, TypeError, x509.InvalidVersion):
        return False
    return True


def _key_kind(data: bytes) -> Kind:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    try:
        serialization.load_der_private_key(data, None)
    except UnsupportedAlgorithm:
        return Kind.KEY
    except TypeError:
        return Kind.ENCRYPTED_KEY
    except ValueError:
        return Kind.UNKNOWN
    return Kind.KEY
