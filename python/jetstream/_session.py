"""Sessions: the association with a peer, and the channels on it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from jetstream import _core
from jetstream._addresses import address_of
from jetstream._capabilities import Capabilities, capabilities_of
from jetstream._channel import CallOptions, channel_type, checked_concurrency
from jetstream._definition import definition_of
from jetstream._errors import ClosedError, JetStreamError
from jetstream._identity import peer_of
from jetstream._interception import interceptors_of
from jetstream._limits import DEFAULT_TIMEOUT, in_seconds, limits_of
from jetstream._states import STATES

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
    from types import TracebackType

    from jetstream._addresses import AddressLike
    from jetstream._connection import Connection, ReceiveStream, SendStream
    from jetstream._identity import Peer
    from jetstream._interception import ClientInterceptor
    from jetstream._limits import Forever, Limits
    from jetstream._states import SessionState
    from jetstream._types import SocketAddress
    from jetstream._upkeep import Upkeep

S = TypeVar("S")

_CODES = 1 << 62
"""How many close codes there are: variable-length integers (RFC 9000, section 16)."""


class QuicTransport:
    """A stream of a raw connection, to make a channel on.

    Args:
        send: The sending half, from `Connection.open_bi`; nothing may have been sent on it.
        receive: The receiving half.
        limits: What to take from the peer.
    """

    def __init__(
        self, send: SendStream, receive: ReceiveStream, limits: Limits | None = None
    ) -> None:
        if send.id != receive.id:
            msg = "the two halves are of different streams"
            raise ValueError(msg)
        # The stream becomes this transport.
        self._connection = send._connection  # pyright: ignore[reportPrivateUsage]
        self._stream = send.id
        self._limits = limits_of(limits)
        self._taken = False

    def open_lane(self, version: str, max_concurrent: int) -> _core.Lane:
        """The stream itself, as a lane; it can be one only once."""
        if self._taken:
            msg = "a stream carries one channel: open another one with connection.open_bi()"
            raise RuntimeError(msg)
        self._taken = True
        return _core.Lane(
            self._connection,
            version,
            limits=self._limits,
            max_concurrent=max_concurrent,
            stream=self._stream,
        )


class Session:
    """The association with a peer: who it is, and channels to its services.

    A session has one connection, and ends with it; one that was made with ``reconnect=`` goes on
    over another, with its channels.

    Args:
        core: The connection underneath.
        limits: What to take from the peer.
        timeout: Seconds for each call that does not say.
        interceptors: What stands around every call, outermost first.
        on_close: What else ends with the session.
        on_rebind: What moves the session to another local address.
        upkeep: What keeps it up.
        serves: Whether the peer may call services here.
    """

    def __init__(
        self,
        core: _core.Connection,
        *,
        limits: Limits | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        interceptors: Iterable[ClientInterceptor] = (),
        on_close: Callable[[], Awaitable[None]] | None = None,
        on_rebind: Callable[[AddressLike | None], Awaitable[None]] | None = None,
        upkeep: Upkeep | None = None,
        serves: bool = False,
    ) -> None:
        self._limits = limits_of(limits)
        self._timeout = timeout
        self._interceptors = interceptors_of(interceptors)
        self._on_close = on_close
        self._on_rebind = on_rebind
        self._upkeep = upkeep
        self._serves = serves
        self._lanes: dict[tuple[str, int], _core.Lane] = {}
        self._use(core)
        if upkeep is not None:
            upkeep.start(core, self._lanes.values, self._use)

    def _use(self, core: _core.Connection) -> None:
        self._core = core
        if self._serves:
            # What the peer calls finds this session in its context.
            core.session = self

    @classmethod
    def on(cls, connection: Connection, **options: Any) -> Session:
        """A session on a raw connection."""
        core = connection._core  # pyright: ignore[reportPrivateUsage]  the layer below
        return cls(core, **options)

    @property
    def peer(self) -> Peer | None:
        """Who is at the other end; `None` for somebody who proved nothing."""
        return peer_of(self._core)

    @property
    def remote(self) -> SocketAddress | None:
        """The peer's address; `None` where there is none, as over Unix sockets and in memory."""
        return address_of(self._core.remote)

    @property
    def protocol(self) -> str | None:
        """The protocol that was agreed (ALPN)."""
        return self._core.alpn

    @property
    def capabilities(self) -> Capabilities:
        """What the session can do, by what carries it."""
        return capabilities_of(self._core)

    @property
    def resumed(self) -> bool:
        """Whether the handshake resumed an earlier session, which spares the certificates' way.

        Both ends have verified the other's certificates again all the same.
        """
        return self._core.resumed

    @property
    def early_data(self) -> Literal["none", "sent", "accepted", "refused"]:
        """What became of the calls that left ahead of the handshake (0-RTT).

        ``"none"``: there were none. ``"sent"``: the handshake is not complete. ``"accepted"``: the
        server took them. ``"refused"``: it did not, and they were sent again after the handshake.
        """
        return self._core.early_data

    @property
    def closed(self) -> JetStreamError | None:
        """Why the session is over; `None` while it is not."""
        return self._core.lost if self._upkeep is None else self._upkeep.error

    @property
    def unavailable(self) -> JetStreamError | None:
        """Why there is no connection, while the state is ``unavailable``; else `None`.

        The latest reason: that the last connection was lost, or what became of an attempt since.
        """
        upkeep = self._upkeep
        return None if upkeep is None or upkeep.unavailable is None else upkeep.reason

    @property
    def state(self) -> SessionState:
        """Whether calls can be sent; one that does not stay up is ready until it is closed.

        It is ``connecting`` as long as the handshake lasts that calls have left ahead of.
        """
        if self._upkeep is None:
            if self._core.lost is not None:
                return "closed"
            return "connecting" if self._core.early_data == "sent" else "ready"
        return self._upkeep.states.now

    async def wait_for(self, state: SessionState) -> None:
        """Waits until the session is, or was for a moment, in a state.

        Raises:
            JetStreamError: It is over, and so will never be; this is the reason.
            ValueError: There is no such state.
        """
        if state not in STATES:
            msg = f"wait_for({state!r}): a session is {', '.join(STATES[:-1])} or {STATES[-1]}"
            raise ValueError(msg)
        if self._upkeep is not None:
            reached = await self._upkeep.states.wait_for(state)
        else:
            if state == "ready" and self.state == "connecting":
                await self._core.wait("connected")
            reached = state == self.state
            if not reached:
                await self._core.wait("closed")
                reached = state == "closed"
        if not reached and self.closed is not None:
            raise self.closed

    async def states(self) -> AsyncGenerator[SessionState]:
        """The present state and those that follow: ``async for state in session.states()``.

        It ends when the session is closed. Whoever is slow gets the latest state, and misses those
        between.
        """
        if self._upkeep is not None:
            async for state in self._upkeep.states.follow():
                yield state
            return
        if self.state == "connecting":
            yield "connecting"
            with contextlib.suppress(JetStreamError):
                await self._core.wait("connected")
        if self._core.lost is None:
            yield "ready"
            await self._core.wait("closed")
        yield "closed"

    def channel(
        self,
        service: Callable[..., S],
        *,
        timeout: float | Forever | None = None,
        max_concurrent: int | None = None,
        wait_for_ready: bool | None = None,
        interceptors: Iterable[ClientInterceptor] = (),
    ) -> S:
        """The typed client of a service at the other end.

        Channels of the same service share a lane; it is opened, and the version agreed, in the
        background. A service that the peer does not serve shows in the first call.

        Args:
            service: The service class, as for `channel_type`.
            timeout: Seconds for each call that does not say; `jetstream.FOREVER` for no limit. By
                default the session's.
            max_concurrent: Calls in flight at once, from 1 to 65535; more wait in order.
            wait_for_ready: Whether calls wait, as long as they have time, while a session that
                stays up has no connection. Otherwise they fail with `Unavailable` once there has
                been none for `Reconnect.patience`. By default `Reconnect.wait_for_ready`.
            interceptors: What stands around every call, outermost first, inside of those of the
                session.

        Raises:
            TypeError: It is no service class, or one of the interceptors is none.
            ValueError: `max_concurrent` is not from 1 to 65535.
            VersionMismatch: The session's protocol is the version string of another service; see
                `alpn_of`.
            ConnectionLost: The session is over.
            LocalProtocolError: The transport carries a single lane, and this end did not connect.
        """
        seconds = self._timeout if timeout is None else timeout
        version = definition_of(service).version_string
        count = self._limits.max_concurrent if max_concurrent is None else max_concurrent
        lane = self.open_lane(version, checked_concurrency(count))
        if wait_for_ready is None:
            wait_for_ready = self._upkeep is not None and self._upkeep.options.wait_for_ready
        around = (*self._interceptors, *interceptors_of(interceptors))
        options = CallOptions(
            in_seconds(seconds), wait_for_ready=wait_for_ready, interceptors=around, session=self
        )
        return channel_type(service).on_lane(lane, options)

    def open_lane(self, version: str, max_concurrent: int) -> _core.Lane:
        """The lane for a service of this version string, opened where there is none that works."""
        key = (version, max_concurrent)
        lane = self._lanes.get(key)
        upkeep = self._upkeep
        if upkeep is not None:
            upkeep.check()
        if lane is None or lane.failed:
            lane = _core.Lane(
                self._core,
                version,
                limits=self._limits,
                max_concurrent=max_concurrent,
                default_time=self._timeout,
                stays_up=upkeep is not None,
            )
            self._lanes[key] = lane
            if upkeep is not None and upkeep.unavailable is not None:
                lane.suspend(upkeep.unavailable)
        return lane

    async def rebind(self, bind: AddressLike | None = None) -> None:
        """Moves to another local address, with all that the same client has; see `Client.rebind`.

        Args:
            bind: Our own IP address and port from now on; by default another port.

        Raises:
            OSError: The address cannot be had; nothing has changed.
            RuntimeError: The session is no client's, or has no address.
        """
        if self._on_rebind is None:
            msg = "only a client's session over UDP can move to another address"
            raise RuntimeError(msg)
        await self._on_rebind(bind)

    async def close(self, code: int = 0, reason: str = "") -> None:
        """Ends the session; calls in flight fail with `ClosedError`.

        Args:
            code: The reason, for the peer's program.
            reason: The reason, for the peer's people.

        Raises:
            TypeError: The code is no int, or the reason no text; the session goes on.
            ValueError: The code is not from 0 to 2**62 - 1, or the reason cannot be written as
                UTF-8; the session goes on.
        """
        # Nothing is stopped before all of it can be.
        code, why = _checked_code(code), _encoded_reason(reason)
        if self._upkeep is not None:
            self._upkeep.stop(ClosedError("the session is closed"))
        self._core.close(code, why)
        try:
            if self._upkeep is not None:
                await self._upkeep.wait_stopped()
        finally:
            if self._on_close is not None:
                await self._on_close()

    async def wait_closed(self) -> JetStreamError:
        """Waits until the session is over, and tells why."""
        if self._upkeep is None:
            return await self._core.wait("closed")
        await self._upkeep.states.wait_for("closed")
        return self._upkeep.error or ClosedError("the session is closed")

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        names = {"ready": "open", "closed": "over"}
        state = names.get(self.state, self.state)
        return f"<Session with {self.peer or 'nobody known'} at {self.remote}, {state}>"


def _checked_code(code: object) -> int:
    if not isinstance(code, int):
        msg = f"close(code={code!r}): it must be an int, not {type(code).__name__}"
        raise TypeError(msg)
    if not 0 <= code < _CODES:
        msg = f"close(code={code}): it must be from 0 to 2**62 - 1"
        raise ValueError(msg)
    return code


def _encoded_reason(reason: object) -> bytes:
    if not isinstance(reason, str):
        msg = f"close(reason=...): it must be a str, not {type(reason).__name__}"
        raise TypeError(msg)
    try:
        return reason.encode()
    except UnicodeEncodeError as error:
        msg = f"close(reason=...): UTF-8 cannot carry {reason[error.start]!r} at {error.start}"
        raise ValueError(msg) from None
