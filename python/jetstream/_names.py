"""From a name as a person writes it to an entry of a certificate's subjectAltName.

Only the forms of RFC 5280 section 4.2.1.6 that TLS peers look at: DNS, IP, email, URI.
"""

import ipaddress
import re
from collections.abc import Iterable

from cryptography import x509

from jetstream._errors import TlsConfigError

_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://|urn:)[!-~]+")
_LOCAL_PART = re.compile(r"[!-?A-~]+")
_MAX_DNS_NAME = 253  # RFC 1035 section 2.3.4: 255 octets with length bytes and root label


def parse_name(name: str) -> x509.GeneralName:
    """Recognise a name by its form.

    `spiffe://…` and everything else with `://`, and `urn:…`, is a URI; what has an `@` an email
    address; `10.0.0.1`, `::1` or `[::1]` an IP address; the rest a DNS name, `*.` allowed in front.

    Args:
        name: The name, in ASCII (international names in their `xn--` form).

    Returns:
        The entry for the subjectAltName extension.

    Raises:
        TlsConfigError: The text has none of these forms; the message says what to write instead.
    """
    text = name.strip()
    if not text:
        raise TlsConfigError("a name is empty: give a DNS name, IP address, email address or URI")
    if not text.isascii():
        raise TlsConfigError(
            f"{name!r} is not ASCII: write the ASCII form, for a DNS name the one "
            "that begins with xn--"
        )
    if "://" in text or text.startswith("urn:"):
        if not _URI.fullmatch(text):
            raise TlsConfigError(f"{name!r} is not a URI: write it like spiffe://example.org/app")
        return x509.UniformResourceIdentifier(text)
    if "@" in text:
        return _email(name, text)
    return _ip_address(name, text) or x509.DNSName(_dns_name(name, text))


def parse_names(names: Iterable[str]) -> list[x509.GeneralName]:
    """Recognise several names, each once and in their order.

    Args:
        names: As for `parse_name`.

    Returns:
        One entry for each different name.

    Raises:
        TlsConfigError: One of them has no known form.
    """
    return list(dict.fromkeys(parse_name(name) for name in names))


def format_name(name: x509.GeneralName) -> str:
    """Write an entry of a subjectAltName with its kind: `DNS localhost`, `IP ::1`.

    Args:
        name: An entry of any kind, also of those that `parse_name` does not make.

    Returns:
        The text; it may hold whatever the certificate's maker put there.
    """
    match name:
        case x509.DNSName():
            return f"DNS {name.value}"
        case x509.IPAddress():
            return f"IP {name.value}"
        case x509.RFC822Name():
            return f"email {name.value}"
        case x509.UniformResourceIdentifier():
            return f"URI {name.value}"
        case x509.DirectoryName():
            return f"directory {name.value.rfc4514_string()}"
        case _:
            return f"other {name.value!r}"


def _email(name: str, text: str) -> x509.RFC822Name:
    local, _, domain = text.rpartition("@")
    if not _LOCAL_PART.fullmatch(local) or domain.startswith("*"):
        raise TlsConfigError(f"{name!r} is not an email address: write it like ada@example.org")
    return x509.RFC822Name(f"{local}@{_dns_name(name, domain)}")


def _ip_address(name: str, text: str) -> x509.IPAddress | None:
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        raise TlsConfigError(
            f"{name!r} has a zone, which certificates cannot hold: leave out %{address.scope_id}"
        )
    return x509.IPAddress(address)


def _dns_name(name: str, text: str) -> str:
    host, colon, port = text.rpartition(":")
    if colon and port.isdigit():
        raise TlsConfigError(f"{name!r} has a port, which certificates cannot hold: write {host}")
    bare = text.removesuffix(".")
    labels = bare.removeprefix("*.").split(".")
    if len(bare) > _MAX_DNS_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        raise TlsConfigError(
            f"{name!r} is neither a DNS name, an IP address, an email address nor a URI: "
            "a DNS name has letters, digits, hyphens and dots, each part at most 63 long"
        )
    if labels[-1].isdigit():  # https://url.spec.whatwg.org/#ends-in-a-number-checker
        raise TlsConfigError(
            f"{name!r} is not a valid IP address, and no DNS name ends in a number"
        )
    return bare.lower()
