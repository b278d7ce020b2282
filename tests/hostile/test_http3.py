"""Too much of everything over HTTP/3; what is simply wrong is in `tests/http/test_h3_rules.py`."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from jetstream import Limits

from tests.helpers import PATIENCE, run
from tests.hostile.web import Attacked, under_attack
from tests.http.raw_h3 import (
    CONTROL,
    DATA,
    DECODER,
    ENCODER,
    EXCESSIVE_LOAD,
    GOAWAY,
    HEADERS,
    MAX_PUSH_ID,
    MESSAGE_ERROR,
    NO_ERROR,
    PRIORITY_UPDATE,
    REQUEST_CANCELLED,
    REQUEST_REJECTED,
    SETTINGS,
    Failed,
    attached,
    frame,
    headers,
    line,
    prefixed,
    request,
    section,
    settings,
    varint,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.http.raw_h3 import Peer

STREAMS = 100
"""`Limits.http_streams`, by default."""

GET = headers(*request(path=b"/get"))
WAIT = headers(*request(path=b"/wait"))
POST = headers(*request(method=b"POST", path=b"/post"))


# ---- requests that are taken back ----


def resets(peer: Peer) -> None:
    peer.reset(peer.open(POST))


def resets_behind_content(peer: Peer) -> None:
    peer.reset(peer.open(POST + frame(DATA, b"x")))


def resets_before_a_head(peer: Peer) -> None:
    peer.reset(peer.open(POST[:-1]))


def stops(peer: Peer) -> None:
    peer.stop(peer.open(WAIT, end=True))


def stops_and_resets(peer: Peer) -> None:
    opened = peer.open(POST)
    peer.stop(opened)
    peer.reset(opened)


@pytest.mark.parametrize(
    "take_back", [resets, resets_behind_content, resets_before_a_head, stops, stops_and_resets]
)
def test_requests_that_are_taken_back_at_once(take_back: Callable[[Peer], None]) -> None:
    """Rapid Reset (CVE-2023-44487)."""

    async def main() -> None:
        async with under_attack() as attacked, attached(attacked.server) as peer:
            peer.begin()

            def more(_: int) -> None:
                for _ in range(20):
                    take_back(peer)

            assert await attacked.flood(peer, more) == EXCESSIVE_LOAD
            assert attacked.site.most <= STREAMS + 1
            await attacked.settled()

    run(main)


@pytest.mark.parametrize(
    ("wrong", "fails"),
    [
        (headers(*request((b"Upper", b"1"))), MESSAGE_ERROR),
        (headers(*request((b"content-length", b"5"), method=b"POST")), MESSAGE_ERROR),
        (
            headers(*request((b"content-length", b"5"), method=b"POST")) + frame(DATA, b"x"),
            MESSAGE_ERROR,
        ),
        (POST + frame(DATA, b"x") + headers((b":path", b"/")), MESSAGE_ERROR),
        (POST + headers((b"x", b"y" * 70_000)), EXCESSIVE_LOAD),
    ],
    ids=["head", "less content", "some content", "trailers", "large trailers"],
)
def test_streams_that_the_server_is_made_to_reset(wrong: bytes, fails: int) -> None:
    """MadeYouReset (CVE-2025-8671)."""

    async def main() -> None:
        async with under_attack() as attacked, attached(attacked.server) as peer:
            peer.begin()
            failed = await peer.outcome(peer.open(wrong, end=True))
            assert failed == Failed(fails, of_connection=False)
            code = await attacked.flood(
                peer, lambda _: [peer.open(wrong, end=True) for _ in range(20)]
            )
            assert code == EXCESSIVE_LOAD
            assert attacked.site.most <= STREAMS + 1
            await attacked.settled()

    run(main)


@pytest.mark.slow
def test_handlers_of_clients_that_leave_are_counted() -> None:
    """Whoever comes again and again has no more of them than all who stay."""
    limits = Limits(max_connections=12, http_streams=10)

    async def main() -> None:
        async with under_attack(limits=limits) as attacked:
            late = headers(*request(path=b"/late"))
            refused = 0
            for _ in range(20):
                before = attacked.site.running
                try:
                    async with attached(attacked.server) as peer:
                        for _ in range(limits.http_streams):
                            peer.open(late, end=True)
                        while attacked.site.running < before + limits.http_streams:
                            await attacked.unharmed()
                except ConnectionError:
                    refused += 1
                async with asyncio.timeout(PATIENCE):
                    while attacked.server.connections > 1:
                        await attacked.unharmed()
            assert attacked.site.most <= limits.max_connections + limits.http_streams
            assert refused >= 15
            attacked.site.go.set()
            await attacked.settled()

    run(main)


# ---- frames and streams that bring nothing ----


@pytest.mark.parametrize(
    "nothing",
    [
        frame(DATA),
        frame(0x21),
        frame(0x21, b"x"),
    ],
    ids=["empty data", "empty unknown frames", "unknown frames"],
)
def test_frames_of_a_request_that_bring_nothing(nothing: bytes) -> None:
    async def main() -> None:
        async with under_attack() as attacked, attached(attacked.server) as peer:
            peer.begin()
            opened = peer.open(POST)
            code = await attacked.flood(peer, lambda _: peer.write(opened, nothing * 100))
            assert code == EXCESSIVE_LOAD
            await attacked.settled()

    run(main)


@pytest.mark.parametrize(
    ("kind", "nothing"),
    [
        (CONTROL, lambda _: frame(0x21)),
        (CONTROL, lambda _: frame(PRIORITY_UPDATE, varint(0) + b"u=1")),
        (CONTROL, lambda number: frame(PRIORITY_UPDATE, varint(4 * number) + b"u=1, i")),
        (CONTROL, lambda number: frame(PRIORITY_UPDATE, varint((1 << 62) - 4 * number - 4))),
        (CONTROL, lambda _: frame(GOAWAY, b"\0")),
        (CONTROL, lambda number: frame(MAX_PUSH_ID, varint(number))),
        (ENCODER, lambda _: b"\x20"),
        (DECODER, lambda number: prefixed(4 * number, 6, 0x40)),
    ],
    ids=[
        "unknown frames",
        "priorities of one request",
        "priorities of requests to come",
        "priorities of requests that cannot come",
        "goaway",
        "max_push_id",
        "capacities",
        "cancelled streams",
    ],
)
def test_what_is_said_of_the_connection_and_brings_nothing(
    kind: int, nothing: Callable[[int], bytes]
) -> None:
    async def main() -> None:
        async with under_attack() as attacked, attached(attacked.server) as peer:
            begun = peer.begin()
            said = begun if kind == CONTROL else peer.open_uni(varint(kind))

            def more(number: int) -> None:
                numbers = range(100 * number, 100 * number + 100)
                peer.write(said, b"".join(nothing(each) for each in numbers))

            assert await attacked.flood(peer, more) == EXCESSIVE_LOAD

    run(main)


@pytest.mark.parametrize("end", [True, False], ids=["which end", "which stay"])
def test_streams_of_unknown_types_without_end(end: bool) -> None:
    async def main() -> None:
        async with under_attack() as attacked, attached(attacked.server) as peer:
            peer.begin()

            def more(number: int) -> None:
                for each in range(10):
                    peer.open_uni(varint(0x21 + 0x1F * (10 * number + each)) + b"x", end=end)

            if end:
                assert await attacked.flood(peer, more) == EXCESSIVE_LOAD
                return
            # Nobody reads them, and QUIC lets no more be opened than there may be.
            for number in range(50):
                more(number)
                await peer.turn()
            await attacked.unharmed()
            assert peer.closed is None
            assert (await peer.get()).status == 200

    run(main)


@pytest.mark.parametrize(
    "said",
    [
        varint(SETTINGS) + varint((1 << 62) - 1),
        varint(SETTINGS) + varint(1 << 32) + b"\x06\x01",
        settings(*[(0x100 + number, 1) for number in range(10_000)]),
    ],
    ids=["2^62 bytes", "4 GiB", "10,000 of them"],
)
def test_settings_without_end(said: bytes) -> None:
    async def main() -> None:
        async with under_attack(slack=16 << 20) as attacked, attached(attacked.server) as peer:
            peer.open_uni(varint(CONTROL) + said)
            assert await peer.close_code() == EXCESSIVE_LOAD
            await attacked.unharmed()

    run(main)


def test_datagrams_without_end_for_nobody() -> None:
    async def main() -> None:
        async with under_attack() as attacked, attached(attacked.server) as peer:
            peer.begin()
            opened = peer.open(WAIT, end=True)
            for _ in range(50):
                for _ in range(100):
                    peer.datagram(varint(opened // 4) + bytes(1000))
                await peer.turn()
                await attacked.unharmed()
            assert (await peer.get()).status == 200

    run(main)


# ---- heads ----


def test_heads_of_endless_length() -> None:
    """They are refused by what they declare (h3 0.0.8 keeps all that comes)."""

    async def main() -> None:
        async with under_attack(slack=16 << 20) as attacked, attached(attacked.server) as peer:
            peer.begin()
            for length in ((64 << 10) + 1, 1 << 32, (1 << 62) - 1):
                opened = peer.open(varint(HEADERS) + varint(length))
                assert (await peer.answer(opened)).status == 431
                assert await peer.stopped(opened) == NO_ERROR
                opened = peer.open(POST + varint(HEADERS) + varint(length))
                assert await peer.outcome(opened) == Failed(EXCESSIVE_LOAD, of_connection=False)
            assert (await peer.get()).status == 200
            assert attacked.site.whole.count("/post") == 0

    run(main)


def test_heads_that_are_never_whole() -> None:
    """Each of as many requests as there may be holds nearly what one may; and all are given up."""
    limits = Limits(http_head_timeout=1.0)

    async def main() -> None:
        async with (
            under_attack(limits=limits, slack=48 << 20) as attacked,
            attached(attacked.server) as peer,
        ):
            peer.begin()
            most = 64 << 10
            begun = varint(HEADERS) + varint(most) + section(*request())
            opened = [peer.open(begun + bytes(most - 1000)) for _ in range(STREAMS)]
            await attacked.unharmed()
            for each in opened:
                rejected = await attacked.meanwhile(peer.outcome(each))
                assert rejected == Failed(REQUEST_REJECTED, of_connection=False)
            assert (await peer.get()).status == 200

    # Sooner than by default.
    run(main, patience=8)


@pytest.mark.parametrize("data", [GET, GET[:1]], ids=["a head", "one byte and no more"])
def test_requests_that_come_byte_by_byte(data: bytes) -> None:
    """Slowloris."""
    limits = Limits(http_head_timeout=0.3)

    async def main() -> None:
        async with (
            under_attack(limits=limits) as attacked,
            attached(attacked.server) as peer,
        ):
            peer.begin()
            opened = peer.open(data[:1])
            at = 1
            while peer.received(opened).reset is None:
                # Never the last byte of it.
                if at < len(data) - 1 and peer.received(opened).stopped is None:
                    peer.write(opened, data[at : at + 1])
                    at += 1
                await peer.turn()
                await attacked.unharmed()
            rejected = Failed(REQUEST_REJECTED, of_connection=False)
            assert await peer.outcome(opened) == rejected
            assert (await peer.get()).status == 200

    run(main, patience=8)


def test_connections_that_ask_for_nothing() -> None:
    limits = Limits(http_keep_alive=0.3)

    async def main() -> None:
        async with under_attack(limits=limits) as attacked:
            async with attached(attacked.server) as silent, attached(attacked.server) as begun:
                begun.begin()
                for peer in (silent, begun):
                    assert await peer.close_code() == NO_ERROR
            # The bystander has been silent too, meanwhile.
            await attacked.renew()

    run(main)


def bombs() -> list[bytes]:
    """Sections that are small and say much, or say nothing very often."""
    good = section(*request())
    return [
        # One byte each: the longest entry of the static table, and the shortest.
        good + prefixed(85, 6, 0xC0) * 20_000,
        good + prefixed(0, 6, 0xC0) * 60_000,
        # Fields that are empty.
        good + line(b"x", b"") * 20_000,
        # Huffman codes of 5 bits.
        good + b"\x21x" + prefixed(60_000, 7, 0x80) + bytes([0b00101_001, 0b01_00101_0] * 30_000),
        good + b"\x21x\x01y" * 10_000,
    ]


@pytest.mark.parametrize("bomb", bombs(), ids=["long", "short", "empty", "huffman", "many"])
def test_bombs_of_fields(bomb: bytes) -> None:
    """Header-count bombs (CVE-2026-49975), QPACK and trailer bombs (CVE-2025-64702)."""

    async def main() -> None:
        async with under_attack(slack=24 << 20) as attacked, attached(attacked.server) as peer:
            peer.begin()
            large = Failed(EXCESSIVE_LOAD, of_connection=False)
            for _ in range(20):
                opened = peer.open(frame(HEADERS, bomb), end=True)
                assert (await peer.answer(opened)).status == 431
                trailers = b"\0\0" + bomb[len(section(*request())) :]
                opened = peer.open(POST + frame(HEADERS, trailers), end=True)
                assert await peer.outcome(opened) == large
                await attacked.unharmed()
            assert not [path for path in attacked.site.whole if path != "/well"]
            assert (await peer.get()).status == 200

    run(main)


# ---- who does not read ----


def deaf(peer: Peer) -> None:
    """From now on it grants nothing."""
    peer._quic._write_stream_limits = lambda **_: None  # type: ignore[method-assign]
    peer._quic._write_connection_limits = lambda **_: None  # type: ignore[method-assign]


@pytest.mark.parametrize("window", [0, 16 << 10], ids=["no window", "a small one"])
def test_a_client_of_http3_that_never_reads(window: int) -> None:
    limits = Limits(http_keep_alive=1.0, http_unsent=256 << 10)

    async def main() -> None:
        async with under_attack(limits=limits, slack=64 << 20) as attacked:
            async with attached(attacked.server, max_stream_data=max(window, 1)) as peer:
                deaf(peer)
                peer.begin()
                endless = headers(*request(path=b"/endless"))
                opened = [peer.open(endless, end=True) for _ in range(STREAMS)]
                while attacked.site.whole.count("/endless") < STREAMS:
                    await attacked.unharmed()
                # What nobody takes is broken off in time, and its handlers end.
                for each in opened:
                    failed = await attacked.meanwhile(peer.outcome(each))
                    assert failed == Failed(REQUEST_CANCELLED, of_connection=False)
                await attacked.settled()
            most = limits.http_unsent + window + (128 << 10)
            assert attacked.site.given <= STREAMS * most

    run(main)


def test_bodies_that_no_application_reads() -> None:
    async def main() -> None:
        async with under_attack(slack=64 << 20) as attacked, attached(attacked.server) as peer:
            peer.begin()
            unread = headers(*request(method=b"POST", path=b"/unread"))
            body = frame(DATA, bytes(1 << 20))
            for _ in range(20):
                peer.open(unread + body)
                await peer.turn()
                await attacked.unharmed()
            # As much as may be sent ahead of the applications, and nothing for the rest.
            sent = peer._quic._remote_max_data
            assert sent <= 16 << 20, f"{sent} bytes may be sent to those who do not read"

    run(main)


@pytest.mark.parametrize("path", [b"/unread", b"/post"])
def test_tiny_frames_of_many_bodies(path: bytes) -> None:
    """Three bytes for one of content: what is kept of them is content, and not frames."""

    async def main() -> None:
        async with under_attack(slack=48 << 20) as attacked, attached(attacked.server) as peer:
            peer.begin()
            tiny = frame(DATA, b"x") * 40_000
            head = headers(*request(method=b"POST", path=path))
            for _ in range(STREAMS // 2):
                peer.open(head + tiny, end=path == b"/post")
                await peer.turn()
                await attacked.unharmed()
            if path == b"/post":
                await attacked.settled()
                assert attacked.site.whole.count("/post") == STREAMS // 2
            assert (await peer.get()).status == 200

    run(main)


def test_a_client_that_takes_no_fields() -> None:
    """Its answers cannot be sent, which is no one else's affair."""

    async def main() -> None:
        async with under_attack() as attacked, attached(attacked.server) as peer:
            peer.open_uni(varint(CONTROL) + settings((0x06, 0)))
            await peer.turn()
            large = varint(HEADERS) + varint(1 << 40)
            many = headers(*request(*[(b"x", b"")] * 101))
            for asked, code in ((GET, 0x102), (large, EXCESSIVE_LOAD), (many, 0x102)) * 5:
                outcome = await peer.outcome(peer.open(asked, end=asked != large))
                assert outcome == Failed(code, of_connection=False)
                await attacked.unharmed()

    run(main)


