"""HTTP/3 for httpx, by aioquic: a client that shares nothing with the server but the RFCs."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, cast

import httpx
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, H3Event, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, QuicEvent, StreamReset

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aioquic.h3.connection import Headers

_NOT_IN_HTTP3 = {b"connection", b"keep-alive", b"transfer-encoding", b"host", b"upgrade"}
"""Fields of one connection, which httpx writes for HTTP/1.1 (RFC 9114, section 4.2)."""

_ROUND = 64 << 10
"""Bytes of a request's body that are written at once."""


class _Http(H3Connection):
    """HTTP/3 which knows that answers to HEAD have no body (RFC 9110, section 9.3.2)."""

    def __init__(self, quic: Any) -> None:
        super().__init__(quic)
        self.heads: set[int] = set()

    def _check_content_length(self, stream: Any) -> None:
        if stream.stream_id not in self.heads:
            super()._check_content_length(stream)


class _Exchange:
    """A request: what has come of its answer."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[H3Event | Exception] = asyncio.Queue()

    async def next(self) -> H3Event:
        event = await self.events.get()
        if isinstance(event, Exception):
            raise event
        return event


class Http3Protocol(QuicConnectionProtocol):
    """HTTP/3 on one connection."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.http = _Http(self._quic)
        self.exchanges: dict[int, _Exchange] = {}
        self.ended: Exception | None = None
        self.done = asyncio.Event()
        """Whether the handshake is."""

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, HandshakeCompleted):
            self.done.set()
        elif isinstance(event, ConnectionTerminated):
            self.ended = httpx.RemoteProtocolError(
                f"closed: {event.error_code:#x} {event.reason_phrase}"
            )
            for exchange in self.exchanges.values():
                exchange.events.put_nowait(self.ended)
        elif isinstance(event, StreamReset) and event.stream_id in self.exchanges:
            error = httpx.RemoteProtocolError(f"reset: {event.error_code:#x}")
            self.exchanges[event.stream_id].events.put_nowait(error)
        for told in self.http.handle_event(event):
            if isinstance(told, HeadersReceived | DataReceived):
                exchange = self.exchanges.get(told.stream_id)
                if exchange is not None:
                    exchange.events.put_nowait(told)

    def begin(self, headers: Headers, *, ends: bool) -> tuple[int, _Exchange]:
        if self.ended is not None:
            raise self.ended
        stream = self._quic.get_next_available_stream_id()
        exchange = self.exchanges[stream] = _Exchange()
        if (b":method", b"HEAD") in headers:
            self.http.heads.add(stream)
        self.http.send_headers(stream, headers, end_stream=ends)
        self.transmit()
        return stream, exchange

    def write(self, stream: int, data: bytes, *, ends: bool) -> None:
        self.http.send_data(stream, data, end_stream=ends)
        self.transmit()

    def give_up(self, stream: int) -> None:
        """Wants no more of an answer (RFC 9114, section 4.1.1)."""
        if self.exchanges.pop(stream, None) is not None and self.ended is None:
            # The server may have ended it meanwhile.
            with contextlib.suppress(ValueError):
                self._quic.stop_stream(stream, 0x010C)
                self.transmit()


class _Body(httpx.AsyncByteStream):
    def __init__(
        self, protocol: Http3Protocol, stream: int, exchange: _Exchange, whole: bool
    ) -> None:
        self._protocol, self._stream, self._exchange = protocol, stream, exchange
        self._whole = whole
        self.trailers: Headers = []

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while not self._whole:
            event = await self._exchange.next()
            if isinstance(event, DataReceived):
                self._whole = event.stream_ended
                if event.data:
                    yield event.data
            elif isinstance(event, HeadersReceived):
                self.trailers = event.headers
                self._whole = event.stream_ended

    async def aclose(self) -> None:
        if self._whole:
            self._protocol.exchanges.pop(self._stream, None)
        else:
            self._protocol.give_up(self._stream)


class Http3Transport(httpx.AsyncBaseTransport):
    """One connection to one server.

    Args:
        authority: Certificates that are trusted, as PEM.
        identity: A certificate chain and a key, as PEM.
    """

    def __init__(self, authority: bytes, identity: tuple[bytes, bytes] | None = None) -> None:
        self._configuration = QuicConfiguration(alpn_protocols=H3_ALPN, is_client=True)
        self._configuration.load_verify_locations(cadata=authority)
        if identity is not None:
            from cryptography import x509
            from cryptography.hazmat.primitives.serialization import load_pem_private_key

            chain = x509.load_pem_x509_certificates(identity[0])
            self._configuration.certificate = chain[0]
            self._configuration.certificate_chain = chain[1:]
            self._configuration.private_key = cast("Any", load_pem_private_key(identity[1], None))
        self._stack = AsyncExitStack()
        self._protocol: Http3Protocol | None = None
        self._connecting = asyncio.Lock()
        self.interim: list[tuple[int, dict[str, str]]] = []
        """Interim answers that came."""

    async def _connected(self, host: str, port: int) -> Http3Protocol:
        async with self._connecting:
            if self._protocol is None or self._protocol.ended is not None:
                self._configuration.server_name = host
                try:
                    opened = connect(
                        host, port, configuration=self._configuration, create_protocol=Http3Protocol
                    )
                    self._protocol = cast(
                        "Http3Protocol", await self._stack.enter_async_context(opened)
                    )
                except (ConnectionError, ssl.SSLError) as error:
                    raise httpx.ConnectError(str(error)) from error
            return self._protocol

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        protocol = await self._connected(url.host, url.port or 443)
        authority = request.headers.get("host", url.netloc.decode()).encode()
        headers = [
            (b":method", request.method.encode()),
            (b":scheme", b"https"),
            (b":authority", authority),
            (b":path", url.raw_path),
        ]
        headers += [
            (name.lower(), value)
            for name, value in request.headers.raw
            if name.lower() not in _NOT_IN_HTTP3
        ]
        sent = request.headers.get("content-length", "0") != "0"
        sent = sent or "transfer-encoding" in request.headers
        stream, exchange = protocol.begin(headers, ends=not sent)
        sending = asyncio.ensure_future(_send(protocol, stream, request)) if sent else None
        while True:
            event = await exchange.next()
            if not isinstance(event, HeadersReceived):
                continue
            status = int(dict(event.headers)[b":status"])
            fields = [(n, v) for n, v in event.headers if not n.startswith(b":")]
            if status >= 200:
                break
            self.interim.append((status, {n.decode(): v.decode() for n, v in fields}))
        if sending is not None:
            sending.add_done_callback(lambda task: task.cancelled() or task.exception())
        body = _Body(protocol, stream, exchange, event.stream_ended)
        return httpx.Response(
            status,
            headers=fields,
            stream=body,
            extensions={"http_version": b"HTTP/3", "body": body},
        )

    async def aclose(self) -> None:
        if self._protocol is not None:
            self._protocol.close(0x0100)
        await self._stack.aclose()


async def _send(protocol: Http3Protocol, stream: int, request: httpx.Request) -> None:
    assert isinstance(request.stream, httpx.AsyncByteStream)
    async for piece in request.stream:
        for at in range(0, len(piece), _ROUND):
            protocol.write(stream, piece[at : at + _ROUND], ends=False)
            # So that what comes is read meanwhile.
            await asyncio.sleep(0)
    protocol.write(stream, b"", ends=True)
