"""Who sent a request, for the handlers of an ASGI application."""

# FastAPI reads annotations where they are, so here they are no strings.
import inspect
from collections.abc import Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Self

from jetstream import _core
from jetstream._asgi import CONNECTION, FORWARDED
from jetstream._context import Context
from jetstream._types import SocketAddress

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

    from jetstream._identity import Peer


class _Signature:
    """What FastAPI is told to give: the request, or the WebSocket."""

    def __get__(self, instance: object, owner: type) -> inspect.Signature:
        try:
            from starlette.requests import HTTPConnection
        except ImportError:
            annotation: Any = inspect.Parameter.empty
        else:
            annotation = HTTPConnection
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        return inspect.Signature([inspect.Parameter("request", kind, annotation=annotation)])


class JetStreamContext(Context):
    """Who asks, and over what: what methods of services know as their `Context`.

    In FastAPI it is a dependency, ``ctx: Annotated[JetStreamContext, Depends()]``; in Starlette
    write ``JetStreamContext(request)``, and elsewhere ``JetStreamContext.from_scope(scope)``. It is
    the same for HTTP/1.1, HTTP/2 and HTTP/3, and for WebSockets.

    Args:
        request: A request or a WebSocket of Starlette.

    Raises:
        RuntimeError: It was served by another server.
    """

    __slots__ = ("_is_forwarded", "_version")
    __signature__ = _Signature()

    def __init__(self, request: "HTTPConnection") -> None:
        self._of(request.scope)

    @classmethod
    def from_scope(cls, scope: Mapping[str, Any]) -> Self:
        """The context of a request, from its ASGI scope.

        Raises:
            RuntimeError: It was served by another server.
        """
        made = cls.__new__(cls)
        made._of(scope)
        return made

    def _of(self, scope: Mapping[str, Any]) -> None:
        extensions: Mapping[str, Any] = scope.get("extensions") or {}
        extension: Mapping[str, Any] = extensions.get("jetstream") or {}
        connection: object = extension.get(CONNECTION)
        if not isinstance(connection, _core.Connection):
            msg = "this request was not served by jetstream.http: it has no context"
            raise RuntimeError(msg)  # noqa: TRY004  it is not the caller's type that is wrong
        early = any(name == b"early-data" and value == b"1" for name, value in scope["headers"])
        what = f"{scope.get('method', 'WebSocket')} {scope['path']}"
        super().__init__(remote=_address(scope.get("client")), method=what, early=early)
        self._connection = connection
        self._version: str = scope["http_version"]
        self._is_forwarded = FORWARDED in extension

    @property
    def peer(self) -> "Peer | None":
        """Who asks; `None` for somebody who proved nothing, as behind a proxy that is believed."""
        return None if self._is_forwarded else super().peer

    @property
    def remote(self) -> SocketAddress | None:
        """From which address, or from which one proxies say.

        `None` over Unix sockets, and where a trusted proxy hides its client.
        """
        return self._remote

    @property
    def http_version(self) -> str:
        """In which version the request came: ``"1.0"``, ``"1.1"``, ``"2"`` or ``"3"``."""
        return self._version


def _address(client: object) -> SocketAddress | None:
    match client:
        case (str() as host, int() as port):
            try:
                return SocketAddress(ip_address(host), port)
            except ValueError:
                return None
        case _:
            return None
