"""Implementations: whether an object has a service's methods, and how the core calls them.

Runs once, when an implementation is registered.
"""

from __future__ import annotations

import dis
import functools
import inspect
import types
from typing import TYPE_CHECKING, Any, TypeVar

from jetstream import _core
from jetstream._definition import is_context, options_of, resolved_hints
from jetstream._intercepted import InterceptedMethod
from jetstream._interception import serve_intercepted
from jetstream._producing import producer
from jetstream._schema import SchemaError, canonical
from jetstream._schema_errors import spell
from jetstream._subscription import stream_item, stream_types
from jetstream._threads import run_in_thread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from jetstream._definition import Method, ServiceDefinition
    from jetstream._interception import ServerInterceptor

T = TypeVar("T")


def service_table(
    definition: ServiceDefinition,
    implementation: object,
    wrap: Callable[[str, Callable[..., Any], bool], Callable[..., Any]] | None = None,
    interceptors: Sequence[ServerInterceptor] = (),
) -> _core.ServiceTable:
    """The table by which the core calls an implementation.

    Args:
        definition: The service.
        implementation: An object with its methods.
        wrap: Gets what is called (``Echo.put``), the function and whether it is awaited, and
            returns what to call instead.
        interceptors: What stands around each method, outermost first.

    Raises:
        TypeError: A method is missing, or has other types.
    """
    methods: list[_core.ServiceMethod] = []
    for declared in definition.methods:
        function, context_at, task = bound(definition, declared, implementation, wrap, interceptors)
        methods.append(
            _core.ServiceMethod(
                declared.what,
                declared.index,
                function,
                declared.arguments_plan,
                declared.result_plan,
                task=task,
                context_at=context_at,
                idempotent=declared.options.idempotent,
                stream=None if declared.outbound is None else declared.outbound.plan,
                inbound=None if declared.inbound is None else declared.inbound.plan,
                inbound_at=declared.inbound_at,
                lossy=declared.options.lossy,
            )
        )
    return _core.ServiceTable(definition.version_string, methods)


def bound(
    definition: ServiceDefinition,
    declared: Method,
    implementation: object,
    wrap: Callable[[str, Callable[..., Any], bool], Callable[..., Any]] | None = None,
    interceptors: Sequence[ServerInterceptor] = (),
) -> tuple[Callable[..., Any], int | None, bool]:
    """What to call for a method with all that stands around it, as for `service_table`.

    Returns:
        The function, where the context goes among its arguments, and whether it is awaited.

    Raises:
        TypeError: The method is missing, or has other types.
    """
    function, context_at, task = _implement(definition, declared, implementation)
    around = serve_intercepted(declared, function, context_at, interceptors, waits=task)
    if around is not None:
        function, context_at, task = around, 0, True
    if declared.outbound is not None:
        what = f"{type(implementation).__name__}.{declared.name}"
        function, task = producer(what, function), True
    if wrap is not None:
        function = wrap(declared.what, function, task)
    return function, context_at, task


def _implement(
    definition: ServiceDefinition, declared: Method, implementation: object
) -> tuple[Callable[..., Any], int | None, bool]:
    """What to call for a method, where the context goes, and whether it is awaited."""
    owner = type(implementation).__name__
    what = f"{owner}.{declared.name}"
    function: Any = getattr(implementation, declared.name, None)
    if not callable(function):
        raise TypeError(f"{owner} does not implement {declared.what}; {_write(declared)}")
    plain: Any = inspect.unwrap(getattr(function, "__func__", function))
    if _only_declares(definition, declared, implementation, plain):
        raise TypeError(
            f"{owner} does not implement {declared.what}, which is only declared; "
            f"{_write(declared)}"
        )
    if isinstance(function, _core.ChannelMethod | InterceptedMethod):
        return function, None, declared.outbound is None  # a channel: calls are passed on
    context_at, names = _fit(what, declared, function, plain)
    task = inspect.iscoroutinefunction(plain) or inspect.iscoroutinefunction(function)
    _check_kind(what, declared, plain, task)
    if options_of(plain).thread:
        if task:
            raise TypeError(
                f"{what} is 'async def' and @method(thread=True): a thread runs plain functions; "
                "write 'def', or leave thread=True out"
            )
        function, task = _in_thread(function), True
    if any(names):
        function = _with_names(function, names)
    return function, context_at, task


