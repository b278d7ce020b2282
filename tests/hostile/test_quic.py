"""Below the calls: what a stranger's packet costs, what a ticket is worth, datagrams for nobody.

Packets that decrypt and break the rules are in `rust/net/src/tests/attacks.rs`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import struct

import pytest
from jetstream import Limits, TlsError, connect
from jetstream.testing import ThrowawayCA

from tests.e2e.services import Echo, EchoImpl
from tests.helpers import authority, client_tls, join, run, serve, server_tls
from tests.hostile import wire
from tests.hostile.scene import ECHO, under_attack
from tests.hostile.test_floods import capture_first_flights

AMPLIFICATION = 3
"""Bytes for each byte of somebody whose address is not proved (RFC 9000, section 8)."""


def test_a_stranger_is_sent_no_more_than_three_times_what_it_sent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A certificate of some 10 KB, asked for in the name of somebody else."""
    names = [f"a-rather-long-name-number-{number:03}.shop.example.org" for number in range(200)]
    limits = Limits(handshake_timeout=0.3)

    async def main() -> None:
        tls = server_tls(authority().issue_server("localhost", *names))
        async with (
            serve(EchoImpl(), tls=tls, limits=limits, graceful_timeout=0) as server,
            join(server, server_name="localhost") as bystander,
        ):
            (flight,) = await capture_first_flights(1)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as victim:
                victim.bind(("127.0.0.1", 0))
                victim.setblocking(False)
                victim.sendto(flight, (str(server.address.ip), server.address.port))
                received: list[int] = []
                # It says nothing more, and is given up.
                while "handshake with 127.0.0.1:" not in caplog.text:
                    assert await bystander.channel(Echo).echo("on") == "on"
                    try:
                        received.append(len(victim.recv(65_535)))
                    except BlockingIOError:
                        await asyncio.sleep(0)
            assert sum(received) > len(flight), "the server did answer"
            assert sum(received) <= AMPLIFICATION * len(flight)

    with caplog.at_level(logging.INFO, "jetstream"):
        run(main)


@pytest.mark.parametrize("early_data", [False, True], ids=["resumed", "early"])
def test_a_ticket_is_worth_no_more_than_its_certificate(early_data: bool) -> None:
    """Resumption that skips a changed client CA (CVE-2025-23419 and kin)."""
    old, new = authority(), ThrowawayCA("The Next One")

    async def main() -> None:
        impl, tls = EchoImpl(), client_tls()
        both = server_tls(client_ca=old.ca_pem + new.ca_pem)
        bob = client_tls(new.issue_client("bob"))
        async with (
            serve(impl, tls=both, graceful_timeout=0) as server,
            join(server, tls=bob) as bystander,
        ):
            for resumed in (False, True):
                async with join(server, tls=tls) as session:
                    assert await session.channel(Echo).echo("in") == "in"
                    assert session.resumed is resumed
            await server.reload(server_tls(client_ca=new.ca_pem))
            seen = list(impl.order)
            for _ in range(3):
                with pytest.raises(TlsError) as caught:
                    async with connect(
                        server.address, tls=tls, early_data=early_data, call_timeout=5
                    ) as session:
                        await session.channel(Echo).echo("in again")
                assert caught.value.reason == "unknown_ca"
            assert impl.order == seen, "nothing of it ran"
            assert await bystander.channel(Echo).echo("on") == "on"
            async with join(server, tls=bob) as newcomer:
                assert await newcomer.channel(Echo).echo("in") == "in"

    run(main)


def test_datagrams_for_nobody_are_thrown_away() -> None:
    """Frames for lanes that are not there, or that have not asked for any, and noise."""
    source = random.Random(3)

    async def main() -> None:
        async with under_attack(slack=24 << 20) as scene:
            lane = await scene.lane()
            for number in range(20_000):
                to = source.choice([0, 0, 4, 1, 2, 2**40, 2**62])
                frame = wire.frame(source.randrange(256), source.randrange(9), bytes(1_000))
                data = struct.pack("<Q", to) + frame
                scene.attacker.send_datagram(data[: source.choice([3, 8, 12, len(data)])])
                if number % 500 == 0:
                    assert await scene.bystander.echo(str(number)) == str(number)
            answer = await lane.ask(wire.frame(wire.request(ECHO), 1, wire.string("on")))
            assert answer == (wire.reply(ECHO), 1, wire.string("on")), "the lane is not touched"

    run(main)
