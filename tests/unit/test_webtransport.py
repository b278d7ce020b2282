"""Raw WebTransport sessions: what they have beside what a raw connection has."""

from __future__ import annotations

import asyncio
from typing import Any

import jetstream
import pytest
from jetstream import ClosedError, Connection, ConnectionLost
from jetstream import webtransport as public
from jetstream.webtransport import SessionRequest, WebTransportSession

from tests.helpers import run


class FakeConnection:
    """As much of a connection as a session looks at."""

    def __init__(self) -> None:
        self.going_away = False
        self.told: asyncio.Future[None] | None = None
        self.closed: list[tuple[int, bytes]] = []

    async def wait(self, what: str) -> None:
        assert what == "going_away"
        assert self.told is not None
        await self.told

    def close(self, code: int, reason: bytes) -> None:
        self.closed.append((code, reason))


def session(core: FakeConnection, request: SessionRequest | None = None) -> WebTransportSession:
    told: Any = core
    return WebTransportSession(told, request=request)


def test_a_session_is_a_connection():
    assert issubclass(WebTransportSession, Connection)


def test_only_one_end_has_a_request():
    request: Any = object()
    assert session(FakeConnection(), request).request is request
    with pytest.raises(RuntimeError, match="only the end that accepted a session has a request"):
        _ = session(FakeConnection()).request


def test_draining():
    async def main() -> None:
        core = FakeConnection()
        core.told = asyncio.get_running_loop().create_future()
        ours = session(core)
        assert ours.draining is False
        waiting = asyncio.ensure_future(ours.wait_draining())
        await asyncio.sleep(0)
        assert not waiting.done()
        core.going_away = True
        core.told.set_result(None)
        await waiting
        assert ours.draining is True

    run(main)


def test_waiting_for_what_does_not_come_any_more():
    async def main() -> None:
        core = FakeConnection()
        core.told = asyncio.get_running_loop().create_future()
        core.told.set_exception(ConnectionLost("gone"))
        with pytest.raises(ConnectionLost):
            await session(core).wait_draining()

    run(main)


def test_leaving_closes_it():
    async def main() -> None:
        core = FakeConnection()
        ours = session(core)
        async with ours as entered:
            assert entered is ours
        assert core.closed == [(0, b"")]
        with pytest.raises(ClosedError):
            async with ours:
                raise ClosedError("passes through")
        ours.close(7, "bye \u2603")
        assert core.closed[2:] == [(7, "bye \u2603".encode())]

    run(main)


def test_what_is_public():
    names = ["RefuseSession", "SessionRequest", "TokenPeer", "WebTransport", "WebTransportSession"]
    assert sorted(public.__all__) == names
    assert public.TokenPeer is jetstream.TokenPeer
