"""A server whose WebTransport sessions the tests open, and what is opened on it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from jetstream import Client, Router, Server, connect
from jetstream.http import HttpServer
from jetstream.webtransport import WebTransport, WebTransportSession

from tests.helpers import anonymous_tls
from tests.http import serving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from jetstream import Context

PAGE = b"<!doctype html><title>page</title>"

page = serving.respond(PAGE)
"""An application that has one page."""


def site(
    *services: object,
    tls: Any = None,
    limits: Any = None,
    router: Router | None = None,
    on_session: Any = None,
    interceptors: Any = (),
    graceful_timeout: float = 2.0,
    port: int = 0,
    app: Any = page,
    **options: Any,
) -> HttpServer:
    """A server of a page and of services; all other options are those of `WebTransport`."""
    return serving.server(
        app,
        router=router or Router(*services),
        tls=tls or serving.tls(),
        limits=limits,
        on_session=on_session,
        interceptors=interceptors,
        graceful_timeout=graceful_timeout,
        port=port,
        lifespan="off",
        webtransport=WebTransport(**options),
    )


def url(server: Server | HttpServer, path: str = "/") -> str:
    """Where to ask for a session."""
    return f"https://{server.address}{path}"


def join(server: Server | HttpServer, path: str = "/", **options: Any) -> Any:
    """What `connect` gives for a path of a server; it shows no certificate, as browsers do."""
    options.setdefault("tls", anonymous_tls())
    return connect(url(server, path), **options)


@asynccontextmanager
async def opened(
    server: Server | HttpServer, path: str = "/", *, tls: Any = None, **options: Any
) -> AsyncGenerator[WebTransportSession]:
    """A raw session; `options` are those of `Client`."""
    async with (
        Client(tls or anonymous_tls(), **options) as client,
        await client.webtransport(url(server, path)) as session,
    ):
        yield session


async def status(server: Server | HttpServer, path: str = "/", **options: Any) -> int:
    """What a request for a session is answered with."""
    from jetstream import ConnectError

    try:
        async with opened(server, path, **options):
            return 200
    except ConnectError as error:
        return int(error.message.rsplit(maxsplit=1)[1])


async def stay(ctx: Context, session: WebTransportSession) -> None:
    """Stays until the session goes."""
    await session.wait_closed()
