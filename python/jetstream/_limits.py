"""Every limit, with its default and the reason for it, in one place."""

import math
from dataclasses import dataclass, fields
from typing import SupportsFloat

DEFAULT_TIMEOUT = 30.0
"""Seconds that a call waits for its answer when nothing else is said. gRPC waits for ever, and its
users ask for a default (grpc-java#1205)."""

CONNECT_TIMEOUT = 10.0
"""Seconds in which a connection must come about: long enough for a path with loss, short enough to
be told that UDP is blocked."""

GRACEFUL_TIMEOUT = 10.0
"""Seconds that a server that stops gives to the calls in flight."""


class Forever:
    """The type of `FOREVER`."""

    def __float__(self) -> float:
        return math.inf

    def __repr__(self) -> str:
        return "FOREVER"


FOREVER = Forever()
"""No time limit, wherever one is taken: also where `None` means the default."""


def in_seconds(timeout: float | Forever | None) -> float | None:
    """A time limit in seconds, or `None` for none."""
    return None if isinstance(timeout, Forever) else timeout


def check_time(name: str, value: object, *, also: str = "") -> None:
    """Refuses what is no time limit.

    Args:
        name: The parameter, for the message.
        value: What was given for it; `None` is no limit.
        also: What else than seconds it may be, for the message.

    Raises:
        ValueError: It is no number, negative or not a number.
    """
    if value is not None and not _is_time(value):
        msg = f"{name}={value!r}: it must be seconds, 0 or above{also}"
        raise ValueError(msg)


def _is_time(value: object) -> bool:
    # Also of a kind that only knows how to become a float, such as a fraction.
    if isinstance(value, bool) or not isinstance(value, SupportsFloat):
        return False
    try:
        return float(value) >= 0
    except OverflowError:
        return False