# ---- WebSockets ----


def message(kind: int, payload: bytes, *, whole: bool = True) -> bytes:
    """A frame of a WebSocket (RFC 6455, section 5.2) whose mask changes nothing."""
    size = len(payload)
    short = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([kind | whole << 7]) + short + bytes(4) + payload


async def tunnel(peer: Peer) -> int:
    """A WebSocket (RFC 9220)."""
    asked = request((b"sec-websocket-version", b"13"), method=b"CONNECT", path=b"/talk")
    opened = peer.open(headers((b":protocol", b"websocket"), *asked))
    await peer.until(lambda: peer.received(opened).data or None)
    return opened


@pytest.mark.parametrize(
    "data",
    [
        message(9, b"x" * 100) * 1000,
        message(1, b"y" * 60_000),
        message(1, b"z" * 60_000, whole=False) + message(0, b"z" * 60_000, whole=False) * 10,
        message(1, b"", whole=False) + message(0, b"", whole=False) * 10_000,
        b"\x82\xff" + (1 << 62).to_bytes(8, "big") + bytes(60_000),
    ],
    ids=["pings", "messages", "large messages", "empty parts of messages", "endless messages"],
)
def test_websockets_of_clients_that_never_read(data: bytes) -> None:
    limits = Limits(websocket_message=256 << 10, http_keep_alive=1.0)

    async def main() -> None:
        async with under_attack(limits=limits) as attacked, attached(attacked.server) as peer:
            peer.begin()
            opened = await tunnel(peer)
            deaf(peer)
            written = 0
            received = peer.received(opened)
            with suppress(RuntimeError):
                while received.stopped is None and received.reset is None:
                    if written < 64 << 20:
                        peer.write(opened, frame(DATA, data))
                        written += len(data)
                    await peer.turn()
                    await attacked.unharmed()
            await attacked.settled()

    run(main)


