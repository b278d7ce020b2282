"""Sockets that a server of HTTP listens on."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Literal

from jetstream import _core
from jetstream._addresses import address_of
from jetstream._listening import Streams, bind_quic, in_use, listen_on_unix, resolve
from jetstream._places import check_socket_path

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from jetstream._limits import Limits

_ATTEMPTS = 16
"""How often a free port is tried for TCP until it is free for UDP too."""


@dataclass(frozen=True, kw_only=True)
class HttpWhere:
    """Where a server of HTTP is to listen; checked when it is made.

    Raises:
        TypeError: Nowhere.
        ValueError: The Unix socket is none.
    """

    host: str
    port: int | None
    unix: str | os.PathLike[str] | None
    unix_mode: int
    danger_plaintext: bool

    def __post_init__(self) -> None:
        if self.port is None and self.unix is None:
            raise TypeError("HttpServer(port=None) listens nowhere: give unix=...")
        if self.unix is not None:
            check_socket_path(self.unix, self.unix)


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """What is spoken on them."""

    streams: Sequence[str]
    """Protocols over TCP with TLS, best first."""
    quic: Mapping[str, bool | Literal["http", "webtransport"]]
    """Protocols over QUIC, and what their streams are: lanes, raw or HTTP/3's."""
    lanes: bool
    """Whether there are services to be called over Unix sockets."""


async def listen_http(
    where: HttpWhere, spoken: Spoken, limits: Limits, tls: _core.ServerTls | None
) -> tuple[_core.Endpoint | None, Streams]:
    """Listens on TCP, on UDP under the same number, and on a Unix socket.

    Raises:
        OSError: An address cannot be listened on.
        ValueError: Without TLS, everybody could listen in.
    """
    streams = _core.Endpoint.streams(asyncio.get_running_loop(), limits)
    quic: _core.Endpoint | None = None
    try:
        address, path = None, None
        if where.port is not None:
            host = await resolve(where.host)
            if tls is None and not where.danger_plaintext:
                _check_loopback(where.host, host)
            streams, quic, local = _bind(streams, host, where.port, spoken, limits, tls)
            address = address_of(local)
        if where.unix is not None:
            path = listen_on_unix(
                streams,
                where.unix,
                where.unix_mode,
                http=limits,
                lanes=spoken.lanes,
                http2="h2" in spoken.streams,
            )
    except BaseException:
        streams.close()
        if quic is not None:
            quic.close()
        raise
    return quic, Streams(streams, address, path)


def _check_loopback(name: str, host: str) -> None:
    if not ip_address(host).is_loopback:
        msg = (
            f"HTTP on {name} without TLS: whoever is on the way reads and changes everything; "
            "give tls=..., listen on 127.0.0.1 or a Unix socket behind a proxy, or say "
            "danger_plaintext=True"
        )
        raise ValueError(msg)


def _bind(
    streams: _core.Endpoint,
    host: str,
    port: int,
    spoken: Spoken,
    limits: Limits,
    tls: _core.ServerTls | None,
) -> tuple[_core.Endpoint, _core.Endpoint | None, tuple[str, int]]:
    """Takes a port of TCP and, where QUIC is spoken, the same one of UDP."""
    attempt = 0
    while True:
        try:
            local = streams.listen_tcp(host, port, tls, list(spoken.streams), limits)
        except OSError as error:
            raise in_use("TCP", host, port, error) from None
        if tls is None or not spoken.quic:
            return streams, None, local
        try:
            return streams, bind_quic(host, local[1], spoken.quic, limits, tls), local
        except OSError as error:
            attempt += 1
            if port != 0 or error.errno != errno.EADDRINUSE or attempt == _ATTEMPTS:
                raise
        # Somebody has the port that was free for TCP: another one.
        streams.close()
        streams = _core.Endpoint.streams(asyncio.get_running_loop(), limits)
