"""Too much of everything over HTTP/2, and requests of HTTP/1.1 that others may read otherwise.

The frames are made by hand, as no client makes them. More of the same is in `rust/net/src/http`.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.helpers import PATIENCE, run
from tests.hostile.web import over_tcp, under_attack
from tests.http.serving import ssl_context

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    import httpx
    from jetstream.http import HttpServer

    from tests.hostile.web import Attacked

# RFC 9113, sections 6 and 7.
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0,
    1,
    3,
    4,
    6,
    7,
    8,
    9,
)
END_STREAM, END_HEADERS = 1, 4
ENHANCE_YOUR_CALM = 11

STREAMS = 100
"""`Limits.http_streams`, by default."""


@asynccontextmanager
async def connection(
    server: HttpServer, version: str
) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection over TLS on which bytes are written by hand."""
    context = ssl_context()
    context.set_alpn_protocols([version])
    address = server.tcp_address
    reader, writer = await asyncio.open_connection(
        str(address.ip), address.port, ssl=context, server_hostname="localhost"
    )
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


# ---- HTTP/2 ----


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """One frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def head(path: str = "/get", method: int = 0x82) -> bytes:
    """The fields of a request (RFC 7541, appendix A)."""
    literal = bytes([0x04, len(path)]) + path.encode()
    return bytes([method, 0x87]) + literal + b"\x41\x09localhost"


def get(stream: int, path: str = "/get") -> bytes:
    """A whole request."""
    return frame(HEADERS, END_STREAM | END_HEADERS, stream, head(path))


def post(stream: int, path: str = "/post") -> bytes:
    """A request whose content follows."""
    return frame(HEADERS, END_HEADERS, stream, head(path, 0x83))


class Two:
    """A client of HTTP/2 that has begun."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.goaway: int | None = None
        self.ended = False
        self._reading = asyncio.ensure_future(self._read(reader))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                begun = await reader.readexactly(9)
                payload = await reader.readexactly(int.from_bytes(begun[:3], "big"))
                if begun[3] == GOAWAY:
                    self.goaway = int.from_bytes(payload[4:8], "big")
        self.ended = True

    def stop_reading(self) -> None:
        self._reading.cancel()

    async def write(self, data: bytes) -> None:
        """Writes, if somebody still reads."""
        with contextlib.suppress(OSError):
            self.writer.write(data)
            await self.writer.drain()

    async def flood(
        self, more: Callable[[int], bytes], bystander: httpx.AsyncClient, rounds: int = 2000
    ) -> int | None:
        """Does it again and again until the server has had enough: why."""
        for number in range(rounds):
            await self.write(more(number))
            assert (await bystander.get("/well")).text == "/well"
            if self.ended or self.goaway is not None:
                return self.goaway
        raise AssertionError("it goes on for ever")


@asynccontextmanager
async def two(attacked: Attacked, settings: bytes = b"") -> AsyncGenerator[Two]:
    async with connection(attacked.server, "h2") as (reader, writer):
        client = Two(reader, writer)
        await client.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, payload=settings))
        try:
            yield client
        finally:
            client.stop_reading()


def opened(number: int, count: int) -> range:
    """The streams of one round."""
    return range(2 * count * number + 1, 2 * count * (number + 1) + 1, 2)


def rapid_reset(number: int) -> bytes:
    cancel = struct.pack(">I", 8)
    streams = opened(number, 50)
    return b"".join(get(each, "/wait") + frame(RST_STREAM, 0, each, cancel) for each in streams)


def made_you_reset(number: int) -> bytes:
    """A window that grows too far is a mistake for which the server resets the stream."""
    grown = b"\x7f\xff\xff\xff"
    streams = opened(number, 20)
    return b"".join(get(each, "/wait") + frame(WINDOW_UPDATE, 0, each, grown) for each in streams)


@pytest.mark.parametrize("reset", [rapid_reset, made_you_reset])
def test_streams_of_http2_that_are_reset_at_once(reset: Callable[[int], bytes]) -> None:
    """Rapid Reset (CVE-2023-44487) and MadeYouReset (CVE-2025-8671)."""

    async def main() -> None:
        async with (
            under_attack() as attacked,
            over_tcp("h2", attacked) as bystander,
            two(attacked) as client,
        ):
            assert await client.flood(reset, bystander) == ENHANCE_YOUR_CALM
            assert attacked.site.most <= STREAMS + 1
            await attacked.settled()

    run(main)


