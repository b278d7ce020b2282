"""A server of an ASGI application, with typed services beside it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import socket
from typing import TYPE_CHECKING, Any

from jetstream import _asgi, _core, _logging
from jetstream._addresses import address_of, spell_address
from jetstream._limits import GRACEFUL_TIMEOUT, Limits
from jetstream._listening import Streams, in_use, listen_quic, resolve
from jetstream._places import check_socket_path
from jetstream._router import Router
from jetstream._server import Server

if TYPE_CHECKING:
    import os
    from collections.abc import Awaitable, Callable, Iterable

    from jetstream._interception import ServerInterceptor
    from jetstream._session import Session
    from jetstream._tls import ServerTls
    from jetstream._types import SocketAddress

DEFAULT_PORT = 8000


class HttpServer(Server):
    def __init__(
        self,
        app: _asgi.App,
        *,
        router: Router | None = None,
        tls: ServerTls | None = None,
        host: str = "127.0.0.1",
        port: int = DEFAULT_PORT,
        unix: str | os.PathLike[str] | None = None,
        unix_mode: int = 0o600,
        root_path: str = "",
        limits: Limits | None = None,
        graceful_timeout: float = GRACEFUL_TIMEOUT,
        danger_plaintext: bool = False,
    ) -> None:
        super().__init__(router or Router(), tls=tls, host=host, port=port, unix=unix or "@x", unix_mode=unix_mode, limits=limits, graceful_timeout=graceful_timeout)
        self._app = app
        self._host = host
        self._port = port
        self._root_path = root_path

    def _alpns(self):
        return (*self._router.alpns(), "h2", "http/1.1")

    async def _listen(self, loaded):
        endpoint = _core.Endpoint.streams(asyncio.get_running_loop(), self._limits)
        address = address_of(endpoint.listen_tcp(self._host, self._port, loaded, ["http/1.1"], self._limits))
        return None, Streams(endpoint, address, None)

    def _serve_on(self, endpoint):
        super()._serve_on(endpoint)
        server = None
        endpoint.set_site(_asgi.Site(app=self._app, state=None, root_path=self._root_path,
            describe=lambda core: _asgi.describe(core, server, self._root_path), failed=_asgi.failed, access=None, headers=(), alt_svc=None, concurrency=None, unsent=self._limits.http_unsent))
