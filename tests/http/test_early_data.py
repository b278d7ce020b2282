"""Requests in the first flight of HTTP/3, which may be copies (RFC 8470)."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from aioquic.asyncio.client import connect
from aioquic.h3.connection import H3_ALPN
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from jetstream.http import JetStreamContext

from tests.helpers import authority, run
from tests.http.h3_transport import Http3Protocol
from tests.http.serving import respond, server, tls

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aioquic.tls import SessionTicket
    from jetstream.http import HttpServer


async def app(scope: Any, receive: Any, send: Any) -> None:
    headers = dict(scope["headers"])
    told = {
        "method": scope["method"],
        "early-data": headers.get(b"early-data", b"").decode(),
        "early": JetStreamContext.from_scope(scope).early,
    }
    await respond(json.dumps(told).encode())(scope, receive, send)


class Visitor:
    """A client that comes back."""

    def __init__(self, running: HttpServer) -> None:
        self._port = running.address.port
        self.tickets: asyncio.Queue[SessionTicket] = asyncio.Queue()

    @asynccontextmanager
    async def visit(self, *, ticket: SessionTicket | None = None) -> AsyncGenerator[Http3Protocol]:
        """A connection; with a ticket it is handed out before the handshake begins to be done."""
        wanted = QuicConfiguration(
            alpn_protocols=H3_ALPN, server_name="127.0.0.1", session_ticket=ticket
        )
        wanted.load_verify_locations(cadata=authority().ca_pem)
        async with connect(
            "127.0.0.1",
            self._port,
            configuration=wanted,
            create_protocol=Http3Protocol,
            session_ticket_handler=self.tickets.put_nowait,
            wait_connected=ticket is None,
        ) as protocol:
            yield cast("Http3Protocol", protocol)


async def ask(protocol: Http3Protocol, method: bytes, *fields: tuple[bytes, bytes]) -> Any:
    """The status of an answer and what it says."""
    head = [(b":scheme", b"https"), (b":authority", b"127.0.0.1"), (b":path", b"/"), *fields]
    _, exchange = protocol.begin([(b":method", method), *head], ends=True)
    status, text, ended = 0, b"", False
    while not ended:
        event = await exchange.next()
        if isinstance(event, HeadersReceived):
            status, ended = int(dict(event.headers)[b":status"]), event.stream_ended
        elif isinstance(event, DataReceived):
            text, ended = text + event.data, event.stream_ended
    return status, json.loads(text) if status == 200 else text.decode()


def test_what_may_be_done_twice_is_done_early() -> None:
    async def main() -> None:
        async with server(app, tls=tls(), lifespan="off") as running:
            visitor = Visitor(running)
            async with visitor.visit() as protocol:
                assert await ask(protocol, b"GET") == (
                    200,
                    {"method": "GET", "early-data": "", "early": False},
                )
                ticket = await visitor.tickets.get()
            async with visitor.visit(ticket=ticket) as protocol:
                early = asyncio.ensure_future(ask(protocol, b"GET"))
                refused = asyncio.ensure_future(ask(protocol, b"POST"))
                assert await early == (
                    200,
                    {"method": "GET", "early-data": "1", "early": True},
                )
                assert await refused == (425, "Too Early")
                await protocol.done.wait()
                # RFC 8470, section 5.2: it comes again when the handshake is done.
                assert (await ask(protocol, b"POST"))[0] == 200

    run(main)


def test_what_a_client_says_of_its_early_data_is_not_believed() -> None:
    """It is this end that knows (RFC 8470, section 5.1)."""

    async def main() -> None:
        async with (
            server(app, tls=tls(), lifespan="off") as running,
            Visitor(running).visit() as protocol,
        ):
            status, told = await ask(protocol, b"GET", (b"early-data", b"1"))
            assert status == 200
            assert (told["early-data"], told["early"]) == ("", False)

    run(main)


def test_none_is_taken_where_it_is_off() -> None:
    async def main() -> None:
        async with server(app, tls=tls(early_data=False), lifespan="off") as running:
            visitor = Visitor(running)
            async with visitor.visit() as protocol:
                await ask(protocol, b"GET")
                ticket = await visitor.tickets.get()
                assert not ticket.max_early_data_size
            async with visitor.visit(ticket=ticket) as protocol:
                status, told = await ask(protocol, b"GET")
                assert (status, told["early"]) == (200, False)

    run(main)
