"""HTTP/3 as an entry of a router, beside typed services on the same port."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from jetstream._admission import WebTransport
from jetstream._errors import LocalProtocolError
from jetstream._router import Router

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jetstream._asgi import App
    from jetstream._connection import Connection
    from jetstream._context import Context
    from jetstream._http_options import HttpOptions

H3_ALPN = "h3"
"""HTTP/3 (RFC 9114, section 3.1)."""

_USUAL = WebTransport()


class H3Service:
    """Serves an ASGI application over HTTP/3: ``Router(EchoImpl(), H3Service(app))``.

    Args:
        app: The application.
        options: How it is served, as far as that is about HTTP/3; by default as `HttpServer` serves
            its own.
        webtransport: How WebTransport sessions are taken; `None` for none. There are none either
            where nothing is to be had on them: services, or handlers of sessions.
    """

    def __init__(
        self,
        app: App,
        *,
        options: HttpOptions | None = None,
        webtransport: WebTransport | None = _USUAL,
    ) -> None:
        self.app = app
        self.options = options
        self.webtransport = webtransport
        self.router = Router()

    def with_handler(self, service: object, service_class: type | None = None) -> H3Service:
        """Lets a service be called by HTTP POST and on WebTransport sessions.

        Args:
            service: What `Router.register` takes.
            service_class: As there.

        Returns:
            The same object.
        """
        self.router.register(service, service_class)
        return self

    def alpns(self) -> Sequence[str]:
        """The protocol that it speaks."""
        return (H3_ALPN,)

    async def accept(self, ctx: Context, connection: Connection) -> None:
        """Not called: the core speaks HTTP/3.

        Raises:
            LocalProtocolError: Somebody else calls it.
        """
        raise LocalProtocolError("register H3Service with the router of a server, which serves it")

    def __repr__(self) -> str:
        return f"<H3Service of {self.app!r}>"


Streams: TypeAlias = "bool | Literal['http', 'webtransport']"
"""What the QUIC streams of a protocol are: lanes (true), raw (false) or HTTP/3's, perhaps with
sessions of WebTransport."""


def http3_kind(
    webtransport: WebTransport | None, router: Router
) -> Literal["http", "webtransport"]:
    """What HTTP/3 is: with sessions, if there is anything to be had on them."""
    if webtransport is None:
        return "http"
    anything = webtransport.handlers or (webtransport.services and router.services)
    return "webtransport" if anything else "http"


def streams_of(router: Router) -> dict[str, Streams]:
    """What the QUIC streams of each protocol of a router are, as `_core.Endpoint` wants to know."""
    kinds: dict[str, Streams] = {}
    for alpn in router.alpns():
        handler = router.handler(alpn)
        if isinstance(handler, H3Service):
            kinds[alpn] = http3_kind(handler.webtransport, handler.router)
        else:
            kinds[alpn] = handler is None
    return kinds
