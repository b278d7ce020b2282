"""Channels: the typed client of one service."""

from __future__ import annotations

import dataclasses
import inspect
import operator
import types
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from jetstream import _core
from jetstream._definition import definition_of
from jetstream._derived import DerivedSubscription
from jetstream._intercepted import InterceptedCall, entries_of, intercepted
from jetstream._interception import interceptors_of
from jetstream._limits import DEFAULT_TIMEOUT, in_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from jetstream._definition import ServiceDefinition
    from jetstream._interception import ClientInterceptor
    from jetstream._limits import Forever
    from jetstream._session import Session

S = TypeVar("S")

_STATE = "_jetstream_channel_"


class Transport(Protocol):
    """What a channel can be made on: it gives a lane."""

    def open_lane(self, version: str, max_concurrent: int) -> _core.Lane:
        """Opens, or is, the lane for a service of this version string."""
        ...


class _State:
    """What a channel knows beside its methods."""

    __slots__ = ("kind", "lane", "options")

    def __init__(self, kind: ChannelType[Any], lane: _core.Lane, options: CallOptions) -> None:
        self.kind = kind
        self.lane = lane
        self.options = options


@dataclass(frozen=True, slots=True)
class CallOptions:
    """What holds for each call of a channel that does not say otherwise."""

    timeout: float | None
    metadata: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    metadata_required: bool = True
    wait_for_ready: bool = False
    interceptors: tuple[ClientInterceptor, ...] = ()
    session: Session | None = None


class ChannelType(Generic[S]):
    """Makes channels of one service; for a service `Echo` it is `Echo.Channel`.

    Channels are instances of the service class whose methods call the other end. Every method takes
    a ``timeout=`` beside its own arguments: seconds, or `None` for ever.
    """

    def __init__(self, definition: ServiceDefinition) -> None:
        self._definition = definition
        self.__name__ = f"{definition.title}Channel"
        self.__doc__ = f"The typed client of {definition.title}."
        self._cls = _channel_class(definition, self.__name__)

    def __call__(
        self,
        max_concurrent: int,
        transport: Transport,
        *,
        timeout: float | Forever | None = DEFAULT_TIMEOUT,
    ) -> S:
        """Makes a channel.

        Args:
            max_concurrent: Calls in flight at once, from 1 to 65535; more wait in order.
            transport: What to call over, such as a `Session` or a `QuicTransport`.
            timeout: Seconds for each call that does not say, or `None` for ever.

        Raises:
            ValueError: `max_concurrent` is not from 1 to 65535.
        """
        count = checked_concurrency(max_concurrent)
        lane = transport.open_lane(self._definition.version_string, count)
        return self.on_lane(lane, CallOptions(in_seconds(timeout)))

    def on_lane(self, lane: _core.Lane, options: CallOptions) -> S:
        """Makes a channel on a lane that exists."""
        channel: Any = object.__new__(self._cls)
        channel.__dict__[_STATE] = _State(self, lane, options)
        metadata = entries_of(options.metadata)
        for method in self._definition.methods:
            inbound = None
            if method.inbound is not None and method.inbound_at is not None:
                inbound = (method.inbound_at, method.inbound.plan)
            # A subscription lasts as long as it lasts, unless its caller says otherwise.
            timeout = options.timeout if method.outbound is None else None
            remote = _core.ChannelMethod(
                lane,
                method.what,
                method.index,
                method.arguments_plan,
                method.result_plan,
                timeout,
                method.bind,
                items=None if method.outbound is None else method.outbound.plan,
                inbound=inbound,
                idempotent=method.options.idempotent,
                lossy=method.options.lossy,
                metadata=metadata,
                metadata_required=options.metadata_required,
                wait_for_ready=options.wait_for_ready,
            )
            remote.__doc__ = method.doc
            channel.__dict__[method.name] = (
                intercepted(remote, method, options, timeout) if options.interceptors else remote
            )
        return cast("S", channel)

    def __repr__(self) -> str:
        return f"<{self.__name__}>"


def checked_concurrency(max_concurrent: int) -> int:
    """How many calls of a channel are in flight at once, if there can be so many.

    Raises:
        ValueError: There cannot.
    """
    if not 1 <= max_concurrent <= 65_535:
        msg = f"max_concurrent={max_concurrent}: it must be from 1 to 65535"
        raise ValueError(msg)
    return max_concurrent


