"""Who asked a proxy: what proxies say of their clients, believed if they are named."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from jetstream._asgi import FORWARDED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from jetstream._asgi import App, Receive, Scope, Send

ProxyHeaders: TypeAlias = Literal["x-forwarded", "forwarded"]
"""What proxies write: ``X-Forwarded-For`` and ``X-Forwarded-Proto``, or ``Forwarded`` (RFC 7239).

One of them: what a proxy does not write itself, it passes on as its client wrote it.
"""

_SCHEMES = {"http": "ws", "https": "wss"}

# Values that ought to be quoted and are not, such as addresses with ports, are taken too: proxies
# write them. What matches does so in one way only, so that no line of a stranger takes long.
_NAME = r"[!#$%&'*+.^`|~\w-]++"
_VALUE = r"""(?:"[^"\\]*+(?:\\.[^"\\]*+)*"|[^\s",;=\\]*+)"""
_PAIR = rf"{_NAME}\s*+=\s*+{_VALUE}\s*+"
_ELEMENT = re.compile(rf"\s*+{_PAIR}(?:;\s*+(?:{_PAIR})?)*", re.ASCII)
_EACH_PAIR = re.compile(rf"({_NAME})\s*+=\s*+({_VALUE})", re.ASCII)

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
        for hop, scheme in self._read(scope["headers"], scope["client"]):
            if scheme in _SCHEMES:
                scope["scheme"] = _SCHEMES[scheme] if scope["type"] == "websocket" else scheme
            # A client that the proxy hides is nobody, which ASGI writes as `None`. The address of
            # the proxy would pass for that of somebody on this machine.
            scope["client"] = hop
            if hop is None or hop[0] not in self._proxies:
                break


def _x_forwarded(
    headers: Sequence[tuple[bytes, bytes]], proxy: Hop | None
) -> Iterator[tuple[Hop | None, str]]:
    """Each hop and how it asked, the nearest first."""
    clients = _listed(headers, b"x-forwarded-for")
    schemes = [each.lower() for each in _listed(headers, b"x-forwarded-proto")]
    if not clients:
        if schemes:
            yield proxy, schemes[-1]
        return
    if len(schemes) != len(clients):
        schemes = schemes[-1:] * len(clients) if schemes else [""] * len(clients)
    for client, scheme in zip(reversed(clients), reversed(schemes), strict=True):
        yield _hop(client), scheme


def _listed(headers: Sequence[tuple[bytes, bytes]], wanted: bytes) -> list[str]:
    # Quotes mean nothing in these: one that a client writes must not join what a proxy appends.
    values = [value.decode("latin-1") for name, value in headers if name == wanted]
    return [each for each in (part.strip() for part in ",".join(values).split(",")) if each]


def _forwarded(
    headers: Sequence[tuple[bytes, bytes]], _proxy: Hop | None
) -> Iterator[tuple[Hop | None, str]]:
    """Each hop and how it asked, the nearest first.

    Each line is read from its end, where the proxies that are believed write. From the beginning,
    a quote that the client leaves open would swallow all that they append. An element is the
    shortest end of the line, behind a comma, that is well-formed. What starts inside a quoted
    string is not: the quote that closes the string would have to open another.
    """
    for name, value in reversed(headers):
        if name != b"forwarded":
            continue
        line = value.decode("latin-1")
        end = len(line)
        while end > 0:
            comma = line.rfind(",", 0, end)
            if not line[comma + 1 : end].strip():
                end = comma
                continue
            while not _ELEMENT.fullmatch(line, comma + 1, end):
                if comma < 0:
                    # Nobody knows who wrote what is left. It is a hop that says nothing, and belief
                    # ends there.
                    yield None, ""
                    return
                comma = line.rfind(",", 0, comma)
            pairs = {
                each[1].lower(): _unquoted(each[2])
                for each in _EACH_PAIR.finditer(line, comma + 1, end)
            }
            yield _hop(pairs.get("for", "unknown")), pairs.get("proto", "").lower()
            end = comma


def _unquoted(text: str) -> str:
    """What a value says (RFC 9110, section 5.6.4)."""
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text


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
    return host, int(port) if port.isdecimal() and len(port) <= 5 and int(port) <= 65_535 else 0
