"""Interceptors: what stands around every call, at either end, and what it is told."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from jetstream._subscription import Done, Subscription

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterable,
        AsyncIterator,
        Awaitable,
        Callable,
        Coroutine,
        Iterable,
        Mapping,
        Sequence,
    )

    from jetstream import _core
    from jetstream._context import Context
    from jetstream._definition import Method
    from jetstream._session import Session

C = TypeVar("C", bound="Call")
I = TypeVar("I")  # noqa: E741  an interceptor, of either end


@dataclass(frozen=True, slots=True)
class MethodInfo:
    """What is known of a method before it is called."""

    service: str
    """The service class's name."""
    name: str
    """The method's own name."""
    parameters: tuple[str, ...]
    """The names of its arguments, in order."""
    idempotent: bool
    """Whether calling it twice comes to the same as calling it once."""
    gives_stream: bool
    """Whether it is a subscription."""
    takes_stream: bool
    """Whether one of its arguments is a stream from the caller."""
    lossy: bool
    """Whether only the latest item of the subscription counts."""

    @property
    def what(self) -> str:
        """The name in logs and errors, such as ``Echo.put``."""
        return f"{self.service}.{self.name}"


def method_info(method: Method) -> MethodInfo:
    """What interceptors are told of a method."""
    return MethodInfo(
        service=method.what.partition(".")[0],
        name=method.name,
        parameters=tuple(parameter.name for parameter in method.parameters),
        idempotent=method.options.idempotent,
        gives_stream=method.outbound is not None,
        takes_stream=method.inbound is not None,
        lossy=method.options.lossy,
    )


class Call:
    """One call or subscription, as an interceptor sees it at either end.

    Args:
        method: What is called.
        arguments: The arguments in order; a stream from the caller is the iterator itself.
    """

    __slots__ = ("_arguments", "_opened", "_taken", "method")

    method: MethodInfo
    """What is called."""

    def __init__(self, method: MethodInfo, arguments: Sequence[Any] = ()) -> None:
        self.method = method
        self._arguments = tuple(arguments)
        self._opened: list[AsyncIterator[Any]] = []
        self._taken = False  # its stream from the caller

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The arguments by name. They cannot be exchanged."""
        return MappingProxyType(dict(zip(self.method.parameters, self._arguments, strict=True)))

    @property
    def metadata(self) -> Mapping[str, bytes]:
        """What the caller says beside the arguments."""
        raise NotImplementedError

    @property
    def reply_metadata(self) -> Mapping[str, bytes]:
        """What the method says beside its answer."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.method.what}>"


class ServerCall(Call):
    """A call that is about to be answered.

    Args:
        method: What is called.
        arguments: The arguments in order.
        context: Who calls.
    """

    __slots__ = ("context",)

    context: Context
    """Who calls, with which metadata and which deadline: what the method is given, too."""

    def __init__(
        self, method: MethodInfo, arguments: Sequence[Any] = (), *, context: Context
    ) -> None:
        super().__init__(method, arguments)
        self.context = context

    @property
    def metadata(self) -> Mapping[str, bytes]:
        """What the caller says beside the arguments; empty if it speaks no extension."""
        return self.context.metadata

    @property
    def reply_metadata(self) -> dict[str, bytes]:
        """What is said beside the answer; it can be changed until the answer leaves."""
        return self.context.reply_metadata


class ClientCall(Call):
    """A call that is about to be made.

    An interceptor may change `timeout`, `metadata` and `metadata_required` before it proceeds.

    Args:
        method: What is called.
        arguments: The arguments in order.
        timeout: Seconds, or `None` for ever.
        metadata: What to say beside the arguments.
        metadata_required: Whether the call fails where that cannot be said.
        session: What the call is made on.
    """

    __slots__ = ("_metadata", "_pending", "metadata_required", "session", "timeout")

    timeout: float | None
    """Seconds for what follows, or `None` for ever; what a caller higher up has left, if that is
    less, counts all the same."""
    metadata_required: bool
    """Whether the call fails where metadata cannot be said."""
    session: Session | None
    """What the call is made on; `None` on a stream of a raw connection."""

    def __init__(
        self,
        method: MethodInfo,
        arguments: Sequence[Any] = (),
        *,
        timeout: float | None = None,
        metadata: Mapping[str, bytes] | None = None,
        metadata_required: bool = True,
        session: Session | None = None,
    ) -> None:
        super().__init__(method, arguments)
        self.timeout = timeout
        self.metadata_required = metadata_required
        self.session = session
        self._metadata = dict(metadata) if metadata else {}
        self._pending: _core.Call | _core.Subscription | None = None

    @property
    def metadata(self) -> dict[str, bytes]:
        """What to say beside the arguments: keys of up to 255 bytes, values of bytes."""
        return self._metadata

    @property
    def reply_metadata(self) -> Mapping[str, bytes]:
        """What the method said beside its answer; empty before that."""
        return _NOTHING if self._pending is None else self._pending.metadata


_NOTHING: Mapping[str, bytes] = MappingProxyType({})


class ServerInterceptor(Protocol):
    """Stands between the wire and the methods of a server.

    Derive from it and write one of the two methods or both, or let any object have both. What an
    interceptor raises reaches the caller as if the method had raised it.
    """

    async def intercept_call(
        self, call: ServerCall, proceed: Callable[[ServerCall], Awaitable[Any]], /
    ) -> Any:
        """Answers a call, as a rule with what the method answers.

        Args:
            call: Who calls what.
            proceed: Lets the next interceptor, and in the end the method, answer.
        """
        return await proceed(call)

    def intercept_stream(
        self, call: ServerCall, proceed: Callable[[ServerCall], AsyncIterator[Any]], /
    ) -> AsyncIterator[Any]:
        """Answers a subscription: an async generator of items.

        A result, if the method has one, comes last: as a `Done`, here as in the method itself.

        Args:
            call: Who calls what.
            proceed: Gives the items of the next interceptor, and in the end the method's.
        """
        return proceed(call)


class ClientInterceptor(Protocol):
    """Stands between a channel's methods and the wire.

    Derive from it and write one of the two methods or both, or let any object have both.
    """

    async def intercept_call(
        self, call: ClientCall, proceed: Callable[[ClientCall], Awaitable[Any]], /
    ) -> Any:
        """Makes a call, and returns what its caller gets.

        Args:
            call: What is called; timeout and metadata can be changed.
            proceed: Lets the next interceptor, and in the end the channel, make the call. It can be
                called several times, one after the other; with a stream from the caller only if
                that can begin anew, as a list can and an iterator cannot.
        """
        return await proceed(call)

    def intercept_stream(
        self, call: ClientCall, proceed: Callable[[ClientCall], AsyncIterator[Any]], /
    ) -> AsyncIterator[Any]:
        """Makes a subscription: an async generator of items, and of a `Done` with the result last.

        Args:
            call: What is called; timeout and metadata can be changed.
            proceed: Gives the items of the next interceptor, and in the end the channel's.
        """
        return proceed(call)


def interceptors_of(given: Iterable[I]) -> tuple[I, ...]:
    """The interceptors, if they are some.

    Raises:
        TypeError: They are not several, or one of them is none.
    """
    try:
        each = iter(given)
    except TypeError:
        msg = f"interceptors={given!r}: give a list of them, as in interceptors=[Logging()]"
        raise TypeError(msg) from None
    found = tuple(each)
    for interceptor in found:
        name = _name_of(interceptor)
        if isinstance(interceptor, type):
            msg = f"{name} is the class itself: give an instance, as in interceptors=[{name}()]"
            raise TypeError(msg)
        for method in ("intercept_call", "intercept_stream"):
            if not callable(getattr(interceptor, method, None)):
                msg = (
                    f"{name} has no {method}: derive it from ServerInterceptor or "
                    "ClientInterceptor, which have one that just proceeds"
                )
                raise TypeError(msg)
        # A plain function may give something to await; which does not shows in its first call.
        if inspect.isasyncgenfunction(cast("Any", interceptor).intercept_call):
            msg = (
                f"{name}.intercept_call gives many things and not one: let it return, as in "
                "'return await proceed(call)'"
            )
            raise TypeError(msg)
        if inspect.iscoroutinefunction(cast("Any", interceptor).intercept_stream):
            msg = (
                f"{name}.intercept_stream returns one thing and not many: let it be an async "
                "generator, as in 'async for item in proceed(call): yield item'"
            )
            raise TypeError(msg)
    return found


