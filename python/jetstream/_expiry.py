"""Identities that end: a session ends with what its peer was admitted for."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from jetstream import _logging
from jetstream._identity import TokenPeer

if TYPE_CHECKING:
    from jetstream import _core
    from jetstream._identity import Peer

EXPIRED = 401
"""The code with which a session ends whose token has expired."""

_watching: set[asyncio.Task[None]] = set()


def time_left(peer: TokenPeer) -> float | None:
    """Seconds for which a peer is known; `None` for no end."""
    if peer.expires is None:
        return None
    return max(0.0, (peer.expires - datetime.now(UTC)).total_seconds())


def identify(core: _core.Connection, peer: Peer) -> None:
    """Says who the peer of a connection is from now on; the connection ends when that does."""
    core.peer = peer
    if isinstance(peer, TokenPeer) and peer.expires is not None:
        task = asyncio.get_running_loop().create_task(_watch(core, peer))
        _watching.add(task)
        task.add_done_callback(_watching.discard)


async def _watch(core: _core.Connection, peer: TokenPeer) -> None:
    # Clocks of the wall are set now and then: it is looked at again.
    while left := time_left(peer):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left):
                await core.wait("closed")
                return
    if core.peer is peer:
        _logging.server.info("the session of %s ends: the token has expired", peer)
        core.close(EXPIRED, b"the token has expired")
