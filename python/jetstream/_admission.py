"""Who may have a WebTransport session: what is asked, and what is said to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias
from urllib.parse import parse_qsl, urlsplit

from jetstream._addresses import address_of
from jetstream._identity import peer_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from jetstream import _core
    from jetstream._context import Context
    from jetstream._identity import Peer
    from jetstream._material import Source
    from jetstream._types import SocketAddress
    from jetstream._webtransport import WebTransportSession

    Authenticate: TypeAlias = Callable[["SessionRequest"], "Peer | Awaitable[Peer | None] | None"]
    SessionHandler: TypeAlias = Callable[[Context, "WebTransportSession"], Awaitable[None]]

_NONE: Final[Mapping[str, Any]] = MappingProxyType({})


class RefuseSession(Exception):  # noqa: N818  a verdict, and no mistake
    """Raised by an `authenticate` hook: the session is not wanted.

    Args:
        status: What the request for it is answered with, 400 to 599. A page is told nothing of it:
            to browsers all refusals look alike.
        reason: For the log; it is not sent.
    """

    def __init__(self, status: int = 403, reason: str = "") -> None:
        if not 400 <= status <= 599:
            msg = f"RefuseSession({status}): a refusal has a status from 400 to 599"
            raise ValueError(msg)
        self.status = status
        self.reason = reason
        super().__init__(status, reason)

    def __str__(self) -> str:
        return f"{self.status}: {self.reason}" if self.reason else str(self.status)


class SessionRequest:
    """A request for a WebTransport session, as its hook sees it.

    Args:
        scope: What ASGI would say of the request.
        connection: The HTTP/3 connection.
        root_path: Where the application is mounted.
    """

    def __init__(
        self, scope: Mapping[str, Any], connection: _core.Connection, root_path: str = ""
    ) -> None:
        self._scope = scope
        self._connection = connection
        self._headers: Sequence[tuple[bytes, bytes]] = scope["headers"]
        self.path: str = scope["path"].removeprefix(root_path)
        """The path, decoded, without where the application is mounted."""
        query = scope["query_string"].decode("latin-1")
        self.query: Mapping[str, str] = dict(parse_qsl(query, keep_blank_values=True))
        """What is behind the question mark; of a name that comes twice the last."""

    def header(self, name: str) -> str | None:
        """The first field of that name, in whatever case."""
        wanted = name.lower().encode("latin-1")
        values = (value for key, value in self._headers if key == wanted)
        return next((value.decode("latin-1") for value in values), None)

    @property
    def scope(self) -> Mapping[str, Any]:
        """What the access log may say: nothing of the query, which may hold a token."""
        return {**self._scope, "method": "CONNECT", "query_string": b""}

    @property
    def authority(self) -> str:
        """The host that was asked, with its port if it was said."""
        return self.header("host") or ""

    @property
    def origin(self) -> str | None:
        """The origin of the page that asks; `None` for programs that are no browsers."""
        return self.header("origin")

    @property
    def token(self) -> str | None:
        """The token: ``?token=`` of the URL, where browsers have nothing else, or a bearer's.

        What is in a URL may be in the logs of proxies: let it be short-lived.
        """
        scheme, _, credentials = (self.header("authorization") or "").partition(" ")
        if scheme.lower() == "bearer" and credentials:
            return credentials.strip()
        return self.query.get("token")

    @property
    def remote(self) -> SocketAddress | None:
        """From which address."""
        return address_of(self._connection.remote)

    @property
    def peer(self) -> Peer | None:
        """Who asks, by the certificate of the connection; browsers show none."""
        return peer_of(self._connection)

    def __repr__(self) -> str:
        return f"<SessionRequest for {self.path!r} from {self.origin or self.remote}>"


@dataclass(frozen=True, kw_only=True)
class WebTransport:
    """How WebTransport sessions are taken.

    Args:
        origins: Pages that may open sessions, beside those that come from the same host and port:
            ``"https://app.example.org"``; or ``"*"`` for any page there is. Programs that are no
            browsers say no origin, and need none.
        authenticate: Is asked about every session, and may be ``async``: gives who the peer is, as
            methods see it in their context, or `None` for whom the connection's certificate names,
            which is nobody in browsers; raises `RefuseSession` if the session is not wanted.
        handlers: What to do with sessions by their path, for protocols of one's own; each gets the
            session for as long as it runs.
        services: Let the services of the router be called.
        danger_certificate_in_url: Authorities for ``?cert=``, in which a page says who it is by a
            certificate in DER and base64, as the Rust crate 16 has it. Nothing proves that it is
            the page's own: whoever has seen the certificate can show it. So only those are taken
            that are valid for at most `danger_certificate_lifetime`.
        danger_certificate_lifetime: From the beginning to the end of such a certificate.
    """

    origins: Sequence[str] | Literal["*"] = ()
    authenticate: Authenticate | None = None
    handlers: Mapping[str, SessionHandler] = field(default_factory=lambda: _NONE)
    services: bool = True
    danger_certificate_in_url: Source | None = None
    danger_certificate_lifetime: timedelta = timedelta(hours=24)

    def __post_init__(self) -> None:
        if isinstance(self.origins, str) and self.origins != "*":
            msg = f"origins={self.origins!r}: give a list of origins, or '*' for any page"
            raise TypeError(msg)
        for origin in () if self.origins == "*" else self.origins:
            if _normal(origin) is None:
                msg = f"origins: {origin!r} is no origin; write https://host or https://host:port"
                raise ValueError(msg)
        for path in self.handlers:
            if not path.startswith("/"):
                msg = f"handlers: the path {path!r} does not begin with a slash"
                raise ValueError(msg)


def is_allowed(request: SessionRequest, origins: Sequence[str] | Literal["*"]) -> bool:
    """Whether the page that asks may have a session.

    Browsers say the origin of every page, and pages cannot change it; the same-origin policy holds
    nothing else back from WebTransport (RFC 6454; W3C WebTransport, section 12.2).
    """
    said = request.origin
    if said is None or origins == "*":
        return True
    origin = _normal(said)
    if origin is None:
        return False
    return origin == _normal(f"https://{request.authority}") or origin in map(_normal, origins)


def _normal(origin: str) -> tuple[str, str, int] | None:
    """An origin in the form in which equal ones are equal; `None` if it is none."""
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return None
    # What is read is all that was said: nothing behind the port, and nothing that is overlooked.
    if origin.lower() != f"{parts.scheme}://{parts.netloc}".lower():
        return None
    if parts.hostname is None or "@" in parts.netloc:
        return None
    known = {"https": 443, "http": 80}
    return parts.scheme, parts.hostname, port or known.get(parts.scheme, 0)
