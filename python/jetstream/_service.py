"""The decorators that make a class a service, and what type checkers make of them."""

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, Protocol, TypeVar, overload

from jetstream._definition import OPTIONS, TABLE, MethodOptions, define
from jetstream._subscription import Done, Subscription

if TYPE_CHECKING:
    from types import CoroutineType

    from jetstream._channel import ChannelType
    from jetstream._router import ServiceType

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")
S = TypeVar("S")
K = TypeVar("K", bound=type)


@overload
def service(cls: K, /) -> K: ...


@overload
def service(
    *, name: str | None = None, version: str | None = None, digest: str | None = None
) -> Callable[[K], K]: ...


def service(
    cls: K | None = None,
    /,
    *,
    name: str | None = None,
    version: str | None = None,
    digest: str | None = None,
) -> K | Callable[[K], K]:
    """Makes a class a service.

    Its public methods, in order of declaration, are what can be called; those whose names begin
    with an underscore are its own. Parameters and results must be annotated with types that the
    wire can carry. A parameter annotated with `Context` is not on the wire.

    The class gains `Channel`, its typed client, and `Service`, which serves an implementation. Let
    it be a `typing.Protocol`, and type checkers take methods without bodies and tell which ones an
    implementation lacks; a plain class or an ABC serves as well.

    Args:
        cls: The class.
        name: The name on the wire; by default the class's, lower case.
        version: ``major.minor.patch``; a server serves clients of the same major version that are
            not newer.
        digest: Tells builds apart in logs, and never decides for peers of the Rust crate 16; those
            of 15 find the service only under the digest of their own trait. By default 8
            hexadecimal digits of SHA-256 over the methods' signatures.

    Raises:
        SchemaError: Something in the class cannot be a service: what, where, and what to write.
    """

    def decorate(cls: K) -> K:
        from jetstream._channel import ChannelType
        from jetstream._router import ServiceType

        definition = define(cls, name, version, digest)
        setattr(cls, TABLE, definition)
        attributes: Any = cls
        attributes.Channel = ChannelType[Any](definition)
        attributes.Service = ServiceType[Any](definition)
        return cls

    return decorate if cls is None else decorate(cls)


class _MethodDecorator:
    """`@method(...)` with options: for type checkers, a plain `def` becomes awaitable."""

    def __init__(self, options: MethodOptions) -> None:
        self._options = options

    # A Subscription is a plain result, too, were it not told apart first.
    @overload
    def __call__(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
        self, function: Callable[P, Subscription[T, R]], /
    ) -> Callable[P, Subscription[T, R]]: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[P, AsyncIterator[T | Done[R]]], /
    ) -> Callable[P, Subscription[T, R]]: ...

    @overload
    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, T]], /
    ) -> "Callable[P, CoroutineType[Any, Any, T]]": ...

    @overload
    def __call__(
        self, function: Callable[P, T], /
    ) -> "Callable[P, CoroutineType[Any, Any, T]]": ...

    def __call__(self, function: Callable[..., Any], /) -> Callable[..., Any]:
        setattr(function, OPTIONS, self._options)
        return function


@overload
def method(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
    function: Callable[P, Subscription[T, R]], /
) -> Callable[P, Subscription[T, R]]: ...


@overload
def method(  # type: ignore[overload-overlap]
    function: Callable[P, AsyncIterator[T | Done[R]]], /
) -> Callable[P, Subscription[T, R]]: ...


# What pyright takes an `async def` to return is a CoroutineType, so nothing less can stand for one.
@overload
def method(
    function: Callable[P, Coroutine[Any, Any, T]], /
) -> "Callable[P, CoroutineType[Any, Any, T]]": ...


@overload
def method(function: Callable[P, T], /) -> "Callable[P, CoroutineType[Any, Any, T]]": ...


@overload
def method(
    *, thread: bool = False, idempotent: bool = False, lossy: bool = False
) -> _MethodDecorator: ...


def method(
    function: Callable[..., Any] | None = None,
    /,
    *,
    thread: bool = False,
    idempotent: bool = False,
    lossy: bool = False,
) -> Callable[..., Any] | _MethodDecorator:
    """Says more about a method than its signature does.

    A plain `def` needs no decorator to be served. With one, type checkers see what callers see: a
    coroutine. So a plain `def` decorated with ``@method`` may implement an ``async def``. Likewise
    an async generator decorated with it may implement a method that returns a `Subscription`.

    Args:
        function: The method.
        thread: Run a plain `def` in the loop's thread pool. Without it, a plain `def` is called in
            the loop itself: fast, but it must not block.
        idempotent: In a service class: calling it twice comes to the same as calling it once. Such
            calls may be sent again after a connection is lost, and may run as early data (0-RTT),
            which somebody could have recorded and sent again.
        lossy: In a service class, for subscriptions: only the latest item counts. Items travel as
            datagrams where there are any; none is queued, none is sent again, none overtakes a
            later one.
    """
    decorator = _MethodDecorator(MethodOptions(thread, idempotent, lossy))
    return decorator if function is None else decorator(function)


class _ChannelAttribute:
    # A protocol is no `type[S]` for type checkers, since it has no instances; a callable it is.
    def __get__(self, instance: object, owner: Callable[..., S]) -> "ChannelType[S]":
        raise AttributeError("decorate the class with @service")


class _ServiceAttribute:
    def __get__(self, instance: object, owner: Callable[..., S]) -> "ServiceType[S]":
        raise AttributeError("decorate the class with @service")


class Interface(Protocol):
    """An optional base for service classes: tells type checkers of `Channel` and `Service`.

    Write ``class Echo(Interface, Protocol)``. At run time every class decorated with `service` has
    them.
    """

    Channel: ClassVar[_ChannelAttribute] = _ChannelAttribute()
    Service: ClassVar[_ServiceAttribute] = _ServiceAttribute()
