"""HTTP/3 as an entry of a router, beside typed services on the same port."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jetstream import _core
from jetstream._errors import LocalProtocolError
from jetstream._router import Router

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jetstream._asgi import App
    from jetstream._connection import Connection
    from jetstream._context import Context

H3_ALPN = "h3"
"""HTTP/3 (RFC 9114, section 3.1)."""


class H3Service:
    """Serves an ASGI application over HTTP/3: ``Router(EchoImpl(), H3Service(app))``.

    Args:
        app: The application.
    """

    def __init__(self, app: App) -> None:
        self.app = app
        self.router = Router()

    def with_handler(self, service: object, service_class: type | None = None) -> H3Service:
        """Lets a service be called over WebTransport and HTTP POST, as `Router.register` takes it.

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
            LocalProtocolError: It does not, in this version.
        """
        raise LocalProtocolError("HTTP/3 is not spoken by this version")

    def __repr__(self) -> str:
        return f"<H3Service of {self.app!r}>"


def speaks_http3() -> bool:
    """Whether the core does."""
    return _core.HTTP3
