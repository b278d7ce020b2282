"""WebTransport sessions at a server: who may have one, and what is done with it."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any, cast

from jetstream import _logging
from jetstream._admission import (
    RefuseSession,
    SessionRequest,
    is_allowed,
)
from jetstream._asgi import CONNECTION
from jetstream._callable import callable_by_peers
from jetstream._connection import attend
from jetstream._context import make_context
from jetstream._errors import JetStreamError
from jetstream._expiry import EXPIRED, identify, time_left
from jetstream._identity import Peer, TokenPeer
from jetstream._webtransport import WebTransportSession

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jetstream import _core
    from jetstream._admission import SessionHandler, WebTransport
    from jetstream._interception import ServerInterceptor
    from jetstream._limits import Limits
    from jetstream._router import Router
    from jetstream._session import Session
    from jetstream._url_certificates import CertificatesInUrls

SERVICES = "/rs.jetstream.proto/"
"""Where peers of the Rust crate 15.2 find services: the name follows."""

_TO_END = 2.0
"""Seconds that hooks and handlers have to end when they are cancelled."""


class Sessions:
    """Takes the WebTransport sessions that are asked for.

    Args:
        options: Who may have one, and for what.
        router: The services that are called on them.
        limits: What to take from peers.
        root_path: Where the application is mounted.
        interceptors: What stands around every method that is served, outermost first.
        on_session: Is told of each session on which services may be called.
        access: Is told of each request for a session and its status.
    """

    def __init__(
        self,
        options: WebTransport,
        router: Router,
        limits: Limits,
        *,
        root_path: str = "",
        interceptors: Sequence[ServerInterceptor] = (),
        on_session: Callable[[Session], None] | None = None,
        access: Callable[[Mapping[str, Any], int], None] | None = None,
    ) -> None:
        self._options = options
        self._access = access
        self._limits = limits
        self._root_path = root_path
        self._on_session = on_session
        self._names = {service.definition.name for service in router.services}
        self._services = callable_by_peers(router, limits, interceptors)
        self._certificates: CertificatesInUrls | None = None
        if options.danger_certificate_in_url is not None:
            # Few want it, and what it takes is not light.
            from jetstream._url_certificates import CertificatesInUrls

            self._certificates = CertificatesInUrls(
                options.danger_certificate_in_url, options.danger_certificate_lifetime
            )
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, scope: Mapping[str, Any], asked: _core.SessionRequest) -> None:
        """Somebody asks for a session."""
        core: _core.Connection = scope["extensions"]["jetstream"][CONNECTION]
        request = SessionRequest(scope, core, self._root_path)
        task = asyncio.get_running_loop().create_task(
            self._decide(request, asked), name=f"WebTransport {request.path!r}"
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def quiet(self) -> None:
        """Waits until no handler of a session runs."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Ends what is left of hooks and handlers."""
        for task in self._tasks:
            task.cancel()
        if not self._tasks:
            return
        # One that does not let itself be cancelled must not keep the server from stopping.
        _, left = await asyncio.wait(self._tasks, timeout=_TO_END)
        for task in left:
            _logging.server.warning(
                "%s was cancelled and still runs after %g s: nobody waits for it any more",
                task.get_name(),
                _TO_END,
            )

    async def _decide(self, request: SessionRequest, asked: _core.SessionRequest) -> None:
        core, handler, service = None, None, None
        # Whatever happens, such as that the server stops: nobody waits for ever.
        status = 503
        deadline = asyncio.timeout(self._limits.handshake_timeout)
        try:
            handler, service = self._find(request)
            async with deadline:
                peer = await self._admit(request)
            core = asked.accept(None if handler is not None else self._limits.msize)
            if core is not None and peer is not None:
                identify(core, peer)
            status = 200
        except RefuseSession as refusal:
            _logging.server.info("no session for %s at %s: %s", request, request.remote, refusal)
            status = refusal.status
        except Exception as error:
            # A hook may raise a TimeoutError of its own, such as that of a database.
            if isinstance(error, TimeoutError) and deadline.expired():
                _logging.server.warning("no session for %s: its hook takes too long", request)
            else:
                _logging.server.exception("no session for %s, because its hook failed", request)
                status = 500
        finally:
            asked.refuse(status)
        if self._access is not None:
            self._access(request.scope, status)
        if core is None:
            return
        if handler is not None:
            await self._handle(handler, core, request)
        else:
            await self._serve(core, service)

    def _find(self, request: SessionRequest) -> tuple[SessionHandler | None, str | None]:
        """What a session of that path is for: a handler, one service, or all of them."""
        handler = self._options.handlers.get(request.path)
        if handler is not None:
            return handler, None
        if self._options.services and self._names:
            if not request.path.startswith(SERVICES):
                return None, None
            name = request.path.removeprefix(SERVICES).rstrip("/")
            if name in self._names:
                return None, name
        raise RefuseSession(404, "nothing is served at this path")

    async def _admit(self, request: SessionRequest) -> Peer | None:
        options = self._options
        if not is_allowed(request, options.origins):
            msg = (
                f"pages of {request.origin} may not open sessions; "
                f"allow them with WebTransport(origins=[{request.origin!r}])"
            )
            raise RefuseSession(403, msg)
        peer: Peer | None = None
        certificate = request.query.get("cert")
        if certificate is not None and self._certificates is not None:
            peer = self._certificates.peer_of(certificate)
        if options.authenticate is None:
            return peer
        verdict = options.authenticate(request)
        found = cast("object", await verdict if inspect.isawaitable(verdict) else verdict)
        if found is None:
            return peer
        if not isinstance(found, Peer):
            # Taken for somebody, it would be let through as such. It may be a token: only its type
            # is for the log.
            msg = (
                f"the authenticate hook returned an object of type {type(found).__name__!r}: it "
                "must return a TokenPeer (or another peer) for who it is, or None for whom the "
                "certificate names, and raise RefuseSession for a session that is not wanted"
            )
            raise TypeError(msg)
        if isinstance(found, TokenPeer) and time_left(found) == 0.0:
            raise RefuseSession(EXPIRED, f"the token of {found.subject} has expired")
        return found

    async def _serve(self, core: _core.Connection, service: str | None) -> None:
        """Lets services be called on a session until it ends."""
        core.set_services(*self._services)
        if service is not None:
            core.set_service(service)
        try:
            await core.wait("connected")
        except JetStreamError:
            return
        session = core.session
        if self._on_session is None or isinstance(session, WebTransportSession):
            return
        if session is not None:
            self._on_session(session)

    async def _handle(
        self, handler: SessionHandler, core: _core.Connection, request: SessionRequest
    ) -> None:
        """Gives a session to its handler."""
        session = WebTransportSession(core, request=request)
        # Nobody is to take it for one on which services are called.
        core.session = session
        context = make_context(core, f"WebTransport {request.path}")

        async def handle() -> None:
            await core.wait("connected")
            await handler(context, session)

        await attend(core, context, handle)
