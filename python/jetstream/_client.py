"""Clients: from an address to a connection or a session."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import TYPE_CHECKING, Any, cast

from jetstream import _core, _logging
from jetstream._addresses import AddressLike, parse_address, spell_address
from jetstream._connection import Connection
from jetstream._errors import (
    ClosedError,
    ConnectError,
    ConnectTimeout,
    JetStreamError,
    NoSharedProtocol,
)
from jetstream._limits import CONNECT_TIMEOUT, DEFAULT_TIMEOUT, Limits
from jetstream._router import RPC_ALPN
from jetstream._session import Session
from jetstream._tls import ClientTls

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Sequence
    from types import TracebackType

    from jetstream._material import Source

_STAGGER = 0.25
"""Seconds after which the next address is tried beside the first (RFC 8305, section 5)."""

_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}

_SYSTEM = ClientTls()
"""Whoever gives no TLS has this one, so that servers are remembered for them too."""

_SILENCE = 1.0
"""Seconds of silence after which the log says that UDP may be blocked."""


class Client:
    """Makes connections, all from one UDP socket for each address family.

    It remembers the servers it has been to: the next handshake with one is shorter.

    Args:
        tls: Whom to trust, and our own certificate.
        alpns: The protocols to offer, best first.
        bind: Our own IP address and port; by default any.
        limits: What to take from peers.

    Raises:
        TlsConfigError: A certificate or key that cannot be used, and what to do.
    """

    def __init__(
        self,
        tls: ClientTls | None = None,
        *,
        alpns: Sequence[str] = (RPC_ALPN,),
        bind: AddressLike | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._limits = limits or Limits()
        self._settings = tls or _SYSTEM
        self._tls = self._settings.load(alpns, limits=self._limits)
        self._reloading = asyncio.Lock()
        self._alpns = tuple(alpns)
        self._bind = None if bind is None else parse_address(bind)
        self._endpoints: dict[socket.AddressFamily, _core.Endpoint] = {}
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
            addr: Where to: ``"host:port"``.
            server_name: The name that the server's certificate must have; by default the host.
            timeout: Seconds for all of it.

        Raises:
            ConnectTimeout: Nothing answered; the message says what was tried.
            TlsError: A certificate was refused, by us or by the server.
            NoSharedProtocol: The server speaks none of the offered protocols.
            ConnectError: Anything else, such as an unknown host.
        """
        return Connection(await self._connect(addr, server_name, timeout), self)

    async def session(
        self,
        addr: AddressLike,
        server_name: str | None = None,
        *,
        timeout: float = CONNECT_TIMEOUT,
        call_timeout: float | None = DEFAULT_TIMEOUT,
    ) -> Session:
        """Connects for calls; see `connect`."""
        return await self._session(addr, server_name, timeout, call_timeout)

    async def _session(
        self,
        addr: AddressLike,
        server_name: str | None,
        timeout: float,
        call_timeout: float | None,
        *,
        on_close: Callable[[], Awaitable[None]] | None = None,
    ) -> Session:
        core = await self._connect(addr, server_name, timeout, lanes=True)
        return Session(
            core,
            limits=self._limits,
            timeout=call_timeout,
            on_close=on_close,
            on_rebind=self.rebind,
        )

    async def _connect(
        self,
        addr: AddressLike,
        server_name: str | None,
        timeout: float,
        *,
        lanes: bool = False,
    ) -> _core.Connection:
        self._check_open()
        host, port = parse_address(addr)
        where = spell_address(host, port)
        name = server_name or host
        tried: list[str] = []
        try:
            async with asyncio.timeout(timeout):
                addresses = await _resolve(host, port)
                return await self._race(addresses, name, tried, lanes=lanes)
        except TimeoutError as error:
            if isinstance(error, JetStreamError):
                raise
            what = ", ".join(tried) or "nothing, the name was not resolved in time"
            raise ConnectTimeout(
                f"{where}: no answer within {timeout:g} s; tried UDP to {what}. Is the server "
                "running there, and does the way to it let UDP pass?"
            ) from None

    async def _race(
        self,
        addresses: list[tuple[socket.AddressFamily, str, int]],
        name: str,
        tried: list[str],
        *,
        lanes: bool,
    ) -> _core.Connection:
        """The first address that answers wins; each has a head start on the next."""
        attempts: dict[asyncio.Task[None], _core.Connection] = {}
        errors: list[BaseException] = []
        winner: _core.Connection | None = None
        todo = iter(addresses)
        target = next(todo, None)
        silence = asyncio.get_running_loop().call_later(_SILENCE, _warn_of_silence, tried)
        try:
            while winner is None and (target is not None or attempts):
                if target is not None:
                    family, ip, port = target
                    tried.append(spell_address(ip, port))
                    try:
                        core = self._endpoint(family).connect(
                            ip, port, name, self._tls, self._limits, lanes
                        )
                    except (ConnectError, OSError) as error:
                        errors.append(error)
                    else:
                        attempts[asyncio.ensure_future(_established(core))] = core
                    target = next(todo, None)
                if not attempts:
                    continue
                done, _ = await asyncio.wait(
                    attempts,
                    timeout=None if target is None else _STAGGER,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for task in done:
                    core = attempts.pop(task)
                    failure = task.exception()
                    if failure is not None:
                        errors.append(failure)
                    elif winner is None:
                        winner = core
                    else:
                        core.close(0, b"")
        finally:
            silence.cancel()
            for task, core in attempts.items():
                task.cancel()
                core.close(0, b"")
        if winner is None:
            reason = _failure(errors[0])
            if isinstance(reason, NoSharedProtocol) and not reason.offered:
                # The server refused, and its words are all that came; what we offered we know.
                reason.offered = self._alpns
            raise reason
        _logging.client.info("connected to %s (%s)", tried[-1], name)
        return winner

    def _endpoint(self, family: socket.AddressFamily) -> _core.Endpoint:
        endpoint = self._endpoints.get(family)
        if endpoint is None:
            any_address = "::" if family == socket.AF_INET6 else "0.0.0.0"  # noqa: S104  a client
            host, port = self._bind or (any_address, 0)
            endpoint = _core.Endpoint(asyncio.get_running_loop(), host, port, self._limits)
            endpoint.start()
            self._endpoints[family] = endpoint
        return endpoint

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the client is closed")

    async def reload(self, tls: ClientTls | None = None) -> None:
        """Takes new certificates, authorities and revocation lists while connected.

        They count from the next connection on. Connections to servers that would now be refused are
        closed, and say why; all others notice nothing. Servers are remembered anew.

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
            for endpoint in self._endpoints.values():
                endpoint.reload_client(loaded)
        _logging.client.info("reloaded: the new TLS settings count from now on")

    async def rebind(self, bind: AddressLike | None = None) -> None:
        """Moves to another local address; connections and calls in flight go on from there.

        For when the network has changed: the servers follow (RFC 9000, section 9). A connection
        that is just being made does not move, and may fail.

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
        """Closes all connections of this client."""
        self._closed = True
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


async def _established(core: _core.Connection) -> None:
    await core.wait("connected")
    # A client's handshake is over before the server has looked at its certificate (RFC 8446,
    # section 2); the server's word that it has ends the handshake for good.
    await core.wait("confirmed")


def _failure(error: BaseException) -> BaseException:
    if isinstance(error, JetStreamError | OSError) and not isinstance(error, ConnectError):
        if isinstance(error, JetStreamError):
            return ConnectError(error.message, code=error.code, help=error.help)
        return ConnectError(str(error))
    return error


async def _resolve(host: str, port: int) -> list[tuple[socket.AddressFamily, str, int]]:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except socket.gaierror as error:
        raise ConnectError(f"{host}: the name cannot be resolved: {error.strerror}") from None
    seen: dict[tuple[socket.AddressFamily, str, int], None] = {}
    for family, _, _, _, address in found:
        if family in (socket.AF_INET, socket.AF_INET6):
            ip = cast("tuple[Any, ...]", address)[0]
            seen[(family, str(ip).partition("%")[0], port)] = None
    return list(seen)


def _warn_of_silence(tried: list[str]) -> None:
    _logging.client.warning(
        "no answer from %s for %g s; is UDP blocked on the way?", ", ".join(tried), _SILENCE
    )


class _Connecting:
    """What `connect` returns: await it for a session, or enter it."""

    def __init__(
        self,
        addr: AddressLike,
        client: Client,
        server_name: str | None,
        timeout: float,
        call_timeout: float | None,
    ) -> None:
        self._addr = addr
        self._client = client
        self._server_name = server_name
        self._timeout = timeout
        self._call_timeout = call_timeout
        self._session: Session | None = None

    async def _open(self) -> Session:
        client = self._client
        try:
            return await client._session(  # pyright: ignore[reportPrivateUsage]  its own module
                self._addr,
                self._server_name,
                self._timeout,
                self._call_timeout,
                on_close=client.close,
            )
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
    addr: AddressLike,
    *,
    tls: ClientTls | None = None,
    server_name: str | None = None,
    timeout: float = CONNECT_TIMEOUT,
    call_timeout: float | None = DEFAULT_TIMEOUT,
    bind: AddressLike | None = None,
    limits: Limits | None = None,
) -> _Connecting:
    """Connects to a server's services.

    Write ``async with connect("host:4433", tls=...) as session``.

    Args:
        addr: Where to: ``"host:port"``, ``"[::1]:port"`` or ``("host", port)``.
        tls: Whom to trust, and our own certificate; by default the system's roots and none.
        server_name: The name that the server's certificate must have; by default the host.
        timeout: Seconds until there must be a connection.
        call_timeout: Seconds for each call that does not say; `None` for ever.
        bind: Our own IP address and port; by default any.
        limits: What to take from the server.

    Returns:
        Something to enter with ``async with``, or to await for a `Session` that its owner closes.

    Raises:
        TlsConfigError: At once: a certificate or key that cannot be used, and what to do.
        ConnectError: When entered or awaited; see `Client.connect`.
    """
    client = Client(tls, bind=bind, limits=limits)
    return _Connecting(addr, client, server_name, timeout, call_timeout)
