"""Raw connections: streams and datagrams, for protocols of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jetstream import _logging
from jetstream._addresses import address_of
from jetstream._errors import ClosedError, JetStreamError, LimitExceeded
from jetstream._identity import peer_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from types import TracebackType

    from jetstream import _core
    from jetstream._context import Context
    from jetstream._identity import Peer
    from jetstream._types import SocketAddress

_READ_SIZE = 64 << 10
"""Bytes that a read takes when the caller does not say."""


class SendStream:
    """The sending half of a stream."""

    def __init__(self, connection: _core.Connection, stream: int) -> None:
        self._connection = connection
        self._stream = stream

    @property
    def id(self) -> int:
        """The stream's number (RFC 9000, section 2.1)."""
        return self._stream

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Sends all of `data`, waiting while the peer takes no more.

        Raises:
            StreamClosed: The peer stopped reading.
            ClosedError: The stream was finished or reset before.
            ConnectionLost: The connection is gone.
        """
        rest = memoryview(data).cast("B")
        while rest:
            taken = self._connection.try_write(self._stream, bytes(rest))
            if taken == 0:
                await self._connection.wait("writable", self._stream)
            rest = rest[taken:]

    def finish(self) -> None:
        """Says that nothing more follows.

        Raises:
            ClosedError: The stream was finished or reset before.
        """
        if not self._connection.finish(self._stream):
            raise ClosedError("the stream is closed")

    async def wait_acknowledged(self) -> None:
        """Waits until all of a finished stream has arrived at the peer.

        Raises:
            ConnectionLost: The connection is gone; some of it may not have arrived.
        """
        await self._connection.wait("finished", self._stream)

    def reset(self, code: int = 0) -> None:
        """Gives the stream up; what is on its way may not arrive.

        Args:
            code: The reason, for the peer.
        """
        self._connection.reset(self._stream, code)


class ReceiveStream:
    """The receiving half of a stream."""

    def __init__(self, connection: _core.Connection, stream: int) -> None:
        self._connection = connection
        self._stream = stream
        self._ended = False

    @property
    def id(self) -> int:
        """The stream's number (RFC 9000, section 2.1)."""
        return self._stream

    async def read(self, limit: int = _READ_SIZE) -> bytes:
        """Waits for some bytes.

        Args:
            limit: At most so many.

        Returns:
            From 1 to `limit` bytes; none at the end of the stream.

        Raises:
            StreamClosed: The peer reset the stream.
            ConnectionLost: The connection is gone.
        """
        if limit < 1:
            msg = f"read({limit}): the limit must be at least 1"
            raise ValueError(msg)
        while not self._ended:
            data = self._connection.try_read(self._stream, limit)
            if data is not None:
                self._ended = not data
                return data
            await self._connection.wait("readable", self._stream)
        return b""

    async def read_exactly(self, count: int) -> bytes:
        """Waits for exactly `count` bytes.

        Raises:
            EOFError: The stream ended before.
            StreamClosed: The peer reset the stream.
            ConnectionLost: The connection is gone.
        """
        parts: list[bytes] = []
        missing = count
        while missing:
            data = await self.read(missing)
            if not data:
                msg = f"the stream ended after {count - missing} of {count} bytes"
                raise EOFError(msg)
            parts.append(data)
            missing -= len(data)
        return b"".join(parts)

    async def read_to_end(self, limit: int) -> bytes:
        """Waits for all that the stream carries.

        Args:
            limit: More than so many bytes are an error: a peer may send without end.

        Raises:
            LimitExceeded: There are more than `limit` bytes.
            StreamClosed: The peer reset the stream.
            ConnectionLost: The connection is gone.
        """
        parts: list[bytes] = []
        size = 0
        while data := await self.read(min(_READ_SIZE, limit - size + 1)):
            size += len(data)
            if size > limit:
                what = "bytes of a stream that is read to its end"
                raise LimitExceeded(what, size, limit, "here", "read_to_end(limit)")
            parts.append(data)
        return b"".join(parts)

    def stop(self, code: int = 0) -> None:
        """Asks the peer to send no more.

        Args:
            code: The reason, for the peer.
        """
        self._ended = True
        self._connection.stop(self._stream, code)


