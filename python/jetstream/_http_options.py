"""How an application is served over HTTP."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from jetstream._forwarded import ProxyHeaders, TrustedProxies
from jetstream._lifespan import LifespanMode

_NAME = re.compile(r"[!#$%&'*+.^`|~\w-]+", re.ASCII)
_VALUE = re.compile(r"(?:[!-~\x80-\xff]+(?:[ \t]+[!-~\x80-\xff]+)*)?")

# What the server says itself: of the connection, and of how the body of an answer is framed.
_OURS = {
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}


@dataclass(frozen=True, kw_only=True)
class HttpOptions:
    """How an application is served.

    Args:
        root_path: Where it is mounted, as the proxy in front has it: ``/api``.
        lifespan: Whether it is told of start and stop: it must understand (``"on"``), it may
            (``"auto"``), or it is not told (``"off"``).
        http2: Speak HTTP/2 with clients that want to.
        http3: Speak HTTP/3, on the UDP port of the same number; over TLS only.
        alt_svc: Tell clients of HTTP/1.1 and HTTP/2 of HTTP/3.
        forwarded_allow_ips: Proxies whose word on their clients is believed: IP addresses,
            networks, ``unix`` or ``*``. Nobody's by default.
        proxy_headers: What they write.
        access_log: A line for each request, in the log ``jetstream.access``.
        headers: Fields of every answer; none of the connection, nor of the length of the body.
        compression: Compress messages of WebSockets with clients that want to (RFC 7692).
        rpc: Let the services of the router be called by POST too, with frames.
        json: And with JSON: ``POST /echo/echo``.
        concurrency: Requests that wait at once, over which the next is answered 503; `None` for any
            number, which `Limits.max_connections` and `Limits.http_streams` bound.
    """

    root_path: str = ""
    lifespan: LifespanMode = "auto"
    http2: bool = True
    http3: bool = True
    alt_svc: bool = True
    forwarded_allow_ips: Sequence[str] = ()
    proxy_headers: ProxyHeaders = "x-forwarded"
    access_log: bool = False
    headers: Sequence[tuple[str, str]] = ()
    compression: bool = True
    rpc: bool = True
    json: bool = True
    concurrency: int | None = None

    def __post_init__(self) -> None:
        if self.lifespan not in ("auto", "on", "off"):
            msg = f"lifespan={self.lifespan!r}: write 'auto', 'on' or 'off'"
            raise ValueError(msg)
        if self.proxy_headers not in ("x-forwarded", "forwarded"):
            msg = f"proxy_headers={self.proxy_headers!r}: write 'x-forwarded' or 'forwarded'"
            raise ValueError(msg)
        if isinstance(self.forwarded_allow_ips, str):
            msg = f"forwarded_allow_ips={self.forwarded_allow_ips!r}: give a sequence of names"
            raise TypeError(msg)
        if self.root_path and (not self.root_path.startswith("/") or self.root_path.endswith("/")):
            msg = f"root_path={self.root_path!r}: it begins with a slash and ends without one"
            raise ValueError(msg)
        TrustedProxies(self.forwarded_allow_ips)
        _check_fields(self.headers)
        if self.concurrency is not None and not self.concurrency > 0:
            msg = (
                f"HttpOptions(concurrency={self.concurrency!r}): it must be a whole number "
                "above 0, or None for any number"
            )
            raise ValueError(msg)


def _check_fields(fields: object) -> None:
    """Refuses here what otherwise every answer would fail of.

    Raises:
        TypeError: They are no pairs of strings.
        ValueError: One is no field, or it is ours to say.
    """
    if not isinstance(fields, Sequence) or isinstance(fields, str | bytes):
        msg = f"headers={fields!r}: give a sequence of names and values"
        raise TypeError(msg)
    for field in cast("Sequence[object]", fields):
        match field:
            case [str() as name, str() as value]:
                pass
            case _:
                msg = f"headers: {field!r} is no pair of a name and a value, both str"
                raise TypeError(msg)
        if not _NAME.fullmatch(name):
            msg = (
                f"headers: {name!r} is no name of a field: write letters, digits and "
                "!#$%&'*+-.^_`|~, at least one (RFC 9110, section 5.1)"
            )
            raise ValueError(msg)
        if not _VALUE.fullmatch(value):
            msg = (
                f"headers: {value!r} is no value of the field {name!r}: write visible characters "
                "of Latin-1, with spaces and tabs only between them (RFC 9110, section 5.5)"
            )
            raise ValueError(msg)
        if name.lower() in _OURS:
            msg = (
                f"headers: the server itself writes the field {name!r} where it fits; leave it out"
            )
            raise ValueError(msg)
