"""Service classes: from a class to its method table.

Nothing here runs for a call; it all happens when the class is defined, or when an implementation is
registered.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import inspect
import re
import types
import typing
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Union, overload

from jetstream import _core
from jetstream._context import Context
from jetstream._schema import SchemaError, arguments_plan, canonical, plan_of

if TYPE_CHECKING:
    from jetstream._core.codec import ArgumentsPlan, Plan

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C")

MAX_METHODS = 77
"""Frame types are one byte, and 102 to 255 are for methods, two each."""

DEFAULT_VERSION = "1.0.0"

_TABLE = "__jetstream_service__"
_OPTIONS = "__jetstream_method__"
_NAME = re.compile(r"[a-z0-9_][a-z0-9_.-]*")
_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_DIGEST = re.compile(r"[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*")
_MUTABLE = (list, dict, set, bytearray)


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
def service(cls: type[C], /) -> type[C]: ...


@overload
def service(
    *, name: str | None = None, version: str | None = None, digest: str | None = None
) -> Callable[[type[C]], type[C]]: ...


def service(
    cls: type[C] | None = None,
    /,
    *,
    name: str | None = None,
    version: str | None = None,
    digest: str | None = None,
) -> type[C] | Callable[[type[C]], type[C]]:
    """Makes a class a service.

    Its public methods, in order of declaration, are what can be called; those whose names begin
    with an underscore are its own. Parameters and results must be annotated with types that the
    wire can carry. A parameter annotated with `Context` is not on the wire.

    The class gains `Channel`, its typed client, and `Service`, which serves an implementation.

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

    def decorate(cls: type[C]) -> type[C]:
        definition = _define(cls, name, version, digest)
        setattr(cls, _TABLE, definition)
        from jetstream._channel import ChannelType  # noqa: PLC0415  it needs definitions
        from jetstream._router import ServiceType  # noqa: PLC0415  it needs definitions

        for attribute, value in (
            ("Channel", ChannelType(definition)),
            ("Service", ServiceType(definition)),
        ):
            if attribute in cls.__dict__:
                raise SchemaError(
                    f"{cls.__name__}.{attribute}: the name is taken by the service's own "
                    f"{attribute.lower()}; call the method something else"
                )
            setattr(cls, attribute, value)
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


class _ChannelAttribute:
    def __get__(self, instance: object, owner: type[C]) -> ChannelTypeOf[C]:
        raise AttributeError("decorate the class with @service")


class _ServiceAttribute:
    def __get__(self, instance: object, owner: type[C]) -> ServiceTypeOf[C]:
        raise AttributeError("decorate the class with @service")


class Interface:
    """An optional base for service classes: tells type checkers of `Channel` and `Service`.

    At run time every class decorated with `service` has them.
    """

    Channel = _ChannelAttribute()
    Service = _ServiceAttribute()


if TYPE_CHECKING:
    from jetstream._channel import ChannelType as ChannelTypeOf
    from jetstream._router import ServiceType as ServiceTypeOf


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


def _define(
    cls: type, name: str | None, version: str | None, digest: str | None
) -> ServiceDefinition:
    title = cls.__name__
    name = title.lower() if name is None else name
    version = DEFAULT_VERSION if version is None else version
    if not _NAME.fullmatch(name):
        raise SchemaError(
            f"{title}: the name {name!r} cannot be a service's; write lower-case letters, digits, "
            "'_', '-' and '.', as in @service(name='my-service')"
        )
    if not _VERSION.fullmatch(version):
        raise SchemaError(
            f"{title}: the version {version!r} is not major.minor.patch; write "
            "@service(version='1.0.0')"
        )
    if digest is not None and not _DIGEST.fullmatch(digest):
        raise SchemaError(
            f"{title}: the digest {digest!r} is not letters, digits, '-' and '.'; write "
            "@service(digest='0a1b2c3d'), or leave it out"
        )
    functions = _functions(cls)
    if not functions:
        raise SchemaError(
            f"{title} has no methods: write at least one, such as\n"
            "    async def echo(self, message: str) -> str: ..."
        )
    if len(functions) > MAX_METHODS:
        raise SchemaError(
            f"{title} has {len(functions)} methods, and a service can have {MAX_METHODS}: "
            "split it into several services"
        )
    _refuse_doubles(title, functions)
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
        if base is Interface:
            continue
        for name, value in vars(base).items():
            if name.startswith("_"):
                continue
            if isinstance(value, types.FunctionType):
                found[name] = value
            elif isinstance(value, staticmethod | classmethod):
                kind = type(value).__name__
                raise SchemaError(
                    f"{cls.__name__}.{name} is a {kind}, and a remote method needs an object: "
                    f"write 'async def {name}(self, ...)', or begin the name with an underscore"
                )
    return found


