"""Places to connect to: an address, and what carries the connection there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from jetstream._addresses import parse_address, spell_address

if TYPE_CHECKING:
    from jetstream._addresses import AddressLike

Carrier: TypeAlias = Literal["quic", "tcp", "unix"]
"""What carries a connection: QUIC over UDP, TCP with TLS, or a Unix socket."""

_SCHEMES: dict[str, Carrier] = {"quic": "quic", "tcp": "tcp"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server is, and how it is reached."""

    carrier: Carrier
    host: str
    """The host; the path over a Unix socket."""
    port: int

    def __str__(self) -> str:
        if self.carrier == "unix":
            return f"unix:{self.host}"
        where = spell_address(self.host, self.port)
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
            if scheme not in _SCHEMES:
                msg = f"{address!r}: write quic://host:port, tcp://host:port or unix:/path"
                raise ValueError(msg)
            return Place(_SCHEMES[scheme], *parse_address(rest.removesuffix("/")))
    return Place("quic", *parse_address(address))


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
