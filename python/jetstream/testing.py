"""For tests of one's own services: a session in memory, and certificates for a moment.

The session in memory runs the real codec and the real mux; only the transport underneath is a pair
of queues, so a test needs no port and no certificate.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from jetstream import _core
from jetstream._callable import callable_by_peers
from jetstream._interception import interceptors_of
from jetstream._limits import DEFAULT_TIMEOUT, limits_of
from jetstream._router import Router, as_router
from jetstream._server import serve_on
from jetstream._session import Session
from jetstream._testing_ca import ThrowawayCA, WrittenFiles

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Sequence

    from jetstream._interception import ServerInterceptor
    from jetstream._limits import Limits
    from jetstream._router import ProtocolHandler

__all__ = ["ThrowawayCA", "WrittenFiles", "pair"]


@asynccontextmanager
async def pair(
    *entries: object,
    limits: Limits | None = None,
    call_timeout: float | None = DEFAULT_TIMEOUT,
    client_chain: Sequence[bytes] = (),
    server_chain: Sequence[bytes] = (),
    single_lane: bool = False,
    client: object = None,
    interceptors: Iterable[ServerInterceptor] = (),
) -> AsyncGenerator[Session]:
    """A session with services that are served in this process.

    Write ``async with pair(EchoImpl()) as session``.

    Args:
        entries: What to serve: whatever `Router.register` takes, or a `Router`.
        limits: What both ends take from each other.
        call_timeout: Seconds for each call that does not say; `None` for ever.
        client_chain: The certificates, in DER, that methods see as their caller's.
        server_chain: The certificates, in DER, that the session sees as the server's.
        single_lane: Behave as a session over TCP or a Unix socket does: only the client opens
            lanes, and streams of items share them with the calls.
        client: What the client's end serves, for methods that call their caller back: a service or
            a `Router`.
        interceptors: What stands around every method of `entries`, outermost first.
    """
    limits = limits_of(limits)
    only = entries[0] if len(entries) == 1 else None
    router = only if isinstance(only, Router) else Router(*entries)
    endpoint = _core.Endpoint.memory(
        asyncio.get_running_loop(), limits, (list(client_chain), list(server_chain)), single_lane
    )
    around = interceptors_of(interceptors)
    serve_on(endpoint, router, limits, _refuse_handler, interceptors=around)
    endpoint.start()
    core = endpoint.connection(0)
    if client is not None:
        core.set_services(*callable_by_peers(as_router(client), limits))
    session = Session(core, limits=limits, timeout=call_timeout, serves=client is not None)
    try:
        await core.wait("connected")
        yield session
    finally:
        endpoint.shutdown(0, b"")


def _refuse_handler(handler: ProtocolHandler, core: _core.Connection) -> None:
    core.close(0, b"a protocol handler needs a real connection")
