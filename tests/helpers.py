"""What several test folders share: running a coroutine strictly, and certificates for a moment."""

from __future__ import annotations

import asyncio
import functools
import gc
import sys
from typing import TYPE_CHECKING, Any, TypeVar

from jetstream import ClientTls, Server, ServerTls, connect
from jetstream.testing import ThrowawayCA

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from jetstream._certs import Issued

T = TypeVar("T")

LOOPS = ("asyncio", "uvloop")
"""The event loops that the core tests run on."""

PATIENCE = 30.0
"""Seconds after which a test that waits for something that does not come is given up."""


def run(
    main: Callable[[], Coroutine[Any, Any, T]], *, loop: str = "asyncio", patience: float = PATIENCE
) -> T:
    """Runs `main` on a new loop; fails on whatever the loop would only have logged.

    Args:
        main: The test.
        loop: One of `LOOPS`.
        patience: Seconds for all of it.
    """
    complaints: list[dict[str, Any]] = []

    async def guarded() -> T:
        asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
        async with asyncio.timeout(patience):
            return await main()

    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        result = runner.run(guarded())
        # What a destroyed task or future would say is said now, to this test and not to the next.
        gc.collect()
    assert not complaints, complaints
    return result


def live_objects() -> dict[str, int]:
    """How many objects of the core are alive, by kind, once the garbage is gone."""
    from jetstream import _core

    gc.collect()
    count: Callable[[], dict[str, int]] = getattr(_core, "live_objects")  # noqa: B009
    return dict(count())


def resident() -> int:
    """Bytes of memory that this process occupies."""
    with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123
        return int(statm.read().split()[1]) * 4096


linux_only = sys.platform == "linux"


# ---- certificates ----


@functools.cache
def authority() -> ThrowawayCA:
    """The authority that everybody here trusts."""
    return ThrowawayCA()


@functools.cache
def server_identity() -> Issued:
    """A certificate for localhost, 127.0.0.1 and ::1."""
    return authority().issue_server()


@functools.cache
def client_identity() -> Issued:
    """A certificate of a client called ada."""
    return authority().issue_client("ada", "ada.example", "ada@example.com")


def server_tls(issued: Issued | None = None, **options: Any) -> ServerTls:
    """TLS of a server that asks its clients for a certificate of our authority."""
    issued = issued or server_identity()
    options.setdefault("client_ca", authority().ca_pem)
    return ServerTls(issued.chain_pem, issued.key_pem, **options)


def client_tls(issued: Issued | None = None, **options: Any) -> ClientTls:
    """TLS of a client that trusts our authority and shows a certificate of it."""
    issued = issued or client_identity()
    options.setdefault("ca", authority().ca_pem)
    return ClientTls(certificate=issued.chain_pem, key=issued.key_pem, **options)


def anonymous_tls(**options: Any) -> ClientTls:
    """TLS of a client that trusts our authority and shows nothing."""
    options.setdefault("ca", authority().ca_pem)
    return ClientTls(**options)


# ---- ends ----


def serve(*entries: object, **options: Any) -> Server:
    """A server on a free port of loopback, with mutual TLS unless `tls` says otherwise."""
    from jetstream import Router

    options.setdefault("tls", server_tls())
    options.setdefault("port", 0)
    only = entries[0] if len(entries) == 1 else None
    return Server(only if isinstance(only, Router) else Router(*entries), **options)


def join(server: Server, **options: Any) -> Any:
    """What `connect` gives for a server of `serve`."""
    options.setdefault("tls", client_tls())
    return connect(server.address, **options)