def _name_of(interceptor: object) -> str:
    return getattr(interceptor, "__name__", type(interceptor).__name__)


def chain_calls(
    interceptors: Iterable[Any],
    last: Callable[[C], Awaitable[Any]],
) -> Callable[[C], Coroutine[Any, Any, Any]] | None:
    """The interceptors around `last`, the first one outermost; `None` if none is for calls."""
    step: Any = last
    for interceptor in reversed(_acting(interceptors, "intercept_call")):
        step = _awaitable(interceptor, step)
    return None if step is last else step


def _awaitable(interceptor: Any, proceed: Callable[..., Any]) -> Callable[..., Any]:
    intercept: Callable[..., Any] = interceptor.intercept_call

    def step(call: Any) -> Any:
        made = intercept(call, proceed)
        return made if hasattr(made, "send") else _coroutine_of(interceptor, made)

    return step


def _coroutine_of(interceptor: object, made: Any) -> Coroutine[Any, Any, Any]:
    """A coroutine for what is none, such as a future.

    Raises:
        TypeError: It cannot be awaited.
    """
    if not hasattr(made, "__await__"):
        # Not what it is: the log is not to tell answers.
        msg = (
            f"{_name_of(interceptor)}.intercept_call gave a {type(made).__name__} and nothing to "
            "await: let it be async, as in 'async def intercept_call(self, call, proceed)'"
        )
        raise TypeError(msg)

    async def wait() -> Any:
        return await made

    return wait()


def _around(intercept: Callable[..., Any], proceed: Callable[..., Any]) -> Callable[..., Any]:
    def step(call: Any) -> Any:
        return intercept(call, proceed)

    return step


def chain_streams(
    interceptors: Iterable[Any],
    last: Callable[[C], AsyncIterator[Any]],
) -> Callable[[C], AsyncIterator[Any]] | None:
    """As `chain_calls`, for subscriptions."""
    acting = _acting(interceptors, "intercept_stream")
    if not acting:
        return None
    step = _noting(last)
    for interceptor in reversed(acting):
        step = _noting(_around(interceptor.intercept_stream, step))
    return step


def _noting(make: Callable[[C], AsyncIterator[Any]]) -> Callable[[C], AsyncIterator[Any]]:
    """Notes the iterators that were made, so that they can be closed: `async for` closes none."""

    def step(call: C) -> AsyncIterator[Any]:
        made = make(call)
        call._opened.append(made)  # pyright: ignore[reportPrivateUsage]  its own module
        return made

    return step


def _acting(interceptors: Iterable[Any], method: str) -> list[Any]:
    """Those that do not just proceed."""
    idle = (vars(ServerInterceptor)[method], vars(ClientInterceptor)[method])
    return [
        interceptor
        for interceptor in interceptors
        if getattr(getattr(interceptor, method), "__func__", None) not in idle
    ]


def take_stream(call: Call, at: int | None) -> None:
    """Notes that a call is made, and with it the stream from the caller taken, if it has one.

    Args:
        call: The call.
        at: Which argument is that stream.

    Raises:
        RuntimeError: It has been taken, and gives its items once.
    """
    if at is None:
        return
    stream = call._arguments[at]  # pyright: ignore[reportPrivateUsage]  its own module
    taken, call._taken = call._taken, True  # pyright: ignore[reportPrivateUsage]  its own module
    if taken and (hasattr(stream, "__anext__") or hasattr(stream, "__next__")):
        msg = (
            f"{call.method.what} cannot proceed a second time: its stream from the caller is an "
            "iterator, whose items went to the first; at the calling end, a list can be sent again"
        )
        raise RuntimeError(msg)