# ---- noise ----


async def say_something(attacked: Attacked, source: random.Random) -> None:
    """A connection on which streams carry what might be frames."""
    async with attached(attacked.server) as peer:
        if source.random() < 0.7:
            peer.begin()
        for _ in range(source.randrange(1, 8)):
            data = bytearray()
            for _ in range(source.randrange(6)):
                kind = source.choice([0, 0, 1, 1, 3, 4, 5, 7, 13, 0x21, source.randrange(1 << 20)])
                payload = source.choice([b"", section(*request()), b"abc", source.randbytes(20)])
                data += frame(kind, payload)
            for _ in range(source.randrange(3)):
                if data:
                    data[source.randrange(len(data))] = source.randrange(256)
            if source.random() < 0.3:
                peer.open_uni(varint(source.randrange(5)) + data, end=source.random() < 0.2)
            else:
                opened = peer.open(bytes(data), end=source.random() < 0.7)
                if source.random() < 0.2:
                    peer.reset(opened, source.randrange(1 << 16))
                if source.random() < 0.2:
                    peer.stop(opened, source.randrange(1 << 16))
        await peer.turn()
        if peer.closed is not None:
            assert peer.closed.frame_type is None, peer.closed


@pytest.mark.parametrize("seed", range(3))
def test_frames_of_http3_at_random(seed: int) -> None:
    source = random.Random(seed)

    async def main() -> None:
        async with under_attack() as attacked:
            for number in range(60):
                await say_something(attacked, source)
                if number % 10 == 0:
                    await attacked.unharmed()

    run(main)
