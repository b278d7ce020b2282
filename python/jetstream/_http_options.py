"""How an application is served over HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jetstream._forwarded import ProxyHeaders, TrustedProxies
from jetstream._lifespan import LifespanMode

if TYPE_CHECKING:
    from collections.abc import Sequence


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
        headers: Fields of every answer.
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
