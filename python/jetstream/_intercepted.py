"""A channel's methods with interceptors around them: what calling one of them gives."""

from __future__ import annotations

import warnings
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from jetstream._derived import DerivedSubscription
from jetstream._interception import (
    ClientCall,
    chain_calls,
    chain_streams,
    close_streams,
    method_info,
    take_stream,
    with_result,
)
from jetstream._limits import in_seconds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator

    from jetstream import _core
    from jetstream._channel import CallOptions
    from jetstream._definition import Method


def intercepted(
    remote: _core.ChannelMethod, method: Method, options: CallOptions, timeout: float | None
) -> _core.ChannelMethod | InterceptedMethod:
    """A channel's method with its interceptors around it.

    Args:
        remote: The method without them.
        method: Its declaration.
        options: The channel's.
        timeout: Seconds for a call that does not say.

    Returns:
        The method itself, if none of the interceptors has anything to do with it.
    """
    last = _Last(remote, options, method.inbound_at)
    make: Callable[[ClientCall], Any]
    if method.outbound is None:
        calls = chain_calls(options.interceptors, last.call)
        if calls is None:
            return remote
        make = partial(InterceptedCall, calls)
    else:
        streams = chain_streams(options.interceptors, last.stream)
        if streams is None:
            return remote
        make = partial(InterceptedSubscription, streams)
    return InterceptedMethod(remote, method, options, timeout, make)


def entries_of(metadata: Mapping[str, bytes]) -> list[tuple[str, bytes]]:
    """Metadata as the core takes it.

    Raises:
        TypeError: It is no mapping, or a value does not hold bytes; a number, of which `bytes`
            would make as many zeros, does not.
    """
    _check_mapping(metadata)
    entries: list[tuple[str, bytes]] = []
    for key, value in metadata.items():
        try:
            entries.append((key, bytes(memoryview(value))))
        except TypeError:
            msg = f"metadata[{key!r}] must be bytes, not {type(value).__name__}"
            raise TypeError(msg) from None
    return entries


def _check_mapping(metadata: object) -> None:
    if not isinstance(metadata, Mapping):
        msg = f"metadata={metadata!r}: it must be a mapping of str to bytes"
        raise TypeError(msg)


class _Last:
    """The last step of a chain: the call itself."""

    __slots__ = ("_metadata", "_remote", "_required", "_stream_at")

    def __init__(
        self, remote: _core.ChannelMethod, options: CallOptions, stream_at: int | None
    ) -> None:
        self._remote = remote
        self._metadata = dict(options.metadata)
        self._required = options.metadata_required
        self._stream_at = stream_at

    def call(self, call: ClientCall) -> Any:
        """Makes a call, or a subscription."""
        take_stream(call, self._stream_at)
        remote = self._remote
        if call.metadata != self._metadata or call.metadata_required != self._required:
            remote = remote.with_metadata(entries_of(call.metadata), call.metadata_required)
        pending = remote(*call._arguments, timeout=call.timeout)  # pyright: ignore[reportPrivateUsage]
        call._pending = pending  # pyright: ignore[reportPrivateUsage]
        return pending

    def stream(self, call: ClientCall) -> AsyncIterator[Any]:
        """The items of a subscription, and its result."""
        return with_result(self.call(call))


class InterceptedMethod:
    """A method of a channel that has interceptors."""

    def __init__(
        self,
        remote: _core.ChannelMethod,
        method: Method,
        options: CallOptions,
        timeout: float | None,
        make: Callable[[ClientCall], Any],
    ) -> None:
        self.__name__ = method.name
        self.__doc__ = method.doc
        self._remote = remote
        self._info = method_info(method)
        self._count = len(method.parameters)
        self._bind = method.bind
        self._timeout = timeout
        self._metadata = options.metadata
        self._required = options.metadata_required
        self._session = options.session
        self._make = make

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        timeout = self._timeout
        if kwargs:
            timeout = in_seconds(kwargs.pop("timeout", timeout))
        if kwargs or len(args) != self._count:
            args = self._bind(args, kwargs)
        call = ClientCall(
            self._info,
            args,
            timeout=timeout,
            metadata=self._metadata,
            metadata_required=self._required,
            session=self._session,
        )
        return self._make(call)

    def __repr__(self) -> str:
        return f"<intercepted {self._remote!r}>"


class InterceptedCall(Coroutine[Any, Any, Any]):
    """A call on its way through interceptors."""

    __slots__ = ("_call", "_seen_to", "_steps")

    def __init__(
        self, chain: Callable[[ClientCall], Coroutine[Any, Any, Any]], call: ClientCall
    ) -> None:
        self._seen_to = True  # until it could be made
        self._call = call
        self._steps = chain(call)
        self._seen_to = False

    def __await__(self) -> Generator[Any, Any, Any]:
        self._seen_to = True
        return self._steps.__await__()

    def send(self, value: Any, /) -> Any:
        self._seen_to = True
        return self._steps.send(value)

    def throw(self, *exception: Any) -> Any:
        self._seen_to = True
        return self._steps.throw(*exception)

    def close(self) -> None:
        self._seen_to = True
        self._steps.close()

    def __del__(self) -> None:
        if self._seen_to:
            return
        # Else the coroutine would warn, in the name of the interceptor.
        self._steps.close()
        msg = f"call of '{self._call.method.what}' was never awaited"
        warnings.warn(msg, RuntimeWarning, stacklevel=2)

    @property
    def metadata(self) -> Mapping[str, bytes]:
        """What the method said beside its answer."""
        return self._call.reply_metadata

    def __repr__(self) -> str:
        return f"<intercepted call of {self._call.method.what}>"


class InterceptedSubscription(DerivedSubscription[Any, Any]):
    """A subscription whose items come through interceptors."""

    __slots__ = ("_call",)

    def __init__(self, chain: Callable[[ClientCall], AsyncIterator[Any]], call: ClientCall) -> None:
        self._call = call
        super().__init__(call.method.what, chain(call))

    @property
    def metadata(self) -> Mapping[str, bytes]:
        return self._call.reply_metadata

    def _closing(self) -> Coroutine[Any, Any, None]:
        return close_streams(self._call)
