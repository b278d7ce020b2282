"""What `jetstream certs inspect` says about certificates, keys, requests and revocation lists.

Facts first, as values that JSON can hold; the text for people is made of the same facts. Nothing
secret becomes a fact: of a private key only its type and the hash of its public half.
"""

from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID

from jetstream._errors import TlsConfigError
from jetstream._keys import Ask, describe_key, open_key, open_pkcs12
from jetstream._material import Content
from jetstream._names import format_name
from jetstream._scan import Item, Kind
from jetstream._x509 import common_name_of, fingerprint, is_authority, spki_sha256

Facts: TypeAlias = dict[str, str | int | bool | list[str] | None]
"""What is known about one thing, in the order it is shown."""

_PURPOSES: dict[x509.ObjectIdentifier, str] = {
    ExtendedKeyUsageOID.SERVER_AUTH: "server",
    ExtendedKeyUsageOID.CLIENT_AUTH: "client",
}
_LABELS = {
    "common_name": "common name",
    "sha256": "SHA-256",
    "not_before": "valid from",
    "not_after": "valid until",
    "spki_sha256": "SPKI hash",
    "key_type": "key",
    "this_update": "made",
    "next_update": "next due",
}
_ONLY_JSON = ("kind", "state", "expired", "days_left")  # people read them elsewhere
_WIDTH = max(map(len, _LABELS.values())) + 2
_DAY = timedelta(days=1)


def describe(content: Content, ask: Ask, now: datetime) -> list[Facts]:
    """Collect the facts about everything in a file.

    Args:
        content: The file.
        ask: The password, asked for only when a PKCS#12 file is encrypted.
        now: The present, with a zone; what is expired depends on it.

    Returns:
        The facts about each thing, in their order.

    Raises:
        TlsConfigError: Something is damaged, or the password is missing or wrong.
    """
    found: list[Facts] = []
    for item in content.items:
        try:
            found += _item(content.name, item, ask, now)
        except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
            if isinstance(error, TlsConfigError):
                raise
            raise TlsConfigError(
                f"{content.name} is damaged: it looks like {item.kind.value} and cannot be parsed "
                f"({error}); copy it again, whole"
            ) from error
    return found


def render(facts: Facts) -> str:
    """Write facts for people.

    Args:
        facts: What is known about one thing.

    Returns:
        A heading and one indented line for each fact. Control characters, which a certificate from
        elsewhere may hold, are escaped.
    """
    lines = [str(facts["kind"])]
    for name, value in facts.items():
        if name in _ONLY_JSON or value is None or value == []:
            continue
        text = ", ".join(value) if isinstance(value, list) else str(value)
        if name in ("not_after", "next_update"):
            text = f"{text} ({facts['state']})"
        label = _LABELS.get(name, name.replace("_", " "))
        lines.append(f"  {label:<{_WIDTH}}{text}")
    return "\n".join(_plain(line) for line in lines)


def _item(name: str, item: Item, ask: Ask, now: datetime) -> list[Facts]:
    match item.kind:
        case Kind.CERTIFICATE:
            return [_certificate(x509.load_der_x509_certificate(item.data), now)]
        case Kind.REQUEST:
            return [_request(x509.load_der_x509_csr(item.data))]
        case Kind.CRL:
            return [_crl(x509.load_der_x509_crl(item.data), now)]
        case Kind.KEY:
            return [_key(open_key(name, item, None).key)]
        case Kind.PKCS12:
            bundle = open_pkcs12(name, item, ask)
            certificates = [_certificate(each, now) for each in bundle.certificates]
            return certificates + ([_key(bundle.key)] if bundle.key else [])
        case _:
            return [{"kind": item.kind.value.split(maxsplit=1)[-1]}]


def _certificate(certificate: x509.Certificate, now: datetime) -> Facts:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return {
        "kind": "authority certificate" if is_authority(certificate) else "certificate",
        "common_name": common_name_of(certificate.subject),
        "sha256": fingerprint(certificate),
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "serial": f"{certificate.serial_number:x}",
        "not_before": _time(begin),
        "not_after": _time(end),
        "state": _state(begin, end, now, "expires"),
        "expired": now > end,
        "days_left": (end - now) // _DAY,
        "names": _names(certificate.extensions),
        "use": _use(certificate.extensions),
        "spki_sha256": spki_sha256(certificate),
        "key_type": describe_key(certificate.public_key()),
    }


def _request(request: x509.CertificateSigningRequest) -> Facts:
    return {
        "kind": "certificate signing request",
        "common_name": common_name_of(request.subject),
        "subject": request.subject.rfc4514_string(),
        "names": _names(request.extensions),
        "spki_sha256": spki_sha256(request),
        "key_type": describe_key(request.public_key()),
        "signature_valid": request.is_signature_valid,
    }


def _crl(crl: x509.CertificateRevocationList, now: datetime) -> Facts:
    begin, end = crl.last_update_utc, crl.next_update_utc
    return {
        "kind": "certificate revocation list",
        "issuer": crl.issuer.rfc4514_string(),
        "this_update": _time(begin),
        "next_update": _time(end) if end else None,
        "state": _state(begin, end, now, "due") if end else "no next list announced",
        "revoked": [f"{entry.serial_number:x}" for entry in crl],
    }


def _key(key: PrivateKeyTypes) -> Facts:
    return {
        "kind": "private key (not shown)",
        "spki_sha256": spki_sha256(key),
        "key_type": describe_key(key.public_key()),
    }


def _names(extensions: x509.Extensions) -> list[str]:
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [format_name(name) for name in names]


def _use(extensions: x509.Extensions) -> list[str]:
    try:
        purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return []
    return [_PURPOSES.get(purpose) or purpose.dotted_string for purpose in purposes]


def _time(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _state(begin: datetime, end: datetime, now: datetime, verb: str) -> str:
    if now > end:
        return f"EXPIRED {_days(now - end)} ago" if verb == "expires" else "OVERDUE"
    if now < begin:
        return f"NOT YET VALID, starts in {_days(begin - now)}"
    return f"{verb} in {_days(end - now)}"


def _days(span: timedelta) -> str:
    days = span // _DAY
    if days == 0:
        return "less than a day"
    return "1 day" if days == 1 else f"{days} days"


def _plain(text: str) -> str:
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )
