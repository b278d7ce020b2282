"""What RFC 9114 and its kin say a server MUST do when a client breaks a rule.

One row per rule, named after the section that has it. Each is tried on a connection of its own by
a client that writes its bytes by hand; afterwards another client, and where the rule is one of a
stream also another request on the same connection, is answered as ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers import run
from tests.http.raw_h3 import (
    CANCEL_PUSH,
    CLOSED_CRITICAL_STREAM,
    CONTROL,
    DATA,
    DECODER,
    DECODER_STREAM_ERROR,
    DECOMPRESSION_FAILED,
    ENCODER,
    ENCODER_STREAM_ERROR,
    EXCESSIVE_LOAD,
    FRAME_ERROR,
    FRAME_UNEXPECTED,
    GOAWAY,
    HEADERS,
    ID_ERROR,
    MAX_PUSH_ID,
    MESSAGE_ERROR,
    MISSING_SETTINGS,
    PRIORITY_UPDATE,
    PRIORITY_UPDATE_PUSH,
    PUSH,
    PUSH_PROMISE,
    REQUEST_INCOMPLETE,
    SETTINGS,
    SETTINGS_ERROR,
    STREAM_CREATION_ERROR,
    Failed,
    attached,
    frame,
    frames,
    headers,
    line,
    prefixed,
    read_varint,
    request,
    section,
    settings,
    varint,
)
from tests.http.serving import server, tls

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.http.raw_h3 import Peer

Fields = tuple[tuple[bytes, bytes], ...]

GREASE = [0x1F * number + 0x21 for number in (0, 7, 1 << 40)]
"""Types, settings and codes that mean nothing to anybody (RFC 9114, section 7.2.8)."""

WRONG = b"/wrong"
"""The path of requests that no application may see."""


# ---- what is expected ----


def connection(code: int) -> Failed:
    """The connection ends."""
    return Failed(code, of_connection=True)


def stream(code: int) -> Failed:
    """The request's stream ends, and nothing else."""
    return Failed(code, of_connection=False)


MALFORMED = stream(MESSAGE_ERROR)
IGNORED = None


@dataclass(frozen=True)
class Row:
    """One rule, how it is broken, and what has to come of it."""

    rule: str
    act: Callable[[Peer], Coroutine[Any, Any, int | None]]
    expected: Failed | int | None
    """How it fails, the status of the answer, or nothing if the connection goes on."""
    begins: bool = True
    """The client has said its settings before."""


def on_request(
    rule: str, data: bytes, expected: Failed | int | None, *, end: bool = True, begins: bool = True
) -> Row:
    """Written to a request's stream."""

    async def act(peer: Peer) -> int:
        return peer.open(data, end=end)

    return Row(rule, act, expected, begins)


def malformed(rule: str, *fields: tuple[bytes, bytes]) -> Row:
    """The head of a request that is none."""
    return on_request(rule, headers(*fields), MALFORMED)


def on_control(rule: str, data: bytes, expected: Failed | None) -> Row:
    """Written to the control stream, behind the settings."""

    async def act(peer: Peer) -> None:
        peer.begin(data)

    return Row(rule, act, expected, begins=False)


def on_uni(
    rule: str, *streams: bytes, expected: Failed | None, end: bool = False, begins: bool = True
) -> Row:
    """Written to unidirectional streams, one after the other."""

    async def act(peer: Peer) -> None:
        for data in streams:
            peer.open_uni(data, end=end)

    return Row(rule, act, expected, begins)


def wrong(*fields: tuple[bytes, bytes], method: bytes = b"POST") -> Fields:
    """An ordinary head, but for these fields."""
    return request(*fields, method=method, path=WRONG)


def without(name: bytes, *more: tuple[bytes, bytes]) -> Fields:
    """An ordinary head without that field, and with others."""
    return (*(each for each in wrong(method=b"GET") if each[0] != name), *more)


def instead(name: bytes, value: bytes, method: bytes = b"GET") -> Fields:
    """An ordinary head with another value of that field."""
    return tuple((each, value if each == name else before) for each, before in wrong(method=method))


GOOD = section(*request())
HEAD = headers(*wrong())
CONTENT = frame(DATA, b"abc")
TRAILERS = headers((b"x-last", b"1"))
CONNECT: Fields = ((b":method", b"CONNECT"), (b":authority", b"localhost:443"))
WEBSOCKET: Fields = (
    *request(method=b"CONNECT", path=b"/websocket"),
    (b":protocol", b"websocket"),
    (b"sec-websocket-version", b"13"),
)


def extended(*without_names: bytes, **values: bytes) -> Fields:
    """An extended CONNECT (RFC 9220) without some fields, or with other values."""
    kept = [each for each in WEBSOCKET if each[0] not in without_names]
    return tuple((name, values.get(name[1:].decode("latin-1"), value)) for name, value in kept)


# ---- RFC 9114, section 4: messages ----


SEQUENCES = [
    on_request("9114-4.1 data before headers", CONTENT + HEAD, connection(FRAME_UNEXPECTED)),
    on_request("9114-4.1 empty data before headers", frame(DATA), connection(FRAME_UNEXPECTED)),
    on_request(
        "9114-4.1 headers after trailers", HEAD + TRAILERS + TRAILERS, connection(FRAME_UNEXPECTED)
    ),
    on_request(
        "9114-4.1 data after trailers",
        HEAD + CONTENT + TRAILERS + CONTENT,
        connection(FRAME_UNEXPECTED),
    ),
    on_request("9114-4.1 a second request", HEAD + CONTENT + HEAD, MALFORMED),
    on_request(
        "9114-4.1 unknown frames in between",
        frame(GREASE[0], b"x")
        + headers(*request(method=b"POST"))
        + frame(GREASE[1])
        + CONTENT
        + frame(GREASE[2], b"y" * 3000)
        + TRAILERS
        + frame(GREASE[0], b"z"),
        200,
    ),
    on_request("9114-4.1 no request", b"", stream(REQUEST_INCOMPLETE)),
    on_request("9114-4.1 no request, padded", frame(GREASE[0], b"x"), stream(REQUEST_INCOMPLETE)),
    malformed("9114-4.1 transfer-encoding", *wrong((b"transfer-encoding", b"chunked"))),
]


def with_length(rule: str, length: bytes, data: bytes) -> Row:
    head = headers(*wrong((b"content-length", length)))
    return on_request(f"9114-4.1.2 content-length, {rule}", head + data, MALFORMED)


LENGTHS = [
    with_length("more comes", b"2", CONTENT),
    with_length("more comes in another frame", b"3", CONTENT + CONTENT),
    with_length("less comes", b"4", CONTENT),
    with_length("less comes before trailers", b"4", CONTENT + TRAILERS),
    with_length("nothing comes", b"3", b""),
    with_length("something comes for 0", b"0", CONTENT),
    with_length("a sign", b"+3", CONTENT),
    with_length("negative", b"-3", CONTENT),
    with_length("empty", b"", CONTENT),
    with_length("a list", b"3, 4", CONTENT),
    with_length("hexadecimal", b"0x3", CONTENT),
    with_length("too large for anybody", b"1" + b"0" * 30, CONTENT),
    on_request(
        "9114-4.1.2 content-length, two of them",
        headers(*wrong((b"content-length", b"3"), (b"content-length", b"4"))) + CONTENT,
        MALFORMED,
    ),
    on_request(
        "9114-4.1.2 content-length, and as much comes in pieces",
        headers(*request((b"content-length", b"6"), method=b"POST"))
        + CONTENT
        + frame(DATA)
        + CONTENT
        + TRAILERS,
        200,
    ),
]

FIELDS = [
    malformed("9114-4.2 uppercase in a name", *wrong((b"X-Upper", b"1"))),
    malformed("9114-4.2 one uppercase character", *wrong((b"x-uppeR", b"1"))),
    on_request(
        "9114-4.2 uppercase in a trailer's name", HEAD + headers((b"X-Last", b"1")), MALFORMED
    ),
    *[
        malformed(f"9114-4.2 {name.decode()}: {value.decode()}", *wrong((name, value)))
        for name, value in (
            (b"connection", b"close"),
            (b"connection", b"x-mine"),
            (b"keep-alive", b"timeout=5"),
            (b"proxy-connection", b"keep-alive"),
            (b"transfer-encoding", b"identity"),
            (b"upgrade", b"websocket"),
        )
    ],
    malformed("9114-4.2 te", *wrong((b"te", b"gzip"))),
    malformed("9114-4.2 te with more than trailers", *wrong((b"te", b"trailers, deflate"))),
    on_request("9114-4.2 te: trailers", headers(*request((b"te", b"trailers"))), 200),
    on_request(
        "9114-4.2 a connection's field in trailers",
        HEAD + headers((b"transfer-encoding", b"chunked")),
        MALFORMED,
    ),
    *[
        malformed(f"9114-10.3 {name!r} as a name", *wrong((name, b"1")))
        for name in (b"", b"x y", b"x:y", b"x\0", b"x\ny", b"x\r", b"x\xe4", b"x\x7f", b"(x)")
    ],
    *[
        malformed(f"9114-10.3 {value!r} as a value", *wrong((b"x-mine", value)))
        for value in (
            b"a\0b",
            b"a\rb",
            b"a\nb",
            b"a\r\nx-b: 1",
            b"a\x1f",
            b"a\x7f",
            b" a",
            b"a\t",
        )
    ],
]

