"""Opening what is locked: private keys and PKCS#12 files, with or without a password.

The only place where a private key's bytes are decrypted; nothing here logs or formats them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

from jetstream._errors import TlsConfigError
from jetstream._scan import Item

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

Password: TypeAlias = str | bytes | Callable[[], str | bytes]
"""A password, or what is called for it, once, and only when something is encrypted."""

Ask: TypeAlias = Callable[[], bytes] | None
"""A `Password` made uniform by `asked_once`."""

MIN_RSA_BITS, MAX_RSA_BITS = 2048, 4096
"""What ring signs with; NIST SP 800-131A allows nothing shorter."""


@dataclass(frozen=True)
class NamedKey:
    """A private key and where it came from.

    Attributes:
        name: The file, as an error message names it.
        key: The key.
    """

    name: str
    key: "PrivateKeyTypes" = field(repr=False)


@dataclass(frozen=True)
class Bundle:
    """The content of a PKCS#12 file.

    Attributes:
        key: Its private key, if it has one.
        certificates: Its certificates; the key's own comes first.
        encrypted: Whether a password was needed.
    """

    key: "PrivateKeyTypes | None" = field(repr=False)
    certificates: "tuple[x509.Certificate, ...]"
    encrypted: bool


def asked_once(password: Password | None) -> Ask:
    """Make a password uniform, and its callable be called at most once.

    Args:
        password: What the user gave.

    Returns:
        A function that returns the password in UTF-8, or None when there is no password.
    """
    if password is None:
        return None

    @cache
    def ask() -> bytes:
        value = password() if callable(password) else password
        return value.encode() if isinstance(value, str) else value

    return ask


def open_key(name: str, item: Item, ask: Ask) -> NamedKey:
    """Open a private key; a password that is not needed is not asked for.

    Args:
        name: Where it is, for messages.
        item: The key as it was found.
        ask: The password, if there is one.

    Returns:
        The key.

    Raises:
        TlsConfigError: It is encrypted and the password is missing or wrong, or it is damaged.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    load = serialization.load_pem_private_key if item.pem else serialization.load_der_private_key
    try:
        return NamedKey(name, load(item.data, None))
    except TypeError:
        secret = _needed(ask, f"{name} is an encrypted private key")
    except UnsupportedAlgorithm as error:
        raise TlsConfigError(f"{name} is a private key of an unknown kind: {error}") from error
    except ValueError as error:
        raise TlsConfigError(
            f"{name} is damaged: it looks like a private key and cannot be parsed; "
            "copy it again, whole"
        ) from error
    try:
        return NamedKey(name, load(item.data, secret))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # TypeError: it is empty
        raise _wrong_password(name) from error


def open_pkcs12(name: str, item: Item, ask: Ask) -> Bundle:
    """Open a PKCS#12 file (RFC 7292); a password that is not needed is not asked for.

    Args:
        name: Where it is, for messages.
        item: The file as it was found.
        ask: The password, if there is one.

    Returns:
        What it holds.

    Raises:
        TlsConfigError: The password is missing or wrong, or the file is damaged.
    """
    try:
        return _parse_pkcs12(item.data, None)
    except ValueError as error:
        if "password" not in str(error):
            raise TlsConfigError(
                f"{name} is damaged: it looks like a PKCS#12 file and cannot be parsed; "
                "copy it again, whole"
            ) from error
    secret = _needed(ask, f"{name} is an encrypted PKCS#12 file")
    try:
        return _parse_pkcs12(item.data, secret)
    except ValueError as error:
        raise _wrong_password(name) from error


def to_pkcs8(named: NamedKey) -> bytes:
    """Serialize a key for the core.

    Args:
        named: The key.

    Returns:
        Unencrypted PKCS#8 DER (RFC 5958).

    Raises:
        TlsConfigError: The TLS implementation (rustls with ring) cannot sign with this key.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    match named.key:
        case ec.EllipticCurvePrivateKey():
            usable = named.key.curve.name in ("secp256r1", "secp384r1")
        case rsa.RSAPrivateKey():
            usable = MIN_RSA_BITS <= named.key.key_size <= MAX_RSA_BITS
        case ed25519.Ed25519PrivateKey():
            usable = True
        case _:
            usable = False
    if not usable:
        raise TlsConfigError(
            f"{named.name} has a key of type {describe_key(named.key.public_key())}, which TLS "
            f"cannot use here: make one of ECDSA P-256 or P-384, Ed25519 or RSA with "
            f"{MIN_RSA_BITS} to {MAX_RSA_BITS} bits"
        )
    return named.key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def describe_key(key: "PublicKeyTypes") -> str:
    """Name a key's type and size.

    Args:
        key: The public key.

    Returns:
        For example `ECDSA P-256`, `RSA 2048 bits`, `Ed25519`.
    """
    from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa

    nist = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
    match key:
        case ec.EllipticCurvePublicKey():
            return f"ECDSA {nist.get(key.curve.name, key.curve.name)}"
        case rsa.RSAPublicKey():
            return f"RSA {key.key_size} bits"
        case dsa.DSAPublicKey():
            return f"DSA {key.key_size} bits"
        case ed25519.Ed25519PublicKey():
            return "Ed25519"
        case ed448.Ed448PublicKey():
            return "Ed448"
        case _:
            return type(key).__name__.removesuffix("PublicKey")


def public_der(key: "PublicKeyTypes") -> bytes:
    """Serialize a public key.

    Args:
        key: The public key.

    Returns:
        Its SubjectPublicKeyInfo in DER (RFC 5280 section 4.1.2.7): equal for equal keys.
    """
    from cryptography.hazmat.primitives import serialization

    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _parse_pkcs12(data: bytes, password: bytes | None) -> Bundle:
    from cryptography.hazmat.primitives.serialization import pkcs12

    parsed = pkcs12.load_pkcs12(data, password)
    own = [parsed.cert] if parsed.cert else []
    certificates = tuple(each.certificate for each in [*own, *parsed.additional_certs])
    return Bundle(parsed.key, certificates, encrypted=password is not None)


def _needed(ask: Ask, what: str) -> bytes:
    if ask is None:
        raise TlsConfigError(f"{what}: pass password=")
    return ask()


def _wrong_password(name: str) -> TlsConfigError:
    return TlsConfigError(f"wrong password for {name}: pass the one it was encrypted with")
