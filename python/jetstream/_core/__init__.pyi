"""The compiled core, by the files of `rust/py/src`. The package alone uses it.

Everything here belongs to one event loop's thread and to the process that made it; elsewhere it
raises `RuntimeError`.
"""

from asyncio import AbstractEventLoop, Future
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from contextvars import Context
from types import CodeType, FrameType
from typing import Any, Literal, TypedDict, final, overload

from jetstream._asgi import Site
from jetstream._context import Context as CallContext
from jetstream._errors import JetStreamError
from jetstream._identity import Peer
from jetstream._limits import Limits
from jetstream._session import Session
from jetstream._webtransport import WebTransportSession

from . import codec as codec
from .codec import ArgumentsPlan, Plan

__all__ = [
    "Call",
    "ChannelMethod",
    "ClientTls",
    "Connection",
    "Endpoint",
    "Exchange",
    "FeedOutlet",
    "Handling",
    "Inlet",
    "Lane",
    "NextItem",
    "Outlet",
    "Ready",
    "Reply",
    "ServerTls",
    "ServiceMethod",
    "ServiceTable",
    "SessionRequest",
    "Subscription",
    "Waiting",
    "_after_fork",
    "_leave",
    "codec",
    "current_deadline",
    "live_objects",
    "parse_certificate",
    "read_request",
    "write_fault",
    "write_reply",
]

# ---- lib.rs ----

def live_objects() -> dict[str, int]:
    """Objects of this module that are alive: `connections`, `lanes` and `calls`."""

def _after_fork() -> None: ...
def _leave() -> None: ...

# ---- frames.rs ----

def read_request(data: bytes) -> tuple[int, int, bytes]:
    """Returns the method's place, the tag and the arguments of a request.

    Raises:
        ValueError: The bytes are not one frame, or none of a request.
    """

def write_reply(index: int, tag: int, result: bytes) -> bytes:
    """Returns the frame of a method's reply."""

def write_fault(
    tag: int,
    message: str,
    code: str | None = None,
    help: str | None = None,  # noqa: A002  the protocol's own word for it
    url: str | None = None,
) -> bytes:
    """Returns the frame of a method's error."""

# ---- asgi ----

@final
class Exchange:
    """A request of HTTP and its answer, as its application's `receive` and `send`."""

    def receive(self) -> Coroutine[Any, Any, dict[str, Any]]:
        """Returns the next message to the application, to be awaited."""

    def send(self, message: Mapping[str, Any]) -> Coroutine[Any, Any, None]:
        """Takes a message of the application, and returns what to await.

        Raises:
            OSError: The client is gone.
            RuntimeError: It is not the time for such a message.
            ValueError: It cannot be sent.
        """

@final
class SessionRequest:
    """A request for a WebTransport session that has not been answered."""

    def accept(self, msize: int | None) -> Connection | None:
        """Accepts it, with lanes whose frames have at most `msize` bytes, or raw.

        Returns:
            The session; `None` if nobody waits for it any more, or it has been answered.

        Raises:
            RuntimeError: The fields cannot be sent.
        """

    def refuse(self, status: int) -> None:
        """Answers with something else; nothing happens if it has been answered."""

@final
class Waiting:
    """What an application awaits when what it asks for is not there."""

    def __await__(self) -> Generator[Any, Any, Any]: ...
    def __iter__(self) -> Waiting: ...
    def __next__(self) -> Any: ...
    def send(self, value: object) -> Any: ...
    def throw(
        self,
        exception: type[BaseException] | BaseException,
        value: object = None,
        traceback: object = None,
    ) -> Any: ...
    def close(self) -> None: ...
    @property
    def __name__(self) -> str: ...
    @property
    def __qualname__(self) -> str: ...

# ---- deadline.rs ----

def current_deadline() -> float | None:
    """The deadline of the call that is being answered here, in seconds of `time.monotonic()`."""

# ---- identity.rs ----

class _Certificate(TypedDict):
    der: bytes
    common_name: str | None
    fingerprint: str
    spki_sha256: bytes
    subject: str
    issuer: str
    serial: bytes
    not_before: int
    not_after: int
    dns_names: list[str]
    ip_addresses: list[str]
    emails: list[str]
    uris: list[str]
    is_ca: bool

