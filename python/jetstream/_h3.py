"""HTTP/3 as an entry of a router, beside typed services on the same port."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

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


class H3Service:
    """Serves an ASGI application over HTTP/3: ``Router(EchoImpl(), H3Service(app))``.

    Args:
        app: The application.
        options: How it is served, as far as that is about HTTP/3; by default as `HttpServer` serves
            its own.
    """

    def __init__(self, app: App, *, options: HttpOptions | None = None) -> None:
        self.app = app
        self.options = options
        self.router = Router()

    def with_handler(self, service: object, service_class: type | None = None) -> H3Service:
        """Lets a service be called by HTTP POST, as `Router.register` takes it.

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


def streams_of(router: Router) -> dict[str, bool | Literal["http"]]:
    """What the QUIC streams of each protocol of a router are, as `_core.Endpoint` wants to know."""
    kinds: dict[str, bool | Literal["http"]] = {}
    for alpn in router.alpns():
        handler = router.handler(alpn)
        kinds[alpn] = "http" if isinstance(handler, H3Service) else handler is None
    return kinds
