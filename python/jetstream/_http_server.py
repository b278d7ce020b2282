"""Servers of an ASGI application, with typed services beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jetstream import _logging
from jetstream._admission import WebTransport
from jetstream._h3 import H3_ALPN, http3_kind, streams_of
from jetstream._http_listening import HttpWhere, Spoken, listen_http
from jetstream._http_options import HttpOptions
from jetstream._limits import GRACEFUL_TIMEOUT
from jetstream._router import Router
from jetstream._server import serve_on
from jetstream._serving import Serving, weakly

if TYPE_CHECKING:
    import os
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from jetstream import _core
    from jetstream._asgi import App
    from jetstream._h3 import Streams as StreamKind
    from jetstream._hosting import Hosted
    from jetstream._interception import ServerInterceptor
    from jetstream._limits import Limits
    from jetstream._listening import Streams
    from jetstream._session import Session
    from jetstream._tls import ServerTls

DEFAULT_PORT = 8000

_USUAL = WebTransport()


class HttpServer(Serving):
    """Serves an ASGI application: ``async with HttpServer(app, tls=...) as server``.

    Over HTTP/1.1, HTTP/2 and HTTP/3 on one port number, with typed services beside it: they are
    called on the same ports, and over HTTP.

    Args:
        app: The application.
        router: Services and protocol handlers beside it.
        tls: Our certificate, and how clients are verified. Without it plain HTTP is spoken, which
            is for Unix sockets and the loopback interface, behind a proxy.
        host: The IP address or name to listen on.
        port: The port, of TCP and UDP; 0 takes a free one, and `tcp_address` tells which; `None`
            for none.
        unix: The path of a Unix socket, as with `Server`.
        unix_mode: The permissions of that file: who may connect.
        options: How the application is served.
        limits: What to take from peers.
        graceful_timeout: Seconds that requests and calls in flight get when the server stops.
        on_session: As with `Server`.
        interceptors: As with `Server`.
        danger_plaintext: Speak HTTP without TLS on any interface: whoever is on the way reads and
            changes everything.
        webtransport: How WebTransport sessions are taken, on which browsers call the services of
            the router; `None` for none.

    Raises:
        TypeError: The application is none, or there is nowhere to listen.
        ValueError: A setting cannot be.
    """

    def __init__(
        self,
        app: App,
        *,
        router: Router | object | None = None,
        tls: ServerTls | None = None,
        host: str = "127.0.0.1",
        port: int | None = DEFAULT_PORT,
        unix: str | os.PathLike[str] | None = None,
        unix_mode: int = 0o600,
        options: HttpOptions | None = None,
        limits: Limits | None = None,
        graceful_timeout: float = GRACEFUL_TIMEOUT,
        on_session: Callable[[Session], Awaitable[object] | None] | None = None,
        interceptors: Iterable[ServerInterceptor] = (),
        danger_plaintext: bool = False,
        webtransport: WebTransport | None = _USUAL,
    ) -> None:
        given: object = app
        if not callable(given):
            msg = f"HttpServer({app!r}): an application is called with scope, receive and send"
            raise TypeError(msg)
        if router is None:
            router = Router()
        super().__init__(
            router if isinstance(router, Router) else Router(router),
            tls=tls,
            limits=limits,
            graceful_timeout=graceful_timeout,
            on_session=on_session,
            interceptors=interceptors,
        )
        self._where = HttpWhere(
            host=host, port=port, unix=unix, unix_mode=unix_mode, danger_plaintext=danger_plaintext
        )
        self._options = options or HttpOptions()
        self._app = app
        self._webtransport = webtransport

    def _hosted(self) -> list[Hosted]:
        """The application; and that of an `H3Service`, which has HTTP/3 then."""
        ours = self._host(self._app, self._router, self._options, self._webtransport)
        return [ours, *super()._hosted()]

    def _http_options(self) -> HttpOptions:
        return self._options

    @property
    def _speaks_http3(self) -> bool:
        """Whether it does so by itself: it leaves that to a handler of the router."""
        return (
            self._options.http3 and self._tls is not None and self._router.handler(H3_ALPN) is None
        )

    def _alpns(self) -> Sequence[str]:
        h3 = (H3_ALPN,) if self._speaks_http3 else ()
        return (*self._router.alpns(), *h3, *self._versions())

    def _versions(self) -> Sequence[str]:
        """What is spoken over TCP."""
        return ("h2", "http/1.1") if self._options.http2 else ("http/1.1",)

    async def _listen(
        self, loaded: _core.ServerTls | None
    ) -> tuple[_core.Endpoint | None, Streams | None]:
        """Takes the sockets: all of them, or none."""
        quic = self._quic_kinds()
        lanes = [alpn for alpn, kind in quic.items() if kind is True]
        spoken = Spoken(streams=(*lanes, *self._versions()), quic=quic, lanes=bool(lanes))
        return await listen_http(self._where, spoken, self._limits, loaded)

    def _quic_kinds(self) -> dict[str, StreamKind]:
        """What the QUIC streams of each protocol are."""
        kinds = streams_of(self._router)
        if self._speaks_http3:
            kinds[H3_ALPN] = http3_kind(self._webtransport, self._router)
        return kinds

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

    def _host_on(self, endpoint: _core.Endpoint) -> None:
        over_quic = endpoint is self._endpoint
        streams, quic = self._streams, None if self._endpoint is None else self._endpoint.local
        self._hosts[-1 if over_quic else 0].put_on(
            endpoint,
            certificate=self._certificate,
            unix_path=None if over_quic or streams is None else streams.unix_path,
            alternative=quic[1] if quic is not None and H3_ALPN in self._alpns() else None,
        )

    def _announced(self) -> str:
        return self._spelled()

    def _spelled(self) -> str:
        """Where the server listens and what it speaks there, for people."""
        places: list[str] = []
        kinds = streams_of(self._router).items()
        lanes = [alpn for alpn, kind in kinds if kind is True]
        http = ["HTTP/1.1", *(["HTTP/2"] if self._options.http2 else [])]
        if self._streams is not None and self._streams.tcp_address is not None:
            secure = self._tls is not None
            scheme, spoken = ("https", [*http, *lanes]) if secure else ("http", http)
            places.append(f"{scheme}://{self._streams.tcp_address} ({', '.join(spoken)})")
        if self._endpoint is not None:
            quic = [alpn for alpn, kind in kinds if isinstance(kind, bool)]
            if self._speaks_http3 or len(quic) < len(kinds):
                quic.insert(0, "HTTP/3")
            if any(kind == "webtransport" for kind in self._quic_kinds().values()):
                quic.insert(1, "WebTransport")
            places.append(f"UDP {self.address} ({', '.join(quic)})")
        if self._streams is not None and self._streams.unix_path is not None:
            spoken = [*http, *(["jetstream"] if lanes else [])]
            places.append(f"unix:{self._streams.unix_path} ({', '.join(spoken)})")
        return ", ".join(places)

    def __repr__(self) -> str:
        where = f"on {self._spelled()}" if self._endpoints else "not listening"
        return f"<HttpServer of {self._app!r}, {where}>"


async def serve(
    app: App,
    *,
    router: Router | object | None = None,
    tls: ServerTls | None = None,
    host: str = "127.0.0.1",
    port: int | None = DEFAULT_PORT,
    unix: str | os.PathLike[str] | None = None,
    options: HttpOptions | None = None,
    limits: Limits | None = None,
    graceful_timeout: float = GRACEFUL_TIMEOUT,
    danger_plaintext: bool = False,
    webtransport: WebTransport | None = _USUAL,
) -> None:
    """Serves an application until SIGINT or SIGTERM: ``asyncio.run(serve(app, tls=...))``.

    Args:
        app: As with `HttpServer`; so are all others.
        router: Services beside it.
        tls: Our certificate, and how clients are verified.
        host: The IP address or name to listen on.
        port: The port, of TCP and UDP.
        unix: The path of a Unix socket.
        options: How the application is served.
        limits: What to take from peers.
        graceful_timeout: Seconds that requests in flight get when the server stops.
        danger_plaintext: Speak HTTP without TLS on any interface.
        webtransport: How WebTransport sessions are taken.

    Raises:
        StartupFailed: The application could not start.
        TlsConfigError: A certificate or key that cannot be used, and what to do.
        OSError: The address cannot be listened on, such as a port in use.
    """
    server = HttpServer(
        app,
        router=router,
        tls=tls,
        host=host,
        port=port,
        unix=unix,
        options=options,
        limits=limits,
        graceful_timeout=graceful_timeout,
        danger_plaintext=danger_plaintext,
        webtransport=webtransport,
    )
    await server.run()
    _logging.http.debug("served %r", app)
