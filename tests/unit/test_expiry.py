"""Expiry: an identity that ends, and the connection that ends with it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from jetstream import TokenPeer, UnixPeer
from jetstream._expiry import EXPIRED, identify, time_left

from tests.helpers import run


class FakeConnection:
    """As much of a connection as whoever watches an identity looks at."""

    def __init__(self) -> None:
        self.peer: Any = None
        self.gone = asyncio.Event()
        self.closed: list[tuple[int, bytes]] = []

    async def wait(self, what: str) -> None:
        assert what == "closed"
        await self.gone.wait()

    def close(self, code: int, reason: bytes) -> None:
        self.closed.append((code, reason))
        self.gone.set()


def expiring(subject: str, **time: float) -> TokenPeer:
    return TokenPeer(subject, expires=datetime.now(UTC) + timedelta(**time))


async def watchers() -> int:
    """How many tasks there are beside this one, once those that end have ended."""
    for _ in range(5):
        await asyncio.sleep(0)
    return len(asyncio.all_tasks()) - 1


def test_time_left():
    assert time_left(TokenPeer("ada")) is None
    assert time_left(expiring("ada", seconds=-1)) == 0.0
    left = time_left(expiring("ada", hours=1))
    assert left is not None
    assert 3590 < left <= 3600


def test_an_end_in_another_time_zone():
    there = datetime.now(timezone(timedelta(hours=9))) + timedelta(minutes=1)
    left = time_left(TokenPeer("ada", expires=there))
    assert left is not None
    assert 50 < left <= 60


def test_whoever_has_no_end_is_not_watched():
    async def main() -> None:
        connection: Any = FakeConnection()
        for peer in (TokenPeer("ada"), UnixPeer(1, 2, 3)):
            identify(connection, peer)
            assert connection.peer is peer
            assert await watchers() == 0

    run(main)


def test_the_connection_ends_with_the_identity(loop):
    async def main() -> None:
        connection: Any = FakeConnection()
        peer = expiring("ada", milliseconds=30)
        identify(connection, peer)
        assert connection.peer is peer
        await connection.gone.wait()
        assert datetime.now(UTC) >= peer.expires
        assert connection.closed == [(EXPIRED, b"the token has expired")]
        assert await watchers() == 0

    run(main, loop=loop)


def test_one_that_has_ended_ends_the_connection_at_once():
    async def main() -> None:
        connection: Any = FakeConnection()
        identify(connection, expiring("ada", seconds=-1))
        await connection.gone.wait()
        assert connection.closed == [(EXPIRED, b"the token has expired")]

    run(main)


def test_nobody_is_watched_who_has_gone():
    async def main() -> None:
        connection: Any = FakeConnection()
        identify(connection, expiring("ada", hours=1))
        assert await watchers() == 1
        connection.gone.set()
        assert await watchers() == 0
        assert connection.closed == []

    run(main)


@pytest.mark.parametrize("then", [TokenPeer("ada"), "later"])
def test_whoever_is_identified_anew_goes_on(then):
    async def main() -> None:
        connection: Any = FakeConnection()
        first = expiring("ada", milliseconds=20)
        identify(connection, first)
        (watcher,) = asyncio.all_tasks() - {asyncio.current_task()}
        second = expiring("ada", hours=1) if then == "later" else then
        identify(connection, second)
        # The first one is let go of when its time has come.
        await watcher
        assert await watchers() == (then == "later")
        assert connection.closed == []
        assert connection.peer is second
        connection.gone.set()
        assert await watchers() == 0

    run(main)


def test_a_later_end_does_not_hold_up_an_earlier_one():
    async def main() -> None:
        connection: Any = FakeConnection()
        identify(connection, expiring("ada", hours=1))
        identify(connection, expiring("ada", milliseconds=20))
        await connection.gone.wait()
        assert connection.closed == [(EXPIRED, b"the token has expired")]
        assert await watchers() == 0

    run(main)
