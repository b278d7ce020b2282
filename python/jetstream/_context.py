"""What a method may know about the call that it answers."""

from __future__ import annotations

import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, cast

from jetstream import _core
from jetstream._addresses import address_of
from jetstream._connection import Connection
from jetstream._expiry import identify
from jetstream._identity import TokenPeer, peer_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jetstream._identity import Peer
    from jetstream._session import Session
    from jetstream._types import SocketAddress

INJECTED: Final[Any] = None
"""The default to write for a `Context` parameter: ``async def who(self, ctx: Context = INJECTED)``.

It tells type checkers that callers leave it out; the server always gives the context.
"""


_NOTHING: Final[Mapping[str, bytes]] = MappingProxyType({})


def time_left() -> float | None:
    """Seconds until the caller of the method that runs here gives up; `None` if it does not.

    Works in whatever the method calls, tasks included. Calls made there end in time by themselves.
    """
    deadline = _core.current_deadline()
    return None if deadline is None else max(0.0, deadline - time.monotonic())


class Context:
    """Who calls, and what.

    A method that has a parameter annotated with this class gets one; it is not on the wire.

    Args:
        peer: For tests of methods by themselves.
        remote: For tests of methods by themselves.
        method: For tests of methods by themselves.
        deadline: For tests of methods by themselves.
        metadata: For tests of methods by themselves.
        early: For tests of methods by themselves.
    """

    __slots__ = (
        "_connection",
        "_metadata",
        "_peer",
        "_remote",
        "_reply_metadata",
        "deadline",
        "early",
        "method",
    )

    method: str
    """What is called, such as ``Echo.put``."""

    deadline: float | None
    """When the caller gives up and the method is cancelled, in seconds of `time.monotonic`; `None`
    if it does not."""

    early: bool
    """Whether the call came ahead of the handshake (0-RTT) and began before it was complete.

    Then it may be a copy that somebody recorded. Only methods that are declared
    ``@method(idempotent=True)`` can see this."""

    def __init__(
        self,
        *,
        peer: Peer | None = None,
        remote: SocketAddress | None = None,
        method: str = "",
        deadline: float | None = None,
        metadata: Mapping[str, bytes] = _NOTHING,
        early: bool = False,
    ) -> None:
        self._connection: _core.Connection | None = None
        self._peer = peer
        self._remote = remote
        self._reply_metadata: dict[str, bytes] | None = None
        self.method = method
        self.deadline = deadline
        self.early = early
        self._metadata = metadata

    def time_left(self) -> float | None:
        """Seconds until the caller gives up; `None` if it does not."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    @property
    def metadata(self) -> Mapping[str, bytes]:
        """What the caller says beside the arguments."""
        return self._metadata

    @property
    def reply_metadata(self) -> dict[str, bytes]:
        """What to say beside the answer, to be filled before the method ends.

        A caller gets it with the result or the error, unless it does not understand it: the Rust
        crates do not. Keys have up to 255 bytes; together it is at most `Limits.max_metadata`, or
        the call fails.
        """
        if self._reply_metadata is None:
            self._reply_metadata = {}
        return self._reply_metadata

    @property
    def session(self) -> Session:
        """The session with the caller, to call it back.

        Raises:
            RuntimeError: The context was made by hand, and belongs to no connection; or it is that
                of a raw one.
        """
        # A raw session of WebTransport keeps itself there.
        found: Any = None if self._connection is None else self._connection.session
        if found is None or isinstance(found, Connection):
            msg = "this context belongs to no connection on which services are called"
            raise RuntimeError(msg)
        session: Session = found
        return session

    @property
    def peer(self) -> Peer | None:
        """Who calls; `None` for somebody who proved nothing."""
        return self._peer if self._connection is None else peer_of(self._connection)

    def identify(self, peer: TokenPeer) -> None:
        """Says who calls, from now on and on the whole session, as a token in the first call tells.

        For browsers, which have no certificate: a method checks the token that it is given and
        names its peer, and what stands around other methods (`Authorize`) lets that one through.

        Args:
            peer: Who it is. When that expires the session ends, unless it has been said anew.

        Raises:
            TypeError: `peer` is no `TokenPeer`: there is no way back to nobody, either.
            RuntimeError: The caller has proved who it is by a certificate, or to the kernel; or
                the context was made by hand.
        """
        if not isinstance(cast("object", peer), TokenPeer):
            # It may be a token: only its type is said.
            msg = f"identify() takes a TokenPeer, and got an object of type {type(peer).__name__!r}"
            raise TypeError(msg)
        if self._connection is None:
            raise RuntimeError("this context belongs to no connection")
        known = self.peer
        if known is not None and not isinstance(known, TokenPeer):
            msg = f"{known} has proved who it is, and cannot be somebody else"
            raise RuntimeError(msg)
        identify(self._connection, peer)

    @property
    def remote(self) -> SocketAddress | None:
        """From which address; `None` where there is none, as in memory."""
        return self._remote if self._connection is None else address_of(self._connection.remote)

    @property
    def protocol(self) -> str | None:
        """The protocol of the connection (ALPN)."""
        return None if self._connection is None else self._connection.alpn

    def __repr__(self) -> str:
        return f"<Context of {self.method or 'a connection'} from {self.peer} at {self.remote}>"


def make_context(
    connection: _core.Connection,
    method: str,
    deadline: float | None = None,
    metadata: Mapping[str, bytes] = _NOTHING,
) -> Context:
    """The context of one call on a connection."""
    context = Context(method=method, deadline=deadline, metadata=metadata, early=connection.early)
    context._connection = connection  # pyright: ignore[reportPrivateUsage]  its own module
    return context