class Connection:
    """One QUIC connection, raw."""

    _sending = SendStream
    _receiving = ReceiveStream

    def __init__(self, core: _core.Connection, owner: Any = None) -> None:
        self._core = core
        # Whoever must live as long as the connection, such as a client's endpoint.
        self._owner = owner

    @property
    def peer(self) -> Peer | None:
        """Who is at the other end; `None` for somebody who proved nothing."""
        return peer_of(self._core)

    @property
    def remote(self) -> SocketAddress | None:
        """The peer's address."""
        return address_of(self._core.remote)

    @property
    def protocol(self) -> str | None:
        """The protocol that was agreed (ALPN)."""
        return self._core.alpn

    @property
    def closed(self) -> JetStreamError | None:
        """Why the connection is gone; `None` while it is not."""
        return self._core.lost

    @property
    def statistics(self) -> Mapping[str, float]:
        """Figures about the way to the peer.

        ``rtt`` in seconds, datagrams ``sent`` and ``received``, packets ``lost``, and ``mtu``, the
        largest datagram in bytes.
        """
        return self._core.counters()

    async def open_bi(self) -> tuple[SendStream, ReceiveStream]:
        """Opens a bidirectional stream, waiting while the peer allows no more.

        Raises:
            ConnectionLost: The connection is gone.
        """
        stream = await self._open(bidirectional=True)
        return self._sending(self._core, stream), self._receiving(self._core, stream)

    async def open_uni(self) -> SendStream:
        """Opens a unidirectional stream, waiting while the peer allows no more.

        Raises:
            ConnectionLost: The connection is gone.
        """
        return self._sending(self._core, await self._open(bidirectional=False))

    async def _open(self, *, bidirectional: bool) -> int:
        while (stream := self._core.try_open(bidirectional)) is None:
            await self._core.wait("open_bi" if bidirectional else "open_uni")
        return stream

    async def accept_bi(self) -> tuple[SendStream, ReceiveStream]:
        """Waits for a bidirectional stream of the peer's.

        Raises:
            ConnectionLost: The connection is gone.
        """
        stream = await self._accept(bidirectional=True)
        return self._sending(self._core, stream), self._receiving(self._core, stream)

    async def accept_uni(self) -> ReceiveStream:
        """Waits for a unidirectional stream of the peer's.

        Raises:
            ConnectionLost: The connection is gone.
        """
        return self._receiving(self._core, await self._accept(bidirectional=False))

    async def _accept(self, *, bidirectional: bool) -> int:
        while (stream := self._core.try_accept(bidirectional)) is None:
            await self._core.wait("accept_bi" if bidirectional else "accept_uni")
        return stream

    @property
    def max_datagram_size(self) -> int | None:
        """The largest datagram that can be sent now, in bytes; `None` if the peer takes none."""
        return self._core.max_datagram_size()

    def send_datagram(self, data: bytes) -> None:
        """Sends a datagram (RFC 9221): at most once, in any order, or never.

        Raises:
            JetStreamError: It is too large, or the peer takes none.
            ConnectionLost: The connection is gone.
        """
        self._core.send_datagram(data)

    async def receive_datagram(self) -> bytes:
        """Waits for a datagram.

        Raises:
            ConnectionLost: The connection is gone.
        """
        while (data := self._core.try_receive_datagram()) is None:
            await self._core.wait("datagram")
        return data

    def close(self, code: int = 0, reason: str = "") -> None:
        """Closes the connection: everything on it ends now.

        Args:
            code: The reason, for the peer's program.
            reason: The reason, for the peer's people.
        """
        self._core.close(code, reason.encode())

    async def wait_closed(self) -> JetStreamError:
        """Waits until the connection is gone, and tells why."""
        return await self._core.wait("closed")

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


async def attend(
    core: _core.Connection, context: Context, work: Callable[[], Awaitable[object]]
) -> None:
    """Lets a handler of a raw connection work, and closes that when it has ended.

    Its failure is the log's business and nobody else's.
    """
    try:
        await work()
    except JetStreamError as error:
        _logging.server.info("%s: %s", context.remote, error)
    except Exception:
        _logging.server.exception("%s failed for %s", context.method, context.remote)
    finally:
        core.close(0, b"")
