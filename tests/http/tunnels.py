"""WebSockets in streams of HTTP/2 (RFC 8441, by h2) and of HTTP/3 (RFC 9220, by aioquic), and in
connections of HTTP/1.1.

Frames are those of `websockets`; nothing here is ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Any, TypeAlias

import h2.config
import h2.connection
import h2.events
from aioquic.asyncio.client import connect as connect_quic
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamReset
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, Side, State

from tests.helpers import authority
from tests.http.serving import ssl_context

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from jetstream.http import HttpServer

Headers: TypeAlias = "Sequence[tuple[str, str]]"

ENABLE_CONNECT_PROTOCOL = 0x8
"""The setting of both RFCs."""

GOAWAY = 0x7

VERSIONS = {"h2": "2", "h3": "3"}


class Stream:
    """One request and its answer, of a connection of either kind."""

    def __init__(self, connection: Connection, number: int) -> None:
        loop = asyncio.get_running_loop()
        self.number = number
        self.head: asyncio.Future[dict[str, str]] = loop.create_future()
        self.ended: asyncio.Future[int | None] = loop.create_future()
        """`None` if it was ended, and with what it was reset otherwise."""
        self._connection = connection
        self._data: asyncio.Queue[bytes] = asyncio.Queue()

    async def send(self, data: bytes, *, end: bool = False) -> None:
        await self._connection.send(self.number, data, end=end)

    def reset(self) -> None:
        self._connection.reset(self.number)

    async def data(self) -> bytes:
        """The next piece; none at the end."""
        return await self._data.get()

    async def rest(self) -> bytes:
        """All that comes until the end."""
        pieces = []
        while piece := await self.data():
            pieces.append(piece)
        return b"".join(pieces)

    # ---- what the connection hears ----

    def on_head(self, fields: Any) -> None:
        if not self.head.done():
            self.head.set_result({name.decode(): value.decode() for name, value in fields})

    def on_data(self, data: bytes) -> None:
        if data:
            self._data.put_nowait(data)

    def on_end(self, reset: int | None = None) -> None:
        if not self.ended.done():
            self.ended.set_result(reset)
            self._data.put_nowait(b"")
        if not self.head.done():
            self.head.set_exception(ConnectionResetError(f"reset with {reset}"))


class Connection:
    """A connection of either kind."""

    def __init__(self) -> None:
        self.streams: dict[int, Stream] = {}
        self.is_over = asyncio.Event()

    async def settings(self) -> dict[int, int]:
        """Those of the server."""
        raise NotImplementedError

    def begin(self, headers: Headers, *, end: bool) -> int:
        raise NotImplementedError

    async def send(self, number: int, data: bytes, *, end: bool) -> None:
        raise NotImplementedError

    def reset(self, number: int) -> None:
        raise NotImplementedError

    def sent(self, number: int) -> int:
        """Bytes that the server has let us send on a stream."""
        raise NotImplementedError

    def abort(self) -> None:
        """Ends the connection, and all that is on it."""
        raise NotImplementedError

    def hold(self) -> None:
        """Takes nothing more of what the server sends."""
        raise NotImplementedError

    def go_on(self) -> None:
        """Takes it again."""
        raise NotImplementedError

    async def heard(self) -> None:
        """Until the server has heard what was sent: what was sent before a request is."""
        await self.get("/heard").ended

    def request(self, headers: Headers, *, end: bool = True) -> Stream:
        number = self.begin(headers, end=end)
        self.streams[number] = Stream(self, number)
        return self.streams[number]

    def get(self, path: str = "/") -> Stream:
        pseudo = {":method": "GET", ":scheme": "https", ":authority": "localhost", ":path": path}
        return self.request(list(pseudo.items()))

    def tunnel(
        self,
        path: str = "/",
        headers: Headers = (),
        *,
        protocol: str = "websocket",
        version: str = "13",
    ) -> Stream:
        """Asks for one by an extended CONNECT."""
        pseudo = [
            *((":method", "CONNECT"), (":protocol", protocol), (":scheme", "https")),
            *((":authority", "localhost"), (":path", path)),
        ]
        asked = [*pseudo, ("sec-websocket-version", version), *headers]
        return self.request(asked, end=False)

    async def websocket(self, path: str = "/", headers: Headers = ()) -> WebSocket:
        """One that is taken."""
        stream = self.tunnel(path, headers)
        head = await stream.head
        assert head[":status"] == "200", head
        return WebSocket(stream)

    def on_over(self) -> None:
        self.is_over.set()
        for stream in self.streams.values():
            stream.on_end(-1)


# ---- HTTP/1.1 ----


class Http1(Connection):
    """One that is a WebSocket's, or none's."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__()
        self._reader, self._writer = reader, writer
        self._asked = asyncio.Event()

    async def read(self) -> None:
        """Hears the server until it ends."""
        how = -1
        await self._asked.wait()
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            status, *lines = (await self._reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[:-2]
            code = status.split()[1]
            pairs = [line.split(b": ", 1) for line in lines]
            # As the other versions have it.
            fields = [(b":status", b"200" if code == b"101" else code), *map(tuple, pairs)]
            self.streams[0].on_head(fields)
            while data := await self._reader.read(1 << 16):
                self.streams[0].on_data(data)
            how = 0
        self.is_over.set()
        for stream in self.streams.values():
            stream.on_end(how or None)

    def begin(self, headers: Headers, *, end: bool) -> int:
        fields = dict(headers)
        own = [(name, value) for name, value in headers if name[0] != ":"]
        own += [("host", "localhost"), ("connection", "upgrade"), ("upgrade", "websocket")]
        own += [("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")]
        lines = [f"GET {fields[':path']} HTTP/1.1", *(": ".join(each) for each in own), "", ""]
        self._writer.write("\r\n".join(lines).encode())
        self._asked.set()
        return 0

    async def send(self, number: int, data: bytes, *, end: bool) -> None:
        self._writer.write(data)
        if end:
            self._writer.write_eof()
        await self._writer.drain()

    def reset(self, number: int) -> None:
        self.abort()

    def abort(self) -> None:
        self._asked.set()
        self._writer.transport.abort()

    def hold(self) -> None:
        transport: Any = self._writer.transport
        transport.pause_reading()

    def go_on(self) -> None:
        transport: Any = self._writer.transport
        transport.resume_reading()

    async def heard(self) -> None:
        """It has no other requests."""


# ---- HTTP/2 ----


class Http2(Connection):
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__()
        self._reader, self._writer = reader, writer
        configuration = h2.config.H2Configuration(client_side=True, header_encoding=None)
        self._h2 = h2.connection.H2Connection(configuration)
        self._h2.initiate_connection()
        # Enough for big messages.
        self._h2.increment_flow_control_window(1 << 24)
        self._has_settings = asyncio.Event()
        self._has_room = asyncio.Event()
        self._sent: dict[int, int] = {}
        self._buffer = b""
        self.held: list[tuple[int, int]] | None = None
        """What was not acknowledged, while nothing is: sizes and streams."""
        self.goaways: list[int] = []
        """Why, each time."""
        self._flush()

    def _flush(self) -> None:
        self._writer.write(self._h2.data_to_send())

    async def read(self) -> None:
        """Hears the server until it ends."""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while data := await self._reader.read(1 << 16):
                for event in self._h2.receive_data(self._without_goaway(data)):
                    self._hear(event)
                self._flush()
        self.on_over()

    def _without_goaway(self, data: bytes) -> bytes:
        """Whole frames but GOAWAY: behind one, h2 has no streams any more, and we do."""
        self._buffer += data
        taken, at = [], 0
        while at + 9 <= len(self._buffer):
            end = at + 9 + int.from_bytes(self._buffer[at : at + 3], "big")
            if end > len(self._buffer):
                break
            if self._buffer[at + 3] == GOAWAY:
                self.goaways.append(int.from_bytes(self._buffer[at + 13 : at + 17], "big"))
            else:
                taken.append(self._buffer[at:end])
            at = end
        self._buffer = self._buffer[at:]
        return b"".join(taken)

    def _hear(self, event: Any) -> None:
        stream = self.streams.get(getattr(event, "stream_id", None) or 0)
        match event:
            case h2.events.RemoteSettingsChanged():
                self._has_settings.set()
                self._has_room.set()
            case h2.events.WindowUpdated():
                self._has_room.set()
            case h2.events.ResponseReceived() if stream is not None:
                stream.on_head(event.headers)
            case h2.events.DataReceived() if stream is not None:
                stream.on_data(event.data or b"")
                size = event.flow_controlled_length or 0
                if self.held is None:
                    self._h2.acknowledge_received_data(size, stream.number)
                else:
                    self.held.append((size, stream.number))
            case h2.events.StreamEnded() if stream is not None:
                stream.on_end()
            case h2.events.StreamReset() if stream is not None:
                stream.on_end(int(event.error_code or 0))
                self._has_room.set()
            case _:
                pass

    async def settings(self) -> dict[int, int]:
        await self._has_settings.wait()
        return {int(name): value for name, value in self._h2.remote_settings.items()}

    def begin(self, headers: Headers, *, end: bool) -> int:
        number = self._h2.get_next_available_stream_id()
        self._h2.send_headers(number, headers, end_stream=end)
        self._flush()
        return number

    async def send(self, number: int, data: bytes, *, end: bool) -> None:
        left = memoryview(data)
        while left:
            size = min(self._h2.local_flow_control_window(number), self._h2.max_outbound_frame_size)
            if size <= 0:
                self._has_room.clear()
                await self._has_room.wait()
                continue
            self._h2.send_data(number, bytes(left[:size]))
            self._sent[number] = self._sent.get(number, 0) + len(left[:size])
            left = left[size:]
            self._flush()
        if end:
            self._h2.end_stream(number)
            self._flush()

    def sent(self, number: int) -> int:
        return self._sent.get(number, 0)

    def reset(self, number: int) -> None:
        self._h2.reset_stream(number, 0x8)
        self._flush()

    def abort(self) -> None:
        self._writer.transport.abort()

    def hold(self) -> None:
        self.held = []

    def go_on(self) -> None:
        self.take_held()
        self.held = None

    def take_held(self) -> None:
        """Takes what has come, and nothing more."""
        held, self.held = self.held or [], []
        for size, number in held:
            if not self.streams[number].ended.done():
                self._h2.acknowledge_received_data(size, number)
        self._flush()


# ---- HTTP/3 ----


class Quic(QuicConnectionProtocol):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.http3 = Http3(self)

    def quic_event_received(self, event: Any) -> None:
        self.http3.hear(event)


class Http3(Connection):
    def __init__(self, quic: Quic) -> None:
        super().__init__()
        self._quic = quic
        self._h3 = H3Connection(quic._quic)
        self._has_settings = asyncio.Event()

    def hear(self, event: Any) -> None:
        match event:
            case StreamReset() if (stream := self.streams.get(event.stream_id)) is not None:
                stream.on_end(event.error_code)
                return
            case ConnectionTerminated():
                self.on_over()
                return
            case _:
                pass
        for told in self._h3.handle_event(event):
            stream = self.streams.get(getattr(told, "stream_id", -1))
            if stream is None:
                continue
            match told:
                case HeadersReceived():
                    stream.on_head(told.headers)
                case DataReceived():
                    stream.on_data(told.data)
                case _:
                    continue
            if told.stream_ended:
                stream.on_end()
        if self._h3.received_settings is not None:
            self._has_settings.set()

    async def settings(self) -> dict[int, int]:
        await self._has_settings.wait()
        return {int(name): value for name, value in (self._h3.received_settings or {}).items()}

    def begin(self, headers: Headers, *, end: bool) -> int:
        number: int = self._quic._quic.get_next_available_stream_id()
        fields = [(name.encode(), value.encode()) for name, value in headers]
        self._h3.send_headers(number, fields, end_stream=end)
        self._quic.transmit()
        return number

    async def send(self, number: int, data: bytes, *, end: bool) -> None:
        self._h3.send_data(number, data, end_stream=end)
        self._quic.transmit()

    def sent(self, number: int) -> int:
        return self._quic._quic._streams[number].sender.highest_offset

    def reset(self, number: int) -> None:
        self._quic._quic.reset_stream(number, 0x10C)
        self._quic._quic.stop_stream(number, 0x10C)
        self._quic.transmit()

    def abort(self) -> None:
        self._quic.close(error_code=0x100)

    def hold(self) -> None:
        # What the windows are raised with.
        quic: Any = self._quic._quic
        quic._write_stream_limits = quic._write_connection_limits = lambda *_, **__: None

    def go_on(self) -> None:
        quic: Any = self._quic._quic
        del quic._write_stream_limits, quic._write_connection_limits
        self._quic.transmit()


@contextlib.asynccontextmanager
async def connected(version: str, server: HttpServer) -> AsyncGenerator[Connection]:
    """A connection to a server."""
    address = server.tcp_address
    assert address is not None
    if version == "h3":
        configuration = QuicConfiguration(
            alpn_protocols=["h3"], cadata=authority().ca_pem, server_name="localhost"
        )
        async with connect_quic(
            str(address.ip), address.port, configuration=configuration, create_protocol=Quic
        ) as quic:
            assert isinstance(quic, Quic)
            yield quic.http3
        return
    connection: Http1 | Http2
    if version == "h1":
        reader, writer = await asyncio.open_connection(str(address.ip), address.port)
        connection = Http1(reader, writer)
    else:
        context = ssl_context()
        context.set_alpn_protocols(["h2"])
        reader, writer = await asyncio.open_connection(
            str(address.ip), address.port, ssl=context, server_hostname="localhost"
        )
        connection = Http2(reader, writer)
    reading = asyncio.ensure_future(connection.read())
    try:
        yield connection
    finally:
        connection.abort()
        await reading


# ---- WebSockets ----


class WebSocket:
    """One in a stream, with the frames of `websockets`."""

    def __init__(self, stream: Stream, extensions: Any = ()) -> None:
        self.stream = stream
        self.protocol = Protocol(Side.CLIENT, state=State.OPEN, max_size=None)
        self.protocol.extensions = list(extensions)
        self._heard: list[Frame] = []

    async def _flush(self) -> None:
        for data in self.protocol.data_to_send():
            # A server that fails it does not wait for an answer.
            if not self.stream.ended.done():
                await self.stream.send(data, end=not data)

    async def send(self, message: str | bytes) -> None:
        if isinstance(message, str):
            self.protocol.send_text(message.encode())
        else:
            self.protocol.send_binary(message)
        await self._flush()

    async def send_pieces(self, *pieces: bytes) -> None:
        """One message in so many frames."""
        first, *rest = pieces
        self.protocol.send_binary(first, fin=False)
        for number, piece in enumerate(rest, 1):
            self.protocol.send_continuation(piece, fin=number == len(rest))
        await self._flush()

    async def ping(self, data: bytes) -> None:
        self.protocol.send_ping(data)
        await self._flush()

    async def close(self, code: int | None, reason: str = "") -> None:
        self.protocol.send_close(code, reason)
        await self._flush()

    async def frame(self) -> Frame | None:
        """The next one; `None` at the end of the stream."""
        while not self._heard:
            data = await self.stream.data()
            if not data:
                return None
            self.protocol.receive_data(data)
            events = self.protocol.events_received()
            self._heard += [each for each in events if isinstance(each, Frame)]
            await self._flush()
        return self._heard.pop(0)

    async def recv(self) -> str | bytes:
        """The next message."""
        pieces: list[bytes] = []
        kind = None
        while True:
            frame = await self.frame()
            assert frame is not None, "the stream has ended"
            assert frame.opcode is not Opcode.CLOSE, Close.parse(frame.data)
            if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                kind = kind or frame.opcode
                pieces.append(bytes(frame.data))
                if frame.fin:
                    whole = b"".join(pieces)
                    return whole.decode() if kind is Opcode.TEXT else whole

    async def closed(self) -> tuple[int, str]:
        """How the server closes it; it then ends the stream, too."""
        while (frame := await self.frame()) is not None:
            if frame.opcode is Opcode.CLOSE:
                close = Close.parse(frame.data)
                assert await self.stream.ended is None
                return close.code, close.reason
        raise AssertionError("the stream ended without a close")
