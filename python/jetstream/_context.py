"""What a method may know about the call that it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jetstream._addresses import address_of
from jetstream._identity import peer_of

if TYPE_CHECKING:
    from jetstream import _core
    from jetstream._identity import Peer
    from jetstream._types import SocketAddress

INJECTED: Final[Any] = None
"""The default to write for a `Context` parameter: ``async def who(self, ctx: Context = INJECTED)``.

It tells type checkers that callers leave it out; the server always gives the context.
"""


class Context:
    """Who calls, and what.

    A method that has a parameter annotated with this class gets one; it is not on the wire.

    Args:
        peer: For tests of methods by themselves.
        remote: For tests of methods by themselves.
        method: For tests of methods by themselves.
    """

    __slots__ = ("_connection", "_peer", "_remote", "method")

    method: str
    """What is called, such as ``Echo.put``."""

    def __init__(
        self,
        *,
        peer: Peer | None = None,
        remote: SocketAddress | None = None,
        method: str = "",
    ) -> None:
        self._connection: _core.Connection | None = None
        self._peer = peer
        self._remote = remote
        self.method = method

    @property
    def peer(self) -> Peer | None:
        """Who calls; `None` for somebody who proved nothing."""
        return self._peer if self._connection is None else peer_of(self._connection)

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


def make_context(connection: _core.Connection, method: str) -> Context:
    """The context of one call on a connection."""
    context = Context(method=method)
    context._connection = connection  # pyright: ignore[reportPrivateUsage]  its own module
    return context
