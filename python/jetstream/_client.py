"""Clients: from an address to a connection or a session."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import socket
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

from jetstream import _core, _logging
from jetstream._addresses import (
    Addresses,
    AddressLike,
    address_of,
    each_address,
    parse_address,
    spell_address,
)
from jetstream._attempts import discard, established
from jetstream._callable import callable_by_peers, log_violation
from jetstream._connection import Connection
from jetstream._errors import (
    ClosedError,
    ConnectError,
    ConnectTimeout,
    JetStreamError,
    NoSharedProtocol,
)
from jetstream._generations import RPC_ALPN
from jetstream._h3 import H3_ALPN
from jetstream._identity import peer_of
from jetstream._interception import interceptors_of
from jetstream._limits import CONNECT_TIMEOUT, DEFAULT_TIMEOUT, Limits, check_time, limits_of
from jetstream._places import parse_place
from jetstream._reconnect import Reconnect, reconnect_of
from jetstream._router import Router, as_router
from jetstream._session import Session
from jetstream._standing import Address, Standing
from jetstream._tls import ClientTls
from jetstream._upkeep import Upkeep
from jetstream._webtransport import WebTransportSession

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
    from types import TracebackType

    from jetstream._interception import ClientInterceptor
    from jetstream._material import Source
    from jetstream._places import Carrier

Serves: TypeAlias = "tuple[Mapping[str, _core.ServiceTable], Limits, Any, Any, Any]"
"""What `callable_by_peers` gives."""

_STAGGER = 0.25
"""Seconds after which the next address is tried beside the first (RFC 8305, section 5)."""

_STREAMS = socket.AF_UNSPEC
"""The key of the endpoint of TCP and Unix sockets among those of the address families."""

_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}

_SYSTEM = ClientTls()
"""Whoever gives no TLS has this one, so that servers are remembered for them too."""

_SILENCE = 1.0
"""Seconds of silence after which the log says that UDP may be blocked."""


class _Target(NamedTuple):
    """One address to try."""

    carrier: Carrier
    family: socket.AddressFamily
    address: tuple[str, int]
    name: str
    authority: str = ""
    """The host and port that a WebTransport session is asked of."""
    path: str = ""

    @property
    def place(self) -> Address:
        """What it is, among others: there may be several ways to one port."""
        return self.carrier, self.address

    def __str__(self) -> str:
        if self.carrier == "unix":
            return f"unix:{self.address[0]}"
        where = spell_address(*self.address)
        return f"{'TCP' if self.carrier == 'tcp' else 'UDP'} {where}"


class _Plan(NamedTuple):
    """Where a session's connections go, and what for."""

    addr: Addresses
    server_name: str | None
    timeout: float
    serves: Router | None

    @property
    def where(self) -> str:
        """The server, for people."""
        return spell_addresses(self.addr)