CONTROL_DATA = [
    malformed("9114-4.3 an undefined one", *wrong()[:4], (b":mine", b"1")),
    malformed("9114-4.3 a response's in a request", *wrong()[:4], (b":status", b"200")),
    malformed("9114-4.3 one behind a field", *without(b":path", (b"x", b"1"), (b":path", WRONG))),
    on_request("9114-4.3 one in trailers", HEAD + headers((b":path", b"/")), MALFORMED),
    on_request("9114-4.3 a status in trailers", HEAD + headers((b":status", b"200")), MALFORMED),
    malformed("9114-4.3 one with an uppercase character", *without(b":path", (b":Path", WRONG))),
    *[
        malformed(f"9114-4.3.1 two of {name.decode()}", (name, value), *wrong(method=b"GET"))
        for name, value in wrong(method=b"GET")
    ],
    *[
        malformed(f"9114-4.3.1 no {name.decode()}", *without(name))
        for name in (b":method", b":scheme", b":path", b":authority")
    ],
    malformed("9114-4.3.1 an empty :method", *instead(b":method", b"")),
    malformed("9114-4.3.1 a :method that is no token", *instead(b":method", b"GE T")),
    malformed("9114-4.3.1 an empty :scheme", *instead(b":scheme", b"")),
    malformed("9114-4.3.1 a :scheme that is none", *instead(b":scheme", b"1https")),
    malformed("9114-4.3.1 an empty :path", *instead(b":path", b"")),
    malformed("9114-4.3.1 an empty :path of OPTIONS", *instead(b":path", b"", b"OPTIONS")),
    malformed("9114-4.3.1 a :path without a slash", *instead(b":path", b"wrong")),
    malformed("9114-4.3.1 a :path with a host", *instead(b":path", b"https://localhost/wrong")),
    malformed("9114-4.3.1 a :path with a blank", *instead(b":path", b"/wrong HTTP/1.1")),
    malformed("9114-4.3.1 a :path with a line's end", *instead(b":path", b"/wrong\r\nx: y")),
    malformed("9114-4.3.1 a :path with a fragment", *instead(b":path", b"/wrong#x")),
    malformed("9114-4.3.1 an asterisk of GET", *instead(b":path", b"*")),
    on_request(
        "9114-4.3.1 an asterisk of OPTIONS", headers(*instead(b":path", b"*", b"OPTIONS")), 200
    ),
    malformed("9114-4.3.1 an empty :authority", *instead(b":authority", b"")),
    malformed("9114-4.3.1 an empty host", *without(b":authority", (b"host", b""))),
    malformed("9114-4.3.1 userinfo in :authority", *instead(b":authority", b"me@localhost")),
    malformed("9114-4.3.1 userinfo in host", *without(b":authority", (b"host", b"me@localhost"))),
    malformed("9114-4.3.1 a path in :authority", *instead(b":authority", b"localhost/x")),
    malformed("9114-4.3.1 :authority is not host", *wrong((b"host", b"other"))),
    malformed("9114-4.3.1 two hosts", *wrong((b"host", b"localhost"), (b"host", b"localhost"))),
    on_request("9114-4.3.1 :authority is host", headers(*request((b"host", b"localhost"))), 200),
    on_request("9114-4.3.1 host alone", headers(*request()[:3], (b"host", b"localhost")), 200),
]

TUNNELS = [
    malformed("9114-4.4 connect with :scheme", *CONNECT, (b":scheme", b"https")),
    malformed("9114-4.4 connect with :path", *CONNECT, (b":path", WRONG)),
    malformed("9114-4.4 connect without :authority", CONNECT[0]),
    malformed("9114-4.4 connect with host for :authority", CONNECT[0], (b"host", b"localhost:443")),
    malformed("9114-4.4 connect without a port", CONNECT[0], (b":authority", b"localhost")),
    malformed("9114-4.4 connect with no port", CONNECT[0], (b":authority", b"localhost:")),
    malformed("9114-4.4 connect with userinfo", CONNECT[0], (b":authority", b"me@localhost:1")),
    on_request("9110-9.3.6 connect, which is not offered", headers(*CONNECT), 501, end=False),
    malformed("9220-3 :protocol without connect", *wrong()[:4], (b":protocol", b"websocket")),
    malformed("9220-3 without :scheme", *extended(b":scheme")),
    malformed("9220-3 without :path", *extended(b":path")),
    malformed("9220-3 without :authority", *extended(b":authority")),
    malformed("9220-3 an empty :protocol", *extended(protocol=b"")),
    malformed("9220-3 two of :protocol", (b":protocol", b"websocket"), *WEBSOCKET),
    on_request(
        "9220-3 a :protocol that is unknown", headers(*extended(protocol=b"mine")), 501, end=False
    ),
]


def in_tunnel(rule: str, data: bytes, expected: Failed | None) -> Row:
    """Written to a WebSocket that has been accepted."""

    async def act(peer: Peer) -> int:
        opened = peer.open(headers(*WEBSOCKET))
        await peer.until(lambda: peer.received(opened).data or None)
        peer.write(opened, data)
        return opened

    return Row(rule, act, expected)


TUNNELS += [
    in_tunnel("9114-4.4 headers in a tunnel", TRAILERS, connection(FRAME_UNEXPECTED)),
    in_tunnel("9114-4.4 settings in a tunnel", settings(), connection(FRAME_UNEXPECTED)),
    in_tunnel(
        "9114-4.4 a push in a tunnel", frame(PUSH_PROMISE, b"\0\0\0"), connection(FRAME_UNEXPECTED)
    ),
    in_tunnel("9114-9 an unknown frame in a tunnel", frame(GREASE[0], b"x"), IGNORED),
]


