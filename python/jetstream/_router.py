"""Routers: what a server serves, services by name and protocol handlers by ALPN."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast, runtime_checkable

from jetstream._definition import ServiceDefinition, definition_of
from jetstream._generations import (
    GENERATIONS,
    MAX_ALPN,
    RPC_ALPN,
    Generation,
    names_alone,
)
from jetstream._implementation import service_table
from jetstream._interception import interceptors_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from jetstream import _core
    from jetstream._connection import Connection
    from jetstream._context import Context
    from jetstream._interception import ServerInterceptor

S = TypeVar("S")

DEFAULT_GENERATIONS: tuple[Generation, ...] = ("16", "15.2")

TCP_ONLY = ("h2", "http/1.1")
"""Protocols that run over TCP alone (RFC 9113, section 3.2)."""

_TAKEN = "the protocol {!r} is taken already"


@runtime_checkable
class ProtocolHandler(Protocol):
    """Speaks a protocol of one's own over raw connections."""

    def alpns(self) -> Sequence[str]:
        """The protocols that it speaks, by their ALPN names."""
        ...

    async def accept(self, ctx: Context, connection: Connection) -> None:
        """Serves one connection; when it returns, the connection is closed."""
        ...


class Service(Generic[S]):
    """A served implementation of a service class.

    Args:
        definition: The service.
        implementation: An object with its methods.

    Raises:
        TypeError: A method is missing, or has other types.
    """

    def __init__(self, definition: ServiceDefinition, implementation: object) -> None:
        self.definition = definition
        self.implementation = implementation
        # Made here only to see that it can be: the mistake is shown where it is made.
        service_table(definition, implementation)

    def table(
        self,
        wrap: Callable[[str, Callable[..., Any], bool], Callable[..., Any]] | None,
        interceptors: Sequence[ServerInterceptor] = (),
    ) -> _core.ServiceTable:
        """The table by which the core calls the implementation."""
        return service_table(self.definition, self.implementation, wrap, interceptors)

    def __repr__(self) -> str:
        return f"<{self.definition.title}Service of {self.implementation!r}>"


class ServiceType(Generic[S]):
    """Serves implementations of one service; for a service `Echo` it is `Echo.Service`."""

    def __init__(self, definition: ServiceDefinition) -> None:
        self._definition = definition
        self.__name__ = f"{definition.title}Service"
        self.__doc__ = f"Serves an implementation of {definition.title}."

    def __call__(self, implementation: object) -> Service[S]:
        """Serves an implementation: an object with the service's methods.

        Raises:
            TypeError: A method is missing, or has other types.
        """
        return Service(self._definition, implementation)

    def __repr__(self) -> str:
        return f"<{self.__name__}>"