def parse_certificate(der: bytes) -> _Certificate:
    """Returns what a certificate says; times are in seconds since 1970.

    Raises:
        ValueError: The bytes are no certificate.
    """

# ---- tls.rs ----

@final
class ServerTls:
    """A server's TLS, for one endpoint.

    Args:
        chain: Our certificates in DER, our own first.
        key: Our private key in PKCS#8, SEC 1 or PKCS#1.
        client_auth: Whether clients are asked for a certificate, and must show one.
        client_roots: Who may have issued them, in DER.
        crls: Revocation lists of these, in DER.
        check: Called in the handshake with the client's chain; refuses by raising.
        alpns: The protocols to serve, best first.
        max_chain: Bytes of certificates that a client may show.
        sessions: How many to remember, for shorter handshakes with the same clients.
        early_data: Whether such clients may send calls in their first flight.
        previous: What this takes the place of: sessions from then can be resumed.

    Raises:
        TlsConfigError: The parts do not fit together.
    """

    def __new__(
        cls,
        chain: Sequence[bytes],
        key: bytes,
        *,
        client_auth: Literal["none", "optional", "required"],
        client_roots: Sequence[bytes],
        crls: Sequence[bytes],
        check: Callable[[tuple[bytes, ...]], object] | None,
        alpns: Sequence[str],
        max_chain: int,
        sessions: int,
        early_data: bool,
        previous: ServerTls | None = None,
    ) -> ServerTls: ...
    @property
    def trusted(self) -> tuple[int, int]:
        """How many authorities of clients it trusts, and how many revocation lists it has."""
    @property
    def certificate(self) -> bytes:
        """Our certificate in DER."""

@final
class ClientTls:
    """A client's TLS, for any number of connections.

    Args:
        trust: The system's roots, those in `roots`, or anybody.
        roots: Whom to trust, in DER.
        crls: Revocation lists of these, in DER.
        check: Called in the handshake with the server's chain; refuses by raising.
        chain: Our certificates in DER, our own first; or none.
        key: Our private key; none without `chain`.
        alpns: The protocols to offer, best first.
        max_chain: Bytes of certificates that a server may show.
        visits: How many servers to remember, for shorter handshakes with them.

    Raises:
        TlsConfigError: The parts do not fit together.
    """

    def __new__(
        cls,
        *,
        trust: Literal["system", "roots", "danger_anything"],
        roots: Sequence[bytes],
        crls: Sequence[bytes],
        check: Callable[[tuple[bytes, ...]], object] | None,
        chain: Sequence[bytes] | None,
        key: bytes | None,
        alpns: Sequence[str],
        max_chain: int,
        visits: int,
    ) -> ClientTls: ...

# ---- service.rs ----

@final
class ServiceMethod:
    """One method of a served implementation.

    Args:
        what: Its name for paths and logs, such as ``Echo.put``.
        index: Its place among the service's methods.
        function: What to call.
        arguments: How its arguments are laid out.
        result: How its result is laid out.
        task: Whether what `function` returns is awaited, in a task of its own.
        context_at: Where the context goes among the arguments; `None` without one.
        idempotent: Whether running it twice comes to the same as running it once.
        stream: How the items are laid out that it gives before its result. `function` then gets an
            `Outlet` before its arguments.
        inbound: How the items of its caller are laid out.
        inbound_at: Where the `Inlet` that gives them goes among the arguments, the context not
            counted.
        lossy: Whether only the latest of its items counts.
    """

    def __new__(
        cls,
        what: str,
        index: int,
        function: Callable[..., Any],
        arguments: ArgumentsPlan,
        result: Plan,
        *,
        task: bool,
        context_at: int | None = None,
        idempotent: bool = False,
        stream: Plan | None = None,
        inbound: Plan | None = None,
        inbound_at: int | None = None,
        lossy: bool = False,
    ) -> ServiceMethod: ...
    @property
    def what(self) -> str: ...

@final
class ServiceTable:
    """A served implementation: its version string, and its methods in order of declaration.

    Raises:
        ValueError: The version string is none, or there are too many methods.
    """

    def __new__(cls, version: str, methods: Sequence[ServiceMethod]) -> ServiceTable: ...
    @property
    def version(self) -> str: ...

# ---- endpoint.rs ----