# ---- RFC 9114, sections 4.1.1 and 8.1: giving up ----


def given_up(rule: str, data: bytes, code: int, *, stop: bool = False) -> Row:
    """A request that its client takes back, after the server has seen it."""

    async def act(peer: Peer) -> None:
        opened = peer.open(data)
        await peer.turn()
        if stop:
            peer.stop(opened, code)
        else:
            peer.reset(opened, code)
        await peer.turn()

    return Row(rule, act, IGNORED)


CANCELLATIONS = [
    given_up("9114-4.1.1 cancelled before its head", b"", 0x10C),
    given_up("9114-4.1.1 cancelled behind its head", HEAD, 0x10C),
    given_up("9114-7.1 cancelled within a frame's type", b"\x40", 0x10C),
    given_up("9114-7.1 cancelled within a frame", HEAD[:-3], 0x10C),
    given_up("9114-7.1 cancelled within content", HEAD + CONTENT[:-1], 0x10C),
    given_up("9114-8.1 an unknown code", HEAD, 0xBAD),
    given_up("9114-8.1 a reserved code", HEAD, GREASE[1]),
    given_up("9114-8.1 a code of the connection's", HEAD, SETTINGS_ERROR),
    given_up("9114-8.1 an unknown code for the answer", HEAD, 0xBAD, stop=True),
    given_up("9114-8.1 a reserved code for the answer", HEAD, GREASE[2], stop=True),
]


# ---- RFC 9114, section 6: streams ----


def closed(rule: str, data: bytes, expected: Failed | None, *, reset: bool = False) -> Row:
    """A unidirectional stream that ends behind these bytes."""

    async def act(peer: Peer) -> None:
        opened = peer.open_uni(data, end=not reset)
        if reset:
            await peer.turn()
            peer.reset(opened)

    begins = not data.startswith(varint(CONTROL)) or data == b""
    return Row(rule, act, expected, begins)


async def stop_control(peer: Peer) -> None:
    await peer.until(lambda: peer.received(3).data or None)
    peer.stop(3)


CRITICAL = connection(CLOSED_CRITICAL_STREAM)
TWICE = connection(STREAM_CREATION_ERROR)
BEGUN = varint(CONTROL) + settings()

STREAMS = [
    *[
        on_uni(f"9114-6.2 an unknown type, {kind:#x}", varint(kind) + b"x" * 99, expected=None)
        for kind in (*GREASE, 0x04, 0x54, 0x3FFF)
    ],
    on_uni("9114-6.2 one that ends", varint(GREASE[0]) + b"x", expected=None, end=True),
    closed("9114-6.2 one that ends before its type", b"", IGNORED),
    closed("9114-6.2 one that ends within its type", b"\x40", IGNORED),
    closed("9114-6.2 one that is reset before its type", b"", IGNORED, reset=True),
    closed("9114-6.2 one that is reset within its type", b"\xc0\0", IGNORED, reset=True),
    on_uni("9114-6.2.1 a second control stream", BEGUN, expected=TWICE),
    closed("9114-6.2.1 the control stream ends", BEGUN, CRITICAL),
    closed("9114-6.2.1 the control stream ends at once", varint(CONTROL), CRITICAL),
    closed("9114-6.2.1 the control stream is reset", BEGUN, CRITICAL, reset=True),
    Row("9114-6.2.1 the server's control stream is not wanted", stop_control, CRITICAL),
    *[
        on_uni(
            f"9114-6.2.1 {name} before settings",
            varint(CONTROL) + first + settings(),
            expected=connection(MISSING_SETTINGS),
            begins=False,
        )
        for name, first in (
            ("data", frame(DATA)),
            ("headers", HEAD),
            ("goaway", frame(GOAWAY, b"\0")),
            ("max_push_id", frame(MAX_PUSH_ID, b"\0")),
            ("priority_update", frame(PRIORITY_UPDATE, b"\0")),
            ("an unknown frame", frame(GREASE[0])),
        )
    ],
    on_uni("9114-6.2.2 a push stream of a client", varint(PUSH) + b"\0", expected=TWICE),
    on_request("9114-6.2.1 a request before settings", headers(*request()), 200, begins=False),
    on_uni(
        "9114-6.2.1 a control stream whose type is longer than need be, and a second",
        b"\xc0" + bytes(7) + settings(),
        b"\x40\0",
        expected=TWICE,
        begins=False,
    ),
    on_uni("9204-4.2 a second encoder stream", b"\x02", b"\x02", expected=TWICE),
    on_uni("9204-4.2 a second decoder stream", b"\x03", b"\x03", expected=TWICE),
    on_uni("9204-4.2 one of each", b"\x02", b"\x03", expected=None),
    closed("9204-4.2 the encoder stream ends", varint(ENCODER), CRITICAL),
    closed("9204-4.2 the decoder stream ends", varint(DECODER), CRITICAL),
    closed("9204-4.2 the encoder stream is reset", varint(ENCODER), CRITICAL, reset=True),
    closed("9204-4.2 the decoder stream is reset", varint(DECODER), CRITICAL, reset=True),
]