def _check_kind(what: str, declared: Method, plain: object, task: bool) -> None:
    """Whether a function is of the kind that its declaration wants."""
    generates = inspect.isasyncgenfunction(plain)
    if declared.outbound is None and generates:
        raise TypeError(
            f"{what} yields many items, and {declared.what} is declared to return one result; "
            f"{_write(declared)}"
        )
    if declared.outbound is not None and (task or options_of(plain).thread):
        kind = "'async def' without 'yield'" if task else "@method(thread=True)"
        raise TypeError(
            f"{what} is {kind}, and {declared.what} gives many items: write an async generator, "
            f"'async def' with 'yield', or a plain 'def' that returns an async iterator"
        )
    if declared.inbound is not None and not (task or declared.outbound is not None):
        raise TypeError(
            f"{what} is a plain 'def', which cannot wait for the items of its caller; "
            f"{_write(declared)}"
        )


def _write(declared: Method) -> str:
    text = str(declared.signature).replace("(", "(self, ", 1).replace("(self, )", "(self)", 1)
    if declared.outbound is None:
        return f"write\n    async def {declared.name}{text}: ..."
    # What is declared as a Subscription is written as an async generator.
    item, result = spell(declared.outbound.items), declared.returns
    done = "" if result in (None, type(None)) else f" | Done[{spell(result)}]"
    head = text.rpartition(" -> ")[0]
    return f"write\n    async def {declared.name}{head} -> AsyncGenerator[{item}{done}]: ..."


def _fit(
    what: str, declared: Method, function: Callable[..., Any], plain: object
) -> tuple[int | None, tuple[str, ...]]:
    """Checks a signature against the declared one.

    Returns:
        Where the context goes, and for each argument the name it must be given by, or nothing.
    """
    try:
        own = list(inspect.signature(function).parameters.values())
    except ValueError:
        # Something written in C tells nothing; its arguments come in order.
        return None, ()
    hints = resolved_hints(plain, what) if isinstance(plain, types.FunctionType) else {}
    kinds = {parameter.kind for parameter in own}
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return None, ()
    own = [parameter for parameter in own if parameter.kind is not inspect.Parameter.VAR_KEYWORD]
    context = next((item for item in own if is_context(hints.get(item.name))), None)
    wire = [parameter for parameter in own if parameter is not context]
    wanted = declared.parameters
    extra = wire[len(wanted) :]
    if len(wire) < len(wanted) or any(item.default is inspect.Parameter.empty for item in extra):
        raise TypeError(
            f"{what} takes ({_names(wire)}) and {declared.what} is declared with "
            f"({_names(wanted)}); {_write(declared)}"
        )
    for parameter, declaration in zip(wire, wanted, strict=False):
        where = f"{what}({parameter.name})"
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.name != declaration.name:
            raise TypeError(
                f"{where} can only be given by name, and is declared as {declaration.name!r}; "
                f"{_write(declared)}"
            )
        if parameter.name in hints:
            _check_type(where, hints[parameter.name], declaration.annotation, declared)
    if "return" in hints:
        _check_result(f"{what} -> return", hints["return"], declared)
    used = [parameter for parameter in own if parameter not in extra]
    return None if context is None else used.index(context), _given_by_name(own, used)


def _given_by_name(
    own: Sequence[inspect.Parameter], used: Sequence[inspect.Parameter]
) -> tuple[str, ...]:
    """For each argument its name, if it cannot be given by its place."""
    return tuple(
        parameter.name
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY or own[at] is not parameter
        else ""
        for at, parameter in enumerate(used)
    )