class Client:
    """Makes connections: those over QUIC all from one UDP socket for each address family.

    It remembers the servers it has been to: the next handshake with one is shorter.

    Args:
        tls: Whom to trust, and our own certificate.
        alpns: The protocols to offer, best first.
        bind: Our own IP address and port; by default any.
        limits: What to take from peers.
        early_data: Whether calls may leave ahead of the handshake (0-RTT) with a server that was
            visited before: `session` then returns at once, and what is wrong with the server is
            told by the first calls. Somebody who sees that flight can send it once more; servers
            run only methods declared `@method(idempotent=True)` of it. Raw connections wait; so do
            sessions with several addresses or ``wait_for_ready``, and all that connect again.
        headers: Fields of the request for a WebTransport session, such as ``authorization``.

    Raises:
        TlsConfigError: A certificate or key that cannot be used, and what to do.
        TypeError: The limits are none, or our own address is no address.
    """

    def __init__(
        self,
        tls: ClientTls | None = None,
        *,
        alpns: Sequence[str] = (RPC_ALPN,),
        bind: AddressLike | None = None,
        limits: Limits | None = None,
        early_data: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._early_data = early_data
        self._limits = limits_of(limits)
        self._settings = tls or _SYSTEM
        self._tls = self._settings.load(alpns, limits=self._limits)
        self._reloading = asyncio.Lock()
        self._tls_of_http3: _core.ClientTls | None = None
        self._fields = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in (headers or {}).items()
        ]
        self._alpns = tuple(alpns)
        self._bind = None if bind is None else parse_address(bind)
        # By address family; TCP and Unix sockets have one endpoint for all.
        self._endpoints: dict[socket.AddressFamily, _core.Endpoint] = {}
        self._upkeeps: weakref.WeakSet[Upkeep] = weakref.WeakSet()
        self._closed = False

    @classmethod
    def new(
        cls, ca_cert: Source, alpn_protocols: Sequence[str], socket_address: AddressLike
    ) -> Client:
        """A client without a certificate, as the protocol's own documents spell it."""
        return cls(ClientTls(ca=ca_cert), alpns=alpn_protocols, bind=socket_address)

    @classmethod
    def new_with_mtls(
        cls,
        ca_cert: Source,
        client_cert: Source,
        client_key: Source,
        alpn_protocols: Sequence[str],
        socket_address: AddressLike,
    ) -> Client:
        """A client with a certificate, as the protocol's own documents spell it."""
        tls = ClientTls(ca=ca_cert, certificate=client_cert, key=client_key)
        return cls(tls, alpns=alpn_protocols, bind=socket_address)

    async def connect(
        self,
        addr: AddressLike,
        server_name: str | None = None,
        *,
        timeout: float = CONNECT_TIMEOUT,
    ) -> Connection:
        """Connects, and waits until the server has accepted our certificate too.

        Args:
            addr: Where to: ``"host:port"``; raw connections are QUIC's alone.
            server_name: The name that the server's certificate must have; by default the host.
            timeout: Seconds for all of it.

        Raises:
            ConnectTimeout: Nothing answered; the message says what was tried.
            TlsError: A certificate was refused, by us or by the server.
            NoSharedProtocol: The server speaks none of the offered protocols.
            ConnectError: Anything else, such as an unknown host.
            ValueError: The time is none, or no address of QUIC.
        """
        check_time("timeout", timeout)
        if parse_place(addr).carrier != "quic":
            msg = f"{addr!r}: only QUIC has raw connections; Client.session() takes this address"
            raise ValueError(msg)
        return Connection(await self._connect(addr, server_name, timeout), self)

    async def webtransport(
        self, url: str, server_name: str | None = None, *, timeout: float = CONNECT_TIMEOUT
    ) -> WebTransportSession:
        """Opens a WebTransport session, on a connection of its own.

        Args:
            url: What to ask for: ``"https://host:port/path"``.
            server_name: The name that the server's certificate must have; by default the host.
            timeout: Seconds for all of it.

        Raises:
            ConnectTimeout: Nothing answered; the message says what was tried.
            TlsError: A certificate was refused, by us or by the server.
            ConnectError: The server did not accept the session, or anything else.
            ValueError: The time is none, or no address of a WebTransport session.
        """
        check_time("timeout", timeout)
        if parse_place(url).carrier != "webtransport":
            msg = f"{url!r}: a WebTransport session has an address as https://host:port/path"
            raise ValueError(msg)
        return WebTransportSession(await self._connect(url, server_name, timeout), self)

    async def session(
        self,
        addr: Addresses,
        server_name: str | None = None,
        *,
        timeout: float = CONNECT_TIMEOUT,
        call_timeout: float | None = DEFAULT_TIMEOUT,
        reconnect: Reconnect | bool = False,
        serve: object = None,
        interceptors: Iterable[ClientInterceptor] = (),
    ) -> Session:
        """Connects for calls; see `connect`."""
        around = interceptors_of(interceptors)
        stays_up = reconnect_of(reconnect)
        _check_times(timeout, call_timeout)
        return await self._session(
            addr, server_name, timeout, call_timeout, stays_up, serve, around
        )

    async def _session(
        self,
        addr: Addresses,
        server_name: str | None,
        timeout: float,
        call_timeout: float | None,
        reconnect: Reconnect | None,
        serve: object,
        interceptors: Sequence[ClientInterceptor],
        *,
        on_close: Callable[[], Awaitable[None]] | None = None,
    ) -> Session:
        plan = _Plan(addr, server_name, timeout, None if serve is None else as_router(serve))
        upkeep = None
        if reconnect is None:
            core = await self._dial(plan, Standing())
        else:
            upkeep = Upkeep(functools.partial(self._dial, plan), plan.where, reconnect)
            self._upkeeps.add(upkeep)
            core = await upkeep.open()
        return Session(
            core,
            limits=self._limits,
            timeout=call_timeout,
            interceptors=interceptors,
            on_close=on_close,
            on_rebind=self.rebind,
            upkeep=upkeep,
            serves=plan.serves is not None,
        )

    async def _dial(
        self, plan: _Plan, standing: Standing, *, again: bool = False
    ) -> _core.Connection:
        """Connects for calls.

        Args:
            plan: Where to, and what for.
            standing: What is known of the addresses, and is learned of them.
            again: It is one of many attempts, and not worth a warning.
        """
        serves = None
        if plan.serves is not None:
            serves = callable_by_peers(plan.serves, self._limits)
        return await self._connect(
            plan.addr,
            plan.server_name,
            plan.timeout,
            lanes=True,
            serves=serves,
            standing=standing,
            again=again,
        )

    async def _connect(
        self,
        addr: Addresses,
        server_name: str | None,
        timeout: float,
        *,
        lanes: bool = False,
        serves: Serves | None = None,
        standing: Standing | None = None,
        again: bool = False,
    ) -> _core.Connection:
        self._check_open()
        standing = Standing() if standing is None else standing
        where = spell_addresses(addr)
        tried: list[str] = []
        try:
            async with asyncio.timeout(timeout):
                targets = await _resolve_all(addr, server_name)
                return await self._race(
                    targets, standing, tried, lanes=lanes, serves=serves, again=again
                )
        except TimeoutError as error:
            if isinstance(error, JetStreamError):
                raise
            what = ", ".join(tried) or "nothing, the name was not resolved in time"
            protocol = "UDP" if any(each.startswith("UDP") for each in tried) else "it"
            raise ConnectTimeout(
                f"{where}: no answer within {timeout:g} s; tried {what}. Is the server running "
                f"there, and does the way to it let {protocol} pass?"
            ) from None

    async def _race(
        self,
        targets: list[_Target],
        standing: Standing,
        tried: list[str],
        *,
        lanes: bool,
        serves: Serves | None,
        again: bool,
    ) -> _core.Connection:
        """The first address that answers wins; each has a head start on the next."""
        attempts: dict[asyncio.Task[None], tuple[_Target, _core.Connection]] = {}
        errors: list[BaseException] = []
        winner: _core.Connection | None = None
        todo = {target.place: target for target in targets}
        standing.resolved(todo)
        # A race would be won by an address that nobody has answered from.
        early = self._early_data and lanes and not again and len(todo) == 1
        warn = _ignore if again else _warn_of_silence
        silence = asyncio.get_running_loop().call_later(_SILENCE, warn, tried)
        try:
            while winner is None and (todo or attempts):
                # Which one that is may have changed: others try, too.
                place = standing.next_of(todo)
                if place is not None:
                    target = todo.pop(place)
                    standing.tried(place)
                    tried.append(str(target))
                    try:
                        core = self._begin(target, lanes=lanes, serves=serves, early=early)
                    except (ConnectError, OSError) as error:
                        errors.append(self._failed(target, error, standing))
                    else:
                        attempts[asyncio.ensure_future(_usable(core))] = target, core
                if not attempts:
                    if place is None:
                        await asyncio.sleep(standing.pause())
                    continue
                done, _ = await asyncio.wait(
                    attempts,
                    timeout=_STAGGER if todo else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for task in done:
                    target, core = attempts.pop(task)
                    failure = task.exception()
                    if failure is not None:
                        errors.append(self._failed(target, failure, standing))
                    elif winner is None:
                        winner = core
                        standing.reached(target.place, core)
                    else:
                        core.close(0, b"")
        finally:
            silence.cancel()
            for task, (_, core) in attempts.items():
                discard(task)
                if not task.get_loop().is_closed():
                    core.close(0, b"")
        # Whatever has come about meanwhile was closed with the client.
        self._check_open()
        if winner is None:
            raise errors[0]
        if not again:
            _logging.client.info("connected to %s", address_of(winner.remote) or peer_of(winner))
        return winner

    def _failed(self, target: _Target, error: BaseException, standing: Standing) -> BaseException:
        """Why there is no connection to an address, which is noted."""
        reason = _failure(error)
        if isinstance(reason, NoSharedProtocol) and not reason.offered:
            # The server refused, and its words are all that came; what we offered we know.
            reason.offered = self._alpns
        if isinstance(reason, JetStreamError):
            standing.failed(target.place, reason)
        return reason

    def _begin(
        self, target: _Target, *, lanes: bool, serves: Serves | None, early: bool
    ) -> _core.Connection:
        # It may have been closed while others were tried.
        self._check_open()
        host, port = target.address
        if target.carrier == "quic":
            endpoint = self._endpoint(target.family)
            core = endpoint.connect(
                host,
                port,
                target.name,
                self._tls,
                self._limits,
                lanes,
                early_data=early,
            )
        elif target.carrier == "tcp":
            # Each of a session's TCP connections needs a port of its own.
            bind = None if self._bind is None else (self._bind[0], 0)
            core = self._streams().connect_tcp(host, port, target.name, self._tls, bind)
        elif target.carrier == "unix":
            core = self._streams().connect_unix(host)
        else:
            beneath = self._endpoint(target.family).connect(
                host, port, target.name, self._http3(), self._limits, "webtransport"
            )
            msize = self._limits.msize if lanes else None
            core = beneath.open_session(target.authority, target.path, self._fields, msize)
        if serves is not None:
            core.set_services(*serves)
        return core

    def _http3(self) -> _core.ClientTls:
        """The same TLS for HTTP/3, whose protocol is another one."""
        if self._tls_of_http3 is None:
            self._tls_of_http3 = self._settings.load((H3_ALPN,), limits=self._limits)
        return self._tls_of_http3

    def _endpoint(self, family: socket.AddressFamily) -> _core.Endpoint:
        endpoint = self._endpoints.get(family)
        if endpoint is None or endpoint.closed:
            any_address = "::" if family == socket.AF_INET6 else "0.0.0.0"  # noqa: S104  a client
            host, port = self._bind or (any_address, 0)
            endpoint = _core.Endpoint(asyncio.get_running_loop(), host, port, self._limits)
            self._start(endpoint, family)
        return endpoint

    def _streams(self) -> _core.Endpoint:
        endpoint = self._endpoints.get(_STREAMS)
        if endpoint is None or endpoint.closed:
            endpoint = _core.Endpoint.streams(asyncio.get_running_loop(), self._limits)
            self._start(endpoint, _STREAMS)
        return endpoint

    def _start(self, endpoint: _core.Endpoint, family: socket.AddressFamily) -> None:
        endpoint.set_hooks(_ignore, _ignore, log_violation)
        endpoint.start()
        self._endpoints[family] = endpoint

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the client is closed")

    async def reload(self, tls: ClientTls | None = None) -> None:
        """Takes new certificates, authorities and revocation lists while connected.

        They count from the next connection on. Connections to servers that would now be refused are
        closed, and say why; all others notice nothing. Servers are remembered anew, and sessions
        that have no connection try at once.

        Args:
            tls: What to connect with from now on; by default the files of the present settings are
                read again.

        Raises:
            TlsConfigError: The new settings cannot be used, and what to do; the old ones stay.
            ClosedError: The client is closed.
        """
        async with self._reloading:
            self._check_open()
            new = tls or self._settings
            # Files may be large, and lists of revoked certificates are.
            loaded = await asyncio.to_thread(new.load, self._alpns, limits=self._limits, fresh=True)
            self._check_open()
            self._settings, self._tls = new, loaded
            self._tls_of_http3 = None
            for endpoint in self._endpoints.values():
                endpoint.reload_client(loaded)
            for upkeep in list(self._upkeeps):
                upkeep.retry()
        _logging.client.info("reloaded: the new TLS settings count from now on")

    async def rebind(self, bind: AddressLike | None = None) -> None:
        """Moves to another local address; connections and calls in flight go on from there.

        For when the network has changed: the servers follow (RFC 9000, section 9). A connection
        that is just being made does not move, and may fail; one over TCP cannot.

        Args:
            bind: Our own IP address and port from now on; by default another port of the present
                address, which with an address of any is the one that the system now takes.

        Raises:
            OSError: The address cannot be had; nothing has changed.
            ClosedError: The client is closed.
        """
        self._check_open()
        if bind is None:
            for endpoint in self._endpoints.values():
                local = endpoint.local
                if local is not None:
                    endpoint.rebind(local[0], 0)
            return
        host, port = parse_address(bind)
        version = ipaddress.ip_address(host).version
        moved = self._endpoints.get(_FAMILIES[version])
        if moved is not None:
            moved.rebind(host, port)
        self._bind = (host, port)

    async def close(self) -> None:
        """Closes all connections of this client; whoever waits for one gets `ClosedError`."""
        self._closed = True
        for upkeep in list(self._upkeeps):
            upkeep.stop(ClosedError("the client is closed"))
        for endpoint in self._endpoints.values():
            endpoint.shutdown(0, b"")
        self._endpoints.clear()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


async def _usable(core: _core.Connection) -> None:
    """Waits until calls may leave."""
    if core.early_data != "sent":
        await established(core)


def _check_times(timeout: object, call_timeout: object) -> None:
    check_time("timeout", timeout)
    check_time("call_timeout", call_timeout, also=", or None for ever")


def _failure(error: BaseException) -> BaseException:
    if isinstance(error, JetStreamError | OSError) and not isinstance(error, ConnectError):
        if isinstance(error, JetStreamError):
            return ConnectError(error.message, code=error.code, help=error.help)
        return ConnectError(str(error))
    return error


def spell_addresses(addr: Addresses) -> str:
    """The addresses, for people."""
    return ", ".join(str(parse_place(each)) for each in each_address(addr))


async def _resolve_all(addr: Addresses, server_name: str | None) -> list[_Target]:
    """All addresses of all names, those of the first name first."""
    found: dict[tuple[Carrier, tuple[str, int]], _Target] = {}
    failure: ConnectError | None = None
    for each in each_address(addr):
        place = parse_place(each)
        host, port, carrier = place.host, place.port, place.carrier
        if carrier == "unix":
            address = (host, port)
            found.setdefault((carrier, address), _Target(carrier, _STREAMS, address, ""))
            continue
        try:
            resolved = await _resolve(host, port)
        except ConnectError as error:
            failure = failure or error
            continue
        for family, ip in resolved:
            target = _Target(
                carrier,
                family,
                (ip, port),
                server_name or host,
                spell_address(host, port),
                place.path,
            )
            found.setdefault((carrier, target.address), target)
    if not found:
        raise failure or ConnectError(f"{spell_addresses(addr)}: there is no address to connect to")
    return list(found.values())


async def _resolve(host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
    # An address needs no thread to be looked up in.
    with contextlib.suppress(ValueError):
        literal = ipaddress.ip_address(host.partition("%")[0])
        return [(socket.AF_INET if literal.version == 4 else socket.AF_INET6, str(literal))]
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except socket.gaierror as error:
        raise ConnectError(f"{host}: the name cannot be resolved: {error.strerror}") from None
    seen: dict[tuple[socket.AddressFamily, str], None] = {}
    for family, _, _, _, address in found:
        if family in (socket.AF_INET, socket.AF_INET6):
            ip = cast("tuple[Any, ...]", address)[0]
            seen[(family, str(ip).partition("%")[0])] = None
    return list(seen)


def _ignore(*_: object) -> None:
    """Nobody needs to be told."""


def _warn_of_silence(tried: list[str]) -> None:
    """Says that there is no answer; over UDP somebody on the way may swallow what is sent."""
    blocked = "; is UDP blocked on the way?" if any("UDP" in each for each in tried) else ""
    _logging.client.warning("no answer from %s for %g s%s", ", ".join(tried), _SILENCE, blocked)


class _Connecting:
    """What `connect` returns: await it for a session, or enter it."""

    def __init__(
        self,
        client: Client,
        open_session: Callable[..., Awaitable[Session]],
    ) -> None:
        self._client = client
        self._open_session = open_session
        self._session: Session | None = None

    async def _open(self) -> Session:
        client = self._client
        try:
            return await self._open_session(on_close=client.close)
        except BaseException:
            await client.close()
            raise

    def __await__(self) -> Generator[Any, Any, Session]:
        return self._open().__await__()

    async def __aenter__(self) -> Session:
        self._session = await self._open()
        return self._session

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()


def connect(
    addr: Addresses,
    *,
    tls: ClientTls | None = None,
    server_name: str | None = None,
    alpns: Sequence[str] = (RPC_ALPN,),
    timeout: float = CONNECT_TIMEOUT,
    call_timeout: float | None = DEFAULT_TIMEOUT,
    bind: AddressLike | None = None,
    limits: Limits | None = None,
    reconnect: Reconnect | bool = False,
    serve: object = None,
    early_data: bool = False,
    interceptors: Iterable[ClientInterceptor] = (),
    headers: Mapping[str, str] | None = None,
) -> _Connecting:
    """Connects to a server's services.

    Write ``async with connect("host:4433", tls=...) as session``.

    With ``reconnect=`` the session outlives its connection. When that is lost, or the server says
    that it is going away, another one is made, and the channels go on over it. Of the calls in
    flight, those that had not left, those that a server that goes away had not begun, and those of
    methods declared ``@method(idempotent=True)`` are sent again; the others fail with
    `ConnectionLost`, because they may have been run. A certificate that is refused is final for the
    first connection; later it is a reason to be `unavailable`, and attempts go on.

    Args:
        addr: Where to: ``"host:port"``, ``"[::1]:port"`` or ``("host", port)`` over QUIC,
            ``"tcp://host:port"`` over TCP with TLS, ``"unix:/path"`` over a Unix socket,
            ``"https://host:port/path"`` as a WebTransport session, as browsers do; or a list of
            them, best first.
        tls: Whom to trust, and our own certificate; by default the system's roots and none.
        server_name: The name that the server's certificate must have; by default the host.
        alpns: The protocols to offer, best first; `alpn_of` tells those of servers on the Rust
            crates 15.
        timeout: Seconds until there must be a connection.
        call_timeout: Seconds for each call that does not say; `None` for ever.
        bind: Our own IP address and port; by default any.
        limits: What to take from the server.
        reconnect: Whether, or how, the session stays up: `True`, `False` or a `Reconnect`.
        serve: What the server may call back here: a service, or a `Router` of them.
        early_data: Whether calls may leave ahead of the handshake (0-RTT) where the same `tls` has
            been to the server before; see `Client`.
        interceptors: What stands around every call of the session, outermost first.
        headers: Fields of the request for a WebTransport session, such as ``authorization``.

    Returns:
        Something to enter with ``async with``, or to await for a `Session` that its owner closes.

    Raises:
        TlsConfigError: At once: a certificate or key that cannot be used, and what to do.
        TypeError: At once: one of the interceptors is none, or `limits`, `bind` or `reconnect` is
            of a wrong kind. When entered or awaited: `addr` is.
        ValueError: At once: a time is none. When entered or awaited: an address is none.
        ConnectError: When entered or awaited; see `Client.connect`.
    """
    around = interceptors_of(interceptors)
    stays_up = reconnect_of(reconnect)
    _check_times(timeout, call_timeout)
    client = Client(
        tls, alpns=alpns, bind=bind, limits=limits, early_data=early_data, headers=headers
    )
    open_session = functools.partial(
        client._session,  # pyright: ignore[reportPrivateUsage]  its own module
        addr,
        server_name,
        timeout,
        call_timeout,
        stays_up,
        serve,
        around,
    )
    return _Connecting(client, open_session)
