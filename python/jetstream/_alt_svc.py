"""Telling clients of HTTP/1.1 and HTTP/2 that HTTP/3 is spoken too (RFC 7838)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jetstream._asgi import App, Message, Receive, Scope, Send

MAX_AGE = 86_400
"""Seconds for which clients remember it; the default of RFC 7838, section 3.1."""


def alt_svc(port: int) -> str:
    """What says that HTTP/3 is spoken on a UDP port of the same host."""
    return f'h3=":{port}"; ma={MAX_AGE}'


class AltSvcMiddleware:
    """Adds ``Alt-Svc`` to answers over HTTP/1.1 and HTTP/2.

    `HttpServer` does so by itself for its own port. This is for HTTP/3 that is spoken elsewhere,
    as behind a port that is mapped.

    Args:
        app: The application.
        port: The UDP port on which HTTP/3 is spoken.
    """

    def __init__(self, app: App, port: int) -> None:
        self._app = app
        self._value = alt_svc(port).encode()

    @classmethod
    def with_value(cls, app: App, value: str) -> AltSvcMiddleware:
        """The same with any value, such as one that names another host."""
        made = cls(app, 0)
        made._value = value.encode("latin-1")
        return made

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["http_version"] == "3":
            await self._app(scope, receive, send)
            return

        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [
                    (name, value)
                    for name, value in message.get("headers") or ()
                    if bytes(name).lower() != b"alt-svc"
                ]
                message = {**message, "headers": [*headers, (b"alt-svc", self._value)]}
            await send(message)

        await self._app(scope, receive, add)
