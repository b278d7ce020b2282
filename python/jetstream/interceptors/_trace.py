"""Traces that go on from call to call, by W3C Trace Context in metadata."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from jetstream._interception import Call, ClientCall, ServerCall
from jetstream.interceptors._traceparent import TRACEPARENT, TRACESTATE, Trace

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

C = TypeVar("C", bound=Call)

_current: ContextVar[Trace | None] = ContextVar("jetstream_trace", default=None)


def current_trace() -> Trace | None:
    """The step of a trace that the method which runs here is; `None` without a `TraceContext`."""
    return _current.get()


class TraceContext:
    """Carries traces from call to call (W3C Trace Context), for either end.

    At the serving end, a method is a step of its caller's trace, or the first one of a new trace if
    the caller tells of none that is valid; `current_trace` gives it. At the calling end, each call
    is a step of the trace that the caller is in, or begins one, and says so in its metadata, as
    ``traceparent`` and ``tracestate``. A peer that knows no metadata is called without.

    Args:
        sampled: What traces that begin here say of themselves.
    """

    def __init__(self, *, sampled: bool = False) -> None:
        self._sampled = sampled

    async def intercept_call(self, call: C, proceed: Callable[[C], Awaitable[Any]], /) -> Any:
        """Takes a trace up, or passes it on."""
        self._carry(call)
        return await proceed(call)

    async def intercept_stream(
        self, call: C, proceed: Callable[[C], AsyncIterator[Any]], /
    ) -> AsyncGenerator[Any]:
        """Takes a trace up, or passes it on."""
        self._carry(call)
        async for item in proceed(call):
            yield item

    def _carry(self, call: Call) -> None:
        if isinstance(call, ServerCall):
            # Every method runs in a context of its own, which ends with it.
            _current.set(self._received(call))
        elif isinstance(call, ClientCall):
            self._send(call)

    def _received(self, call: ServerCall) -> Trace:
        metadata = call.metadata
        parent = metadata.get(TRACEPARENT)
        trace = None if parent is None else Trace.parse(parent, metadata.get(TRACESTATE, b""))
        return Trace.begin(sampled=self._sampled) if trace is None else trace.step()

    def _send(self, call: ClientCall) -> None:
        metadata = call.metadata
        if TRACEPARENT in metadata:
            return  # somebody knows better
        if not metadata:
            # What else is said may be needed; where a call comes from is not.
            call.metadata_required = False
        trace = _current.get()
        trace = Trace.begin(sampled=self._sampled) if trace is None else trace.step()
        metadata[TRACEPARENT] = trace.traceparent.encode()
        if trace.state:
            metadata[TRACESTATE] = trace.state.encode()
