"""The life of a server, whatever it serves: it begins to listen, reloads, and ends in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import weakref
from typing import TYPE_CHECKING, Any, ParamSpec

from jetstream import _asgi, _core, _logging
from jetstream._addresses import address_of
from jetstream._connection import Connection, attend
from jetstream._context import make_context
from jetstream._errors import ClosedError, JetStreamError, TlsConfigError
from jetstream._h3 import H3_ALPN, H3Service, http3_kind
from jetstream._hosting import Hosted
from jetstream._http_options import HttpOptions
from jetstream._interception import interceptors_of
from jetstream._limits import limits_of
from jetstream._session import Session
from jetstream._sessions import Sessions
from jetstream._threads import abandon_threads

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from types import TracebackType
    from typing import Self

    from jetstream._admission import WebTransport
    from jetstream._asgi import App
    from jetstream._interception import ServerInterceptor
    from jetstream._limits import Limits
    from jetstream._listening import Streams
    from jetstream._router import ProtocolHandler, Router
    from jetstream._tls import ServerTls
    from jetstream._types import SocketAddress

P = ParamSpec("P")

_SHUTDOWN = 2
"""The close code of a server that goes away."""

_WHY = b"the server is shutting down"

_FAREWELL = 0.5
"""Seconds that the peers of sessions have to hear why these end, before their connections do."""


class Serving:
    """What servers have in common.

    Args:
        router: What to serve.
        tls: Our certificate, and how clients are verified.
        limits: What to take from peers.
        graceful_timeout: Seconds that calls in flight get when the server stops.
        on_session: Called with the session of every client that connects.
        interceptors: What stands around every method that is served, outermost first.

    Raises:
        TypeError: `limits`, `on_session` or `interceptors` is of a wrong kind.
        ValueError: A time is none.
    """

    def __init__(
        self,
        router: Router,
        *,
        tls: ServerTls | None,
        limits: Limits | None,
        graceful_timeout: float,
        on_session: Callable[[Session], Awaitable[object] | None] | None,
        interceptors: Iterable[ServerInterceptor],
    ) -> None:
        # Not a number is not above 0 either.
        if not graceful_timeout >= 0:
            msg = f"graceful_timeout={graceful_timeout!r}: it must be seconds, 0 or above"
            raise ValueError(msg)
        _check_hook(on_session)
        self._router = router
        self._tls = tls
        self._limits = limits_of(limits)
        self._graceful_timeout = graceful_timeout
        self._interceptors = interceptors_of(interceptors)
        self._endpoint: _core.Endpoint | None = None
        self._streams: Streams | None = None
        self._loaded: _core.ServerTls | None = None
        self._reloading = asyncio.Lock()
        self._starting = asyncio.Lock()
        self._closings = 0  # how often it was closed
        self._closers: set[asyncio.Task[Any] | None] = set()
        self._handlers: set[asyncio.Task[None]] = set()
        self._on_session_hook = on_session
        self._greetings: set[asyncio.Task[None]] = set()
        self._hosts: list[Hosted] = []

    # What is served, and where, is for each kind of server to say.

    def _alpns(self) -> Sequence[str]:
        """The protocols that are served, best first.

        Raises:
            ValueError: There is none.
        """
        raise NotImplementedError

    async def _listen(
        self, loaded: _core.ServerTls | None
    ) -> tuple[_core.Endpoint | None, Streams | None]:
        """Takes the sockets: all of them, or none."""
        raise NotImplementedError

    def _serve_on(self, endpoint: _core.Endpoint) -> None:
        """Says what is served on an endpoint."""
        raise NotImplementedError

    def _hosted(self) -> list[Hosted]:
        """The applications that answer HTTP: here that of an `H3Service`."""
        h3 = self._router.handler(H3_ALPN)
        if not isinstance(h3, H3Service):
            return []
        options = h3.options or self._http_options()
        return [self._host(h3.app, h3.router, options, h3.webtransport)]

    def _host(
        self, app: App, router: Router, options: HttpOptions, webtransport: WebTransport | None
    ) -> Hosted:
        """An application, with the sessions that are opened beside it."""
        sessions = None
        if webtransport is not None and http3_kind(webtransport, router) == "webtransport":
            sessions = Sessions(
                webtransport,
                router,
                self._limits,
                root_path=options.root_path,
                interceptors=self._interceptors,
                on_session=self._session_hook(),
                access=_asgi.access if options.access_log else None,
            )
        return Hosted(
            app,
            router,
            options,
            self._limits,
            interceptors=self._interceptors,
            sessions=sessions,
        )

    def _http_options(self) -> HttpOptions:
        """How an application is served that does not say it itself."""
        return HttpOptions()

    def _host_on(self, endpoint: _core.Endpoint) -> None:
        """Says which application answers the HTTP of an endpoint."""
        if endpoint is self._endpoint and self._hosts:
            self._hosts[0].put_on(endpoint, certificate=self._certificate)

    @property
    def _certificate(self) -> bytes | None:
        """Our own, in DER; `None` without TLS."""
        return None if self._loaded is None else self._loaded.certificate

    def _session_hook(self) -> Callable[[Session], None] | None:
        return None if self._on_session_hook is None else weakly(self._on_session)

    @property
    def address(self) -> SocketAddress:
        """The UDP address that the server listens on.

        Raises:
            ClosedError: It does not listen, or not on UDP.
        """
        address = None if self._endpoint is None else address_of(self._endpoint.local)
        if address is None:
            raise _not_listening()
        return address

    @property
    def tcp_address(self) -> SocketAddress:
        """The TCP address that the server listens on.

        Raises:
            ClosedError: It does not listen, or not on TCP.
        """
        address = None if self._streams is None else self._streams.tcp_address
        if address is None:
            raise _not_listening()
        return address

    @property
    def unix_path(self) -> str:
        """The Unix socket that the server listens on.

        Raises:
            ClosedError: It does not listen, or not on a Unix socket.
        """
        path = None if self._streams is None else self._streams.unix_path
        if path is None:
            raise _not_listening()
        return path

    @property
    def _endpoints(self) -> list[_core.Endpoint]:
        """What the server listens with."""
        streams = None if self._streams is None else self._streams.endpoint
        return [endpoint for endpoint in (self._endpoint, streams) if endpoint is not None]

    @property
    def connections(self) -> int:
        """Connections that exist now."""
        return sum(endpoint.open_connections for endpoint in self._endpoints)

    @property
    def sessions(self) -> list[Session]:
        """The sessions of the clients that are connected now, to call them back."""
        cores = [core for endpoint in self._endpoints for core in endpoint.connections()]
        speaking = (core for core in cores if not core.http and self._is_called_on(core))
        found = (core.session for core in speaking)
        return [session for session in found if isinstance(session, Session)]

    def _is_called_on(self, core: _core.Connection) -> bool:
        """Whether services may be called on a connection."""
        return core.features[0] == "webtransport" or self._router.handler(core.alpn) is None

    async def start(self) -> None:
        """Begins to listen; applications that answer HTTP start before that.

        Raises:
            StartupFailed: An application could not start.
            TlsConfigError: A certificate or key that cannot be used, and what to do.
            OSError: The address cannot be listened on, such as a port in use.
            RuntimeError: It listens already.
            ClosedError: It was closed meanwhile.
        """
        closings = self._closings
        async with self._starting:
            self._check_wanted(closings)
            if self._endpoints:
                raise RuntimeError("the server listens already")
            await self._begin(closings)
        _logging.server.info("listening on %s", self._announced())

    async def _begin(self, closings: int) -> None:
        alpns = self._alpns()
        loaded = None if self._tls is None else self._tls.load(alpns, limits=self._limits)
        started: list[Hosted] = []
        try:
            for host in self._hosted():
                await host.startup()
                started.append(host)
                self._check_wanted(closings)
            self._endpoint, self._streams = await self._listen(loaded)
            try:
                self._check_wanted(closings)
            except ClosedError:
                for each in self._endpoints:
                    each.close()
                self._endpoint, self._streams = None, None
                raise
        except BaseException:
            await _shut_down(started)
            raise
        self._hosts, self._loaded = started, loaded
        for each in self._endpoints:
            self._serve_on(each)
            self._host_on(each)
            each.start()

    def _check_wanted(self, closings: int) -> None:
        """Raises that the server was closed since there had been so many closings."""
        if self._closings != closings:
            raise ClosedError("the server was closed while it started")

    def _announced(self) -> str:
        """Where the server listens, and for what, for the log."""
        return f"{self._spelled()} for {', '.join(self._alpns())}"

    def _spelled(self) -> str:
        """Where the server listens, for people."""
        places: list[str] = []
        if self._endpoint is not None:
            places.append(f"UDP {self.address}")
        if self._streams is not None and self._streams.tcp_address is not None:
            places.append(f"TCP {self._streams.tcp_address}")
        if self._streams is not None and self._streams.unix_path is not None:
            places.append(f"unix:{self._streams.unix_path}")
        return ", ".join(places)

    def _on_session(self, session: Session) -> None:
        if self._on_session_hook is None:
            return
        try:
            greeting = self._on_session_hook(session)
        except Exception:
            _logging.server.exception("on_session failed for %s", session.remote)
            return
        if greeting is not None:
            task = asyncio.get_running_loop().create_task(_greet(greeting, session))
            self._greetings.add(task)
            task.add_done_callback(self._greetings.discard)

    def _on_handler(self, handler: ProtocolHandler, core: _core.Connection) -> None:
        task = asyncio.get_running_loop().create_task(_handle(handler, core))
        self._handlers.add(task)
        task.add_done_callback(self._handlers.discard)

    async def reload(self, tls: ServerTls | None = None) -> None:
        """Takes new certificates, authorities and revocation lists while running.

        They count from the next handshake on, resumed ones included. Clients that are connected and
        would now be refused are sent away with the reason; all others notice nothing. `run` does
        this when it gets SIGHUP.

        Args:
            tls: What to serve with from now on; by default the files of the present settings are
                read again.

        Raises:
            TlsConfigError: The new settings cannot be used, and what to do; the old ones stay.
            ClosedError: The server does not listen.
        """
        async with self._reloading:
            endpoints = self._endpoints
            if not endpoints:
                raise _not_listening()
            new = tls or self._tls
            if new is None or self._loaded is None:
                raise TlsConfigError("there is no TLS to reload: the server speaks without it")
            # Files may be large, and lists of revoked certificates are.
            loaded = await asyncio.to_thread(
                new.load, self._alpns(), limits=self._limits, previous=self._loaded
            )
            if self._endpoints != endpoints:
                raise _not_listening()
            for endpoint in endpoints:
                endpoint.reload_server(loaded)
            before = self._loaded.trusted
            self._tls, self._loaded = new, loaded
            for endpoint in endpoints:
                # Requests are told of our certificate.
                self._host_on(endpoint)
        _log_reloaded(before, loaded.trusted)

    async def _reload_or_say_why(self) -> None:
        try:
            await self.reload()
        except (JetStreamError, OSError) as error:
            _logging.server.error("not reloaded, the old TLS settings stay: %s", error)

    async def close(self, *, graceful_timeout: float | None = None) -> None:
        """Stops: begins no more calls, lets those that run end, then closes.

        Clients are told at once, so that they may go elsewhere. Subscriptions that run are ended,
        and WebSockets closed (1012): they would go on for as long as anybody listens. When all is
        over, applications that answered HTTP are told. A server that is starting gives that up.

        Args:
            graceful_timeout: Seconds that calls in flight get; by default the server's.
        """
        seconds = self._graceful_timeout if graceful_timeout is None else graceful_timeout
        self._closings += 1
        if self._starting.locked():
            # Its sockets are free after that; an application that does not start is left to itself.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds), self._starting:
                    pass
        endpoints = self._endpoints
        if not endpoints:
            return
        closer = asyncio.current_task()
        self._closers.add(closer)
        try:
            # A greeting may be what closes it: cancelled, it would cut everybody off.
            for greeting in self._greetings - self._closers:
                greeting.cancel()
            await self._end(endpoints, seconds)
        finally:
            self._closers.discard(closer)

    async def _end(self, endpoints: Sequence[_core.Endpoint], seconds: float) -> None:
        try:
            for endpoint in endpoints:
                endpoint.stop_accepting()
                endpoint.drain()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    for endpoint in endpoints:
                        await endpoint.quiet()
                    for host in self._hosts:
                        await host.quiet()
                    if self._handlers:
                        await asyncio.wait(self._handlers)
            if seconds:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_FAREWELL):
                        for endpoint in endpoints:
                            await endpoint.end_sessions(_SHUTDOWN, _WHY)
        finally:
            self._endpoint, self._streams = None, None
            for endpoint in endpoints:
                endpoint.shutdown(_SHUTDOWN, _WHY)
            for task in self._handlers:
                task.cancel()
            hosts, self._hosts = self._hosts, []
            await _shut_down(hosts)
            _logging.server.info("stopped")

    async def run(self) -> None:
        """Serves until cancelled, or until SIGINT or SIGTERM. On SIGHUP it reloads.

        The first signal stops taking connections and lets calls in flight end; a second one ends
        them at once, and lets the process end although methods run in threads.
        """
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        hurry = asyncio.Event()

        def on_signal() -> None:
            (hurry if stop.is_set() else stop).set()

        reloads: set[asyncio.Task[None]] = set()

        def on_hangup() -> None:
            task = loop.create_task(self._reload_or_say_why())
            reloads.add(task)
            task.add_done_callback(reloads.discard)

        actions = {signal.SIGINT: on_signal, signal.SIGTERM: on_signal, signal.SIGHUP: on_hangup}
        handled: list[signal.Signals] = []
        for number, action in actions.items():
            # Only the main thread's loop can; elsewhere the owner cancels.
            with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):
                loop.add_signal_handler(number, action)
                handled.append(number)
        try:
            if not self._endpoints:
                await self.start()
            await stop.wait()
            _logging.server.info("stopping: calls in flight may end; once more ends them")
            closing = asyncio.ensure_future(self.close())
            hurrying = asyncio.ensure_future(hurry.wait())
            await asyncio.wait((closing, hurrying), return_when=asyncio.FIRST_COMPLETED)
            hurrying.cancel()
            if not closing.done():
                abandon_threads()
                closing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await closing
        finally:
            for number in handled:
                loop.remove_signal_handler(number)
            await self.close(graceful_timeout=0)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


def _check_hook(on_session: object) -> None:
    if on_session is not None and not callable(on_session):
        msg = f"on_session={on_session!r}: it must be a function of a Session, or None"
        raise TypeError(msg)


def _log_reloaded(before: tuple[int, int], now: tuple[int, int]) -> None:
    """Says what is trusted now. Files that were cut between two certificates can be read, too."""
    fewer = any(new < old for new, old in zip(now, before, strict=True))
    _logging.server.log(
        logging.WARNING if fewer else logging.INFO,
        "reloaded: the new TLS settings count from now on; client authorities: %d (%d before), "
        "revocation lists: %d (%d before)",
        *(number for pair in zip(now, before, strict=True) for number in pair),
    )


async def _shut_down(hosts: Sequence[Hosted]) -> None:
    for host in reversed(hosts):
        await host.shutdown()


def _not_listening() -> ClosedError:
    return ClosedError("the server does not listen: use 'async with server', or run()")


def weakly(method: Callable[P, None]) -> Callable[P, None]:
    """The same method, which does not keep its object: the core keeps what it calls."""
    weak = weakref.WeakMethod(method)

    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        target = weak()
        if target is not None:
            target(*args, **kwargs)

    return call


async def _greet(greeting: Awaitable[object], session: Session) -> None:
    try:
        await greeting
    except JetStreamError as error:
        _logging.server.info("on_session, %s: %s", session.remote, error)
    except Exception:
        _logging.server.exception("on_session failed for %s", session.remote)


async def _handle(handler: ProtocolHandler, core: _core.Connection) -> None:
    """Serves one raw connection."""
    context = make_context(core, type(handler).__name__)
    await attend(core, context, lambda: handler.accept(context, Connection(core)))
