"""Interceptors: what stands around every call, at either end.

Give them to a `Server` or a `Router`, to `connect`, `Session.channel` or `with_options`; the first
one is outermost. Without any, a call is exactly what it was.
"""

from jetstream._backoff import Backoff as Backoff
from jetstream._interception import Call as Call
from jetstream._interception import ClientCall as ClientCall
from jetstream._interception import ClientInterceptor as ClientInterceptor
from jetstream._interception import MethodInfo as MethodInfo
from jetstream._interception import ServerCall as ServerCall
from jetstream._interception import ServerInterceptor as ServerInterceptor
from jetstream.interceptors._authorize import Authorize as Authorize
from jetstream.interceptors._logging import Logging as Logging
from jetstream.interceptors._metrics import Metrics as Metrics
from jetstream.interceptors._outcome import names_of as names_of
from jetstream.interceptors._retry import Retry as Retry
from jetstream.interceptors._retry import RetryBudget as RetryBudget
from jetstream.interceptors._trace import TraceContext as TraceContext
from jetstream.interceptors._trace import current_trace as current_trace
from jetstream.interceptors._traceparent import Trace as Trace

__all__ = [
    "Authorize",
    "Backoff",
    "Call",
    "ClientCall",
    "ClientInterceptor",
    "Logging",
    "MethodInfo",
    "Metrics",
    "Retry",
    "RetryBudget",
    "ServerCall",
    "ServerInterceptor",
    "Trace",
    "TraceContext",
    "current_trace",
    "names_of",
]