def _refuse_doubles(title: str, functions: Mapping[str, object]) -> None:
    seen: dict[str, str] = {}
    for name in functions:
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise SchemaError(
                f"{title}.{other} and {title}.{name} are the same name on the wire, which knows no "
                "case: rename one of them"
            )


def _hints(function: types.FunctionType, what: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise SchemaError(
            f"{what}: an annotation names {error.name!r}, which is not defined here: define it "
            "before the class, or import it at run time too, not only for type checking"
        ) from None


def is_context(annotation: object) -> bool:
    """Whether a parameter with this annotation gets the context."""
    if annotation is Context:
        return True
    union = typing.get_origin(annotation) in (Union, types.UnionType)
    return union and Context in typing.get_args(annotation)


def _method(title: str, index: int, name: str, function: types.FunctionType) -> Method:
    what = f"{title}.{name}"
    signature = inspect.signature(function)
    hints = _hints(function, what)
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise SchemaError(
            f"{what} is a generator, and a method answers once: return a list instead of yielding"
        )
    parameters: list[Parameter] = []
    own = list(signature.parameters.values())
    if not own or own[0].kind not in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    ):
        raise SchemaError(f"{what} has no self: write 'async def {name}(self, ...)'")
    for parameter in own[1:]:
        where = f"{what}({parameter.name})"
        if parameter.kind in (
            inspect.Parameter.VAR_POSITIONAL,
            inspect.Parameter.VAR_KEYWORD,
        ):
            star = "*" if parameter.kind is inspect.Parameter.VAR_POSITIONAL else "**"
            raise SchemaError(
                f"{what}({star}{parameter.name}): a method's arguments are fixed on the wire: "
                "write each one with its type, or take a list"
            )
        if parameter.name not in hints:
            raise SchemaError(
                f"{where} has no annotation: write its type, such as '{parameter.name}: str'"
            )
        if is_context(hints[parameter.name]):
            continue
        if parameter.name == "timeout":
            raise SchemaError(
                f"{where}: every call has a timeout= of its own, so no argument can have this "
                "name: call it something else, such as 'seconds'"
            )
        if isinstance(parameter.default, _MUTABLE):
            raise SchemaError(
                f"{where} has the mutable default {parameter.default!r}, which all calls would "
                f"share: write '{parameter.name}: ... | None = None'"
            )
        parameters.append(
            Parameter(
                parameter.name,
                hints[parameter.name],
                parameter.default,
                parameter.kind is inspect.Parameter.KEYWORD_ONLY,
            )
        )
    if "return" not in hints:
        raise SchemaError(
            f"{what} has no result annotation: write '-> str' or whatever it returns; '-> None' if "
            "nothing"
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
        signature=_call_signature(signature, parameters),
        doc=inspect.getdoc(function),
    )


def _call_signature(
    signature: inspect.Signature, parameters: list[Parameter]
) -> inspect.Signature:
    """What callers write: without self and the context."""
    kept = {parameter.name for parameter in parameters}
    return signature.replace(
        parameters=[own for own in signature.parameters.values() if own.name in kept]
    )


def _digest(name: str, methods: tuple[Method, ...]) -> str:
    text = "\n".join([name, *(_canonical_method(method) for method in methods)])
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _canonical_method(method: Method) -> str:
    arguments = ",".join(canonical(parameter.annotation) for parameter in method.parameters)
    return f"{method.name}({arguments})->{canonical(method.returns)}"


# ---- implementations ----


def service_table(
    definition: ServiceDefinition,
    implementation: object,
    wrap: Callable[[str, Callable[..., Any], bool], Callable[..., Any]] | None = None,
) -> _core.ServiceTable:
    """The table by which the core calls an implementation.

    Args:
        definition: The service.
        implementation: An object with its methods.
        wrap: Gets what is called (``Echo.put``), the function and whether it is awaited, and
            returns what to call instead.

    Raises:
        TypeError: A method is missing, or has other types.
    """
    methods: list[_core.ServiceMethod] = []
    for declared in definition.methods:
        function, context_at, task = _implement(definition, declared, implementation)
        if wrap is not None:
            function = wrap(declared.what, function, task)
        methods.append(
            _core.ServiceMethod(
                declared.what,
                declared.index,
                function,
                declared.arguments_plan,
                declared.result_plan,
                task=task,
                context_at=context_at,
            )
        )
    return _core.ServiceTable(definition.version_string, methods)