class Router:
    """What a server serves.

    Args:
        entries: What to register at once.
        generations: Of which generations of the Rust crates callers may be. Those of 15 are for
            services whose class says ``digest=``, which must be the Rust trait's; 15.1 numbers
            methods differently.
        interceptors: What stands around every method of its services, outermost first, inside of
            those of the server.

    Raises:
        TypeError: One of the interceptors is none; or see `register`.
        ValueError: There is no such generation, or none at all is given.
    """

    def __init__(
        self,
        *entries: object,
        generations: Collection[Generation] = DEFAULT_GENERATIONS,
        interceptors: Iterable[ServerInterceptor] = (),
    ) -> None:
        unknown = [each for each in generations if each not in GENERATIONS]
        if unknown or not generations or isinstance(generations, str):
            msg = f"generations={generations!r}: give some of {', '.join(GENERATIONS)}"
            raise ValueError(msg)
        self._generations: tuple[Generation, ...] = tuple(
            each for each in GENERATIONS if each in generations
        )
        self.interceptors = interceptors_of(interceptors)
        self._services: dict[str, Service[Any]] = {}
        self._alone: list[str] = []
        self._handlers: dict[str, ProtocolHandler] = {}
        for entry in entries:
            self.register(entry)

    def register(self, entry: object, service: type | None = None) -> Router:
        """Adds a service or a protocol handler.

        Args:
            entry: An instance of a service class or of a subclass, an `Echo.Service(...)`, any
                object with the methods of `service`, or a `ProtocolHandler`.
            service: The service class that `entry` implements, where it is no instance of it.

        Returns:
            The router itself.

        Raises:
            TypeError: A method is missing or has other types; or it is nothing that can be served.
            ValueError: The name or the protocol is taken.
        """
        if service is not None:
            return self._add_service(Service(definition_of(service), entry))
        if isinstance(entry, Service):
            return self._add_service(cast("Any", entry))  # of any service
        definition = getattr(type(entry), "__jetstream_service__", None)
        if isinstance(definition, ServiceDefinition):
            return self._add_service(Service(definition, entry))
        if isinstance(entry, ProtocolHandler) and not isinstance(entry, type):
            return self._add_handler(entry)
        if isinstance(entry, type):
            name = entry.__name__
            msg = f"{name} is the class itself: register an instance, as in register({name}())"
            raise TypeError(msg)
        msg = (
            f"{entry!r} is neither a service nor a protocol handler: register an instance of a "
            "class decorated with @service, or say which one it implements, as in "
            "register(entry, service=Echo); a protocol handler has alpns() and accept()"
        )
        raise TypeError(msg)

    def _add_service(self, service: Service[Any]) -> Router:
        name = service.definition.name
        if name in self._services:
            msg = (
                f"a service is registered as {name!r} already "
                f"({self._services[name].definition.title}): give one of them another name with "
                "@service(name=...)"
            )
            raise ValueError(msg)
        alone = names_alone(service.definition, self._generations)
        names = (RPC_ALPN, *alone) if self._shared else alone
        if not names:
            msg = (
                f"{service.definition.title} would be found by nobody: callers of the generations "
                f"{', '.join(self._generations)} look for the digest of a Rust trait; write "
                "@service(digest=...)"
            )
            raise ValueError(msg)
        for taken in names:
            if taken in self._handlers:
                raise ValueError(_TAKEN.format(taken))
        self._services[name] = service
        self._alone += alone
        return self

    @property
    def _shared(self) -> bool:
        """Whether services are called under the one protocol for all."""
        return "16" in self._generations

    def _add_handler(self, handler: ProtocolHandler) -> Router:
        names = list(handler.alpns())
        if not names:
            msg = f"{handler!r}: alpns() is empty, so no connection would ever reach it"
            raise ValueError(msg)
        taken = {*self._handlers, *self._service_alpns()}
        for name in names:
            if name in taken:
                raise ValueError(_TAKEN.format(name))
            if name in TCP_ONLY:
                msg = f"{name!r} is not spoken over QUIC: serve HTTP with jetstream.http.HttpServer"
                raise ValueError(msg)
            if not 1 <= len(name.encode()) <= MAX_ALPN:
                msg = f"the protocol {name!r}: a name must have 1 to {MAX_ALPN} bytes (RFC 7301)"
                raise ValueError(msg)
        for name in names:
            self._handlers[name] = handler
        return self

    @property
    def services(self) -> tuple[Service[Any], ...]:
        """The registered services."""
        return tuple(self._services.values())

    def alpns(self) -> tuple[str, ...]:
        """The protocols that are served, best first."""
        return self._service_alpns() + tuple(self._handlers)

    def _service_alpns(self) -> tuple[str, ...]:
        shared = (RPC_ALPN,) if self._services and self._shared else ()
        return (*shared, *self._alone)

    def handler(self, alpn: str | None) -> ProtocolHandler | None:
        """The handler of a protocol; `None` for services and for what nobody speaks."""
        return None if alpn is None else self._handlers.get(alpn)

    def __repr__(self) -> str:
        served = [service.definition.version_string for service in self.services]
        return f"<Router of {', '.join([*served, *self._handlers]) or 'nothing'}>"


def as_router(served: object) -> Router:
    """What one end serves to the other: services, as protocol handlers are a server's.

    Raises:
        TypeError: It is nothing that can be served.
        ValueError: It has protocol handlers, or nothing.
    """
    router = served if isinstance(served, Router) else Router(served)
    if not router.services or len(router.alpns()) > 1:
        msg = f"{router!r}: the connecting end serves services, and no protocol handlers"
        raise ValueError(msg)
    return router