@final
class Endpoint:
    """A UDP socket and the QUIC connections on it (or other transports), in an event loop.

    Args:
        event_loop: The loop of this thread.
        host: The IP address to bind to.
        port: The port to bind to; 0 takes a free one.
        limits: What to take from peers.
        tls: Given this, it takes connections.
        protocols: For each protocol that it serves, whether streams are lanes (true), raw (false)
            or HTTP/3's (`"http"`).

    Raises:
        OSError: The address cannot be bound to.
        ValueError: `host` is no IP address, or a limit cannot be.
    """

    def __new__(
        cls,
        event_loop: AbstractEventLoop,
        host: str,
        port: int,
        limits: Limits,
        tls: ServerTls | None = None,
        protocols: Mapping[str, bool | Literal["http", "webtransport"]] | None = None,
    ) -> Endpoint: ...
    @staticmethod
    def memory(
        event_loop: AbstractEventLoop,
        limits: Limits,
        chains: tuple[Sequence[bytes], Sequence[bytes]],
        single_lane: bool = False,
    ) -> Endpoint:
        """Returns two connected ends in memory; 0 is the client's, 1 the server's.

        Args:
            event_loop: The loop of this thread.
            limits: What both ends take from each other.
            chains: The certificates that the client and the server are taken to have shown.
            single_lane: Whether the pair stands for a single ordered stream, as TCP is one.
        """

    @staticmethod
    def streams(event_loop: AbstractEventLoop, limits: Limits) -> Endpoint:
        """Returns an endpoint of TCP and Unix sockets, with none yet.

        Args:
            event_loop: The loop of this thread.
            limits: What to take from peers.

        Raises:
            OSError: The process has no descriptor left.
        """

    def listen_tcp(
        self,
        host: str,
        port: int,
        tls: ServerTls | None,
        protocols: Sequence[str],
        http: Limits | None = None,
    ) -> tuple[str, int]:
        """Takes connections over TCP, and returns where.

        Args:
            host: The IP address to listen on.
            port: The port; 0 takes a free one.
            tls: Our TLS; without it HTTP alone is spoken.
            protocols: Those of its protocols that are spoken over TCP.
            http: The limits of HTTP, where it is among them.

        Raises:
            OSError: The address cannot be listened on.
        """

    def listen_unix(
        self,
        path: str,
        mode: int,
        http: Limits | None = None,
        lanes: bool = True,
        http2: bool = True,
    ) -> None:
        """Takes connections over a Unix socket; its file is gone when the endpoint is.

        Args:
            path: The file, or with ``@`` in front an abstract name.
            mode: The file's permissions.
            http: The limits of HTTP, where it is spoken.
            lanes: Whether lanes are.
            http2: Whether HTTP/2 is, with clients that begin with it.

        Raises:
            OSError: Somebody listens there, or the file cannot be made.
        """

    def connect_tcp(
        self,
        host: str,
        port: int,
        server_name: str,
        tls: ClientTls,
        bind: tuple[str, int] | None = None,
    ) -> Connection:
        """Begins a connection over TCP; its ``wait("connected")`` tells how it went.

        Raises:
            ConnectError: The name cannot be one of a server.
            ClosedError: The endpoint is closed.
        """

    def connect_unix(self, path: str) -> Connection:
        """Begins a connection over a Unix socket; its ``wait("connected")`` tells how it went.

        Raises:
            ClosedError: The endpoint is closed.
        """

    def start(self) -> None:
        """Begins to take part in the loop."""

    def _turn(self) -> None: ...
    def set_hooks(
        self,
        connected: Callable[[Connection, bool], object],
        failed: Callable[[str, JetStreamError], object],
        violation: Callable[[Connection, str], object],
        reviewed: Callable[[int, int], object] | None = None,
    ) -> None:
        """Says whom to tell.

        Args:
            connected: Of a connection that has come about, and whether the peer began it.
            failed: Of a handshake that failed: with which address, and why.
            violation: Of a peer that broke the protocol, and how.
            reviewed: Of how many peers were judged by new TLS, and how many were sent away.
        """

    def set_services(
        self,
        services: Mapping[str, ServiceTable],
        limits: Limits,
        make_context: Callable[..., CallContext],
        explain: Callable[[str, BaseException], tuple[str, str | None, str | None, str | None]],
        make_session: Callable[[Connection], Session],
    ) -> None:
        """Says what those who connect may call.

        Args:
            services: By name.
            limits: What to take from callers.
            make_context: Makes the context of a call from its connection, its name, its deadline in
                seconds of `time.monotonic()`, and its metadata; the last two may be left out.
            explain: Gives message, code, help and url for an exception of a method.
            make_session: Makes the session on a connection.
        """

    def set_site(self, site: Site) -> None:
        """Answers HTTP with an application, from the next request on."""

    @property
    def local(self) -> tuple[str, int] | None:
        """The address of the UDP socket; `None` where there is none."""

    def rebind(self, host: str, port: int) -> None:
        """Moves to another local address, with all connections.

        Raises:
            OSError: The address cannot be bound to; nothing has changed.
            ClosedError: The endpoint is closed.
        """

    def connect(
        self,
        host: str,
        port: int,
        server_name: str,
        tls: ClientTls,
        limits: Limits,
        streams: bool | Literal["http", "webtransport"],
        early_data: bool = False,
    ) -> Connection:
        """Begins a connection; its ``wait("connected")`` tells how it went.

        With `early_data` lanes can be opened at once where an earlier visit allows it, which the
        connection's `early_data` tells.

        Raises:
            ConnectError: The name cannot be one of a server.
            ClosedError: The endpoint is closed.
        """

    def connection(self, key: int) -> Connection:
        """Returns the connection of this number."""

    def connections(self) -> list[Connection]:
        """Returns the connections whose handshake is complete."""

    def reload_server(self, tls: ServerTls) -> None:
        """Serves with `tls` from the next handshake on; clients that it refuses are sent away."""

    def reload_client(self, tls: ClientTls) -> None:
        """Leaves the servers that `tls` refuses."""

    def stop_accepting(self) -> None:
        """Takes no more connections; those that exist go on."""

    @property
    def open_connections(self) -> int:
        """Connections that exist, those that are ending included."""

    @property
    def open_lanes(self) -> int:
        """Lanes that exist."""

    def drain(self) -> None:
        """Begins nothing more: peers are told, streams that run are ended, lanes are refused."""

    def quiet(self) -> Future[None]:
        """Returns a future that is done when no method runs and all answers have been sent."""

    def end_sessions(self, code: int, reason: bytes) -> Future[None]:
        """Closes WebTransport sessions with a word; the future is done when their peers know."""

    def shutdown(self, code: int, reason: bytes) -> None:
        """Closes every connection with a word to its peer, and the endpoint."""

    def close(self) -> None:
        """Closes the endpoint; what waits on it fails."""

    @property
    def closed(self) -> bool:
        """Whether it was closed."""

