"""aioquic's client of WebTransport, which nobody here wrote, with what its tests need around it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import (
    DatagramReceived,
    DataReceived,
    HeadersReceived,
    WebTransportStreamDataReceived,
)
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

from tests.helpers import PATIENCE, authority

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from jetstream import Server
    from jetstream.http import HttpServer

T = TypeVar("T")


class Browser(QuicConnectionProtocol):
    """One connection of HTTP/3, on which sessions are opened beside requests."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic, enable_webtransport=True)
        self.headers: dict[int, dict[bytes, bytes]] = {}
        self.bodies: defaultdict[int, bytearray] = defaultdict(bytearray)
        """What came of requests; of sessions, their capsules."""
        self.data: defaultdict[int, bytearray] = defaultdict(bytearray)
        """What came on streams of sessions."""
        self.owners: dict[int, int] = {}
        """The session of each of those."""
        self.ended: set[int] = set()
        self.resets: dict[int, int] = {}
        self.stops: dict[int, int] = {}
        self.datagrams: defaultdict[int, list[bytes]] = defaultdict(list)
        self.closed: events.ConnectionTerminated | None = None
        self._news = asyncio.Event()
        self._own: set[int] = set()
        self._host = ""

    def aim(self, host: str) -> None:
        """What requests are made to."""
        self._host = host

    # ---- acting ----

    def request(self, path: str = "/", method: str = "GET", end: bool = True, **more: str) -> int:
        """Asks for something."""
        stream = self._quic.get_next_available_stream_id()
        fields = {":method": method, ":scheme": "https", ":authority": self._host, ":path": path}
        named = fields | {(f":{k}" if k == "protocol" else k): v for k, v in more.items()}
        ordered = sorted(named.items(), key=lambda field: not field[0].startswith(":"))
        lines = [(name.encode(), value.encode()) for name, value in ordered]
        self.http.send_headers(stream, lines, end_stream=end)
        self.transmit()
        return stream

    def ask(self, path: str = "/", **more: str) -> int:
        """Asks for a session."""
        fields = {"protocol": "webtransport", "sec-webtransport-http3-draft02": "1"} | more
        return self.request(path, "CONNECT", False, **fields)

    def open(self, session: int, data: bytes = b"", *, uni: bool = False, end: bool = False) -> int:
        """Opens a stream of a session."""
        stream: int = self.http.create_webtransport_stream(session, is_unidirectional=uni)
        self._own.add(stream)
        self.write(stream, data, end=end)
        return stream

    def write(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Writes to a stream."""
        self._quic.send_stream_data(stream, data, end)
        self.transmit()

    def reset(self, stream: int, code: int) -> None:
        """Breaks a stream off."""
        self._quic.reset_stream(stream, code)
        self.transmit()

    def datagram(self, session: int, data: bytes) -> None:
        """Sends a datagram of a session."""
        self.http.send_datagram(session, data)
        self.transmit()

    def capsule(self, session: int, data: bytes, *, end: bool = False) -> None:
        """Says something of a session."""
        self.http.send_data(session, data, end)
        self.transmit()

    # ---- waiting ----

    async def until(self, probe: Callable[[], T | None]) -> T:
        """Waits until `probe` gives something."""
        async with asyncio.timeout(PATIENCE):
            while (found := probe()) is None:
                assert self.closed is None, self.closed
                self._news.clear()
                await self._news.wait()
        return found

    async def status(self, stream: int) -> int:
        """What a request is answered with."""
        fields = await self.until(lambda: self.headers.get(stream))
        return int(fields[b":status"])

    async def session(self, path: str = "/", **more: str) -> int:
        """A session that is accepted."""
        stream = self.ask(path, **more)
        assert await self.status(stream) == 200
        return stream

    async def get(self, path: str = "/") -> bytes:
        """The whole answer to a request."""
        stream = self.request(path)
        await self.finished(stream)
        assert self.headers[stream][b":status"] == b"200"
        return bytes(self.bodies[stream])

    async def finished(self, stream: int) -> None:
        """Waits until the server has said all on a stream."""
        await self.until(lambda: stream in self.ended or None)

    async def read(self, stream: int, count: int) -> bytes:
        """So many bytes of a stream of a session, which are taken."""
        data = self.data[stream]
        await self.until(lambda: len(data) >= count or None)
        taken = bytes(data[:count])
        del data[:count]
        return taken

    async def opened(self, session: int, known: int = 0) -> int:
        """A stream that the server has opened on a session, after so many others."""

        def probe() -> int | None:
            found = [each for each, its in self.owners.items() if its == session and each & 1]
            return found[known] if len(found) > known else None

        return await self.until(probe)

    # ---- what comes ----

    def quic_event_received(self, event: events.QuicEvent) -> None:
        if isinstance(event, events.ConnectionTerminated):
            self.closed = event
        elif isinstance(event, events.StreamReset):
            self.resets[event.stream_id] = event.error_code
        elif isinstance(event, events.StopSendingReceived):
            self.stops[event.stream_id] = event.error_code
        if isinstance(event, events.StreamDataReceived) and event.stream_id in self._own:
            # aioquic (1.7) takes what comes back on these for frames of HTTP/3.
            self.data[event.stream_id] += event.data
            self._end(event.stream_id, event.end_stream)
            self._news.set()
            return
        for found in self.http.handle_event(event):
            if isinstance(found, HeadersReceived):
                self.headers[found.stream_id] = dict(found.headers)
                self._end(found.stream_id, found.stream_ended)
            elif isinstance(found, DataReceived):
                self.bodies[found.stream_id] += found.data
                self._end(found.stream_id, found.stream_ended)
            elif isinstance(found, WebTransportStreamDataReceived):
                self.owners[found.stream_id] = found.session_id
                self.data[found.stream_id] += found.data
                self._end(found.stream_id, found.stream_ended)
            elif isinstance(found, DatagramReceived):
                self.datagrams[found.stream_id].append(found.data)
        self._news.set()

    def _end(self, stream: int, ended: bool) -> None:
        if ended:
            self.ended.add(stream)


@asynccontextmanager
async def browser(server: Server | HttpServer, **options: Any) -> AsyncGenerator[Browser]:
    """A connection to a server."""
    configuration = QuicConfiguration(
        is_client=True,
        alpn_protocols=["h3"],
        server_name="localhost",
        max_datagram_frame_size=65_536,
        **options,
    )
    configuration.load_verify_locations(cadata=authority().ca_pem)
    loop = asyncio.get_running_loop()
    _, peer = await loop.create_datagram_endpoint(
        lambda: Browser(QuicConnection(configuration=configuration)), local_addr=("127.0.0.1", 0)
    )
    address = server.address
    peer.aim(str(address))
    try:
        peer.connect((str(address.ip), address.port))
        async with asyncio.timeout(PATIENCE):
            await peer.wait_connected()
            while peer.http.received_settings is None:
                peer._news.clear()
                await peer._news.wait()
        yield peer
    finally:
        if peer.closed is None:
            peer.close()
        if peer._timer is not None:
            peer._timer.cancel()
        if peer._transmit_task is not None:
            peer._transmit_task.cancel()
        if peer._transport is not None:
            peer._transport.close()
