"""Too much of everything: noise, half-open handshakes, answers that nobody reads."""

from __future__ import annotations

import asyncio
import random
import socket
import struct

import pytest
from jetstream import Client, ClosedError, ConnectError, Limits

from tests.e2e.services import Echo
from tests.helpers import client_tls, join, resident, run
from tests.hostile import wire
from tests.hostile.scene import ECHO, HOLD, MAKE, MSIZE, under_attack


@pytest.mark.parametrize("seed", range(3))
def test_random_datagrams_on_the_socket(seed: int) -> None:
    source = random.Random(seed)

    async def main() -> None:
        async with under_attack(slack=32 << 20) as scene:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as noise:
                noise.connect((str(scene.server.address.ip), scene.server.address.port))
                for number in range(2_000):
                    data = bytearray(source.randbytes(source.choice([0, 1, 7, 21, 1200, 1472])))
                    if data and source.random() < 0.7:
                        # A long header of version 1, so that it is looked at.
                        data[0] |= 0xC0
                        data[1:5] = b"\0\0\0\1"
                    noise.send(data)
                    if number % 100 == 0:
                        assert await scene.bystander.echo(str(number)) == str(number)

    run(main)


def test_corrupted_first_flights() -> None:
    """Real Initial packets, each with a few bytes changed."""
    source = random.Random(5)

    async def main() -> None:
        async with under_attack(slack=32 << 20) as scene:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trap:
                trap.bind(("127.0.0.1", 0))
                trap.setblocking(False)
                async with Client(client_tls()) as client:
                    attempt = asyncio.ensure_future(
                        client.connect(trap.getsockname(), "localhost", timeout=20)
                    )
                    loop = asyncio.get_running_loop()
                    flight = await loop.sock_recv(trap, 2048)
                    attempt.cancel()
                    await asyncio.wait([attempt])
            target = (str(scene.server.address.ip), scene.server.address.port)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as noise:
                for number in range(1_000):
                    data = bytearray(flight)
                    for _ in range(source.randrange(1, 6)):
                        data[source.randrange(len(data))] = source.randrange(256)
                    noise.sendto(data[: source.randrange(20, len(data) + 1)], target)
                    if number % 100 == 0:
                        assert await scene.bystander.echo("y") == "y"

    run(main)


@pytest.mark.slow
def test_handshakes_that_are_never_finished_are_bounded() -> None:
    limits = Limits(msize=MSIZE, max_connections=50, retry_above=20, handshake_timeout=0.2)

    async def main() -> None:
        async with under_attack(limits=limits, slack=48 << 20) as scene:
            server = scene.server
            target = (str(server.address.ip), server.address.port)
            first_flights = await capture_first_flights(120)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
                for number, flight in enumerate(first_flights):
                    flood.sendto(flight, target)
                    if number % 10 == 0:
                        assert await scene.bystander.echo("y") == "y"
                assert await scene.bystander.echo("still") == "still"
                assert server.connections <= 2 + 20, "over that, Retry costs nothing"
                # Those that came in are given up in time, so newcomers get in.
                async with asyncio.timeout(10):
                    while server.connections > 2:
                        await scene.bystander.ping()

    run(main)


@pytest.mark.slow
def test_handshakes_at_once_are_bounded() -> None:
    limits = Limits(msize=MSIZE, max_handshakes=3, handshake_timeout=0.8)

    async def main() -> None:
        async with under_attack(limits=limits) as scene:
            server = scene.server
            target = (str(server.address.ip), server.address.port)
            first_flights = await capture_first_flights(12)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
                for flight in first_flights:
                    flood.sendto(flight, target)
                async with asyncio.timeout(10):
                    while server.connections < 2 + 3:
                        await scene.bystander.ping()
                assert await scene.bystander.echo("still") == "still"
                assert server.connections == 2 + 3
                with pytest.raises(ConnectError, match=r"Limits\(max_handshakes=\.\.\.\)"):
                    async with join(server, timeout=5):
                        pass
                # They are given up in time, and newcomers get in.
                async with asyncio.timeout(10):
                    while server.connections > 2:
                        await scene.bystander.ping()

    run(main)


async def capture_first_flights(count: int) -> list[bytes]:
    """First datagrams of that many connections, sent to a socket that never answers."""
    loop = asyncio.get_running_loop()
    flights: dict[bytes, bytes] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trap:
        trap.bind(("127.0.0.1", 0))
        trap.setblocking(False)
        async with Client(client_tls()) as client:
            while len(flights) < count:
                # One by one: a burst would overrun the socket's buffer.
                attempt = asyncio.ensure_future(
                    client.connect(trap.getsockname(), "localhost", timeout=20)
                )
                data = await loop.sock_recv(trap, 2048)
                # Keyed by the destination connection id (RFC 9000, section 17.2).
                flights.setdefault(data[6 : 6 + data[5]], data)
                attempt.cancel()
                await asyncio.wait([attempt])
    return list(flights.values())