# ---- connection.rs ----

_Event = Literal[
    "connected",
    "confirmed",
    "readable",
    "writable",
    "finished",
    "accept_bi",
    "accept_uni",
    "open_bi",
    "open_uni",
    "datagram",
    "going_away",
]

@final
class Connection:
    """One QUIC connection: steps that never wait, and futures for what to wait for.

    Every step raises `ConnectionLost`, or what else ended the connection, once it is gone.
    """

    @property
    def alpn(self) -> str | None:
        """The protocol that was agreed."""

    @property
    def remote(self) -> tuple[str, int] | None:
        """The peer's address; `None` over Unix sockets and in memory."""

    @property
    def local(self) -> tuple[str, int] | None:
        """Our own address; `None` over Unix sockets and in memory."""

    @property
    def cipher_suite(self) -> int | None:
        """The cipher suite of TLS, as IANA numbers them, on the server; `None` without TLS."""

    @property
    def http(self) -> bool:
        """Whether it speaks HTTP, and has no lanes."""

    @property
    def peer_chain(self) -> tuple[bytes, ...]:
        """The peer's certificates in DER, its own first."""

    @property
    def resumed(self) -> bool:
        """Whether the handshake resumed an earlier session; false until it is complete."""

    @property
    def early_data(self) -> Literal["none", "sent", "accepted", "refused"]:
        """What became of data ahead of the handshake."""

    @property
    def early(self) -> bool:
        """Whether what arrives now is ahead of the handshake."""

    @property
    def credentials(self) -> tuple[int | None, int, int] | None:
        """The process at the other end, as (pid, uid, gid); over Unix sockets only."""

    @property
    def features(
        self,
    ) -> tuple[Literal["quic", "tcp", "unix", "memory", "webtransport"], bool, bool, bool]:
        """What carries it, whether that carries many lanes, whether we open lanes, datagrams."""

    @property
    def peer(self) -> Peer | None:
        """What `jetstream._identity` made of the chain or the credentials, kept here."""

    @peer.setter
    def peer(self, value: Peer | None) -> None: ...
    @property
    def session(self) -> Session | WebTransportSession | None:
        """The session on it: that which was set, or one made by whoever serves here."""

    @session.setter
    def session(self, value: Session | WebTransportSession) -> None: ...
    def open_session(
        self,
        authority: str,
        path: str,
        headers: list[tuple[bytes, bytes]],
        msize: int | None,
    ) -> Connection:
        """Asks for a WebTransport session on this connection of HTTP/3, which ends with it.

        Args:
            authority: The host and port.
            path: The path, with its query.
            headers: Fields of the request.
            msize: The largest frame of its lanes; `None` for a raw one.

        Raises:
            ConnectError: The connection cannot have it.
            ValueError: The request cannot be made.
        """

    def set_service(self, name: str) -> None:
        """Makes a session one for this service, unless a lane begins with a version."""

    def set_services(
        self,
        services: Mapping[str, ServiceTable],
        limits: Limits,
        make_context: Callable[..., CallContext],
        explain: Callable[[str, BaseException], tuple[str, str | None, str | None, str | None]],
        make_session: Callable[[Connection], Session],
    ) -> None:
        """Lets the peer of a connection that we opened call services here.

        See `Endpoint.set_services`.
        """

    @property
    def calls(self) -> int:
        """Calls of ours in flight on it."""

    @property
    def heard(self) -> int | None:
        """Datagrams heard from the peer; `None` where the transport itself notices silence."""

    def ping(self) -> None:
        """Asks the peer for a sign of life."""

    def give_up(self) -> None:
        """Takes the connection for lost: the peer answers elsewhere and is silent here."""

    @property
    def going_away(self) -> bool:
        """Whether the peer has said that it begins nothing more."""

    @property
    def lost(self) -> JetStreamError | None:
        """Why the connection is gone; `None` while it is not."""

    @property
    def running(self) -> int:
        """Methods that run for this peer."""

    def counters(self) -> dict[str, float]:
        """Returns `rtt` in seconds, datagrams `sent` and `received`, packets `lost`, `mtu`."""

    @overload
    def wait(self, what: Literal["closed"], stream: int = 0) -> Future[JetStreamError]: ...
    @overload
    def wait(self, what: _Event, stream: int = 0) -> Future[None]: ...
    def close(self, code: int, reason: bytes) -> None:
        """Closes the connection: everything on it ends. Does nothing if it is gone."""

    def try_open(self, bidirectional: bool) -> int | None:
        """Returns a new stream; `None` to wait for `open_bi` or `open_uni`."""

    def try_accept(self, bidirectional: bool) -> int | None:
        """Returns a stream that the peer opened; `None` to wait for `accept_bi`, `accept_uni`."""

    def try_read(self, stream: int, limit: int) -> bytes | None:
        """Returns up to `limit` bytes, none at the end; `None` to wait for `readable`.

        Raises:
            StreamClosed: The peer reset the stream.
            ClosedError: It is not there to be read.
        """

    def try_write(self, stream: int, data: bytes) -> int:
        """Returns how many bytes were taken; 0 to wait for `writable`.

        Raises:
            StreamClosed: The peer stopped reading.
            ClosedError: The stream was finished or reset before.
        """

    def finish(self, stream: int) -> bool:
        """Ends the sending half; tells whether that was possible."""

    def reset(self, stream: int, code: int) -> bool:
        """Gives the sending half up; tells whether that was possible."""

    def stop(self, stream: int, code: int) -> bool:
        """Gives the receiving half up; tells whether that was possible."""

    def send_datagram(self, data: bytes) -> None:
        """Sends a datagram.

        Raises:
            JetStreamError: It can never be sent.
        """

    def max_datagram_size(self) -> int | None:
        """Returns the largest datagram in bytes; `None` if the peer takes none."""

    def try_receive_datagram(self) -> bytes | None:
        """Returns a datagram; `None` to wait for `datagram`."""

