"""Definitions: from a class with annotated methods to a method table.

Runs once, when the class is defined. What cannot be a service is refused here, with what to write
instead.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Union

from jetstream._context import Context
from jetstream._schema import SchemaError, arguments_plan, canonical, plan_of
from jetstream._schema_errors import spell
from jetstream._subscription import Subscription, stream_item, stream_types

if TYPE_CHECKING:
    from jetstream._core.codec import ArgumentsPlan, Plan

TABLE = "__jetstream_service__"
"""The attribute of a service class that holds its definition."""

MAX_METHODS = 77
"""Frame types are one byte, and 102 to 255 are for methods, two each."""

DEFAULT_VERSION = "1.0.0"

_NAME = re.compile(r"[a-z0-9_][a-z0-9_.-]*")
_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_DIGEST = re.compile(r"[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*")


OPTIONS = "__jetstream_method__"
"""The attribute of a function that holds what `method` said of it."""


@dataclass(frozen=True, slots=True)
class MethodOptions:
    """What `method` says of a method."""

    thread: bool = False
    idempotent: bool = False
    lossy: bool = False


def options_of(function: object) -> MethodOptions:
    """What `method` said of a function; the defaults if it said nothing."""
    options = getattr(function, OPTIONS, None)
    return options if isinstance(options, MethodOptions) else MethodOptions()


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a method."""

    name: str
    annotation: Any
    default: Any
    keyword_only: bool


@dataclass(frozen=True, slots=True)
class Stream:
    """Items of one type, after the arguments or before the result."""

    items: Any
    plan: Plan


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a service, as it is on the wire.

    `parameters` are all, in order; `arguments_plan` is of those that are values. `returns` and
    `result_plan` of a subscription are of its result.
    """

    index: int
    name: str
    what: str
    parameters: tuple[Parameter, ...]
    returns: Any
    arguments_plan: ArgumentsPlan
    result_plan: Plan
    signature: inspect.Signature
    doc: str | None
    options: MethodOptions = MethodOptions()
    outbound: Stream | None = None
    """The items that a subscription gives."""
    inbound: Stream | None = None
    """The items of the parameter that is a stream from the caller."""
    inbound_at: int | None = None
    """Which parameter that is."""

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
    digest_is_given: bool = False
    """Whether the digest was set, such as to a Rust trait's, and not derived."""

    @property
    def version_string(self) -> str:
        """As it is on the wire: ``rs.jetstream.proto/<name>/<version>+<digest>``."""
        return f"rs.jetstream.proto/{self.name}/{self.version}+{self.digest}"

    @property
    def title(self) -> str:
        """The class's own name, for messages."""
        return self.cls.__name__


def definition_of(cls: object) -> ServiceDefinition:
    """The definition of a service class.

    Raises:
        TypeError: It is none.
    """
    found = getattr(cls, TABLE, None) if isinstance(cls, type) else None
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
    namespace = inspect.unwrap(function).__globals__
    hints: dict[str, Any] = {}
    for name, annotation in function.__annotations__.items():
        where = f"{what} -> return" if name == "return" else f"{what}({name})"
        # One by one, so that it can be told which one is wrong.
        one = types.SimpleNamespace(__annotations__={name: annotation})
        try:
            hints |= typing.get_type_hints(one, namespace, include_extras=True)
        except NameError as error:
            raise SchemaError(
                where,
                repr(error.name),
                "is not defined at run time",
                "define it at module level, and import it outside 'if TYPE_CHECKING'",
            ) from None
        except (AttributeError, SyntaxError, TypeError) as error:
            raise SchemaError(
                where, "the annotation", f"is no type ({error})", "write a type, such as str"
            ) from None
    return hints


def define(
    cls: object, name: str | None, version: str | None, digest: str | None
) -> ServiceDefinition:
    if not isinstance(cls, type):
        found = f"the function {cls.__name__}" if inspect.isfunction(cls) else repr(cls)
        raise SchemaError("@service", found, "is not a class", "write @service above a class")
    title = cls.__name__
    if TABLE in cls.__dict__:
        raise SchemaError(title, "the class", "is a service already", "write @service once")
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
        digest_is_given=digest is not None,
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
    streams = [
        (at, item)
        for at, parameter in enumerate(parameters)
        if (item := stream_item(parameter.annotation)) is not None
    ]
    if len(streams) > 1:
        raise SchemaError(
            f"{what}({parameters[streams[1][0]].name})",
            "a second stream from the caller",
            "has no place on the wire",
            "send one stream, of a union of both types",
        )
    outbound, returns = _outbound(what, function, hints["return"])
    options = options_of(function)
    _check_options(what, options, outbound)
    inbound_at, inbound = None, None
    for at, (item,) in streams:
        where = f"{what}({parameters[at].name})"
        inbound_at, inbound = at, Stream(item, plan_of(item, where))
    values = [parameter for at, parameter in enumerate(parameters) if at != inbound_at]
    return Method(
        index=index,
        name=name,
        what=what,
        parameters=tuple(parameters),
        returns=returns,
        arguments_plan=arguments_plan(
            [(parameter.name, parameter.annotation) for parameter in values], what
        ),
        result_plan=plan_of(returns, f"{what} -> return"),
        signature=_call_signature(signature, hints, parameters),
        doc=inspect.getdoc(function),
        options=options,
        outbound=outbound,
        inbound=inbound,
        inbound_at=inbound_at,
    )


def _outbound(
    what: str, function: types.FunctionType, annotation: Any
) -> tuple[Stream | None, Any]:
    """What a method streams, and what it returns in the end."""
    where = f"{what} -> return"
    generates = inspect.isasyncgenfunction(function)
    if inspect.isgeneratorfunction(function):
        raise SchemaError(
            what,
            "a generator",
            "would hold up everything else while it runs",
            f"write 'async def {function.__name__}(self, ...)' with its 'yield'",
        )
    found = stream_types(annotation)
    if annotation is Subscription or (typing.get_origin(annotation) is Subscription and not found):
        raise SchemaError(
            where,
            spell(annotation),
            "does not say what it gives",
            "write the types of the items and of the result: Subscription[Tick, None]",
        )
    if found is None or (typing.get_origin(annotation) is not Subscription and not generates):
        if generates or found is not None:
            raise SchemaError(
                where,
                f"many results, annotated {spell(annotation)},",
                "are no result of one call",
                f"write 'def {function.__name__}(self, ...) -> Subscription[Item, None]: ...'",
            )
        return None, annotation
    if inspect.iscoroutinefunction(function):
        raise SchemaError(
            what,
            "'async def' with a Subscription",
            "would have to be awaited before its first item",
            f"write 'def {function.__name__}(...) -> {spell(annotation)}', without 'async'",
        )
    item, returns = found
    return Stream(item, plan_of(item, f"{where}, items")), returns


def _check_options(what: str, options: MethodOptions, outbound: Stream | None) -> None:
    if options.lossy and outbound is None:
        raise SchemaError(
            what,
            "@method(lossy=True)",
            "is for subscriptions",
            "return a Subscription[Item, None], or leave lossy=True out",
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
    arguments = ",".join(
        canonical(parameter.annotation)
        if at != method.inbound_at or method.inbound is None
        else f"stream<{canonical(method.inbound.items)}>"
        for at, parameter in enumerate(method.parameters)
    )
    result = canonical(method.returns)
    if method.outbound is not None:
        result = f"stream<{canonical(method.outbound.items)},{result}>"
    return f"{method.name}({arguments})->{result}"
