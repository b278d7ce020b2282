"""A client of HTTP/3 whose bytes are made by hand, on the QUIC of aioquic.

A `Peer` writes what it is told, however wrong that is, and waits for what the server does: an
answer, the end of a stream, or that of the connection.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

import pylsqpack
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

from tests.helpers import PATIENCE, authority

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from jetstream.http import HttpServer

T = TypeVar("T")

# Frame types (RFC 9114, section 11.2.1; RFC 9218, section 7.2).
DATA, HEADERS, CANCEL_PUSH, SETTINGS, PUSH_PROMISE, GOAWAY, MAX_PUSH_ID = 0, 1, 3, 4, 5, 7, 13
PRIORITY_UPDATE, PRIORITY_UPDATE_PUSH = 0xF0700, 0xF0701

# Types of unidirectional streams (RFC 9114, section 6.2; RFC 9204, section 4.2).
CONTROL, PUSH, ENCODER, DECODER = 0, 1, 2, 3

# Error codes (RFC 9114, section 8.1; RFC 9204, section 6; RFC 9297, section 5.2).
DATAGRAM_ERROR = 0x33
NO_ERROR = 0x100
STREAM_CREATION_ERROR = 0x103
CLOSED_CRITICAL_STREAM = 0x104
FRAME_UNEXPECTED = 0x105
FRAME_ERROR = 0x106
EXCESSIVE_LOAD = 0x107
ID_ERROR = 0x108
SETTINGS_ERROR = 0x109
MISSING_SETTINGS = 0x10A
REQUEST_REJECTED = 0x10B
REQUEST_CANCELLED = 0x10C
REQUEST_INCOMPLETE = 0x10D
MESSAGE_ERROR = 0x10E
DECOMPRESSION_FAILED = 0x200
ENCODER_STREAM_ERROR = 0x201
DECODER_STREAM_ERROR = 0x202


# ---- bytes ----


def varint(value: int) -> bytes:
    """An integer of QUIC (RFC 9000, section 16), as short as it can be."""
    for size, mark in ((1, 0), (2, 1), (4, 2), (8, 3)):
        if value < 1 << (8 * size - 2):
            return (value | mark << (8 * size - 2)).to_bytes(size, "big")
    raise ValueError(value)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The integer at `at`, and where it ends; an `IndexError` if it goes on behind `data`."""
    size = 1 << (data[at] >> 6)
    if at + size > len(data):
        raise IndexError
    return int.from_bytes(data[at : at + size], "big") & ((1 << (8 * size - 2)) - 1), at + size


def frame(kind: int, payload: bytes = b"") -> bytes:
    """A whole frame."""
    return varint(kind) + varint(len(payload)) + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, b"".join(varint(number) for pair in pairs for number in pair))