# ---- RFC 9114, section 7: frames ----


CUT = connection(FRAME_ERROR)
UNEXPECTED = connection(FRAME_UNEXPECTED)

LAYOUT = [
    on_request("9114-7.1 ends within a type", HEAD + b"\x40", CUT),
    on_request("9114-7.1 ends behind a type", HEAD + varint(DATA), CUT),
    on_request("9114-7.1 ends within a length", HEAD + varint(DATA) + b"\x80\0", CUT),
    on_request("9114-7.1 ends within content", HEAD + CONTENT[:-1], CUT),
    on_request("9114-7.1 ends within headers", HEAD[:-1], CUT),
    on_request("9114-7.1 ends within trailers", HEAD + TRAILERS[:-1], CUT),
    on_request("9114-7.1 ends within an unknown frame", HEAD + frame(0x21, b"x")[:-1], CUT),
    on_request(
        "9114-7.1 a type and a length longer than need be",
        b"\xc0\0\0\0\0\0\0\x01" + b"\x80\0\0" + bytes([len(GOOD)]) + GOOD,
        200,
    ),
    *[
        on_control(f"9114-7.1 {name} {how}", frame(kind, payload), CUT)
        for kind, name in (
            (GOAWAY, "goaway"),
            (MAX_PUSH_ID, "max_push_id"),
            (CANCEL_PUSH, "cancel_push"),
        )
        for how, payload in (("without an id", b""), ("with more", b"\0\0"), ("cut off", b"\x40"))
    ],
    on_control("9114-7.1 priority_update without an id", frame(PRIORITY_UPDATE), CUT),
    on_control("9114-7.1 priority_update cut off", frame(PRIORITY_UPDATE, b"\x40"), CUT),
    *[
        on_uni(
            f"9114-7.1 settings that end within {what}",
            varint(CONTROL) + frame(SETTINGS, payload),
            expected=CUT,
            begins=False,
        )
        for what, payload in (
            ("an identifier", b"\x40"),
            ("a value", b"\x06"),
            ("the second", b"\x06\x10\x07\x80"),
        )
    ],
]

FRAMES = [
    on_control("9114-7.2.1 data on the control stream", frame(DATA, b"x"), UNEXPECTED),
    on_control("9114-7.2.2 headers on the control stream", HEAD, UNEXPECTED),
    on_control("9114-7.2.3 a push is cancelled", frame(CANCEL_PUSH, b"\0"), connection(ID_ERROR)),
    on_control(
        "9114-7.2.3 a push that was allowed and not promised is cancelled",
        frame(MAX_PUSH_ID, b"\x09") + frame(CANCEL_PUSH, b"\0"),
        connection(ID_ERROR),
    ),
    on_request("9114-7.2.3 cancel_push in a request", HEAD + frame(CANCEL_PUSH, b"\0"), UNEXPECTED),
    on_control("9114-7.2.4 settings twice", settings(), UNEXPECTED),
    on_request("9114-7.2.4 settings in a request", HEAD + settings(), UNEXPECTED),
    on_request("9114-7.2.4 settings instead of a request", settings(), UNEXPECTED),
    *[
        on_uni(
            f"9114-{rule}",
            varint(CONTROL) + settings(*pairs),
            expected=expected,
            begins=False,
        )
        for rule, pairs, expected in (
            ("7.2.4 a setting twice", ((6, 1), (6, 1)), connection(SETTINGS_ERROR)),
            ("7.2.4 an unknown setting twice", ((0x21, 1), (0x21, 1)), connection(SETTINGS_ERROR)),
            ("7.2.4 unknown settings", ((0x4242, 7), (0x3FFFFFFF, 0)), None),
            ("7.2.4.1 reserved settings", tuple((kind, kind) for kind in GREASE), None),
            *(
                (f"7.2.4.1 setting {kind:#x} of http/2", ((kind, 1),), connection(SETTINGS_ERROR))
                for kind in (0x00, 0x02, 0x03, 0x04, 0x05)
            ),
        )
    ],
    on_control(
        "9114-7.2.5 push_promise on the control stream", frame(PUSH_PROMISE, b"\0\0\0"), UNEXPECTED
    ),
    on_request("9114-7.2.5 push_promise", HEAD + frame(PUSH_PROMISE, b"\0\0\0"), UNEXPECTED),
    on_request("9114-7.2.6 goaway in a request", HEAD + frame(GOAWAY, b"\0"), UNEXPECTED),
    on_control(
        "9114-5.2 goaway with a larger id",
        frame(GOAWAY, varint(4)) + frame(GOAWAY, varint(5)),
        connection(ID_ERROR),
    ),
    on_control(
        "9114-5.2 goaway with the same id, and with a smaller one",
        frame(GOAWAY, varint(1 << 61)) + frame(GOAWAY, varint(5)) * 2 + frame(GOAWAY, varint(3)),
        IGNORED,
    ),
    on_control(
        "9114-7.2.7 max_push_id that falls",
        frame(MAX_PUSH_ID, varint(7)) + frame(MAX_PUSH_ID, varint(6)),
        connection(ID_ERROR),
    ),
    on_control(
        "9114-7.2.7 max_push_id that stays and rises",
        frame(MAX_PUSH_ID, varint(7)) * 2 + frame(MAX_PUSH_ID, varint(1 << 61)),
        IGNORED,
    ),
    on_request("9114-7.2.7 max_push_id in a request", HEAD + frame(MAX_PUSH_ID, b"\0"), UNEXPECTED),
    *[
        on_control(f"9114-7.2.8 frame {kind:#x} of http/2", frame(kind), UNEXPECTED)
        for kind in (0x02, 0x06, 0x08, 0x09)
    ],
    *[
        on_request(f"9114-7.2.8 {kind:#x} of http/2 in a request", HEAD + frame(kind), UNEXPECTED)
        for kind in (0x02, 0x06, 0x08, 0x09)
    ],
    *[
        on_request(f"9114-4.1 {name} instead of a request", frame(kind, payload), UNEXPECTED)
        for name, kind, payload in (
            ("cancel_push", CANCEL_PUSH, b"\0"),
            ("push_promise", PUSH_PROMISE, b"\0\0\0"),
            ("goaway", GOAWAY, b"\0"),
            ("max_push_id", MAX_PUSH_ID, b"\0"),
            ("priority_update", PRIORITY_UPDATE, b"\0"),
            ("frame 0x2 of http/2", 0x02, b""),
        )
    ],
    *[
        on_control(f"9114-7.2.8 reserved frame {kind:#x}", frame(kind, b"x" * 5000), IGNORED)
        for kind in GREASE
    ],
    on_control("9114-9 an unknown frame on the control stream", frame(0x4242, b"x"), IGNORED),
]


