"""The decorators that make a class a service, and what type checkers make of them."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, Protocol, TypeVar, overload

from jetstream._definition import TABLE, define

if TYPE_CHECKING:
    from types import CoroutineType

    from jetstream._channel import ChannelType
    from jetstream._router import ServiceType

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S")
K = TypeVar("K", bound=type)

_OPTIONS = "__jetstream_method__"


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
        digest: Tells builds apart in logs; never decides. By default 8 hexadecimal digits of
            SHA-256 over the methods' signatures.

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


@dataclass(frozen=True, slots=True)
class MethodOptions:
    """What `method` says of a method."""

    thread: bool = False


class _MethodDecorator:
    """`@method(...)` with options: for type checkers, a plain `def` becomes awaitable."""

    def __init__(self, options: MethodOptions) -> None:
        self._options = options

    @overload
    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, T]], /
    ) -> "Callable[P, CoroutineType[Any, Any, T]]": ...

    @overload
    def __call__(
        self, function: Callable[P, T], /
    ) -> "Callable[P, CoroutineType[Any, Any, T]]": ...

    def __call__(self, function: Callable[..., Any], /) -> Callable[..., Any]:
        setattr(function, _OPTIONS, self._options)
        return function


# What pyright takes an `async def` to return is a CoroutineType, so nothing less can stand for one.
@overload
def method(
    function: Callable[P, Coroutine[Any, Any, T]], /
) -> "Callable[P, CoroutineType[Any, Any, T]]": ...


@overload
def method(function: Callable[P, T], /) -> "Callable[P, CoroutineType[Any, Any, T]]": ...


@overload
def method(*, thread: bool = False) -> _MethodDecorator: ...


def method(
    function: Callable[..., Any] | None = None, /, *, thread: bool = False
) -> Callable[..., Any] | _MethodDecorator:
    """Says more about a method than its signature does.

    A plain `def` needs no decorator to be served. With one, type checkers see what callers see: a
    coroutine. So a plain `def` decorated with ``@method`` may implement an ``async def``.

    Args:
        function: The method.
        thread: Run a plain `def` in the loop's thread pool. Without it, a plain `def` is called in
            the loop itself: fast, but it must not block.
    """
    decorator = _MethodDecorator(MethodOptions(thread=thread))
    return decorator if function is None else decorator(function)


def options_of(function: object) -> MethodOptions | None:
    """What `method` said of a function, if it did."""
    options = getattr(function, _OPTIONS, None)
    return options if isinstance(options, MethodOptions) else None


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