_MIN_MSIZE = 4096
_MIN_WINDOW = 64 << 10
_MOST = 0xFFFF_FFFF
_MOST_CHAIN = 64 << 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one end takes from its peers. All finite; a connection costs no more than they say.

    Raises:
        ValueError: A limit is not positive, or contradicts another.
    """

    msize: int = 4 << 20
    """Largest frame, in bytes: a call's arguments or its result with 7 bytes of header. Both ends
    agree on the smaller of theirs. gRPC's default is the same 4 MiB."""

    max_concurrent: int = 65_535
    """Calls of one channel that are in flight at once; more wait, in order. The most there are."""

    max_waiting: int = 65_536
    """Calls of one channel that wait while a session that stays up has no connection; the next
    fails. As many as can be in flight: what a second of full load leaves."""

    stream_window: int = 256 << 10
    """Bytes of one stream (a subscription's items, or a stream from the caller) ahead of whoever
    takes them; at least 65536. The sender waits, and nothing else does."""

    inbound_window: int = 64 << 20
    """Bytes of all streams from the caller together that are held for one connection; at least
    twice `stream_window`. Each stream has 65536 of them from its request to its answer, because so
    much comes unasked, so 1,024 run at once and the next is refused; up to half goes to those that
    use their whole `stream_window`. As many streams as a lane carries subscriptions."""

    max_metadata: int = 8 << 10
    """Bytes of metadata of one call, and of one answer. gRPC's soft limit is the same 8 KiB."""

    max_handlers: int = 16_384
    """Handlers of calls that run at once for one connection (`async def` and threads; a plain `def`
    is over when it returns). More requests wait until some have ended. Whatever has a stream does
    not count here, because it may run for as long as anybody listens."""

    max_subscriptions: int = 16_384
    """Subscriptions, and calls with a stream from the caller, that run at once for one connection;
    the next is refused, because waiting for one that never ends would be no better. As many as
    handlers: a task each, most of which wait."""

    max_queued: int = 16 << 20
    """Bytes of requests of one connection that wait until handlers have ended; the next is refused.
    It is not left unread, because what ends handlers comes behind it: the items that they wait for,
    and that they are cancelled. As much as 65,535 small calls, each with 128 bytes of its own."""

    max_connections: int = 65_536
    """Connections of a server; the next is refused."""

    max_handshakes: int = 4_096
    """Handshakes of a server that are under way at once, over QUIC and over TCP each; the next is
    refused. Nobody has proved anything yet, and each is some 13 KB, so all are some 50 MiB; quinn
    alone would keep 65,536 newcomers, and 100 MiB of what they sent. Clients that come all at once
    try again."""

    max_streams_bidi: int = 128
    """Bidirectional streams (lanes) that a peer may have open at once. Envoy and quinn say 100."""

    max_streams_uni: int = 16
    """Unidirectional streams that a peer may have open at once; lanes need none."""

    stream_receive_window: int = 1_250_000
    """Bytes that a peer may send on one stream ahead of our reading: 100 Mbit/s at 100 ms."""

    receive_window: int = 8 << 20
    """Bytes that a peer may send on all its streams ahead of our reading. quinn's own default is
    no limit."""

    send_window: int = 8 << 20
    """Bytes on their way to a peer, not acknowledged yet."""

    max_unsent: int = 1 << 20
    """Bytes of answers and items that wait to leave on one lane because its peer does not take
    them; at least 65536. Over it the lane's requests wait, and over a quarter of it those who give
    items. Many times what a connection sends in one turn, so nobody who reads is held up."""

    datagram_buffer: int = 1 << 20
    """Bytes of datagrams that wait to be read; the oldest go first."""

    datagram_send_buffer: int = 1 << 20
    """Bytes of datagrams that wait to leave; the oldest go first. As many as wait to be read."""

    max_chain: int = 64 << 10
    """Bytes of certificates that a peer may show, those between it and the authority included; at
    most 65536, because TLS takes no larger message here. Real chains have 2 to 8 KiB."""

    idle_timeout: float = 30.0
    """Seconds of silence after which a connection is lost."""

    keep_alive: float | None = 10.0
    """Seconds after which a quiet client says something, so that neither an idle timeout nor a NAT
    ends the connection; `None` lets it. Servers stay quiet."""

    handshake_timeout: float = 10.0
    """Seconds for a handshake with a server. s2n-quic and msquic say the same."""

    retry_above: int = 1_000
    """Handshakes at once over which a newcomer must first prove its address (Retry, RFC 9000,
    section 8.1.2)."""

    resumable_sessions: int = 8_192
    """TLS sessions that are remembered so that the next handshake with the same peer is shorter: a
    server's with its clients (two of each visit), or a client's servers. The oldest goes first. One
    is about 1.5 KB with the peer's certificates, so all are some 12 MB; rustls remembers 256. A
    server keeps no more than 4 KiB for each that there may be (32 MiB in all), so there are fewer
    where clients show more; and whoever shows more than 8 KiB of certificates is not remembered."""

    http_head: int = 64 << 10
    """Bytes of the head of one request of HTTP: its line, names and values, and 32 for each field
    (RFC 9113, section 6.5.2). Cookies and tokens are what makes them large; uvicorn and h11 take
    the same 64 KiB."""

    http_fields: int = 100
    """Field lines of one request. hyper and Apache say the same."""

    http_streams: int = 100
    """Requests at once on one connection of HTTP/2 or HTTP/3; the next waits at its client. RFC
    9113, section 6.5.2 recommends no fewer."""

    http_body_window: int = 256 << 10
    """Bytes of one request's body ahead of the application; its client waits."""

    http_unsent: int = 256 << 10
    """Bytes of one answer that its client has not taken; over this `send` waits."""

    http_head_timeout: float = 10.0
    """Seconds in which the head of a request must come, so that nobody holds a connection by
    sending it byte by byte; nginx gives 60."""

    http_keep_alive: float = 75.0
    """Seconds that a connection of HTTP may be without a request. nginx's default; a proxy in front
    should wait less, or it meets connections that are being closed. An answer of HTTP/2 or HTTP/3
    of which flow control takes nothing for so long is given up."""

    webtransport_sessions: int = 16
    """WebTransport sessions at once on one connection of HTTP/3, those that are being asked for
    included; the next is refused. Browsers open a connection for each, unless a page shares."""

    websocket_message: int = 16 << 20
    """Bytes of one message of a WebSocket, decompressed. uvicorn and hypercorn say the same."""

    websocket_window: int = 256 << 10
    """Bytes of messages of one WebSocket ahead of the application; the peer waits."""

    websocket_ping: float | None = 20.0
    """Seconds between the pings of a WebSocket, so that nothing on the way takes it for dead, or
    `None` for none. uvicorn and websockets say the same."""

    websocket_pong: float = 20.0
    """Seconds in which a ping must be answered, or the WebSocket is lost."""

    def __post_init__(self) -> None:
        for field in fields(self):
            _check(field.name, getattr(self, field.name), whole=field.type is int)
        if self.msize < _MIN_MSIZE:
            msg = f"Limits(msize={self.msize}): it must be at least {_MIN_MSIZE} bytes"
            raise ValueError(msg)
        if self.stream_window < _MIN_WINDOW:
            msg = f"Limits(stream_window={self.stream_window}): it must be at least {_MIN_WINDOW}"
            raise ValueError(msg)
        if self.max_unsent < _MIN_WINDOW:
            msg = f"Limits(max_unsent={self.max_unsent}): it must be at least {_MIN_WINDOW}"
            raise ValueError(msg)
        if self.max_chain > _MOST_CHAIN:
            msg = f"Limits(max_chain={self.max_chain}): TLS takes at most {_MOST_CHAIN} bytes"
            raise ValueError(msg)
        if self.inbound_window < 2 * self.stream_window:
            msg = (
                f"Limits(inbound_window={self.inbound_window}): it must be at least twice the "
                f"stream_window of {self.stream_window}"
            )
            raise ValueError(msg)
        if self.max_concurrent > 65_535:
            msg = f"Limits(max_concurrent={self.max_concurrent}): there are 65535 tags"
            raise ValueError(msg)


def limits_of(given: object) -> Limits:
    """The limits that were given, or the default ones for `None`.

    Raises:
        TypeError: They are none.
    """
    if given is None:
        return Limits()
    if not isinstance(given, Limits):
        msg = f"limits={given!r}: it must be a Limits, as in Limits(msize=65536)"
        raise TypeError(msg)
    return given


def _check(name: str, value: object, *, whole: bool) -> None:
    if value is None and name in ("keep_alive", "websocket_ping"):
        return
    problem = ""
    if not isinstance(value, int | float) or isinstance(value, bool):
        problem = "a whole number" if whole else "a number"
    elif not 0 < value < math.inf:
        problem = "a finite number above 0"
    elif whole and not isinstance(value, int):
        problem = "a whole number"
    elif value > _MOST:
        problem = f"at most {_MOST}"
    if problem:
        msg = f"Limits({name}={value!r}): it must be {problem}"
        raise ValueError(msg)
