"""Servers that break the rules: a client's calls fail with the reason, and never hang or crash."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from jetstream import (
    CallError,
    Connection,
    ConnectionLost,
    Context,
    DeadlineExceeded,
    DecodeError,
    JetStreamError,
    Limits,
    RemoteProtocolError,
    VersionMismatch,
    with_options,
)

from tests.e2e.services import Echo, EchoImpl
from tests.helpers import join, resident, run, serve
from tests.hostile import wire
from tests.hostile.scene import ECHO_VERSION, MSIZE, RawLane

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

Script = Callable[[RawLane, Connection], Awaitable[None]]

ANSWER = wire.rversion(ECHO_VERSION, MSIZE)
ECHOED = wire.reply(1)


class Liar:
    """Plays a script on every lane that a client opens, and keeps the connection until it goes."""

    def __init__(self, script: Script) -> None:
        self.script = script

    def alpns(self) -> list[str]:
        return ["jetstream"]

    async def accept(self, ctx: Context, connection: Connection) -> None:
        while True:
            lane = RawLane(*await connection.accept_bi())
            first = await lane.frame()
            assert first.kind == wire.TVERSION
            await self.script(lane, connection)


@asynccontextmanager
async def lied_to(script: Script) -> AsyncGenerator[Echo]:
    """A channel to a server that plays `script`; an honest server is called on the side."""
    async with (
        serve(EchoImpl()) as honest,
        serve(Liar(script), graceful_timeout=0) as liar,
        join(honest) as bystander,
        join(liar, limits=Limits(msize=MSIZE)) as session,
    ):
        channel = bystander.channel(Echo)
        assert await channel.echo("before") == "before"
        before = resident()
        yield session.channel(Echo, timeout=10)
        assert resident() - before < 32 << 20
        assert await channel.echo("after") == "after"


def answering(*replies: bytes, first: bytes = ANSWER, requests: int = 1) -> Script:
    """Agrees, waits for some requests, and sends whatever it likes."""

    async def script(lane: RawLane, connection: Connection) -> None:
        await lane.send.write(first)
        for _ in range(requests):
            await lane.frame()
        await lane.send.write(b"".join(replies))

    return script


GOOD = wire.frame(ECHOED, 0, wire.string("good"))

BROKEN: dict[str, tuple[bytes, str]] = {
    "an unknown tag": (wire.frame(ECHOED, 999, wire.string("x")), "999"),
    "a fault for an unknown tag": (wire.frame(wire.RERROR, 999, wire.fault("x")), "999"),
    "a tag answered twice": (GOOD + GOOD, "tag 0"),
    "no tag": (wire.frame(ECHOED, wire.NO_TAG, wire.string("x")), "65535"),
    "the reply of another method": (wire.frame(wire.reply(2), 0, b"\0\0\0\0"), "107"),
    "a request": (wire.frame(wire.request(1), 0, wire.string("x")), "104"),
    "a second Rversion": (ANSWER, "101"),
    "size 0": (struct.pack("<IBH", 0, ECHOED, 0), "0 bytes is smaller than its own header"),
    "size 6": (struct.pack("<IBH", 6, ECHOED, 0), "6 bytes is smaller than its own header"),
    "msize + 1": (struct.pack("<IBH", MSIZE + 1, ECHOED, 0), f"over the limit of {MSIZE}"),
    "4 GiB": (struct.pack("<IBH", 0xFFFFFFFF, ECHOED, 0), "4294967295 bytes is over the limit"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_server_fails_every_call_with_the_reason(case: str) -> None:
    data, why = BROKEN[case]

    async def main() -> None:
        async with lied_to(answering(data, requests=3)) as echo:
            calls = [asyncio.ensure_future(echo.echo(str(n))) for n in range(3)]
            results = await asyncio.gather(*calls, return_exceptions=True)
            errors = [result for result in results if result != "good"]
            assert len(errors) >= 2
            for error in errors:
                assert isinstance(error, RemoteProtocolError), error
                assert error.code == "jetstream::remote_protocol"
                assert why in str(error)
            assert len({id(error) for error in errors}) == len(errors), "each call has its own"

    run(main)


VALUES = {
    "nothing": b"",
    "too short": b"\x05\0abc",
    "too long": wire.string("abc") + b"!",
    "bad UTF-8": wire.string(b"\xff"),
}


@pytest.mark.parametrize("case", VALUES)
def test_a_malformed_result_fails_its_own_call_only(case: str) -> None:
    script = answering(
        wire.frame(ECHOED, 0, VALUES[case]), wire.frame(ECHOED, 1, b"\x02\0ok"), requests=2
    )

    async def main() -> None:
        async with lied_to(script) as echo:
            bad, good = await asyncio.gather(echo.echo("a"), echo.echo("b"), return_exceptions=True)
            assert isinstance(bad, DecodeError)
            assert bad.code == "jetstream::decode"
            assert "Echo.echo" in bad.path
            assert bad.offset <= 5
            assert good == "ok"

    run(main)


def test_a_fault_that_cannot_be_read() -> None:
    async def main() -> None:
        script = answering(
            wire.frame(wire.RERROR, 0, b"\xff\xff"),
            wire.frame(wire.RERROR, 1, wire.fault("told")),
            requests=2,
        )
        async with lied_to(script) as echo:
            bad, good = await asyncio.gather(echo.echo("a"), echo.echo("b"), return_exceptions=True)
            assert isinstance(bad, RemoteProtocolError)
            assert "fault" in str(bad)
            assert isinstance(good, CallError)
            assert good.message == "told"

    run(main)


FIRST: dict[str, tuple[bytes, type[JetStreamError], str]] = {
    "refused": (wire.rversion("unknown", 0), VersionMismatch, "does not serve"),
    "another name": (wire.rversion("rs.jetstream.proto/other/1.0.0"), VersionMismatch, "other"),
    "another major": (wire.rversion("rs.jetstream.proto/echo/2.0.0"), VersionMismatch, "2.0.0"),
    "an older one": (wire.rversion("rs.jetstream.proto/echo/0.9.9"), VersionMismatch, "0.9.9"),
    "a fault": (wire.frame(wire.RERROR, 0, wire.fault("no")), VersionMismatch, "no"),
    "msize 0": (wire.rversion(ECHO_VERSION, 0), RemoteProtocolError, "4096"),
    "an empty payload": (wire.frame(wire.RVERSION, 0), RemoteProtocolError, "too short"),
    "no UTF-8": (
        wire.frame(wire.RVERSION, 0, b"\0\0\1\0\x01\0\xff"),
        RemoteProtocolError,
        "UTF-8",
    ),
    "a reply": (GOOD, RemoteProtocolError, "version"),
    "4 GiB": (struct.pack("<IBH", 0xFFFFFFFF, 101, 0), RemoteProtocolError, "over the limit"),
}


@pytest.mark.parametrize("case", FIRST)
def test_a_server_whose_first_answer_is_wrong(case: str) -> None:
    data, kind, why = FIRST[case]

    async def main() -> None:
        async with lied_to(answering(first=data, requests=0)) as echo:
            with pytest.raises(kind) as caught:
                await echo.echo("x")
            assert why in str(caught.value)
            if isinstance(caught.value, VersionMismatch):
                assert caught.value.asked.startswith(ECHO_VERSION + "+")

    run(main)


def test_a_server_that_ends_the_lane_inside_a_frame() -> None:
    async def script(lane: RawLane, connection: Connection) -> None:
        await lane.send.write(ANSWER)
        await lane.frame()
        await lane.send.write(GOOD[:-1])
        lane.send.finish()

    async def main() -> None:
        async with lied_to(script) as echo:
            with pytest.raises(RemoteProtocolError, match="inside a frame"):
                await echo.echo("x")

    run(main)


@pytest.mark.parametrize("how", ["reset", "finish", "stop"])
def test_a_server_that_gives_the_lane_up(how: str) -> None:
    async def script(lane: RawLane, connection: Connection) -> None:
        await lane.send.write(ANSWER)
        await lane.frame()
        if how == "reset":
            lane.send.reset(42)
        elif how == "stop":
            lane.receive.stop(42)
        else:
            lane.send.finish()

    async def main() -> None:
        async with lied_to(script) as echo:
            with pytest.raises(ConnectionLost) as caught:
                await echo.echo("x")
            assert ("ended the lane" if how == "finish" else "42") in str(caught.value)

    run(main)


def test_a_server_that_closes_with_a_hostile_reason() -> None:
    async def script(lane: RawLane, connection: Connection) -> None:
        await lane.send.write(ANSWER)
        connection.close(77, "\x1b]0;owned\x07 go away")

    async def main() -> None:
        async with lied_to(script) as echo:
            with pytest.raises(ConnectionLost) as caught:
                await echo.echo("x")
            assert caught.value.close_code == 77
            assert caught.value.by_peer
            assert "go away" in str(caught.value)
            assert "\x1b" not in str(caught.value)

    run(main)


def test_a_server_that_never_answers() -> None:
    async def silent(lane: RawLane, connection: Connection) -> None:
        return None

    async def main() -> None:
        async with lied_to(silent) as echo:
            with pytest.raises(DeadlineExceeded):
                await with_options(echo, timeout=0.02).echo("x")
        async with lied_to(answering(requests=0)) as echo:
            with pytest.raises(DeadlineExceeded):
                await with_options(echo, timeout=0.02).echo("x")

    run(main)