async def close_streams(call: Call) -> None:
    """Closes the iterators of a subscription, outermost first.

    Raises:
        BaseException: The first that one of them raised; the others are closed all the same.
    """
    opened = call._opened  # pyright: ignore[reportPrivateUsage]  its own module
    failure: BaseException | None = None
    try:
        while opened:
            close = getattr(opened.pop(0), "aclose", None)
            if close is None:
                continue
            try:
                await close()
            except BaseException as error:
                failure = error if failure is None else failure
        if failure is not None:
            raise failure
    finally:
        failure = None  # else it would hold itself, by this frame


# ---- the serving end ----


def serve_intercepted(
    method: Method,
    function: Callable[..., Any],
    context_at: int | None,
    interceptors: Sequence[ServerInterceptor],
    *,
    waits: bool,
) -> Callable[..., Any] | None:
    """What to call for a method with interceptors around it; it gets the context first.

    Args:
        method: Its declaration.
        function: What implements it.
        context_at: Where its context goes; `None` without one.
        interceptors: The first one is outermost.
        waits: Whether what `function` returns is to be awaited.

    Returns:
        The same kind of function, of coroutines or of async iterators; `None` if none of the
        interceptors has anything to do with it.
    """
    info = method_info(method)
    if method.outbound is not None:
        last = _last_of_stream(function, context_at, method.inbound_at)
        streams = chain_streams(interceptors, last)
        return None if streams is None else partial(_begin_stream, info, streams)
    answer = _last_of_call(function, context_at, method.inbound_at, waits=waits)
    calls = chain_calls(interceptors, answer)
    return None if calls is None else partial(_begin_call, info, calls)


def _begin_call(
    info: MethodInfo,
    chain: Callable[[ServerCall], Coroutine[Any, Any, Any]],
    context: Context,
    *arguments: Any,
) -> Coroutine[Any, Any, Any]:
    return chain(ServerCall(info, arguments, context=context))


async def _begin_stream(
    info: MethodInfo,
    chain: Callable[[ServerCall], AsyncIterator[Any]],
    context: Context,
    *arguments: Any,
) -> AsyncGenerator[Any]:
    call = ServerCall(info, arguments, context=context)
    try:
        async for item in chain(call):
            yield item
    finally:
        await close_streams(call)


def _last_of_call(
    function: Callable[..., Any], context_at: int | None, stream_at: int | None, *, waits: bool
) -> Callable[[ServerCall], Coroutine[Any, Any, Any]]:
    async def answer(call: ServerCall) -> Any:
        take_stream(call, stream_at)
        result = function(*_placed(call, context_at))
        return await result if waits else result

    return answer


def _last_of_stream(
    function: Callable[..., AsyncIterable[Any]], context_at: int | None, stream_at: int | None
) -> Callable[[ServerCall], AsyncIterator[Any]]:
    def answer(call: ServerCall) -> AsyncIterator[Any]:
        take_stream(call, stream_at)
        return with_result(function(*_placed(call, context_at)))

    return answer


def _placed(call: ServerCall, context_at: int | None) -> Sequence[Any]:
    arguments = call._arguments  # pyright: ignore[reportPrivateUsage]  its own module
    if context_at is None:
        return arguments
    return (*arguments[:context_at], call.context, *arguments[context_at:])


def with_result(items: AsyncIterable[Any]) -> AsyncIterator[Any]:
    """The items of a subscription with its result last, as a `Done`; others as they are."""
    if isinstance(items, Subscription):
        return _with_result(cast("Any", items))  # the two checkers see different types
    return aiter(items)


async def _with_result(subscription: Subscription[Any, Any]) -> AsyncGenerator[Any]:
    async with subscription:
        async for item in subscription:
            yield item
        yield Done(subscription.result)
