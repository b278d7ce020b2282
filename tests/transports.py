"""Servers and sessions over every transport, for tests that hold on each."""

from __future__ import annotations

import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jetstream import Limits, Router, Server, Session, connect
from jetstream.http import H3Service
from jetstream.testing import pair

from tests.helpers import client_identity, client_tls, serve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

SOCKETS = ("quic", "tcp", "unix", "webtransport")
"""Those with a server."""

SINGLE = ("tcp", "unix")
"""Those whose connections carry a single lane each."""

TRANSPORTS = (*SOCKETS, "memory", "single-lane memory")


def address(server: Server, transport: str) -> str:
    """What to connect to over a transport."""
    if transport == "tcp":
        return f"tcp://{server.tcp_address}"
    if transport == "unix":
        return f"unix:{server.unix_path}"
    if transport == "webtransport":
        return f"https://{server.address}/"
    return f"quic://{server.address}"


async def pages(scope: Any, receive: Any, send: Any) -> None:
    """An application that has nothing to say."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 404})
        await send({"type": "http.response.body"})


def beside_pages(*services: object) -> H3Service:
    """Services that are called on WebTransport sessions."""
    h3 = H3Service(pages)
    for each in services:
        if isinstance(each, Router):
            h3.router = each
        else:
            h3.with_handler(each)
    return h3


@dataclass
class Way:
    """A server that listens on one transport."""

    transport: str
    server: Server

    def join(self, **options: Any) -> Any:
        """What `connect` gives for the server."""
        options.setdefault("tls", client_tls())
        return connect(address(self.server, self.transport), **options)


def listening(transport: str, folder: Path, *entries: object, **options: Any) -> Server:
    """A server on one transport that has not started."""
    if transport == "tcp":
        options = {"port": None, "tcp": ("127.0.0.1", 0)} | options
    elif transport == "unix":
        options = {"tls": None, "unix": folder / "server.sock"} | options
    elif transport == "webtransport":
        entries = (beside_pages(*entries),)
    return serve(*entries, **options)


@asynccontextmanager
async def served(transport: str, *entries: object, **options: Any) -> AsyncGenerator[Way]:
    """A server on one transport."""
    with tempfile.TemporaryDirectory(prefix="js-") as folder:
        async with listening(transport, Path(folder), *entries, **options) as server:
            yield Way(transport, server)


@asynccontextmanager
async def joined(
    transport: str,
    *entries: object,
    limits: Limits | None = None,
    graceful_timeout: float = 10.0,
    **options: Any,
) -> AsyncGenerator[Session]:
    """A session over one transport, and what it calls."""
    if transport not in SOCKETS:
        options["client_chain"] = [client_identity().certificate_der]
        options["single_lane"] = transport == "single-lane memory"
        async with pair(*entries, limits=limits, **options) as session:
            yield session
        return
    async with (
        served(transport, *entries, limits=limits, graceful_timeout=graceful_timeout) as way,
        way.join(limits=limits, **options) as session,
    ):
        yield session