def _implement(
    definition: ServiceDefinition, declared: Method, implementation: object
) -> tuple[Callable[..., Any], int | None, bool]:
    """What to call for a method, where the context goes, and whether it is awaited."""
    owner = type(implementation).__name__
    what = f"{owner}.{declared.name}"
    function = getattr(implementation, declared.name, None)
    if not callable(function):
        raise TypeError(
            f"{owner} does not implement {declared.what}: write\n    async def "
            f"{declared.name}{_with_self(declared.signature)}"
        )
    plain = inspect.unwrap(getattr(function, "__func__", function))
    original = definition.cls.__dict__.get(declared.name)
    if plain is original and _is_stub(plain):
        raise TypeError(
            f"{owner} does not implement {declared.what}, which is only declared: write\n"
            f"    async def {declared.name}{_with_self(declared.signature)}"
        )
    context_at, keywords = _check_signature(what, declared, function, plain)
    options = getattr(plain, _OPTIONS, None)
    task = inspect.iscoroutinefunction(plain) or inspect.iscoroutinefunction(function)
    if isinstance(options, MethodOptions) and options.thread:
        if task:
            raise TypeError(
                f"{what} is 'async def' and @method(thread=True): a thread runs plain functions; "
                "write 'def', or leave thread=True out"
            )
        function, task = _in_thread(function), True
    if keywords:
        function = _with_keywords(function, keywords)
    return function, context_at, task


def _with_self(signature: inspect.Signature) -> str:
    return str(signature).replace("(", "(self, ", 1).replace("(self, )", "(self)", 1)


def _check_signature(
    what: str, declared: Method, function: Callable[..., Any], plain: Callable[..., Any]
) -> tuple[int | None, tuple[str, ...]]:
    """Where the context goes, and the names that must be given by keyword, in order."""
    try:
        own = list(inspect.signature(function).parameters.values())
    except ValueError:
        # Something written in C tells nothing; its arguments come in order.
        return None, ()
    hints = _hints(plain, what) if isinstance(plain, types.FunctionType) else {}
    context_at: int | None = None
    given: list[inspect.Parameter] = []
    for parameter in own:
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            return context_at, ()
        if is_context(hints.get(parameter.name)):
            context_at = len(given)
        given.append(parameter)
    wire = [
        parameter
        for at, parameter in enumerate(given)
        if at != context_at and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    wanted = declared.parameters
    extra = [
        parameter.name
        for parameter in wire[len(wanted) :]
        if parameter.default is inspect.Parameter.empty
    ]
    if len(wire) < len(wanted) or extra:
        raise TypeError(
            f"{what} takes ({', '.join(parameter.name for parameter in wire)}) and {declared.what} "
            f"is declared with ({', '.join(parameter.name for parameter in wanted)})"
        )
    for parameter, declaration in zip(wire, wanted, strict=False):
        _check_type(f"{what}({parameter.name})", hints.get(parameter.name), declaration.annotation)
    if "return" in hints:
        _check_type(f"{what} -> return", hints["return"], declared.returns)
    positions = given[: len(wanted) + (context_at is not None)]
    if any(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in positions):
        return context_at, tuple(
            parameter.name if parameter.kind is inspect.Parameter.KEYWORD_ONLY else ""
            for parameter in positions
        )
    return context_at, ()


def _check_type(where: str, found: object, declared: object) -> None:
    if found is None and declared is not None and declared is not type(None):
        return
    try:
        same = canonical(found) == canonical(declared)
    except SchemaError:
        same = False
    if not same:
        raise TypeError(
            f"{where} is {_spell(found)} here, and {_spell(declared)} where it is declared"
        )


def _spell(annotation: object) -> str:
    return inspect.formatannotation(annotation)


def _in_thread(function: Callable[..., T]) -> Callable[..., Awaitable[T]]:
    import asyncio  # noqa: PLC0415  not needed to declare a service

    @functools.wraps(function)
    async def run(*args: Any) -> T:
        return await asyncio.to_thread(function, *args)

    return run


def _with_keywords(function: Callable[..., T], keywords: tuple[str, ...]) -> Callable[..., T]:
    @functools.wraps(function)
    def run(*args: Any) -> T:
        positional = [value for value, name in zip(args, keywords, strict=True) if not name]
        named = {name: value for value, name in zip(args, keywords, strict=True) if name}
        return function(*positional, **named)

    return run


_STUB_OPERATIONS = frozenset(
    {
        "CALL_INTRINSIC_1",
        "LOAD_CONST",
        "NOP",
        "POP_TOP",
        "RERAISE",
        "RESUME",
        "RETURN_CONST",
        "RETURN_GENERATOR",
        "RETURN_VALUE",
    }
)


def _is_stub(function: Callable[..., Any]) -> bool:
    """Whether a function's body is only `...`, `pass` or a docstring."""
    if not isinstance(function, types.FunctionType):
        return False
    instructions = list(dis.get_instructions(function))
    constants = {
        instruction.argval
        for instruction in instructions
        if instruction.opname in ("LOAD_CONST", "RETURN_CONST")
    }
    return (
        all(instruction.opname in _STUB_OPERATIONS for instruction in instructions)
        and constants <= {None}
    )