# ---- RFC 9114, sections 4.2.2 and 10.5: limits ----


LIMITS = [
    on_request("9114-4.2.2 a head over the limit", headers(*wrong((b"x", b"y" * 70_000))), 431),
    on_request(
        "9114-4.2.2 a head over the limit by its fields' own weight",
        frame(HEADERS, section(*wrong()) + b"\xd1" * 1800),
        431,
    ),
    on_request(
        "9114-4.2.2 a head over the limit by one value of a table",
        frame(HEADERS, section(*wrong()) + line(b"x", b"y" * 300) * 200),
        431,
    ),
    on_request(
        "9114-4.2.2 more fields than are taken",
        headers(*wrong(*[(b"x-%d" % number, b"1") for number in range(101)])),
        431,
    ),
    on_request(
        "9114-4.2.2 as many fields as are taken",
        headers(*request(*[(b"x-%d" % number, b"1") for number in range(100)])),
        200,
    ),
    on_request(
        "9114-10.5.1 trailers over the limit",
        HEAD + headers((b"x", b"y" * 70_000)),
        stream(EXCESSIVE_LOAD),
    ),
    on_request(
        "9114-10.5.1 more trailers than are taken",
        HEAD + headers(*[(b"x-%d" % number, b"1") for number in range(200)]),
        stream(EXCESSIVE_LOAD),
    ),
    on_uni(
        "9114-10.5 more settings than are taken",
        varint(CONTROL) + settings(*[(0x1000 + number, 0) for number in range(100)]),
        expected=connection(EXCESSIVE_LOAD),
        begins=False,
    ),
]


# ---- RFC 9204: QPACK ----


FAILED = connection(DECOMPRESSION_FAILED)


def encoded(rule: str, data: bytes, expected: Failed | int = FAILED) -> Row:
    """A field section as it is encoded."""
    return on_request(f"9204-{rule}", frame(HEADERS, data), expected)


