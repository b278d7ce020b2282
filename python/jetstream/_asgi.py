"""ASGI, as far as it is Python's: what a connection's scopes have in common, and the log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from jetstream import _logging

if TYPE_CHECKING:
    from jetstream import _core

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An application of ASGI 3."""

VERSION: Mapping[str, str] = {"version": "3.0", "spec_version": "2.5"}
"""What we speak: with 2.4 `send` raises an `OSError` once the client is gone."""


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


def describe(
    core: _core.Connection, server: tuple[str, int | None] | None, root_path: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the scopes of a connection's requests have in common: of HTTP, and of WebSockets.

    Keys that each request fills are here too, so that a copy has room for them.
    """
    secure = core.alpn is not None
    common: dict[str, Any] = {
        "type": "http",
        "asgi": VERSION,
        "http_version": "1.1",
        "server": server,
        "client": core.remote,
        "scheme": "https" if secure else "http",
        "root_path": root_path,
        "path": "",
        "raw_path": b"",
        "query_string": b"",
        "headers": [],
        "state": {},
    }
    shared: dict[str, Any] = {"jetstream": {"connection": core}}
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