# ---- channel.rs ----

@final
class Lane:
    """A lane to call on.

    Args:
        connection: Where.
        version: The version string of the service to agree on.
        limits: What we take: `msize`, `stream_window`, `max_metadata`, `max_waiting`.
        max_concurrent: Calls in flight at once, at least 1.
        stream: A stream that is open already; by default a new one.
        extension: Whether to offer the extension x1.
        default_time: Seconds of a call that does not say; `None` for ever.
        stays_up: Whether it outlives its connection: calls that had not left, and those of
            idempotent methods, wait for `attach`.
        assumed: The largest frame and whether the extension is spoken, as the server said the last
            time: calls leave before it has answered.

    Raises:
        ValueError: The version string is none.
        VersionMismatch: The connection's protocol is the version string of another service.
        ConnectionLost: The connection is gone, and it does not stay up.
        LocalProtocolError: The connection carries a single lane, and is not ours to open it on.
    """

    def __new__(
        cls,
        connection: Connection,
        version: str,
        *,
        limits: Limits,
        max_concurrent: int,
        stream: int | None = None,
        extension: bool = True,
        default_time: float | None = None,
        stays_up: bool = False,
        assumed: tuple[int, bool] | None = None,
    ) -> Lane: ...
    def close(self) -> None:
        """Ends the lane: calls in flight fail."""

    def end(self, why: str | None) -> None:
        """Ends the lane for a reason that is not its owner's; without one it is closed."""

    @property
    def load(self) -> tuple[int, int]:
        """Calls that hold a tag, and calls that wait for one."""

    @property
    def failed(self) -> bool:
        """Whether calls on it can only fail."""

    @property
    def detached(self) -> bool:
        """Whether its connection is gone and it waits for another."""

    @property
    def agreed(self) -> tuple[int, bool] | None:
        """The largest frame and whether the extension is spoken, once the server has answered."""

    def attach(self, connection: Connection) -> None:
        """Goes on over another connection.

        What is in flight on the one before is answered there, if it is still there.

        Raises:
            ConnectionLost: That is gone, too.
        """

    def suspend(self, why: str) -> None:
        """Without a connection, lets calls fail at once unless they wait for one."""

