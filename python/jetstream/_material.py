"""A user's TLS material, from whatever form it has on disk to the DER that the core takes.

Reading and explaining only: nothing is verified here except that a key belongs to its certificate,
and nothing is written. `cryptography` is imported when it is first needed.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from jetstream._errors import TlsConfigError
from jetstream._keys import (
    Ask,
    NamedKey,
    Password,
    asked_once,
    open_key,
    open_pkcs12,
    public_der,
    to_pkcs8,
)
from jetstream._scan import DamagedError, Item, Kind, scan

Location: TypeAlias = str | os.PathLike[str] | bytes
"""A path, or the bytes themselves. A `str` that holds PEM text is taken as that."""

Source: TypeAlias = Location | Sequence[Location]
"""One location or several, whose contents count as if they were one file."""

MAX_FILE_BYTES = 16 * 1024 * 1024
"""Larger files are refused: a bundle of every public CA has 0.3 MB, the largest CRLs some MB."""


def load_certificates(source: Source, *, password: Password | None = None) -> list[bytes]:
    """Load certificates, for example the CAs to trust.

    Private keys in the same files are passed over.

    Args:
        source: PEM (any number), DER (one) or PKCS#12.
        password: For an encrypted PKCS#12 file.

    Returns:
        The certificates in DER, at least one, in their order.

    Raises:
        TlsConfigError: There is none, or it cannot be read; the message says what is there instead.
    """
    ask = asked_once(password)
    found: list[bytes] = []
    for content in _contents(source, "a certificate"):
        certificates = _certificates_in(content, ask)
        if not certificates:
            raise TlsConfigError(_instead(content, "a certificate"))
        found += certificates
    return found


def load_identity(
    certificate: Source, key: Source | None = None, password: Password | None = None
) -> tuple[list[bytes], bytes]:
    """Load a certificate chain and its private key.

    Args:
        certificate: The chain, own certificate first; PEM, DER or PKCS#12.
        key: Its private key, PEM or DER (PKCS#8, PKCS#1 or SEC 1); None when it is in `certificate`
            (PKCS#12, or PEM that holds both).
        password: For an encrypted key or PKCS#12 file.

    Returns:
        The chain in DER, own certificate first, and the key as unencrypted PKCS#8 DER (RFC 5958).

    Raises:
        TlsConfigError: Something is missing, cannot be read, needs a password, does not belong
            together, or the key is of a kind that TLS cannot use here.
    """
    ask = asked_once(password)
    chain: list[bytes] = []
    keys: list[NamedKey] = []
    names: list[str] = []
    for content in _contents(certificate, "a certificate"):
        own = _certificates_in(content, ask)
        enclosed = _keys_in(content, ask) if key is None else []
        if not own and not (enclosed and chain):
            raise TlsConfigError(_instead(content, "a certificate"))
        chain += own
        keys += enclosed
        names.append(content.name)
    for content in _contents(key, "a private key") if key is not None else ():
        enclosed = _keys_in(content, ask)
        if not enclosed:
            raise TlsConfigError(_instead(content, "a private key"))
        keys += enclosed
    return chain, to_pkcs8(_the_key_of(chain, keys, ", ".join(names)))


def load_crls(source: Source) -> list[bytes]:
    """Load certificate revocation lists.

    Args:
        source: PEM (any number) or DER (one).

    Returns:
        The lists in DER, at least one, in their order.

    Raises:
        TlsConfigError: There is none, or it cannot be read; the message says what is there instead.
    """
    from cryptography import x509

    found: list[bytes] = []
    for content in _contents(source, "a certificate revocation list"):
        items = content.of(Kind.CRL)
        if not items:
            raise TlsConfigError(_instead(content, "a certificate revocation list"))
        for item in items:
            try:
                x509.load_der_x509_crl(item.data)
            except ValueError as error:
                raise TlsConfigError(_damaged(content.name, Kind.CRL)) from error
            found.append(item.data)
    return found


def stamps(source: Source | None) -> tuple[tuple[int, ...], ...]:
    """What changes when a file of `source` does: as `make` sees it, by times and sizes.

    Args:
        source: What is or was loaded.

    Returns:
        One stamp for each file; none for bytes, and an empty one for what is not there.
    """
    locations = (source,) if isinstance(source, (str, bytes, os.PathLike)) else source or ()
    found: list[tuple[int, ...]] = []
    for location in locations:
        if isinstance(location, bytes) or (isinstance(location, str) and "-----BEGIN " in location):
            continue
        try:
            state = Path(location).stat()
            found.append((state.st_mtime_ns, state.st_size, state.st_ino))
        except (OSError, ValueError):
            found.append(())
    return tuple(found)


@dataclass(frozen=True)
class Content:
    """What one location holds.

    Attributes:
        name: The file's path, or words for bytes, as an error message names it.
        items: What was recognised.
    """

    name: str
    items: tuple[Item, ...]

    def of(self, *kinds: Kind) -> list[Item]:
        """The items of these kinds.

        Args:
            *kinds: Which kinds.

        Returns:
            The items, in their order.
        """
        return [item for item in self.items if item.kind in kinds]


def read(location: Location, *, wanted: str) -> Content:
    """Read and recognise what is at one location.

    Args:
        location: A path or bytes.
        wanted: What the caller looks for, for the message: "a certificate".

    Returns:
        What is there; at least one item.

    Raises:
        TlsConfigError: Missing, unreadable, empty, too large, damaged or not recognised.
    """
    name, data = _data(location, wanted)
    if not data.strip():
        raise TlsConfigError(f"{name} is empty: it should hold {wanted}")
    try:
        items = scan(data)
    except DamagedError as error:
        raise TlsConfigError(f"{name} is damaged: {error}; copy it again, whole") from error
    if not items:
        raise TlsConfigError(
            f"{name} holds neither PEM nor DER: it should hold {wanted} "
            "(PEM begins with -----BEGIN)" + _path_hint(data, location)
        )
    return Content(name, tuple(items))


def _contents(source: Source, wanted: str) -> Iterator[Content]:
    if isinstance(source, (str, bytes, os.PathLike)):
        yield read(source, wanted=wanted)
        return
    if not isinstance(source, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TlsConfigError(
            f"{wanted} is given as a path, bytes or a list of those, not as {type(source).__name__}"
        )
    if not source:
        raise TlsConfigError(f"an empty list was given: it should name {wanted}")
    for location in source:
        # mypy still counts `bytes`, excluded above, among the sequences.
        yield read(location, wanted=wanted)  # type: ignore[arg-type]


def _data(location: Location, wanted: str) -> tuple[str, bytes]:
    match location:
        case bytes():
            return "bytes", location
        case str() if "-----BEGIN " in location:
            return "text", location.encode("utf-8", "replace")
        case str() | os.PathLike():
            path = Path(location)
        case _:  # pyright: ignore[reportUnnecessaryComparison]
            raise TlsConfigError(
                f"{wanted} is given as a path or bytes, not as {type(location).__name__}"
            )
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        where = "" if path.is_absolute() else f" in {Path.cwd()}"
        raise TlsConfigError(
            f"no such file{where}: {path}; 'jetstream certs init' makes certificates for "
            "development"
        ) from error
    except IsADirectoryError as error:
        raise TlsConfigError(
            f"{path} is a folder: name the file in it that holds {wanted}"
        ) from error
    except PermissionError as error:
        raise TlsConfigError(
            f"{path} cannot be read by this user: change its owner or run as the user who owns it"
        ) from error
    except (OSError, ValueError) as error:
        raise TlsConfigError(f"{path} cannot be read: {error}") from error
    if len(data) > MAX_FILE_BYTES:
        raise TlsConfigError(
            f"{path} is larger than {MAX_FILE_BYTES >> 20} MiB: it is hardly {wanted}"
        )
    return str(path), data


def _path_hint(data: bytes, location: Location) -> str:
    looks_like_path = isinstance(location, bytes) and len(data) < 4096 and data.isascii()
    return "; a path is passed as str or Path, not as bytes" if looks_like_path else ""


_CONVERSIONS = {
    Kind.REQUEST: "name the certificate that the CA made from it",
    Kind.PKCS7: "convert it with 'openssl pkcs7 -print_certs'",
    Kind.OPENSSL_TRUSTED: "convert it with 'openssl x509'",
    Kind.SSH_KEY: "'jetstream certs issue' makes a key of the kind that TLS takes",
}


def _instead(content: Content, wanted: str) -> str:
    kinds = list(dict.fromkeys(item.kind for item in content.items))
    if Kind.PKCS12 in kinds and wanted != "a certificate revocation list":
        return f"{content.name} is {Kind.PKCS12.value} without {wanted}: export it again with both"
    found = " and ".join(kind.value for kind in kinds)
    wrong_key = wanted == "a private key" and kinds[0] is not Kind.SSH_KEY
    fix = f"name the file that holds {wanted}"
    if not wrong_key:
        fix = _CONVERSIONS.get(kinds[0], fix)
    return f"{content.name} is {found}, not {wanted}: {fix}"


def _damaged(name: str, kind: Kind) -> str:
    return (
        f"{name} is damaged: it looks like {kind.value} and cannot be parsed; copy it again, whole"
    )


def _certificates_in(content: Content, ask: Ask) -> list[bytes]:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    found: list[bytes] = []
    for item in content.of(Kind.CERTIFICATE, Kind.PKCS12):
        if item.kind is Kind.PKCS12:
            bundle = open_pkcs12(content.name, item, ask)
            found += [each.public_bytes(Encoding.DER) for each in bundle.certificates]
            continue
        try:
            x509.load_der_x509_certificate(item.data)
        except (ValueError, x509.InvalidVersion) as error:
            raise TlsConfigError(_damaged(content.name, Kind.CERTIFICATE)) from error
        found.append(item.data)
    return found


def _keys_in(content: Content, ask: Ask) -> list[NamedKey]:
    found: list[NamedKey] = []
    for item in content.of(Kind.KEY, Kind.ENCRYPTED_KEY, Kind.PKCS12):
        if item.kind is not Kind.PKCS12:
            found.append(open_key(content.name, item, ask))
        elif (key := open_pkcs12(content.name, item, ask).key) is not None:
            found.append(NamedKey(content.name, key))
    return found


def _the_key_of(chain: Sequence[bytes], keys: Sequence[NamedKey], name: str) -> NamedKey:
    if not keys:
        raise TlsConfigError(f"{name} holds no private key: pass the key's file as key=")
    if len(keys) > 1:
        raise TlsConfigError(
            f"{len(keys)} private keys in {', '.join(dict.fromkeys(key.name for key in keys))}: "
            "keep only the one that belongs to the certificate"
        )
    own = public_der(keys[0].key.public_key())
    matching = [place for place, der in enumerate(chain) if _public_key_of(der) == own]
    if not matching:
        raise TlsConfigError(
            f"the private key in {keys[0].name} does not belong to the certificate in {name}: "
            "name the two files that were made together"
        )
    if matching[0] != 0:
        raise TlsConfigError(
            f"{name} has the certificate of the private key at place {matching[0] + 1}: "
            "put it first, then the certificate that issued it, and so on (RFC 8446 section 4.4.2)"
        )
    return keys[0]


def _public_key_of(der: bytes) -> bytes | None:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return public_der(x509.load_der_x509_certificate(der).public_key())
    except (UnsupportedAlgorithm, ValueError):
        return None
