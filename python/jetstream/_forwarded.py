"""Who asked a proxy: what proxies say of their clients, believed if they are named."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from jetstream._asgi import FORWARDED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from jetstream._asgi import App, Receive, Scope, Send

ProxyHeaders: TypeAlias = Literal["x-forwarded", "forwarded"]
"""What proxies write: ``X-Forwarded-For`` and ``X-Forwarded-Proto``, or ``Forwarded`` (RFC 7239).

One of them: what a proxy does not write itself, it passes on as its client wrote it.
"""

_SCHEMES = {"http": "ws", "https": "wss"}

Hop: TypeAlias = tuple[str, int]


class TrustedProxies:
    """Proxies that are believed.

    Args:
        names: IP addresses, networks such as ``10.0.0.0/8``, ``unix`` for whoever comes over a Unix
            socket, or ``*`` for everybody.

    Raises:
        ValueError: One is nothing of that.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._networks: list[IPv4Network | IPv6Network] = []
        self._everybody = False
        self._unix = False
        for name in names:
            if name == "*":
                self._everybody = True
            elif name == "unix":
                self._unix = True
            else:
                try:
                    self._networks.append(ip_network(name.strip()))
                except ValueError:
                    msg = (
                        f"{name!r} is no proxy: write an IP address, a network such as 10.0.0.0/8, "
                        "'unix' or '*'"
                    )
                    raise ValueError(msg) from None

    def __contains__(self, host: str | None) -> bool:
        if self._everybody:
            return True
        if host is None:
            return self._unix
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self._networks)


class Forwarded:
    """An application that sees the client of the proxy, and how that client asked.

    Args:
        app: The application.
        proxies: Who is believed.
        headers: What they write.
    """

    def __init__(self, app: App, proxies: TrustedProxies, headers: ProxyHeaders) -> None:
        self._app = app
        self._proxies = proxies
        self._read = _x_forwarded if headers == "x-forwarded" else _forwarded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            client = scope["client"]
            if (None if client is None else client[0]) in self._proxies:
                self._believe(scope)
        await self._app(scope, receive, send)

    def _believe(self, scope: Scope) -> None:
        # Whoever stands behind a proxy is not the proxy, and has not shown us a certificate.
        extensions: Mapping[str, Any] = scope.get("extensions") or {}
        ours: Mapping[str, Any] = extensions.get("jetstream") or {}
        scope["extensions"] = {**extensions, "jetstream": {**ours, FORWARDED: True}}
        # The nearest came last. The first that is no proxy of ours is the client.
        for hop, scheme in reversed(self._read(scope["headers"])):
            if scheme in _SCHEMES:
                scope["scheme"] = _SCHEMES[scheme] if scope["type"] == "websocket" else scheme
            if hop is not None:
                scope["client"] = hop
            if hop is None or hop[0] not in self._proxies:
                break


def _x_forwarded(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[Hop | None, str | None]]:
    clients = _listed(headers, b"x-forwarded-for")
    schemes = [each.lower() for each in _listed(headers, b"x-forwarded-proto")]
    if not clients:
        return [(None, schemes[-1])] if schemes else []
    if len(schemes) != len(clients):
        schemes = schemes[-1:] * len(clients) if schemes else [""] * len(clients)
    return [(_hop(each), scheme) for each, scheme in zip(clients, schemes, strict=True)]


def _forwarded(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[Hop | None, str | None]]:
    found: list[tuple[Hop | None, str | None]] = []
    for element in _listed(headers, b"forwarded"):
        pairs = dict[str, str]()
        for pair in _split(element, ";"):
            name, _, value = pair.partition("=")
            pairs[name.strip().lower()] = value.strip().strip('"')
        hop = _hop(pairs["for"]) if "for" in pairs else None
        found.append((hop, pairs.get("proto", "").lower()))
    return found


def _listed(headers: Sequence[tuple[bytes, bytes]], wanted: bytes) -> list[str]:
    values = [value.decode("latin-1") for name, value in headers if name == wanted]
    return [each for each in (part.strip() for part in _split(",".join(values), ",")) if each]


def _split(text: str, at: str) -> list[str]:
    """The parts of a list; a quoted string is of one part."""
    parts, quoted = [""], False
    for letter in text:
        quoted ^= letter == '"'
        if letter == at and not quoted:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _hop(text: str) -> Hop | None:
    """The address and port of a client; `None` for one that is hidden (RFC 7239, section 6.3)."""
    host, port = text, "0"
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":") or "0"
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        ip_address(host)
    except ValueError:
        return None
    return host, int(port) if port.isdecimal() and len(port) <= 5 else 0