@final
class ChannelMethod:
    """A method of a channel: calling it makes a `Call`, or a `Subscription`.

    Args:
        lane: Where.
        what: Its name for paths and errors, such as ``Echo.put``.
        index: Its place among the service's methods.
        arguments: How its arguments are laid out.
        result: How its result is laid out.
        timeout: Seconds for a call that does not say; `None` for ever.
        bind: Puts keywords and defaults where they belong.
        items: How a subscription's items are laid out; `None` for a call.
        inbound: Which argument is a stream from the caller, and how its items are laid out.
        idempotent: Whether a call may be sent twice.
        lossy: Whether only the latest of its items counts.
        metadata: What each call says beside its arguments.
        metadata_required: Whether it fails where that cannot be said.
        wait_for_ready: Whether it waits while there is no connection, however long that is.

    Raises:
        ValueError: Metadata that cannot be sent, or a timeout that cannot be.
    """

    def __new__(
        cls,
        lane: Lane,
        what: str,
        index: int,
        arguments: ArgumentsPlan,
        result: Plan,
        timeout: float | None,
        bind: Callable[[tuple[Any, ...], Mapping[str, Any]], tuple[Any, ...]],
        *,
        items: Plan | None = None,
        inbound: tuple[int, Plan] | None = None,
        idempotent: bool = False,
        lossy: bool = False,
        metadata: Sequence[tuple[str, bytes]] = ...,
        metadata_required: bool = True,
        wait_for_ready: bool = False,
    ) -> ChannelMethod: ...
    @property
    def __name__(self) -> str: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
    def with_metadata(
        self, metadata: Sequence[tuple[str, bytes]], metadata_required: bool
    ) -> ChannelMethod:
        """Returns the same method, saying something else beside its arguments.

        Raises:
            ValueError: Metadata that cannot be sent.
        """

# ---- call.rs ----

@final
class Call:
    """One call, a coroutine: nothing happens until it is awaited, which it can be once."""

    def __await__(self) -> Generator[Any, Any, Any]: ...
    def __iter__(self) -> Call: ...
    def __next__(self) -> Any: ...
    def send(self, value: object) -> Any: ...
    def throw(
        self,
        exception: type[BaseException] | BaseException,
        value: object = None,
        traceback: object = None,
    ) -> Any: ...
    def close(self) -> None: ...
    @property
    def metadata(self) -> Mapping[str, bytes]:
        """What the method said beside its result; empty before it has answered."""

    @property
    def __name__(self) -> str: ...
    @property
    def __qualname__(self) -> str: ...

