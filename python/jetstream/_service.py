"""Service classes: from a class to its method table.

Nothing here runs for a call; it all happens when the class is defined.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import types
import typing
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, Protocol, TypeVar, Union, overload

from jetstream._context import Context
from jetstream._schema import SchemaError, arguments_plan, canonical, plan_of
from jetstream._schema_errors import spell

if TYPE_CHECKING:
    from jetstream._channel import ChannelType
    from jetstream._core.codec import ArgumentsPlan, Plan
    from jetstream._router import ServiceType

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S")
K = TypeVar("K", bound=type)

MAX_METHODS = 77
"""Frame types are one byte, and 102 to 255 are for methods, two each."""

DEFAULT_VERSION = "1.0.0"

_TABLE = "__jetstream_service__"
_OPTIONS = "__jetstream_method__"
_NAME = re.compile(r"[a-z0-9_][a-z0-9_.-]*")
_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_DIGEST = re.compile(r"[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a method."""

    name: str
    annotation: Any
    default: Any
    keyword_only: bool


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a service, as it is on the wire."""

    index: int
    name: str
    what: str
    parameters: tuple[Parameter, ...]
    returns: Any
    arguments_plan: ArgumentsPlan
    result_plan: Plan
    signature: inspect.Signature
    doc: str | None

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        """The arguments in order, with keywords and defaults put where they belong.

        Raises:
            TypeError: They do not fit, as for any Python function.
        """
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            msg = f"{self.what}{self.signature}: {error}"
            raise TypeError(msg) from None
        bound.apply_defaults()
        return tuple(bound.arguments.values())


@dataclass(frozen=True, slots=True)
class ServiceDefinition:
    """What a class decorated with `service` defines."""

    cls: type
    name: str
    version: str
    digest: str
    methods: tuple[Method, ...]

    @property
    def version_string(self) -> str:
        """As it is on the wire: ``rs.jetstream.proto/<name>/<version>+<digest>``."""
        return f"rs.jetstream.proto/{self.name}/{self.version}+{self.digest}"

    @property
    def title(self) -> str:
        """The class's own name, for messages."""
        return self.cls.__name__


# ---- decorators ----


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

        definition = _define(cls, name, version, digest)
        setattr(cls, _TABLE, definition)
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
    ) -> Callable[P, Coroutine[Any, Any, T]]: ...

    @overload
    def __call__(self, function: Callable[P, T], /) -> Callable[P, Coroutine[Any, Any, T]]: ...

    def __call__(self, function: Callable[..., Any], /) -> Callable[..., Any]:
        setattr(function, _OPTIONS, self._options)
        return function


@overload
def method(
    function: Callable[P, Coroutine[Any, Any, T]], /
) -> Callable[P, Coroutine[Any, Any, T]]: ...


@overload
def method(function: Callable[P, T], /) -> Callable[P, Coroutine[Any, Any, T]]: ...


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
    def __get__(self, instance: object, owner: Callable[..., S]) -> ChannelType[S]:
        raise AttributeError("decorate the class with @service")


class _ServiceAttribute:
    def __get__(self, instance: object, owner: Callable[..., S]) -> ServiceType[S]:
        raise AttributeError("decorate the class with @service")


class Interface(Protocol):
    """An optional base for service classes: tells type checkers of `Channel` and `Service`.

    Write ``class Echo(Interface, Protocol)``. At run time every class decorated with `service` has
    them.
    """

    Channel: ClassVar[_ChannelAttribute] = _ChannelAttribute()
    Service: ClassVar[_ServiceAttribute] = _ServiceAttribute()


# ---- definition ----


def definition_of(cls: object) -> ServiceDefinition:
    """The definition of a service class.

    Raises:
        TypeError: It is none.
    """
    found = getattr(cls, _TABLE, None) if isinstance(cls, type) else None
    if isinstance(found, ServiceDefinition):
        return found
    msg = f"{cls!r} is not a service class: decorate the class with @service"
    raise TypeError(msg)


def is_context(annotation: object) -> bool:
    """Whether a parameter with this annotation gets the context."""
    if annotation is Context:
        return True
    union = typing.get_origin(annotation) in (Union, types.UnionType)
    return union and Context in typing.get_args(annotation)


def resolved_hints(function: types.FunctionType, what: str) -> dict[str, Any]:
    """A function's annotations, none of them a string.

    Raises:
        SchemaError: One of them means nothing at run time.
    """
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise SchemaError(
            what,
            f"the name {error.name!r} in an annotation",
            "is not defined at run time",
            "define it at module level, and import it outside 'if TYPE_CHECKING'",
        ) from None
    except (AttributeError, SyntaxError, TypeError) as error:
        raise SchemaError(
            what, "an annotation", f"is no type ({error})", "write a type, such as str"
        ) from None