def _names(parameters: Sequence[Any]) -> str:
    return ", ".join(parameter.name for parameter in parameters)


def _check_result(where: str, found: object, method: Method) -> None:
    if method.outbound is None:
        _check_type(where, found, method.returns, method)
        return
    types = stream_types(found)
    if types is None or not (
        _same(types[0], method.outbound.items) and _same(types[1], method.returns)
    ):
        wanted = f"{spell(method.outbound.items)}, {spell(method.returns)}"
        raise TypeError(
            f"{where} is {spell(found)} here, and Subscription[{wanted}] where it is declared; "
            f"{_write(method)}"
        )


def _check_type(where: str, found: object, declared: object, method: Method) -> None:
    item, wanted = stream_item(found), stream_item(declared)
    same = _same(item[0], wanted[0]) if item and wanted else _same(found, declared)
    if not same:
        raise TypeError(
            f"{where} is {spell(found)} here, and {spell(declared)} where it is declared; "
            f"{_write(method)}"
        )


def _same(found: object, declared: object) -> bool:
    try:
        return canonical(found) == canonical(declared)
    except SchemaError:
        return False


def _in_thread(function: Callable[..., T]) -> Callable[..., Awaitable[T]]:
    @functools.wraps(function)
    async def run(*args: Any) -> T:
        return await run_in_thread(function, *args)

    return run


def _with_names(function: Callable[..., T], names: tuple[str, ...]) -> Callable[..., T]:
    @functools.wraps(function)
    def run(*args: Any) -> T:
        positional = [value for value, name in zip(args, names, strict=True) if not name]
        named = {name: value for value, name in zip(args, names, strict=True) if name}
        return function(*positional, **named)

    return run


# ---- methods that are only declared ----


_SILENT = ("pass",)
_RAISING = (
    "raise NotImplementedError",
    "raise NotImplementedError()",
    "raise NotImplementedError('')",
)


def _only_declares(
    definition: ServiceDefinition, declared: Method, implementation: object, function: object
) -> bool:
    cls = definition.cls
    if function is not inspect.getattr_static(cls, declared.name) or not is_stub(function):
        return False
    if is_stub(function, _RAISING) or declared.returns not in (None, type(None)):
        return True
    if declared.outbound is not None:
        return True
    # Doing nothing may be all that such a method has to do, in a class that implements itself.
    own = type(implementation) is cls or not all(
        is_stub(inspect.getattr_static(cls, method.name)) for method in definition.methods
    )
    return getattr(cls, "_is_protocol", False) or not own


def is_stub(function: object, bodies: tuple[str, ...] = _SILENT + _RAISING) -> bool:
    """Whether a function's body does no more than these.

    By default that is `...`, `pass`, a docstring, or `raise NotImplementedError`.
    """
    return isinstance(function, types.FunctionType) and _steps(function.__code__) in _stubs(bodies)


@functools.cache
def _stubs(bodies: tuple[str, ...]) -> frozenset[tuple[tuple[str, object], ...]]:
    """What this interpreter makes of such bodies."""
    found: set[tuple[tuple[str, object], ...]] = set()
    for body in bodies:
        for word in ("def", "async def"):
            module = compile(f"{word} stub(): {body}", "<stub>", "exec")
            codes = (item for item in module.co_consts if isinstance(item, types.CodeType))
            found.update(_steps(code) for code in codes)
    return frozenset(found)


def _steps(code: types.CodeType) -> tuple[tuple[str, object], ...]:
    steps = (step for step in dis.get_instructions(code) if step.opname != "NOP")
    return tuple((step.opname, _argument(step)) for step in steps)


def _argument(step: dis.Instruction) -> object:
    # Whatever `NotImplementedError` is given to say makes no difference.
    any_text = step.opname == "LOAD_CONST" and isinstance(step.argval, str)
    return "" if any_text else step.argval