def field() -> bytes:
    """A literal one that is not to be remembered."""
    return b"\x10\x01x\x64" + b"y" * 100


@pytest.mark.parametrize(
    "more",
    [
        frame(CONTINUATION, 0, 1, field() * 100),
        frame(CONTINUATION, 0, 1) * 100,
        frame(CONTINUATION, 0, 1, b"\x82") * 100,
    ],
    ids=["large", "empty", "of one byte"],
)
def test_heads_of_http2_without_end(more: bytes) -> None:
    """CONTINUATION flood (RUSTSEC-2024-0332)."""

    async def main() -> None:
        async with (
            under_attack(slack=16 << 20) as attacked,
            over_tcp("h2", attacked) as bystander,
            two(attacked) as client,
        ):
            await client.write(frame(HEADERS, END_STREAM, 1, head()))
            assert await client.flood(lambda _: more, bystander)
            assert "/get" not in attacked.site.whole

    run(main)


def test_bombs_of_fields_over_http2() -> None:
    """A large entry of the table that is named by one byte, as often as a frame holds (HPACK)."""

    async def main() -> None:
        async with (
            under_attack(slack=16 << 20) as attacked,
            over_tcp("h2", attacked) as bystander,
            two(attacked) as client,
        ):
            # 4,000 bytes that are remembered: the first of the dynamic table, which is 62.
            entry = b"\x40\x01x\x7f" + bytes([(4000 - 127) % 128 | 0x80, (4000 - 127) // 128])
            first = frame(HEADERS, END_STREAM | END_HEADERS, 1, head("/b") + entry + b"y" * 4000)
            await client.write(first)
            for stream in range(3, 203, 2):
                bomb = head("/b") + b"\xbe" * 16_000
                await client.write(frame(HEADERS, END_STREAM | END_HEADERS, stream, bomb))
                assert (await bystander.get("/well")).text == "/well"
            await attacked.settled()
            assert attacked.site.whole.count("/b") == 1

    run(main)


def test_small_frames_of_bodies_of_http2_that_nobody_reads() -> None:
    """One byte in each, as far as the windows allow: they cost no more than in large frames."""

    async def main() -> None:
        async with (
            under_attack(slack=16 << 20) as attacked,
            over_tcp("h2", attacked) as bystander,
            two(attacked) as client,
        ):
            small = 6000
            for stream in range(1, 2 * STREAMS, 2):
                await client.write(post(stream, "/unread") + frame(DATA, 0, stream, b"x") * small)
                assert (await bystander.get("/well")).text == "/well"
            async with asyncio.timeout(PATIENCE):
                while attacked.site.running < STREAMS:
                    await attacked.unharmed()
            assert client.goaway is None
            assert not client.ended

    run(main)


def test_empty_frames_of_a_body_of_http2() -> None:
    """RUSTSEC-2026-0258."""

    async def main() -> None:
        async with (
            under_attack(slack=16 << 20) as attacked,
            over_tcp("h2", attacked) as bystander,
            two(attacked) as client,
        ):
            await client.write(post(1))
            empty = frame(DATA, 0, 1) * 500
            assert await client.flood(lambda _: empty, bystander) == ENHANCE_YOUR_CALM
            await attacked.settled()

    run(main)


@pytest.mark.parametrize(
    "more",
    [frame(PING, payload=bytes(8)), frame(SETTINGS, payload=b"\0\x04\0\x01\0\0")],
    ids=["ping", "settings"],
)
def test_pings_and_settings_of_http2_without_end(more: bytes) -> None:
    """Each is answered, and nobody takes the answers."""

    async def main() -> None:
        async with (
            under_attack(slack=24 << 20) as attacked,
            over_tcp("h2", attacked) as bystander,
            two(attacked) as client,
        ):
            client.stop_reading()
            client.writer.transport.set_write_buffer_limits(high=64 << 10)
            many = more * 1000
            written = 0

            async def write() -> None:
                nonlocal written
                while written < 256 << 20:
                    client.writer.write(many)
                    await client.writer.drain()
                    written += len(many)

            writing = asyncio.ensure_future(write())
            for _ in range(200):
                assert (await bystander.get("/well")).text == "/well"
            assert written > 0
            writing.cancel()
            await asyncio.wait([writing])
            assert writing.cancelled() or isinstance(writing.exception(), OSError), written

    run(main)


@pytest.mark.parametrize("version", ["h2", "http/1.1"])
def test_a_client_over_tcp_that_never_reads(version: str) -> None:
    async def main() -> None:
        async with (
            under_attack(slack=64 << 20) as attacked,
            over_tcp("h2", attacked) as bystander,
        ):
            if version == "h2":
                # It allows as much as can be allowed.
                async with two(attacked, b"\0\x04\x7f\xff\xff\xff") as client:
                    client.stop_reading()
                    grown = frame(WINDOW_UPDATE, payload=struct.pack(">I", 0x7FFF0000))
                    asked = [get(2 * each + 1, "/endless") for each in range(STREAMS)]
                    await client.write(grown + b"".join(asked))
                    await never_reads(attacked, bystander, STREAMS)
            else:
                async with connection(attacked.server, version) as (_, writer):
                    writer.write(b"GET /endless HTTP/1.1\r\nhost: localhost\r\n\r\n" * 10)
                    await never_reads(attacked, bystander, 1)
            await attacked.settled()

    run(main)


async def never_reads(attacked: Attacked, bystander: httpx.AsyncClient, requests: int) -> None:
    """Answers without end are held up, each at its limit."""
    site = attacked.site
    async with asyncio.timeout(PATIENCE):
        while site.whole.count("/endless") < requests:
            assert (await bystander.get("/well")).text == "/well"
        before = -1
        while before != site.given:
            before = site.given
            for _ in range(20):
                assert (await bystander.get("/well")).text == "/well"
    # What one answer may have unsent, and what the system takes of a connection.
    assert site.given <= requests * (512 << 10) + (16 << 20)


# ---- HTTP/1.1 ----


SMUGGLED = "GET /smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n"


async def said(attacked: Attacked, request: str) -> list[int]:
    """The status of each answer to these bytes, until the server ends the connection."""
    async with connection(attacked.server, "http/1.1") as (reader, writer):
        writer.write(request.encode("latin-1"))
        got = b""
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(OSError):
                while data := await reader.read(65_536):
                    got += data
    parts = got.split(b"HTTP/1.1 ")[1:]
    return [int(part[:3]) for part in parts]


@pytest.mark.parametrize(
    "fields",
    [
        "content-length: 3\r\ncontent-length: 4\r\n\r\nabc",
        "content-length: 3, 4\r\n\r\nabc",
        "content-length: +3\r\n\r\nabc",
        "content-length: -3\r\n\r\nabc",
        "content-length: 0x3\r\n\r\nabc",
        "content-length: 3 3\r\n\r\nabc",
        "content-length: 99999999999999999999\r\n\r\nabc",
        "content-length : 3\r\n\r\nabc",
        " content-length: 3\r\n\r\nabc",
        "content-length:\r\n 3\r\n\r\nabc",
        "content-length\0: 3\r\n\r\nabc",
        "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
        "transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding\t: chunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: \0chunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked\rx: y\r\n\r\n0\r\n\r\n",
        "host: other\r\n\r\n",
        "na(me: a\r\n\r\n",
        "x: a\0b\r\n\r\n",
        "x: a\rb\r\n\r\n",
    ],
    ids=repr,
)
def test_requests_of_http1_that_others_may_read_otherwise(fields: str) -> None:
    """Smuggling by TE and CL (RFC 9112, section 11.2): refused, and nothing behind it is read."""

    async def main() -> None:
        async with under_attack() as attacked, over_tcp("https", attacked):
            request = f"POST /first HTTP/1.1\r\nhost: localhost\r\n{fields}"
            assert await said(attacked, request + SMUGGLED) == [400]
            assert not {"/first", "/smuggled"} & set(attacked.site.whole)

    run(main)


@pytest.mark.parametrize(
    "chunks",
    [
        "x\r\nabc\r\n",
        "3\r\nabcd\r\n",
        "-1\r\nabc\r\n",
        "+3\r\nabc\r\n",
        "0x3\r\nabc\r\n",
        "fffffffffffffffff\r\nabc\r\n",
        "3;\n\r\nabc\r\n",
        "3\rabc\r\n",
        "\r\n3\r\nabc\r\n",
    ],
    ids=repr,
)
def test_chunks_of_http1_that_others_may_read_otherwise(chunks: str) -> None:
    async def main() -> None:
        async with under_attack() as attacked, over_tcp("https", attacked):
            begun = "POST /first HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
            statuses = await said(attacked, begun + chunks + "0\r\n\r\n" + SMUGGLED)
            assert statuses in ([], [400])
            assert not {"/first", "/smuggled"} & set(attacked.site.whole)
            await attacked.settled()

    run(main)


@pytest.mark.parametrize(
    ("first", "statuses"),
    [
        # As it should be: what follows is the next request.
        ("1.1\r\nhost: localhost\r\ncontent-length: 3\r\n\r\nabc", [200, 200]),
        ("1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", [200, 200]),
        # RFC 9112, section 6.3: chunked overrides, and the connection ends.
        (
            "1.1\r\nhost: localhost\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n"
            "0\r\n\r\n",
            [200],
        ),
        (
            "1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\ncontent-length: 60\r\n\r\n"
            "0\r\n\r\n",
            [200],
        ),
    ],
    ids=["length", "chunked", "both", "both, the other way round"],
)
def test_a_length_beside_chunks_ends_the_connection(first: str, statuses: list[int]) -> None:
    async def main() -> None:
        async with under_attack() as attacked, over_tcp("https", attacked):
            last = SMUGGLED.replace("\r\nhost", "\r\nconnection: close\r\nhost")
            assert await said(attacked, f"POST /first HTTP/{first}{last}") == statuses
            seen = attacked.site.whole.count("/first"), attacked.site.whole.count("/smuggled")
            assert seen == (1, len(statuses) - 1)

    run(main)


@pytest.mark.parametrize(
    ("begins", "more"),
    [
        ("x: ", "y" * 10_000),
        ("x: y\r\n", "x: y\r\n" * 1000),
        ("transfer-encoding: chunked\r\n\r\n1;", "x=y;" * 1000),
        ("transfer-encoding: chunked\r\n\r\n0\r\n", "x: y\r\n" * 1000),
        ("transfer-encoding: chunked\r\n\r\n0\r\nx: ", "y" * 10_000),
    ],
    ids=["a field", "fields", "an extension of a chunk", "trailers", "a trailer"],
)
def test_requests_of_http1_without_end(begins: str, more: str) -> None:
    async def main() -> None:
        async with (
            under_attack(slack=16 << 20) as attacked,
            over_tcp("https", attacked) as bystander,
            connection(attacked.server, "http/1.1") as (reader, writer),
        ):
            writer.write(f"POST /first HTTP/1.1\r\nhost: localhost\r\n{begins}".encode())
            reading = asyncio.ensure_future(reader.read())
            for _ in range(2000):
                with contextlib.suppress(OSError):
                    writer.write(more.encode())
                    await writer.drain()
                assert (await bystander.get("/well")).text == "/well"
                if reading.done():
                    break
            assert reading.done(), "it goes on for ever"
            assert isinstance(reading.exception(), OSError) or reading.result()[:10] in (
                b"",
                b"HTTP/1.1 4",
            )
            assert "/first" not in attacked.site.whole
            await attacked.settled()

    run(main)


def test_chunks_of_http_1_0_are_faulty() -> None:
    """RFC 9112, section 6.1: whoever says 1.0 has no transfer codings."""

    async def main() -> None:
        async with under_attack() as attacked, over_tcp("https", attacked):
            fields = "host: localhost\r\nconnection: keep-alive\r\ntransfer-encoding: chunked"
            request = f"POST /first HTTP/1.0\r\n{fields}\r\n\r\n0\r\n\r\n"
            assert len(await said(attacked, request + SMUGGLED)) <= 1
            assert "/smuggled" not in attacked.site.whole

    run(main)
