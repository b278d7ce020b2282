"""Servers of applications, and clients of them, for the tests of HTTP."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
from jetstream.http import HttpOptions, HttpServer

from tests.helpers import authority, server_identity
from tests.http.h3_transport import Http3Transport

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

    from jetstream import ServerTls

VERSIONS = ("http", "https", "h2", "h3")
"""Plain HTTP/1.1, HTTP/1.1 over TLS, HTTP/2 and HTTP/3."""

SPOKEN = {"http": "1.1", "https": "1.1", "h2": "2", "h3": "3"}
"""What each is called in a scope."""


def tls(**options: Any) -> ServerTls:
    from jetstream import ServerTls

    issued = server_identity()
    return ServerTls(issued.chain_pem, issued.key_pem, **options)


def server(app: Any, **options: Any) -> HttpServer:
    """A server on a free port; `options` are the server's and those of `HttpOptions`."""
    names = HttpOptions.__dataclass_fields__
    settings = {name: options.pop(name) for name in list(options) if name in names}
    options.setdefault("port", 0)
    return HttpServer(app, options=HttpOptions(**settings), **options)


def ssl_context(issued: Any = None) -> ssl.SSLContext:
    """A client that trusts our authority, and shows a certificate if it has one."""
    import tempfile
    from pathlib import Path

    context = ssl.create_default_context(cadata=authority().ca_pem.decode())
    if issued is not None:
        with tempfile.TemporaryDirectory() as folder:
            chain, key = Path(folder) / "chain.pem", Path(folder) / "key.pem"
            chain.write_bytes(issued.chain_pem)
            key.write_bytes(issued.key_pem)
            context.load_cert_chain(chain, key)
    return context


def client(
    version: str, server: HttpServer, issued: Any = None, **options: Any
) -> httpx.AsyncClient:
    """A client that speaks one version, and shows a certificate if it has one."""
    secure = version != "http"
    scheme = "https" if secure else "http"
    address = server.tcp_address
    if version == "h3":
        identity = None if issued is None else (issued.chain_pem, issued.key_pem)
        options["transport"] = Http3Transport(authority().ca_pem, identity)
    elif secure:
        options["verify"] = ssl_context(issued)
    return httpx.AsyncClient(
        base_url=f"{scheme}://{address}",
        http1=version != "h2",
        http2=version == "h2",
        trust_env=False,
        timeout=20,
        **options,
    )


@asynccontextmanager
async def served(
    version: str, app: Any, **options: Any
) -> AsyncGenerator[tuple[HttpServer, httpx.AsyncClient]]:
    """A server and a client of it."""
    if version != "http":
        options.setdefault("tls", tls())
    async with server(app, **options) as running, client(version, running) as asking:
        yield running, asking


@asynccontextmanager
async def raw(server: HttpServer) -> AsyncGenerator[tuple[asyncio.StreamReader, Any]]:
    """A connection on which bytes are written by hand."""
    address = server.tcp_address
    reader, writer = await asyncio.open_connection(str(address.ip), address.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """The next answer of HTTP/1.1, which says how long it is."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(head[0].split()[1])
    fields = {}
    for line in head[1:]:
        name, _, value = line.partition(":")
        fields[name.strip().lower()] = value.strip()
    body = await reader.readexactly(int(fields.get("content-length", 0)))
    return status, fields, body


def respond(
    body: bytes = b"", status: int = 200, headers: Any = ()
) -> Callable[[Any, Any, Any], Coroutine[Any, Any, None]]:
    """An application that always says the same."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app