def _channel_class(definition: ServiceDefinition, name: str) -> type[Any]:
    def describe(self: Any) -> str:
        state: _State = self.__dict__[_STATE]
        pending, waiting = state.lane.load
        return f"<{name}: {pending} calls in flight, {waiting} waiting>"

    def refuse(self: Any, *args: Any, **kwargs: Any) -> None:
        msg = f"make a {name} with {definition.title}.Channel(...) or session.channel(...)"
        raise TypeError(msg)

    namespace = {
        "__repr__": describe,
        "__init__": refuse,
        "__doc__": definition.cls.__doc__,
        "__module__": definition.cls.__module__,
    }
    fill = operator.methodcaller("update", namespace)
    cls: Any = types.new_class(name, (definition.cls,), exec_body=fill)
    # Every instance gets all the methods, whatever an ABC says of their being abstract.
    if inspect.isabstract(cls):
        cls.__abstractmethods__ = frozenset()
    return cast("type[Any]", cls)


def channel_type(service: Callable[..., S]) -> ChannelType[S]:
    """The class's `Channel`, for type checkers that do not see the attribute.

    Args:
        service: The service class. (Spelled so that type checkers take protocols too, which are no
            ``type[S]`` for them.)

    Raises:
        TypeError: It is no service class.
    """
    cls: Any = definition_of(service).cls
    return cast("ChannelType[S]", cls.Channel)


_KEEP: Any = object()


def with_options(
    channel: S,
    *,
    timeout: float | Forever | None = _KEEP,
    metadata: Mapping[str, bytes] = _KEEP,
    metadata_required: bool = _KEEP,
    wait_for_ready: bool = _KEEP,
    interceptors: Iterable[ClientInterceptor] = _KEEP,
) -> S:
    """The same channel, on the same lane, with other options.

    Args:
        channel: A channel.
        timeout: Seconds for each call that does not say, or `None` or `jetstream.FOREVER` for no
            limit. Subscriptions have no limit unless the call itself says one.
        metadata: What every call says beside its arguments: keys of up to 255 bytes, values of
            bytes, together at most `Limits.max_metadata`.
        metadata_required: Whether a call fails where the peer does not understand metadata, as the
            Rust crates do not; else it goes without.
        wait_for_ready: Whether calls wait while a session that stays up has no connection, see
            `Session.channel`.
        interceptors: What stands around every call, outermost first, instead of what stood there.

    Raises:
        TypeError: It is no channel, one of the interceptors is none, or metadata is no mapping or
            not of bytes.
        ValueError: The metadata is too large, or a key cannot be one.
    """
    state = _state(channel)
    kind: ChannelType[S] = state.kind
    around = interceptors if interceptors is _KEEP else interceptors_of(interceptors)
    changes: dict[str, Any] = {
        name: value
        for name, value in (
            ("timeout", in_seconds(timeout)),
            ("metadata", metadata),
            ("metadata_required", metadata_required),
            ("wait_for_ready", wait_for_ready),
            ("interceptors", around),
        )
        if value is not _KEEP
    }
    return kind.on_lane(state.lane, dataclasses.replace(state.options, **changes))


def reply_metadata(call: object) -> Mapping[str, bytes]:
    """What a method said beside its answer.

    Args:
        call: What calling a channel's method gave, after it was awaited or iterated over.

    Raises:
        TypeError: It is no such call.
    """
    if isinstance(call, _core.Call | _core.Subscription | InterceptedCall | DerivedSubscription):
        return cast("_core.Call", call).metadata
    msg = f"{call!r} is no call: keep what the method gave, await it, then ask"
    raise TypeError(msg)


def close_channel(channel: object) -> None:
    """Ends a channel's lane: calls and streams in flight fail with `ClosedError`.

    Channels that share the lane, as those of one service do, end with it; others go on.

    Raises:
        TypeError: It is no channel.
    """
    _state(channel).lane.close()


def _state(channel: object) -> _State:
    state = getattr(channel, "__dict__", {}).get(_STATE)
    if isinstance(state, _State):
        return state
    msg = f"{channel!r} is not a channel: session.channel(...) makes one"
    raise TypeError(msg)
