"""Raw connections whose other end takes nothing: what may be under way is what the settings say."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from jetstream import Client, Connection, Context, Limits

from tests.e2e.services import Echo, EchoImpl
from tests.helpers import client_tls, join, run, serve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

PIECE = 4 << 10
WINDOW, SEND = 64 << 10, 128 << 10


class Sloth:
    """Accepts a connection and takes nothing from it until it is told to."""

    def __init__(self) -> None:
        self.awake = asyncio.Event()
        self.datagrams: list[bytes] = []

    def alpns(self) -> list[str]:
        return ["sloth"]

    async def accept(self, ctx: Context, connection: Connection) -> None:
        await self.awake.wait()
        while not self.datagrams or self.datagrams[-1] != b"last":
            self.datagrams.append(await connection.receive_datagram())


@asynccontextmanager
async def beside_a_sloth(
    taken: Limits, sent: Limits | None = None
) -> AsyncGenerator[tuple[Sloth, Connection, Echo]]:
    """A connection to somebody who takes nothing, and a bystander who calls the same server."""
    sloth = Sloth()
    async with (
        serve(sloth, EchoImpl(), limits=taken, graceful_timeout=0) as server,
        join(server) as session,
        Client(client_tls(), alpns=["sloth"], limits=sent or Limits()) as client,
    ):
        connection = await client.connect(server.address, "localhost")
        yield sloth, connection, session.channel(Echo)
        assert await session.channel(Echo).echo("on") == "on"


async def pour(stream: Any, count: list[int]) -> None:
    """Writes without end."""
    while True:
        await stream.write(bytes(PIECE))
        count[0] += PIECE


@pytest.mark.parametrize(
    ("settings", "streams", "allowed"),
    [
        ({"stream_receive_window": WINDOW, "receive_window": 8 << 20}, 1, WINDOW),
        ({"stream_receive_window": WINDOW, "receive_window": 2 * WINDOW}, 8, 2 * WINDOW),
    ],
    ids=["stream", "connection"],
)
def test_no_more_is_under_way_than_the_windows_allow(
    settings: dict[str, int], streams: int, allowed: int
) -> None:
    async def main() -> None:
        async with beside_a_sloth(Limits(**settings), Limits(send_window=SEND)) as (_, raw, echo):
            count = [0]
            pouring = [
                asyncio.ensure_future(pour((await raw.open_bi())[0], count)) for _ in range(streams)
            ]
            for number in range(300):
                assert await echo.echo(str(number)) == str(number)
            before = count[0]
            for number in range(100):
                assert await echo.echo(str(number)) == str(number)
            assert count[0] == before, "everybody waits"
            # What the server lets come, what our own end holds, and a piece of each stream.
            assert allowed <= before <= allowed + SEND + streams * PIECE
            for each in pouring:
                each.cancel()
            await asyncio.wait(pouring)

    run(main)


def test_streams_over_the_limit_are_not_opened() -> None:
    async def main() -> None:
        async with beside_a_sloth(Limits(max_streams_uni=2)) as (_, raw, echo):
            for stream in [await raw.open_uni() for _ in range(2)]:
                await stream.write(b"there")
            third = asyncio.ensure_future(raw.open_uni())
            for number in range(100):
                assert await echo.echo(str(number)) == str(number)
            assert not third.done()
            third.cancel()
            await asyncio.wait([third])

    run(main)


def test_the_oldest_datagrams_go_first() -> None:
    async def main() -> None:
        async with beside_a_sloth(Limits(datagram_buffer=64 << 10)) as (sloth, raw, echo):
            for number in range(2_000):
                raw.send_datagram(number.to_bytes(4, "big") + bytes(996))
                if number % 20 == 0:
                    await echo.ping()
            raw.send_datagram(b"last")
            for _ in range(20):
                await echo.ping()
            sloth.awake.set()
            async with asyncio.timeout(10):
                while not sloth.datagrams or sloth.datagrams[-1] != b"last":
                    await echo.ping()
            kept = [int.from_bytes(data[:4], "big") for data in sloth.datagrams[:-1]]
            assert sum(map(len, sloth.datagrams)) <= 64 << 10
            assert kept == sorted(kept)
            assert kept[0] > 1_500, "the first ones are gone"

    run(main)
