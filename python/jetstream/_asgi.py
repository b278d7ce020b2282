"""ASGI, as far as it is Python's: what the scopes of a connection have in common, and the logs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from jetstream import _logging
from jetstream._identity import TlsPeer, peer_of, pem_of

if TYPE_CHECKING:
    from jetstream import _core
    from jetstream._limits import Limits

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An application of ASGI 3."""

VERSION: Mapping[str, str] = {"version": "3.0", "spec_version": "2.5"}
"""What we speak: since 2.4 `send` raises an `OSError` once the client is gone."""

CONNECTION = "connection"
"""Where a scope's extension ``jetstream`` keeps the connection that the request came on."""

FORWARDED = "forwarded"
"""What is beside it when the request came through a proxy whose word is believed."""

_TLS_1_3 = 0x0304


@dataclass(frozen=True, kw_only=True)
class WebSockets:
    """How WebSockets are spoken, as the core wants to know it."""

    compression: bool
    message: int
    window: int
    ping: timedelta | None
    pong: timedelta


@dataclass(frozen=True, kw_only=True)
class Site:
    """An application and how it is served, as the core wants to know it."""

    app: App
    state: dict[str, Any] | None
    root_path: str
    describe: Callable[[_core.Connection], tuple[dict[str, Any], dict[str, Any]]]
    failed: Callable[[BaseException, bool], None]
    access: Callable[[Mapping[str, Any], int], None] | None
    headers: Sequence[tuple[bytes, bytes]]
    alt_svc: bytes | None
    concurrency: int | None
    unsent: int
    websocket: WebSockets
    webtransport: Callable[[Mapping[str, Any], _core.SessionRequest], None] | None


def websockets_of(limits: Limits, *, compression: bool) -> WebSockets:
    """How WebSockets are spoken within these limits."""
    ping = limits.websocket_ping
    return WebSockets(
        compression=compression,
        message=limits.websocket_message,
        window=limits.websocket_window,
        ping=None if ping is None else timedelta(seconds=ping),
        pong=timedelta(seconds=limits.websocket_pong),
    )


def describe(
    core: _core.Connection,
    *,
    root_path: str,
    certificate: bytes | None,
    unix_path: str | None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the scopes of a connection's requests have in common: of HTTP, and of WebSockets.

    Keys that each request fills are here too, so that a copy has room for them.

    Args:
        core: The connection.
        root_path: Where the application is mounted.
        certificate: Our own, in DER, where TLS is spoken.
        unix_path: The socket that it came over, where there is no address.
    """
    secure = core.cipher_suite is not None
    common: dict[str, Any] = {
        "type": "http",
        "asgi": dict(VERSION),
        "http_version": "1.1",
        "server": core.local or (None if unix_path is None else (unix_path, None)),
        "client": core.remote,
        "scheme": "https" if secure else "http",
        "root_path": root_path,
        "path": "",
        "raw_path": b"",
        "query_string": b"",
        "headers": [],
        "state": {},
    }
    shared: dict[str, Any] = {"jetstream": {CONNECTION: core}}
    if secure:
        shared["tls"] = _tls(core, certificate)
    http: dict[str, Any] = {
        "http.response.trailers": {},
        "http.response.early_hint": {},
        "http.response.pathsend": {},
    }
    websocket: dict[str, Any] = {"websocket.http.response": {}}
    return (
        {**common, "method": "GET", "extensions": {**shared, **http}},
        {
            **common,
            "type": "websocket",
            "scheme": "wss" if secure else "ws",
            "subprotocols": [],
            "extensions": {**shared, **websocket},
        },
    )


def _tls(core: _core.Connection, certificate: bytes | None) -> dict[str, Any]:
    """ASGI's TLS extension, version 0.2.

    A client whose certificate is not accepted does not come so far, so there is no error to tell.
    """
    peer = peer_of(core)
    chain = peer.chain if isinstance(peer, TlsPeer) else ()
    return {
        "server_cert": None if certificate is None else pem_of(certificate),
        "client_cert_chain": [each.pem() for each in chain],
        "client_cert_name": chain[0].subject if chain else None,
        "client_cert_error": None,
        "tls_version": _TLS_1_3,
        "cipher_suite": core.cipher_suite,
    }


def failed(error: BaseException, gone: bool) -> None:
    """Says in the log that the application failed."""
    if gone and _is_about_disconnect(error):
        _logging.http.info("the client went away before it was answered")
        return
    _logging.http.error("the application failed", exc_info=error)


def _is_about_disconnect(error: BaseException | None) -> bool:
    """Whether the end of the connection is what led to an exception."""
    while error is not None:
        if isinstance(error, OSError):
            return True
        error = error.__cause__ or error.__context__
    return False


def access(scope: Mapping[str, Any], status: int) -> None:
    """A line in the access log, as uvicorn writes it."""
    client = scope.get("client")
    path: str = scope["raw_path"].decode("latin-1")
    query: str = scope["query_string"].decode("latin-1")
    _logging.access.info(
        '%s - "%s %s HTTP/%s" %d',
        "-" if client is None else f"{client[0]}:{client[1]}",
        scope.get("method", "GET"),
        f"{path}?{query}" if query else path,
        scope["http_version"],
        status,
    )
