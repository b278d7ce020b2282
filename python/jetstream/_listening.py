"""Sockets that a server listens on, as endpoints of the core."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from jetstream import _core
from jetstream._addresses import address_of, parse_address, spell_address
from jetstream._h3 import streams_of
from jetstream._places import check_socket_path

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from jetstream._addresses import AddressLike
    from jetstream._limits import Limits
    from jetstream._router import Router
    from jetstream._types import SocketAddress


@dataclass(frozen=True, kw_only=True)
class Where:
    """Where a server is to listen; checked when it is made.

    Raises:
        TypeError: Nowhere, or somewhere that needs TLS without TLS; or what is no port.
        ValueError: An address is none, or there is no such port.
    """

    host: str
    port: int | None
    tcp: AddressLike | None
    unix: str | os.PathLike[str] | None
    unix_mode: int
    has_tls: bool

    def __post_init__(self) -> None:
        if not self.has_tls and self.tcp is not None:
            raise TypeError("Server(tcp=...) needs tls=...")
        if not self.has_tls and self.unix is None:
            raise TypeError("Server() needs tls=..., unless it listens on unix=... alone")
        if self.has_tls and (self.port, self.tcp, self.unix) == (None, None, None):
            raise TypeError("Server(port=None) listens nowhere: give tcp=... or unix=...")
        _check_port(self.port)
        if self.tcp is not None:
            parse_address(self.tcp)
        if self.unix is not None:
            check_socket_path(self.unix, self.unix)

    @property
    def quic(self) -> bool:
        """Whether QUIC is served; without TLS it cannot be."""
        return self.has_tls and self.port is not None

    @property
    def streams(self) -> bool:
        """Whether TCP or Unix sockets are served."""
        return self.tcp is not None or self.unix is not None


def _check_port(port: object) -> None:
    if port is None:
        return
    if isinstance(port, bool) or not isinstance(port, int):
        msg = f"port={port!r}: it must be an int from 0 to 65535, or None for no QUIC"
        raise TypeError(msg)
    if not 0 <= port <= 65_535:
        msg = f"port={port}: it must be from 0 to 65535, or None for no QUIC"
        raise ValueError(msg)


@dataclass(frozen=True)
class Streams:
    """An endpoint that listens on TCP and Unix sockets, and where."""

    endpoint: _core.Endpoint
    tcp_address: SocketAddress | None
    unix_path: str | None


async def listen_quic(
    where: Where, router: Router, limits: Limits, tls: _core.ServerTls
) -> _core.Endpoint:
    """Listens on UDP.

    Raises:
        OSError: The address cannot be listened on.
    """
    return bind_quic(await resolve(where.host), where.port or 0, streams_of(router), limits, tls)


def bind_quic(
    host: str,
    port: int,
    protocols: Mapping[str, bool | Literal["http", "webtransport"]],
    limits: Limits,
    tls: _core.ServerTls,
) -> _core.Endpoint:
    """Listens on UDP for protocols, to each of which its streams are lanes, raw or HTTP/3's.

    Raises:
        OSError: The address cannot be listened on.
    """
    loop = asyncio.get_running_loop()
    try:
        return _core.Endpoint(loop, host, port, limits, tls, dict(protocols))
    except OSError as error:
        raise in_use("UDP", host, port, error) from None


async def listen_streams(
    where: Where, router: Router, limits: Limits, tls: _core.ServerTls | None
) -> Streams:
    """Listens on TCP and Unix sockets.

    Raises:
        OSError: An address cannot be listened on.
        ValueError: The router has no services.
    """
    protocols = [alpn for alpn in router.alpns() if router.handler(alpn) is None]
    if not protocols:
        raise ValueError("protocol handlers need QUIC: TCP and Unix sockets carry services only")
    endpoint = _core.Endpoint.streams(asyncio.get_running_loop(), limits)
    try:
        address, path = None, None
        if where.tcp is not None and tls is not None:
            name, port = parse_address(where.tcp)
            host = await resolve(name)
            try:
                address = address_of(endpoint.listen_tcp(host, port, tls, protocols))
            except OSError as error:
                raise in_use("TCP", host, port, error) from None
        if where.unix is not None:
            path = listen_on_unix(endpoint, where.unix, where.unix_mode)
    except BaseException:
        endpoint.close()
        raise
    return Streams(endpoint, address, path)


def listen_on_unix(
    endpoint: _core.Endpoint,
    unix: str | os.PathLike[str],
    mode: int,
    *,
    http: Limits | None = None,
    lanes: bool = True,
    http2: bool = True,
) -> str:
    """Listens on a Unix socket, for calls, for HTTP within limits, or for both.

    Returns:
        Its name.

    Raises:
        OSError: It cannot be listened on.
    """
    path = check_socket_path(unix, unix)
    try:
        endpoint.listen_unix(path, mode, http, lanes, http2)
    except OSError as error:
        msg = f"cannot listen on unix:{path}: {error.strerror or error}"
        raise OSError(error.errno, msg) from None
    return path


def in_use(what: str, host: str, port: int, error: OSError) -> OSError:
    msg = (
        f"cannot listen on {what} {spell_address(host, port)}: {error.strerror or error}; choose "
        "another port, or 0 for a free one"
    )
    return OSError(error.errno, msg)


async def resolve(host: str) -> str:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except OSError as error:
        msg = f"cannot listen on {host!r}: {error.strerror}; write an IP address of this machine"
        raise OSError(error.errno, msg) from None
    return str(found[0][4][0])
