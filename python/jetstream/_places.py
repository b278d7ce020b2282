"""Places to connect to: an address, and what carries the connection there."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import urlsplit

from jetstream._addresses import parse_address, spell_address

if TYPE_CHECKING:
    from jetstream._addresses import AddressLike

Carrier: TypeAlias = Literal["quic", "tcp", "unix", "webtransport"]
"""What carries a connection: QUIC over UDP, TCP with TLS, a Unix socket, or a WebTransport session
on HTTP/3."""

HTTP3_PORT = 443
"""The port of URLs that say none."""

_IN_PATHS = re.compile("[!-~]*")

_SCHEMES: dict[str, Carrier] = {"quic": "quic", "tcp": "tcp"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server is, and how it is reached."""

    carrier: Carrier
    host: str
    """The host; the path over a Unix socket."""
    port: int
    path: str = ""
    """What is asked for, with its query, in a WebTransport session."""

    def __str__(self) -> str:
        if self.carrier == "unix":
            return f"unix:{self.host}"
        where = spell_address(self.host, self.port)
        if self.carrier == "webtransport":
            # A query may hold a token.
            return f"https://{where}{self.path.partition('?')[0]}"
        return where if self.carrier == "quic" else f"tcp://{where}"


def parse_place(address: AddressLike) -> Place:
    """The place that an address says: QUIC's, unless it says otherwise.

    Raises:
        ValueError: It is none, with what to write.
    """
    if isinstance(address, str):
        if address.startswith("unix:"):
            return Place("unix", _path(address), 0)
        scheme, separator, rest = address.partition("://")
        if separator:
            if scheme == "https":
                return _url(address)
            if scheme not in _SCHEMES:
                msg = (
                    f"{address!r}: write quic://host:port, tcp://host:port, unix:/path, or "
                    "https://host:port/path for WebTransport"
                )
                raise ValueError(msg)
            return Place(_SCHEMES[scheme], *parse_address(rest.removesuffix("/")))
    return Place("quic", *parse_address(address))


def _url(url: str) -> Place:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or HTTP3_PORT
    except ValueError as error:
        msg = f"{url!r}: {error}; write https://host:port/path"
        raise ValueError(msg) from None
    if not host or parts.username is not None:
        msg = f"{url!r}: write https://host:port/path"
        raise ValueError(msg)
    query = f"?{parts.query}" if parts.query else ""
    path = (parts.path or "/") + query
    if not _IN_PATHS.fullmatch(path):
        msg = (
            f"{url!r}: the path and the query must be percent-encoded where they have spaces, "
            "control characters or what is not ASCII; urllib.parse.quote does that"
        )
        raise ValueError(msg)
    return Place("webtransport", host, port, path)


def _path(address: str) -> str:
    path = address.removeprefix("unix:")
    if path.startswith("//"):
        host, _, path = path.removeprefix("//").partition("/")
        path = "/" + path
        if host:
            msg = f"{address!r}: a Unix socket is on this machine; write unix:/path or unix:///path"
            raise ValueError(msg)
    return check_socket_path(path, address)


def check_socket_path(path: str | os.PathLike[str], what: object) -> str:
    """The name of a Unix socket: a path, or with ``@`` in front an abstract name.

    Raises:
        ValueError: It cannot be one.
    """
    name = os.fspath(path)
    if name in ("", "/", "@") or "\0" in name:
        msg = f"{what!r}: write the path of a socket, such as unix:/run/echo.sock"
        raise ValueError(msg)
    return name