def test_connections_over_the_limit_are_refused() -> None:
    async def main() -> None:
        async with under_attack(limits=Limits(msize=MSIZE, max_connections=3)) as scene:
            async with join(scene.server):
                with pytest.raises(
                    ConnectError, match=r"refused.*Limits\(max_connections=\.\.\.\)"
                ):
                    async with join(scene.server, timeout=5):
                        pass
                assert await scene.bystander.echo("on") == "on"
            # The one that left must have gone before another one fits.
            async with asyncio.timeout(10):
                while scene.server.connections > 2:
                    await scene.bystander.ping()

    run(main)


async def many_turns(bystander: Echo) -> None:
    """Lets both ends do whatever they are going to do: a bystander's calls count the turns."""
    for _ in range(300):
        await bystander.ping()


def test_a_client_that_does_not_read_is_not_read_from() -> None:
    limits = Limits(msize=MSIZE, max_handlers=100)

    async def main() -> None:
        async with under_attack(limits=limits, slack=96 << 20) as scene:
            lane = await scene.lane()
            before = resident()
            # Each request of 11 bytes asks for 64 KiB: 2 GiB in all, if anybody kept them.
            requests = b"".join(
                wire.frame(wire.request(MAKE), tag % 60_000, struct.pack("<i", 64 << 10))
                for tag in range(32_000)
            )
            writing = asyncio.ensure_future(lane.send.write(requests * 10))
            await many_turns(scene.bystander)
            assert not writing.done(), "the server takes no more"
            assert resident() - before < 64 << 20
            answer = await lane.frame()
            assert (answer.kind, len(answer.payload)) == (wire.reply(MAKE), 4 + (64 << 10))
            writing.cancel()
            await asyncio.wait([writing])

    run(main)


@pytest.mark.parametrize(("unsent", "most"), [(64 << 10, 55), (1 << 20, 105)])
def test_how_many_answers_wait_for_a_client_that_does_not_read(unsent: int, most: int) -> None:
    async def main() -> None:
        async with under_attack(limits=Limits(msize=MSIZE, max_unsent=unsent)) as scene:
            lane = await scene.lane()
            before = len(scene.impl.order)
            # Some 38 answers of 32 KiB are on their way, as far as the client lets the server send.
            # What one turn has read is answered as a whole.
            text = wire.string("x" * (32 << 10))
            requests = b"".join(wire.frame(wire.request(ECHO), n, text) for n in range(200))
            writing = asyncio.ensure_future(lane.send.write(requests))
            await many_turns(scene.bystander)
            answered = len(scene.impl.order) - before
            assert most - 35 < answered < most
            writing.cancel()
            await asyncio.wait([writing])

    run(main)


def test_handlers_of_a_client_that_does_not_read_are_bounded() -> None:
    limits = Limits(msize=MSIZE, max_handlers=100)

    async def main() -> None:
        async with under_attack(limits=limits) as scene:
            lanes = [await scene.lane() for _ in range(3)]
            requests = b"".join(
                wire.frame(wire.request(HOLD), tag, wire.string("x")) for tag in range(20_000)
            )
            writing = [asyncio.ensure_future(lane.send.write(requests)) for lane in lanes]
            await many_turns(scene.bystander)
            assert scene.impl.most == 100
            scene.impl.gate("x").set()
            for lane in lanes:
                for _ in range(20_000):
                    assert await lane.frame()
            await asyncio.gather(*writing)
            assert scene.impl.most == 100

    run(main)


def test_a_lane_that_waits_for_another_ones_handlers_is_woken() -> None:
    """All handlers are busy with one lane; it is given up, and the other one's turn comes."""

    async def main() -> None:
        async with under_attack(limits=Limits(msize=MSIZE, max_handlers=10)) as scene:
            greedy, patient = await scene.lane(), await scene.lane()
            await greedy.send.write(
                b"".join(wire.frame(wire.request(HOLD), n, wire.string("g")) for n in range(10))
            )
            await scene.impl.arrival("g").wait()
            await patient.send.write(wire.frame(wire.request(ECHO), 0, wire.string("p")))
            await many_turns(scene.bystander)
            assert "p" not in scene.impl.order
            greedy.send.reset(0)
            async with asyncio.timeout(2):
                assert (await patient.frame()).payload == wire.string("p")

    run(main)


def test_connections_that_come_and_go() -> None:
    async def main() -> None:
        async with under_attack() as scene:
            async with Client(client_tls()) as client:
                for number in range(40):
                    connection = await client.connect(scene.server.address, "localhost")
                    send, receive = await connection.open_bi()
                    await send.write(wire.tversion("rs.jetstream.proto/echo/1.0.0")[: number + 1])
                    connection.close(number, "gone")
                    with pytest.raises(ClosedError):
                        await receive.read()
            async with asyncio.timeout(10):
                while scene.server.connections > 2:
                    await scene.bystander.ping()

    run(main)