# ---- subscription.rs ----

@final
class Subscription:
    """Items of a remote method; see `jetstream.Subscription`."""

    def __aiter__(self) -> Subscription: ...
    def __anext__(self) -> NextItem: ...
    @property
    def result(self) -> Any: ...
    @property
    def metadata(self) -> Mapping[str, bytes]: ...
    def cancel(self) -> None: ...
    def aclose(self) -> Ready: ...
    def __aenter__(self) -> Ready: ...
    def __aexit__(self, *_exception: object) -> Ready: ...

@final
class Ready:
    """An awaitable that does not wait."""

    def __await__(self) -> Generator[Any, Any, Any]: ...
    def __iter__(self) -> Ready: ...
    def __next__(self) -> Any: ...
    def send(self, value: object) -> Any: ...
    def throw(
        self,
        exception: type[BaseException] | BaseException,
        value: object = None,
        traceback: object = None,
    ) -> Any: ...
    def close(self) -> None: ...

# ---- feed.rs ----

@final
class FeedOutlet:
    """Where the items of a stream from the caller go."""

    def ready(self) -> Future[None] | None:
        """Returns what to wait for before an item is sent; `None` for nothing."""

    def send(self, item: object) -> bool:
        """Sends an item; false if the call is over.

        Raises:
            EncodeError: It is none of the stream's type.
            LimitExceeded: It is too large.
        """

    def end(self) -> None:
        """Says that there are no more items."""

    def fail(self, error: BaseException) -> None:
        """Ends the call with an exception of the caller's own."""

# ---- reply.rs ----

@final
class Reply:
    """What a call waits for: to the one task that awaits it, a future."""

    _asyncio_future_blocking: bool
    def get_loop(self) -> AbstractEventLoop: ...
    def add_done_callback(
        self, callback: Callable[[Reply], object], *, context: Context | None = None
    ) -> None: ...
    def remove_done_callback(self, callback: Callable[[Reply], object]) -> int: ...
    def cancel(self, msg: object = None) -> bool: ...
    def done(self) -> bool: ...
    def cancelled(self) -> bool: ...
    def result(self) -> Any: ...
    def exception(self) -> BaseException | None: ...

# ---- inbox.rs ----

@final
class NextItem:
    """What `__anext__` of a stream gives: await it, once."""

    def __await__(self) -> Generator[Any, Any, Any]: ...
    def __iter__(self) -> NextItem: ...
    def __next__(self) -> Any: ...
    def send(self, value: object) -> Any: ...
    def throw(
        self,
        exception: type[BaseException] | BaseException,
        value: object = None,
        traceback: object = None,
    ) -> Any: ...
    def close(self) -> None: ...

# ---- handling.rs ----

@final
class Handling:
    """The coroutine of a method that is being answered, as its task sees it."""

    def __await__(self) -> Generator[Any, Any]: ...
    def __iter__(self) -> Handling: ...
    def __next__(self) -> Any: ...
    def send(self, value: object) -> Any: ...
    def throw(self, *exception: Any) -> Any: ...
    def close(self) -> None: ...
    @property
    def __name__(self) -> str: ...
    @property
    def __qualname__(self) -> str: ...
    @property
    def cr_frame(self) -> FrameType | None: ...
    @property
    def cr_code(self) -> CodeType: ...
    @property
    def cr_running(self) -> bool: ...
    @property
    def cr_await(self) -> object | None: ...

# ---- outlet.rs ----

@final
class Outlet:
    """Where the items of a subscription go, at the serving end."""

    def send(self, item: object) -> Future[None] | None:
        """Sends an item. What it returns is to be awaited before the next one.

        Raises:
            EncodeError: It is no item of this method.
            LimitExceeded: It is too large.
            ClosedError: The lane is gone.
        """

    def finish(self) -> None:
        """Sends what has been kept for a later moment, before the end.

        Raises:
            ClosedError: The lane is gone.
        """

# ---- inlet.rs ----

@final
class Inlet:
    """A stream from the caller, as its method iterates over it."""

    def __aiter__(self) -> Inlet: ...
    def __anext__(self) -> NextItem: ...
