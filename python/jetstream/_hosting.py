"""An application of ASGI as a server has it: its life, and what stands around it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from jetstream import _asgi
from jetstream._alt_svc import alt_svc
from jetstream._forwarded import Forwarded, TrustedProxies
from jetstream._lifespan import Lifespan
from jetstream._rpc_http import RpcOverHttp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jetstream import _core
    from jetstream._asgi import App
    from jetstream._http_options import HttpOptions
    from jetstream._interception import ServerInterceptor
    from jetstream._limits import Limits
    from jetstream._router import Router
    from jetstream._sessions import Sessions


class Hosted:
    """An application that answers HTTP, from its start to its end.

    Args:
        app: The application.
        router: Services that are called over HTTP too.
        options: How the application is served.
        limits: What to take from peers.
        interceptors: What stands around every method that is served, outermost first.
        sessions: What takes WebTransport sessions, where they are taken.
    """

    def __init__(
        self,
        app: App,
        router: Router,
        options: HttpOptions,
        limits: Limits,
        *,
        interceptors: Sequence[ServerInterceptor] = (),
        sessions: Sessions | None = None,
    ) -> None:
        self._sessions = sessions
        self._app = app
        self._router = router
        self._options = options
        self._limits = limits
        self._interceptors = interceptors
        self._lifespan = Lifespan(app, options.lifespan)

    async def startup(self) -> None:
        """Lets the application start.

        Raises:
            StartupFailed: It cannot.
        """
        await self._lifespan.startup()

    async def quiet(self) -> None:
        """Waits until no handler of a WebTransport session runs."""
        if self._sessions is not None:
            await self._sessions.quiet()

    async def shutdown(self) -> None:
        """Lets the application clean up."""
        if self._sessions is not None:
            await self._sessions.close()
        await self._lifespan.shutdown()

    def put_on(
        self,
        endpoint: _core.Endpoint,
        *,
        certificate: bytes | None,
        unix_path: str | None = None,
        alternative: int | None = None,
    ) -> None:
        """Has the application answer the HTTP of an endpoint.

        Args:
            endpoint: The endpoint.
            certificate: Our own, in DER, where TLS is spoken.
            unix_path: The Unix socket that it listens on.
            alternative: The UDP port on which HTTP/3 is spoken.
        """
        options, limits = self._options, self._limits
        told = alternative if options.alt_svc else None
        site = _asgi.Site(
            app=self._wrapped(),
            state=None if options.lifespan == "off" else self._lifespan.state,
            root_path=options.root_path,
            describe=functools.partial(
                _asgi.describe,
                root_path=options.root_path,
                certificate=certificate,
                unix_path=unix_path,
            ),
            failed=_asgi.failed,
            access=_asgi.access if options.access_log else None,
            headers=[
                (name.encode("latin-1"), value.encode("latin-1")) for name, value in options.headers
            ],
            alt_svc=None if told is None else alt_svc(told).encode(),
            concurrency=options.concurrency,
            unsent=limits.http_unsent,
            websocket=_asgi.websockets_of(limits, compression=options.compression),
            webtransport=self._sessions,
        )
        endpoint.set_site(site)

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