SECTIONS = [
    encoded("3.1 an index behind the static table", GOOD + prefixed(99, 6, 0xC0)),
    encoded("3.1 an index far behind it", GOOD + prefixed(1 << 61, 6, 0xC0)),
    encoded("3.1 a name behind the static table", GOOD + prefixed(99, 4, 0x50) + b"\x01x"),
    encoded("3.1 the last of the static table", GOOD + prefixed(98, 6, 0xC0), 200),
    encoded("4.5.1.1 a required insert count", b"\x01\0" + GOOD[2:]),
    encoded("4.5.1.1 a large required insert count", prefixed(1 << 40, 8) + b"\0" + GOOD[2:]),
    encoded("4.5.1.1 appendix B.2: a section that waits for insertions", b"\x03\x81\x10\x11"),
    encoded("4.5.1.2 a base below 0", b"\0\x80" + GOOD[2:]),
    encoded("4.5.1 nothing at all", b""),
    encoded("4.5.1 no base", b"\0"),
    encoded("4.5.2 a dynamic entry", GOOD + b"\x80"),
    encoded("4.5.3 a post-base entry", GOOD + b"\x10"),
    encoded("4.5.4 a dynamic name", GOOD + b"\x40\x01x"),
    encoded("4.5.5 a post-base name", GOOD + b"\0\x01x"),
    encoded("4.1.1 an integer of 62 bits", b"\0" + prefixed((1 << 62) - 1, 7) + GOOD[2:], 200),
    encoded("4.1.1 an integer of more than 62 bits", b"\0" + prefixed(1 << 63, 7) + GOOD[2:]),
    encoded("4.1.1 an integer without end", b"\0\x7f" + b"\xff" * 40),
    encoded("4.1.1 an integer that is padded without end", b"\0\x7f" + b"\x80" * 40 + b"\0"),
    encoded("4.1.1 an integer that is cut off", GOOD + b"\xff\x80"),
    encoded("4.1.2 a name that is cut off", GOOD + b"\x23xy"),
    encoded("4.1.2 a value that is cut off", GOOD + b"\x21x\x05abc"),
    encoded("4.1.2 a name without a value", GOOD + b"\x21x"),
    encoded("4.1.2 a string of 2^61 bytes", GOOD + b"\x21x" + prefixed(1 << 61, 7) + b"y"),
    encoded("4.1.2 a huffman code that has EOS in it", GOOD + b"\x21x\x84\xff\xff\xff\xff"),
    encoded("4.1.2 a huffman code padded by a byte", GOOD + b"\x21x\x82\x1f\xff"),
    encoded("4.1.2 a huffman code padded with zeros", GOOD + b"\x21x\x81\x18"),
    on_request(
        "9204-4.5.1.1 trailers with a required insert count",
        HEAD + frame(HEADERS, b"\x01\0"),
        FAILED,
    ),
]


def on_encoder(rule: str, data: bytes) -> Row:
    """Instructions to a table whose capacity is 0."""
    failed = connection(ENCODER_STREAM_ERROR)
    return on_uni(f"9204-{rule}", varint(ENCODER) + data, expected=failed)


def on_decoder(rule: str, data: bytes, *, ignored: bool = False) -> Row:
    """Acknowledgments of sections that refer to nothing."""
    failed = None if ignored else connection(DECODER_STREAM_ERROR)
    return on_uni(f"9204-{rule}", varint(DECODER) + data, expected=failed)


INSTRUCTIONS = [
    on_encoder("4.3.1 a capacity over the limit", prefixed(1, 5, 0x20)),
    on_encoder("4.3.1 a large capacity", prefixed(4096, 5, 0x20)),
    on_encoder("4.1.1 a capacity without end", b"\x3f" + b"\xff" * 20),
    on_encoder("3.2.2 an insertion with a static name", prefixed(0, 6, 0xC0) + b"\x01x"),
    on_encoder(
        "3.1 an insertion with a name behind the static table", prefixed(99, 6, 0xC0) + b"\x01x"
    ),
    on_encoder("2.2.3 a name of the dynamic table", prefixed(0, 6, 0x80) + b"\x01x"),
    on_encoder("3.2.2 an insertion with a literal name", b"\x41x\x01y"),
    on_encoder("2.2.3 a duplicate", b"\0"),
    on_decoder("4.4.1 an acknowledgment of a stream without references", b"\x80"),
    on_decoder("4.4.1 an acknowledgment of no stream", prefixed(1 << 40, 7, 0x80)),
    on_decoder("4.4.3 an increment of 0", b"\0"),
    on_decoder("4.4.3 an increment without an insertion", b"\x01"),
    on_decoder("4.4.2 cancelled streams", b"\x40" + prefixed(1 << 61, 6, 0x40), ignored=True),
    on_decoder("4.1.1 a cancelled stream without end", b"\x7f" + b"\xff" * 20),
]


# ---- extensions ----


async def unasked_datagrams(peer: Peer) -> None:
    for data in (b"", b"\0x", b"\xc0"):
        peer.datagram(data)
    await peer.turn()


EXTENSIONS = [
    *[
        on_uni(
            f"{rule}, value {value:#x}",
            varint(CONTROL) + settings((kind, value)),
            expected=connection(SETTINGS_ERROR) if value > 1 else None,
            begins=False,
        )
        for rule, kind in (("9297-2.1.1 h3_datagram", 0x33), ("9220-3 enable_connect_protocol", 8))
        for value in (0, 1, 2, (1 << 62) - 1)
    ],
    Row("9297-2.1 datagrams of one who did not agree on them", unasked_datagrams, IGNORED),
    *[
        on_control(
            f"9218-7.2 priority_update of stream {number}",
            frame(PRIORITY_UPDATE, varint(number) + b"u=1"),
            connection(ID_ERROR),
        )
        for number in (1, 2, 3, (1 << 62) - 1)
    ],
    on_control(
        "9218-7.2 priority_update of a push",
        frame(MAX_PUSH_ID, b"\x09") + frame(PRIORITY_UPDATE_PUSH, b"\0u=1"),
        connection(ID_ERROR),
    ),
    on_request(
        "9218-7.2 priority_update in a request",
        HEAD + frame(PRIORITY_UPDATE, b"\0u=1"),
        UNEXPECTED,
    ),
    on_request(
        "9218-7.2 priority_update of a push in a request",
        HEAD + frame(PRIORITY_UPDATE_PUSH, b"\0u=1"),
        UNEXPECTED,
    ),
    on_control(
        "9218-7.2 priority_update of a request to come",
        frame(PRIORITY_UPDATE, b"\0u=1, i") + frame(PRIORITY_UPDATE, b"\x04"),
        IGNORED,
    ),
    *[
        on_request(
            f"9218-4 priority: {value.decode()}", headers(*request((b"priority", value))), 200
        )
        for value in (b"u=9", b"u=-1, i=3", b"(((", b"u=1;" * 50)
    ],
]

