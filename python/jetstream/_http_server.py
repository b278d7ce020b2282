"""Servers of an ASGI application, with typed services beside it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jetstream import _asgi, _logging
from jetstream._alt_svc import alt_svc
from jetstream._forwarded import Forwarded, ProxyHeaders, TrustedProxies
from jetstream._h3 import H3_ALPN, H3Service, speaks_http3
from jetstream._http_listening import HttpWhere, Spoken, listen_http
from jetstream._lifespan import Lifespan, LifespanMode
from jetstream._limits import GRACEFUL_TIMEOUT
from jetstream._router import Router
from jetstream._rpc_http import RpcOverHttp
from jetstream._server import serve_on
from jetstream._serving import Serving, weakly

if TYPE_CHECKING:
    import os
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from jetstream import _core
    from jetstream._asgi import App
    from jetstream._interception import ServerInterceptor
    from jetstream._limits import Limits
    from jetstream._listening import Streams
    from jetstream._session import Session
    from jetstream._tls import ServerTls

DEFAULT_PORT = 8000


@dataclass(frozen=True, kw_only=True)
class HttpOptions:
    """How an application is served.

    Args:
        root_path: Where it is mounted, as the proxy in front has it: ``/api``.
        lifespan: Whether it is told of start and stop: it must understand (``"on"``), it may
            (``"auto"``), or it is not told (``"off"``).
        http2: Speak HTTP/2 with clients that want to; over TLS only.
        http3: Speak HTTP/3, on the UDP port of the same number; over TLS only.
        alt_svc: Tell clients of HTTP/1.1 and HTTP/2 of HTTP/3.
        forwarded_allow_ips: Proxies whose word on their clients is believed: IP addresses,
            networks, ``unix`` or ``*``. Nobody's by default.
        proxy_headers: What they write.
        access_log: A line for each request, in the log ``jetstream.access``.
        headers: Fields of every answer.
        compression: Compress messages of WebSockets with clients that want to (RFC 7692).
        rpc: Let the services of the router be called by POST too, with frames.
        json: And with JSON: ``POST /echo/echo``.
        concurrency: Requests that wait at once, over which the next is answered 503; `None` for any
            number, which `Limits.max_connections` and `Limits.http_streams` bound.
    """

    root_path: str = ""
    lifespan: LifespanMode = "auto"
    http2: bool = True
    http3: bool = True
    alt_svc: bool = True
    forwarded_allow_ips: Sequence[str] = ()
    proxy_headers: ProxyHeaders = "x-forwarded"
    access_log: bool = False
    headers: Sequence[tuple[str, str]] = ()
    compression: bool = True
    rpc: bool = True
    json: bool = True
    concurrency: int | None = None

    def __post_init__(self) -> None:
        if self.lifespan not in ("auto", "on", "off"):
            msg = f"lifespan={self.lifespan!r}: write 'auto', 'on' or 'off'"
            raise ValueError(msg)
        if self.proxy_headers not in ("x-forwarded", "forwarded"):
            msg = f"proxy_headers={self.proxy_headers!r}: write 'x-forwarded' or 'forwarded'"
            raise ValueError(msg)
        if isinstance(self.forwarded_allow_ips, str):
            msg = f"forwarded_allow_ips={self.forwarded_allow_ips!r}: give a sequence of names"
            raise TypeError(msg)
        if self.root_path and (not self.root_path.startswith("/") or self.root_path.endswith("/")):
            msg = f"root_path={self.root_path!r}: it begins with a slash and ends without one"
            raise ValueError(msg)
        TrustedProxies(self.forwarded_allow_ips)


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
    ) -> None:
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
        self._lifespan = Lifespan(app, self._options.lifespan)

    async def start(self) -> None:
        """Lets the application start, then begins to listen.

        Raises:
            StartupFailed: The application could not start.
            TlsConfigError: A certificate or key that cannot be used, and what to do.
            OSError: The address cannot be listened on, such as a port in use.
            ValueError: It would be plain HTTP for everybody on the way.
            RuntimeError: It listens already.
        """
        if self._endpoints:
            raise RuntimeError("the server listens already")
        self._lifespan = Lifespan(self._app, self._options.lifespan)
        await self._lifespan.startup()
        try:
            await super().start()
        except BaseException:
            await self._lifespan.shutdown()
            raise

    async def close(self, *, graceful_timeout: float | None = None) -> None:
        """Stops: begins no more requests and calls, lets those that run end, then closes.

        WebSockets are closed (1012), subscriptions are ended: they would go on for as long as
        anybody listens. When all is over, the application is told.

        Args:
            graceful_timeout: Seconds that requests in flight get; by default the server's.
        """
        if not self._endpoints:
            return
        try:
            await super().close(graceful_timeout=graceful_timeout)
        finally:
            await self._lifespan.shutdown()

    @property
    def _speaks_http3(self) -> bool:
        return self._options.http3 and self._tls is not None and speaks_http3()

    def _alpns(self) -> Sequence[str]:
        http = ("h2", "http/1.1") if self._options.http2 else ("http/1.1",)
        h3 = (H3_ALPN,) if self._speaks_http3 and self._h3 is None else ()
        return (*self._router.alpns(), *h3, *http)

    @property
    def _h3(self) -> H3Service | None:
        """HTTP/3 as the router has it, where it has."""
        handler = self._router.handler(H3_ALPN)
        return handler if isinstance(handler, H3Service) else None

    async def _listen(
        self, loaded: _core.ServerTls | None
    ) -> tuple[_core.Endpoint | None, Streams | None]:
        """Takes the sockets: all of them, or none."""
        router = self._router
        lanes = [alpn for alpn in router.alpns() if router.handler(alpn) is None]
        http = ("h2", "http/1.1") if self._options.http2 else ("http/1.1",)
        spoken = Spoken(
            streams=(*lanes, *http),
            quic={alpn: router.handler(alpn) is None for alpn in router.alpns()},
            lanes=bool(lanes),
        )
        return await listen_http(self._where, spoken, self._limits, loaded)

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
        streams, options, limits = self._streams, self._options, self._limits
        quic = None if self._endpoint is None else self._endpoint.local
        told = options.alt_svc and self._speaks_http3 and quic is not None
        endpoint.set_site(
            _asgi.Site(
                app=self._wrapped(),
                state=None if options.lifespan == "off" else self._lifespan.state,
                root_path=options.root_path,
                describe=functools.partial(
                    _asgi.describe,
                    root_path=options.root_path,
                    certificate=None if self._loaded is None else self._loaded.certificate,
                    unix_path=None if streams is None else streams.unix_path,
                ),
                failed=_asgi.failed,
                access=_asgi.access if options.access_log else None,
                headers=[
                    (name.encode("latin-1"), value.encode("latin-1"))
                    for name, value in options.headers
                ],
                alt_svc=alt_svc(quic[1]).encode() if told and quic is not None else None,
                concurrency=options.concurrency,
                unsent=limits.http_unsent,
                websocket=_asgi.websockets_of(limits, compression=options.compression),
            )
        )

    def _wrapped(self) -> App:
        """The application with what stands around it."""
        app, options = self._app, self._options
        if self._router.services and (options.rpc or options.json):
            app = RpcOverHttp(
                app,
                self._router,
                limits=self._limits,
                interceptors=self._interceptors,
                frames=options.rpc,
                json=options.json,
            )
        if options.forwarded_allow_ips:
            app = Forwarded(app, TrustedProxies(options.forwarded_allow_ips), options.proxy_headers)
        return app

    async def reload(self, tls: ServerTls | None = None) -> None:
        await super().reload(tls)
        for endpoint in self._endpoints:
            self._serve_on(endpoint)

    def _spelled(self) -> str:
        """Where the server listens, for people."""
        places: list[str] = []
        secure = self._tls is not None
        if self._streams is not None and self._streams.tcp_address is not None:
            versions = "HTTP/1.1, HTTP/2" if self._options.http2 else "HTTP/1.1"
            scheme = "https" if secure else "http"
            places.append(f"{scheme}://{self._streams.tcp_address} ({versions})")
        if self._endpoint is not None:
            what = [*(["HTTP/3"] if self._speaks_http3 else []), *self._router.alpns()]
            places.append(f"UDP {self.address} ({', '.join(what)})")
        if self._streams is not None and self._streams.unix_path is not None:
            places.append(f"unix:{self._streams.unix_path} (HTTP/1.1)")
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
    )
    await server.run()
    _logging.http.debug("served %r", app)