def _define(
    cls: type, name: str | None, version: str | None, digest: str | None
) -> ServiceDefinition:
    if not isinstance(cls, type):  # pyright: ignore[reportUnnecessaryIsInstance]  users without types
        raise SchemaError("@service", repr(cls), "is not a class", "write @service above a class")
    title = cls.__name__
    name = title.lower() if name is None else name
    version = DEFAULT_VERSION if version is None else version
    if not _NAME.fullmatch(name):
        raise SchemaError(
            title,
            f"the name {name!r}",
            "cannot be a service's",
            "write lower-case letters, digits, '_', '-' and '.', as in @service(name='my-service')",
        )
    if not _VERSION.fullmatch(version):
        raise SchemaError(
            title,
            f"the version {version!r}",
            "is not major.minor.patch",
            "write three numbers, as in @service(version='1.0.0')",
        )
    if digest is not None and not _DIGEST.fullmatch(digest):
        raise SchemaError(
            title,
            f"the digest {digest!r}",
            "has other characters than letters, digits, '-' and '.'",
            "write something like @service(digest='0a1b2c3d'), or leave it out",
        )
    functions = _functions(cls)
    if not functions:
        raise SchemaError(
            title,
            "the class",
            "has no public methods",
            "write at least one, such as\n    async def echo(self, message: str) -> str: ...",
        )
    if len(functions) > MAX_METHODS:
        raise SchemaError(
            title,
            f"{len(functions)} methods",
            f"are too many: {MAX_METHODS} fit",
            "split it into several services",
        )
    _refuse_names(cls, functions)
    methods = tuple(
        _method(title, index, name, function)
        for index, (name, function) in enumerate(functions.items())
    )
    return ServiceDefinition(
        cls=cls,
        name=name,
        version=version,
        digest=_digest(name, methods) if digest is None else digest,
        methods=methods,
    )


def _functions(cls: type) -> dict[str, types.FunctionType]:
    """The public methods in order of declaration, those of base classes first."""
    found: dict[str, types.FunctionType] = {}
    for base in reversed(cls.__mro__[:-1]):
        for name, value in vars(base).items():
            if name.startswith("_"):
                continue
            if isinstance(value, types.FunctionType):
                found[name] = value
            elif isinstance(value, staticmethod | classmethod):
                raise SchemaError(
                    f"{cls.__name__}.{name}",
                    "a staticmethod" if isinstance(value, staticmethod) else "a classmethod",
                    "has no object to be called on",
                    f"write 'async def {name}(self, ...)', or begin the name with an underscore",
                )
    return found


def _refuse_names(cls: type, functions: Mapping[str, object]) -> None:
    title = cls.__name__
    for name in ("Channel", "Service"):
        if name in functions or name in cls.__dict__:
            raise SchemaError(
                f"{title}.{name}",
                "the name",
                f"is taken by what @service puts there, the {name.lower()} of {title}",
                "call it something else",
            )
    seen: dict[str, str] = {}
    for name in functions:
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise SchemaError(
                f"{title}.{name}",
                "the name",
                f"differs from {title}.{other} in nothing but case, which peers in other "
                "languages do not keep",
                "rename one of them",
            )


def _method(title: str, index: int, name: str, function: types.FunctionType) -> Method:
    what = f"{title}.{name}"
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise SchemaError(
            what, "a generator", "has many results, and a method has one", "return a list"
        )
    signature = inspect.signature(function)
    hints = resolved_hints(function, what)
    own = list(signature.parameters.values())
    if not own or own[0].kind not in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    ):
        raise SchemaError(
            what,
            f"the signature {signature}",
            "has no self",
            f"write 'async def {name}(self, ...)'",
        )
    parameters = [
        _parameter(what, parameter, hints)
        for parameter in own[1:]
        if not is_context(hints.get(parameter.name))
    ]
    if "return" not in hints:
        raise SchemaError(
            f"{what} -> return",
            "the result",
            "has no annotation",
            "write its type, such as '-> str', or '-> None'",
        )
    return Method(
        index=index,
        name=name,
        what=what,
        parameters=tuple(parameters),
        returns=hints["return"],
        arguments_plan=arguments_plan(
            [(parameter.name, parameter.annotation) for parameter in parameters], what
        ),
        result_plan=plan_of(hints["return"], f"{what} -> return"),
        signature=_call_signature(signature, hints, parameters),
        doc=inspect.getdoc(function),
    )


def _parameter(what: str, parameter: inspect.Parameter, hints: Mapping[str, Any]) -> Parameter:
    where = f"{what}({parameter.name})"
    if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
        raise SchemaError(
            f"{what}({str(parameter).partition(':')[0]})",
            "any number of arguments",
            "have no layout on the wire",
            "write each one with its type, or take a list or a dict",
        )
    if parameter.name == "timeout":
        raise SchemaError(
            where,
            "the name",
            "is taken: every call has a timeout= of its own",
            "call it something else, such as 'seconds'",
        )
    if parameter.name not in hints:
        raise SchemaError(
            where,
            "the parameter",
            "has no annotation",
            f"write its type, such as '{parameter.name}: str'",
        )
    annotation = hints[parameter.name]
    if type(parameter.default).__hash__ is None:
        raise SchemaError(
            where,
            f"the default {parameter.default!r}",
            "can be changed, and all calls would share it",
            f"write '{parameter.name}: {spell(annotation)} | None = None'",
        )
    return Parameter(
        parameter.name,
        annotation,
        parameter.default,
        parameter.kind is inspect.Parameter.KEYWORD_ONLY,
    )


class _Spelled:
    """An annotation that prints as somebody would write it."""

    def __init__(self, annotation: object) -> None:
        self._text = spell(annotation)

    def __repr__(self) -> str:
        return self._text


def _call_signature(
    signature: inspect.Signature, hints: Mapping[str, Any], parameters: list[Parameter]
) -> inspect.Signature:
    """What callers write: without self and the context."""
    kept = {parameter.name for parameter in parameters}
    return signature.replace(
        parameters=[
            own.replace(annotation=_Spelled(hints[own.name]))
            for own in signature.parameters.values()
            if own.name in kept
        ],
        return_annotation=_Spelled(hints["return"]),
    )


def _digest(name: str, methods: tuple[Method, ...]) -> str:
    text = "\n".join([name, *(_canonical_method(method) for method in methods)])
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _canonical_method(method: Method) -> str:
    arguments = ",".join(canonical(parameter.annotation) for parameter in method.parameters)
    return f"{method.name}({arguments})->{canonical(method.returns)}"