ROWS = [
    *SEQUENCES,
    *LENGTHS,
    *FIELDS,
    *CONTROL_DATA,
    *TUNNELS,
    *CANCELLATIONS,
    *STREAMS,
    *LAYOUT,
    *FRAMES,
    *LIMITS,
    *SECTIONS,
    *INSTRUCTIONS,
    *EXTENSIONS,
]


# ---- trying them ----


class Application:
    """Answers every request with its path, once it is whole; and accepts WebSockets."""

    def __init__(self) -> None:
        self.whole: list[bytes] = []
        self.cookies: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            while (await receive())["type"] != "websocket.disconnect":
                pass
            return
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            more = message.get("more_body", False)
        self.whole.append(scope["raw_path"])
        self.cookies += [value for name, value in scope["headers"] if name == b"cookie"]
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": scope["raw_path"]})


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.rule)
def test_a_client_that_breaks_a_rule(row: Row) -> None:
    app = Application()

    async def main() -> None:
        async with (
            server(app, lifespan="off", tls=tls()) as running,
            attached(running) as bystander,
            attached(running) as peer,
        ):
            bystander.begin()
            assert (await bystander.get(b"/before")).body == b"/before"
            if row.begins:
                peer.begin()
            opened = await row.act(peer)
            if isinstance(row.expected, int):
                assert opened is not None
                assert (await peer.answer(opened)).status == row.expected
            elif row.expected is not None:
                assert await peer.outcome(opened) == row.expected
            if not (isinstance(row.expected, Failed) and row.expected.of_connection):
                await peer.turn()
                assert (await peer.get(b"/same")).body == b"/same"
                assert peer.closed is None
            assert (await bystander.get(b"/after")).body == b"/after"
        if row.expected != 200:
            assert WRONG not in app.whole, "the application took it for a request"

    run(main)


def test_rules_are_named_once() -> None:
    rules = [row.rule for row in ROWS]
    assert len(set(rules)) == len(rules)
    assert len(rules) > 250


# ---- what a server has to do unasked ----


def test_settings_are_said_first_and_unasked() -> None:
    """RFC 9114, sections 6.2.1 and 7.2.4; RFC 9204, section 5; RFC 9220, section 3."""

    async def main() -> None:
        async with (
            server(Application(), lifespan="off", tls=tls()) as running,
            attached(running) as peer,
        ):

            def whole() -> list[tuple[int, bytes]] | None:
                return frames(bytes(peer.received(3).data[1:])) or None

            [(kind, payload), *_] = await peer.until(whole)
            assert (peer.received(3).data[0], kind) == (CONTROL, SETTINGS)
            said: list[tuple[int, int]] = []
            at = 0
            while at < len(payload):
                name, at = read_varint(payload, at)
                value, at = read_varint(payload, at)
                said.append((name, value))
            names = [name for name, _ in said]
            assert len(set(names)) == len(names)
            assert not {0, 2, 3, 4, 5} & set(names)
            assert dict(said)[0x06] == 64 << 10
            assert dict(said)[0x08] == 1
            assert dict(said).get(0x01, 0) == 0, "no table is offered"
            # RFC 9114, section 6.2.
            assert peer._quic._remote_max_streams_uni >= 3
            assert peer._quic._remote_max_stream_data_uni >= 1024

    run(main)


def test_streams_of_unknown_types_are_not_read() -> None:
    """RFC 9114, section 6.2."""

    async def main() -> None:
        async with (
            server(Application(), lifespan="off", tls=tls()) as running,
            attached(running) as peer,
        ):
            for kind in GREASE:
                opened = peer.open_uni(varint(kind) + b"x")
                assert await peer.stopped(opened) == STREAM_CREATION_ERROR

    run(main)


def test_cookies_are_one_for_the_application() -> None:
    """RFC 9114, section 4.2.1."""
    app = Application()

    async def main() -> None:
        async with (
            server(app, lifespan="off", tls=tls()) as running,
            attached(running) as peer,
        ):
            cookies = ((b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2"))
            await peer.answer(peer.open(headers(*request(*cookies)), end=True))

    run(main)
    assert app.cookies == [b"a=1; b=2"]