def prefixed(value: int, bits: int, pattern: int = 0) -> bytes:
    """An integer of QPACK (RFC 9204, section 4.1.1) behind the upper bits of `pattern`."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([pattern | value])
    out = bytearray([pattern | most])
    value -= most
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def line(name: bytes, value: bytes) -> bytes:
    """A field line with a literal name (RFC 9204, section 4.5.6)."""
    return prefixed(len(name), 3, 0x20) + name + prefixed(len(value), 7) + value


def section(*fields: tuple[bytes, bytes]) -> bytes:
    """A field section without a dynamic table."""
    return b"\0\0" + b"".join(line(name, value) for name, value in fields)


def headers(*fields: tuple[bytes, bytes]) -> bytes:
    """A HEADERS frame."""
    return frame(HEADERS, section(*fields))


def request(
    *fields: tuple[bytes, bytes], method: bytes = b"GET", path: bytes = b"/"
) -> tuple[tuple[bytes, bytes], ...]:
    """The fields of an ordinary request, and more."""
    control = ((b":method", method), (b":scheme", b"https"), (b":path", path))
    return (*control, (b":authority", b"localhost"), *fields)


# ---- what comes back ----


@dataclass
class Received:
    """What came of one stream."""

    data: bytearray = field(default_factory=bytearray)
    ended: bool = False
    reset: int | None = None
    stopped: int | None = None


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    fields: dict[bytes, bytes]
    body: bytes


@dataclass(frozen=True)
class Failed:
    """A stream, or the whole connection, was given up."""

    code: int
    of_connection: bool

    def __repr__(self) -> str:
        return f"{'connection' if self.of_connection else 'stream'} error {self.code:#x}"


class Closed(Exception):  # noqa: N818
    """The server closed the connection while something else was waited for."""


class Peer(QuicConnectionProtocol):
    """One connection to a server."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.streams: dict[int, Received] = {}
        self.closed: events.ConnectionTerminated | None = None
        self._news = asyncio.Event()
        self._pings = count()
        self._pongs: set[int] = set()
        self._decoder = pylsqpack.Decoder(0, 0)

    # ---- acting ----

    def open(self, data: bytes = b"", *, end: bool = False) -> int:
        """Opens a request's stream and writes to it."""
        return self._opened(data, end=end, uni=False)

    def open_uni(self, data: bytes = b"", *, end: bool = False) -> int:
        """Opens a unidirectional stream and writes to it."""
        return self._opened(data, end=end, uni=True)

    def _opened(self, data: bytes, *, end: bool, uni: bool) -> int:
        stream: int = self._quic.get_next_available_stream_id(is_unidirectional=uni)
        self.write(stream, data, end=end)
        return stream

    def write(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Writes, and perhaps ends our side."""
        self._quic.send_stream_data(stream, data, end)
        self.transmit()

    def reset(self, stream: int, code: int = REQUEST_CANCELLED) -> None:
        """Breaks our side of a stream off."""
        self._quic.reset_stream(stream, code)
        self.transmit()

    def stop(self, stream: int, code: int = REQUEST_CANCELLED) -> None:
        """Asks the server to break its side off."""
        self._quic.stop_stream(stream, code)
        self.transmit()

    def datagram(self, data: bytes) -> None:
        """Sends a datagram."""
        self._quic.send_datagram_frame(data)
        self.transmit()

    def begin(self, more: bytes = b"") -> int:
        """Opens our control stream: empty SETTINGS, and what follows them."""
        return self.open_uni(varint(CONTROL) + settings() + more)

    # ---- waiting ----

    async def until(self, probe: Callable[[], T | None]) -> T:
        """Waits until `probe` gives something, which is looked for whenever something came.

        Raises:
            Closed: The connection has ended before.
        """
        async with asyncio.timeout(PATIENCE):
            while (found := probe()) is None:
                if self.closed is not None:
                    told = f"{self.closed.error_code:#x} {self.closed.reason_phrase}"
                    raise Closed(told)
                self._news.clear()
                await self._news.wait()
        return found

    def received(self, stream: int) -> Received:
        """What has come of a stream."""
        return self.streams.setdefault(stream, Received())

    async def answer(self, stream: int) -> Answer:
        """A whole answer."""
        outcome = await self.outcome(stream)
        assert isinstance(outcome, Answer), outcome
        return outcome

    async def outcome(self, stream: int | None) -> Answer | Failed:
        """What becomes of a request: its answer, or that it or the connection is given up."""

        def probe() -> Answer | Failed | None:
            if self.closed is not None:
                assert self.closed.frame_type is None, f"closed by the transport: {self.closed}"
                return Failed(self.closed.error_code, of_connection=True)
            if stream is None:
                return None
            received = self.received(stream)
            if received.reset is not None:
                return Failed(received.reset, of_connection=False)
            return self._whole(stream, received) if received.ended else None

        return await self.until(probe)

    async def close_code(self) -> int:
        """The code with which the server closes the connection."""
        failed = await self.outcome(None)
        assert isinstance(failed, Failed)
        return failed.code

    async def stopped(self, stream: int) -> int:
        """The code with which the server wants no more of a stream."""
        return await self.until(lambda: self.received(stream).stopped)

    async def get(self, path: bytes = b"/") -> Answer:
        """A request that is as it should be."""
        return await self.answer(self.open(headers(*request(path=path)), end=True))

    async def turn(self) -> None:
        """Waits until the server has seen all that was sent; nothing if it has closed."""
        number = next(self._pings)
        self._quic.send_ping(number)
        self.transmit()
        with suppress(Closed):
            await self.until(lambda: number in self._pongs or None)
            self._pongs.remove(number)

    def _whole(self, stream: int, received: Received) -> Answer:
        status, fields, body = 0, {}, b""
        for kind, payload in frames(bytes(received.data)):
            if kind == HEADERS:
                lines = self._decoder.feed_header(stream, payload)[1]
                if status < 200:
                    fields = dict(lines)
                    status = int(fields[b":status"])
            elif kind == DATA:
                body += payload
        return Answer(status, fields, body)

    # ---- what QUIC tells ----

    def datagram_received(self, data: Any, addr: Any) -> None:
        super().datagram_received(data, addr)
        # It is told only when the connection has drained.
        if self.closed is None and self._quic._close_event is not None:
            self.closed = self._quic._close_event
            self._news.set()

    def quic_event_received(self, event: events.QuicEvent) -> None:
        if isinstance(event, events.StreamDataReceived):
            received = self.received(event.stream_id)
            received.data += event.data
            received.ended |= event.end_stream
        elif isinstance(event, events.StreamReset):
            self.received(event.stream_id).reset = event.error_code
        elif isinstance(event, events.StopSendingReceived):
            self.received(event.stream_id).stopped = event.error_code
        elif isinstance(event, events.PingAcknowledged):
            self._pongs.add(event.uid)
        elif isinstance(event, events.ConnectionTerminated):
            self.closed = self.closed or event
        self._news.set()

    def abandon(self) -> None:
        """Leaves without waiting for anything."""
        if self.closed is None:
            self.close(NO_ERROR)
        if self._timer is not None:
            self._timer.cancel()
        if self._transmit_task is not None:
            self._transmit_task.cancel()
        if self._transport is not None:
            self._transport.close()


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """The whole frames at the beginning of `data`."""
    found, at = [], 0
    try:
        while at < len(data):
            kind, begin = read_varint(data, at)
            length, begin = read_varint(data, begin)
            if begin + length > len(data):
                break
            found.append((kind, data[begin : begin + length]))
            at = begin + length
    except IndexError:
        pass
    return found


@asynccontextmanager
async def attached(server: HttpServer, **options: Any) -> AsyncGenerator[Peer]:
    """A connection to a server, over which nothing has been said.

    Args:
        server: The server.
        **options: For `QuicConfiguration`.
    """
    address = server.tcp_address
    options.setdefault("max_datagram_frame_size", 65_536)
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=["h3"], server_name="localhost", **options
    )
    configuration.load_verify_locations(cadata=authority().ca_pem)
    loop = asyncio.get_running_loop()
    _, peer = await loop.create_datagram_endpoint(
        lambda: Peer(QuicConnection(configuration=configuration)), local_addr=("127.0.0.1", 0)
    )
    try:
        peer.connect((str(address.ip), address.port))
        async with asyncio.timeout(PATIENCE):
            await peer.wait_connected()
        yield peer
    finally:
        peer.abandon()
