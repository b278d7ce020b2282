"""Servers: a router on a UDP port, and on TCP and Unix sockets."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from jetstream import _logging
from jetstream._addresses import AddressLike, address_of, parse_address
from jetstream._callable import callable_by_peers, log_violation
from jetstream._identity import peer_of
from jetstream._limits import GRACEFUL_TIMEOUT, Limits
from jetstream._listening import Streams, Where, listen_quic, listen_streams
from jetstream._router import Router
from jetstream._serving import Serving, weakly
from jetstream._session import Session
from jetstream._tls import ClientVerifier, ServerTls

if TYPE_CHECKING:
    import os
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from jetstream import _core
    from jetstream._interception import ServerInterceptor
    from jetstream._material import Source
    from jetstream._router import ProtocolHandler

DEFAULT_PORT = 4433


class Server(Serving):
    """Serves a router over QUIC: ``async with Server(router, tls=...) as server``.

    And over TCP and Unix sockets, where QUIC does not get through or need not: with ``tcp=`` and
    ``unix=`` beside it, with ``port=None`` in its place.

    Args:
        router: What to serve; or a single service.
        tls: Our certificate, and how clients are verified. Unix sockets need none: without it, the
            server listens on `unix` alone.
        host: The IP address or name to listen on.
        port: The UDP port; 0 takes a free one, and `address` tells which; `None` for no QUIC.
        tcp: The address to take TCP connections on, such as ``("0.0.0.0", 4433)``.
        unix: The path of a Unix socket, or with ``@`` in front an abstract name (Linux). A file
            that a server has left behind is replaced; it is removed when the server stops.
        unix_mode: The permissions of that file: who may connect.
        limits: What to take from peers.
        graceful_timeout: Seconds that calls in flight get when the server stops.
        on_session: Called with the session of every client that connects, to call it back; what it
            returns is awaited in a task of its own if it can be, until the server stops.
        interceptors: What stands around every method that is served, outermost first.
    """

    def __init__(
        self,
        router: Router | object,
        *,
        tls: ServerTls | None = None,
        host: str = "127.0.0.1",
        port: int | None = DEFAULT_PORT,
        tcp: AddressLike | None = None,
        unix: str | os.PathLike[str] | None = None,
        unix_mode: int = 0o600,
        limits: Limits | None = None,
        graceful_timeout: float = GRACEFUL_TIMEOUT,
        on_session: Callable[[Session], Awaitable[object] | None] | None = None,
        interceptors: Iterable[ServerInterceptor] = (),
    ) -> None:
        super().__init__(
            router if isinstance(router, Router) else Router(router),
            tls=tls,
            limits=limits,
            graceful_timeout=graceful_timeout,
            on_session=on_session,
            interceptors=interceptors,
        )
        self._where = Where(
            host=host, port=port, tcp=tcp, unix=unix, unix_mode=unix_mode, has_tls=tls is not None
        )

    @classmethod
    def new_with_addr(cls, cert: Source, key: Source, addr: AddressLike, router: Router) -> Server:
        """A server that asks no certificate, as the protocol's own documents spell it."""
        host, port = parse_address(addr)
        return cls(router, tls=ServerTls(cert, key), host=host, port=port)

    @classmethod
    def new_with_mtls(
        cls,
        cert: Source,
        key: Source,
        client_verifier: ClientVerifier,
        addr: AddressLike,
        router: Router,
    ) -> Server:
        """A server that verifies clients, as the protocol's own documents spell it."""
        host, port = parse_address(addr)
        tls = ServerTls.with_verifier(cert, key, client_verifier)
        return cls(router, tls=tls, host=host, port=port)

    def _alpns(self) -> Sequence[str]:
        """The protocols that are served, best first.

        Raises:
            ValueError: There is none.
        """
        alpns = self._router.alpns()
        if not alpns:
            raise ValueError("the router is empty: register a service or a protocol handler")
        return alpns

    async def _listen(
        self, loaded: _core.ServerTls | None
    ) -> tuple[_core.Endpoint | None, Streams | None]:
        """Takes the sockets: all of them, or none."""
        where, router, limits = self._where, self._router, self._limits
        endpoint, streams = None, None
        if where.quic and loaded is not None:
            endpoint = await listen_quic(where, router, limits, loaded)
        if where.streams:
            try:
                streams = await listen_streams(where, router, limits, loaded)
            except BaseException:
                if endpoint is not None:
                    endpoint.close()
                raise
        return endpoint, streams

    def _serve_on(self, endpoint: _core.Endpoint) -> None:
        """Says what is served on an endpoint."""
        serve_on(
            endpoint,
            self._router,
            self._limits,
            weakly(self._on_handler),
            self._session_hook(),
            self._interceptors,
        )

    def __repr__(self) -> str:
        where = f"on {self._spelled()}" if self._endpoints else "not listening"
        return f"<Server of {self._router!r}, {where}>"


def _log_reviewed(judged: int, sent_away: int) -> None:
    """Says what new TLS settings meant for those who were connected."""
    _logging.server.info(
        "%d of %d connections were closed, because the new TLS settings refuse them",
        sent_away,
        judged,
    )


def serve_on(
    endpoint: _core.Endpoint,
    router: Router,
    limits: Limits,
    on_handler: Callable[[ProtocolHandler, _core.Connection], None],
    on_session: Callable[[Session], None] | None = None,
    interceptors: Sequence[ServerInterceptor] = (),
) -> None:
    """Makes an endpoint serve a router."""

    def connected(core: _core.Connection, incoming: bool) -> None:
        if not incoming:
            return
        if _logging.server.isEnabledFor(logging.INFO):
            remote = address_of(core.remote) or "this machine"
            _logging.server.info(
                "connection from %s: %s", remote, peer_of(core) or "no certificate"
            )
        # Of a session of WebTransport whoever accepted it knows.
        if core.http or core.features[0] == "webtransport":
            return
        handler = router.handler(core.alpn)
        if handler is not None:
            on_handler(handler, core)
        elif on_session is not None and isinstance(core.session, Session):
            on_session(core.session)

    def failed(address: str, error: BaseException) -> None:
        _logging.server.info("handshake with %s failed: %s", address, error)

    endpoint.set_hooks(connected, failed, log_violation, _log_reviewed)
    endpoint.set_services(*callable_by_peers(router, limits, interceptors))
