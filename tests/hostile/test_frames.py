"""Frames that break the rules, sent to a server: the lane goes, everything else stays."""

from __future__ import annotations

import asyncio
import logging
import random
import struct
import time
from typing import Any

import pytest
from jetstream import StreamClosed

from tests.helpers import run
from tests.hostile import wire
from tests.hostile.scene import BLOB, ECHO, HOLD, MSIZE, OPTIONS, RawLane, Scene, under_attack

PROTOCOL = 1


async def assert_broken_off(lane: RawLane) -> None:
    """The server gives the lane up, as one that broke the protocol."""
    with pytest.raises(StreamClosed) as caught:
        await lane.receive.read_to_end(1 << 20)
    assert caught.value.close_code == PROTOCOL


def header(size: int, kind: int = wire.request(ECHO), tag: int = 0) -> bytes:
    """A frame's header that declares what it likes."""
    return struct.pack("<IBH", size, kind, tag)


HOLD_X = wire.frame(wire.request(HOLD), 1, wire.string("x"))

BROKEN = {
    "size 0": (header(0), "a frame of 0 bytes is smaller than its own header of 7"),
    "size 6": (header(6), "a frame of 6 bytes is smaller than its own header of 7"),
    "msize + 1": (header(MSIZE + 1), f"over the limit of {MSIZE}"),
    "4 GiB": (header(0xFFFFFFFF), "a frame of 4294967295 bytes is over the limit"),
    "a second Tversion": (
        wire.tversion("rs.jetstream.proto/echo/1.0.0"),
        "a frame of type 100 is no request",
    ),
    "a reply where a request is due": (
        wire.frame(wire.reply(ECHO), 0, wire.string("x")),
        "a frame of type 105 is no request",
    ),
    "an Rerror where a request is due": (
        wire.frame(wire.RERROR, 0, wire.fault("x")),
        "a frame of type 5 is no request",
    ),
    "a tag that is in use": (HOLD_X + HOLD_X, "tag 1"),
}


async def break_one(scene: Scene) -> None:
    lane = await scene.lane()
    await lane.send.write(header(0))
    await assert_broken_off(lane)
    # Or no further lane may be opened some day.
    lane.send.reset()


def test_who_breaks_lane_after_lane_does_not_fill_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        async with under_attack() as scene:
            began = time.monotonic()
            for _ in range(50):
                await break_one(scene)
            seconds = time.monotonic() - began
            assert 1 <= caplog.text.count("broke the protocol") <= 1 + seconds

    with caplog.at_level(logging.WARNING, "jetstream"):
        run(main)


@pytest.mark.slow
def test_the_log_is_told_again_later_with_how_many_were_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        async with under_attack() as scene:
            broken = 0
            while caplog.text.count("broke the protocol") < 2:
                await break_one(scene)
                broken += 1
            assert f"of 7 ({broken - 2} before it were not logged)" in caplog.text

    with caplog.at_level(logging.WARNING, "jetstream"):
        run(main)


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_lane_ends_alone(case: str, caplog: pytest.LogCaptureFixture) -> None:
    data, why = BROKEN[case]

    async def main() -> None:
        async with under_attack() as scene:
            lane, other = await scene.lane(), await scene.lane()
            await lane.send.write(data)
            await assert_broken_off(lane)
            # The connection and its other lanes are not touched.
            answer = await other.ask(wire.frame(wire.request(ECHO), 7, wire.string("y")))
            assert answer == (wire.reply(ECHO), 7, wire.string("y"))
            assert not scene.impl.running or await _ends(scene.impl.ended)

    with caplog.at_level(logging.WARNING, "jetstream"):
        run(main)
    assert why in caplog.text


async def _ends(ended: asyncio.Event) -> bool:
    await ended.wait()
    return True


FIRST = {
    "a request": (HOLD_X, "first frame on a lane must be a Tversion"),
    "a reply": (wire.rversion("rs.jetstream.proto/echo/1.0.0"), "must be a Tversion"),
    "nothing in it": (wire.frame(wire.TVERSION, 0), "a malformed Tversion"),
    "a string that is too short": (
        wire.frame(wire.TVERSION, 0, b"\0\0\x10\0\x09\0abc"),
        "a malformed Tversion",
    ),
    "no UTF-8": (
        wire.frame(wire.TVERSION, 0, b"\0\0\x10\0\x02\0\xff\xfe"),
        "a malformed Tversion",
    ),
    "a name of 2,000 bytes": (wire.tversion("x" * 2000), "2000 bytes is over the limit"),
    "half a frame": (wire.tversion("rs.jetstream.proto/echo/1.0.0")[:9], "inside a frame"),
    "size 0": (header(0), "smaller than its own header"),
    "4 GiB": (header(0xFFFFFFFF, wire.TVERSION), "over the limit"),
}


@pytest.mark.parametrize("case", FIRST)
def test_a_lane_that_does_not_begin_with_a_version(
    case: str, caplog: pytest.LogCaptureFixture
) -> None:
    data, why = FIRST[case]

    async def main() -> None:
        async with under_attack() as scene:
            lane = await scene.silent_lane()
            await lane.send.write(data)
            lane.send.finish()
            await assert_broken_off(lane)

    with caplog.at_level(logging.WARNING, "jetstream"):
        run(main)
    assert why in caplog.text


@pytest.mark.parametrize(
    "version",
    [
        "rs.jetstream.proto/nobody/1.0.0",
        "rs.jetstream.proto/echo/2.0.0",
        "rs.jetstream.proto/echo/1.0.1",
        "rs.jetstream.proto/echo/0.9.0",
        "9P2000.L",
        "",
    ],
)
def test_an_unknown_service_or_version_is_refused(version: str) -> None:
    async def main() -> None:
        async with under_attack() as scene:
            lane = await scene.silent_lane()
            answer = await lane.ask(wire.tversion(version))
            assert answer.kind == wire.RVERSION
            assert answer.payload == struct.pack("<I", 0) + wire.string("unknown")
            assert await lane.receive.read() == b"", "and the lane ends"

    run(main)


def test_an_msize_too_small_to_work_with_is_refused() -> None:
    async def main() -> None:
        async with under_attack() as scene:
            for msize in (0, 7, 4095):
                lane = await scene.silent_lane()
                answer = await lane.ask(wire.tversion("rs.jetstream.proto/echo/1.0.0", msize))
                assert answer.payload == struct.pack("<I", 0) + wire.string("unknown")

    run(main)


LIST = struct.pack("<H", 1)
ONE = b"\x01" + struct.pack("<q", 5)

MALFORMED = {
    "nothing": (OPTIONS, b"", "Echo.options values"),
    "too short": (OPTIONS, LIST + ONE, "Echo.options flag"),
    "too long": (OPTIONS, LIST + ONE + b"\x01\x00", "after"),
    "bool 2": (OPTIONS, LIST + ONE + b"\x02", "Echo.options flag"),
    "option 2": (OPTIONS, LIST + b"\x02" + ONE[1:] + b"\x01", "Echo.options values [0]"),
    "a count beyond the bytes": (OPTIONS, b"\xff\xff" + ONE, "Echo.options values"),
    "bad UTF-8": (ECHO, wire.string(b"\xc3\x28"), "Echo.echo message"),
    "a string beyond the bytes": (ECHO, b"\xff\xffabc", "Echo.echo message"),
    "4 GiB of bytes": (BLOB, b"\xff\xff\xff\xff", "Echo.blob data"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_arguments_are_answered_and_the_lane_goes_on(case: str) -> None:
    method, payload, where = MALFORMED[case]

    async def main() -> None:
        async with under_attack(slack=16 << 20) as scene:
            lane = await scene.lane()
            answer = await lane.ask(wire.frame(wire.request(method), 3, payload))
            assert (answer.kind, answer.tag) == (wire.RERROR, 3)
            told = wire.read_fault(answer.payload)
            assert told.code == "jetstream::decode"
            for part in where.split():
                assert part in told.message
            assert "byte " in told.message, "it says at which offset"
            again = await lane.ask(wire.frame(wire.request(ECHO), 3, wire.string("ok")))
            assert again == (wire.reply(ECHO), 3, wire.string("ok"))

    run(main)


def test_an_unknown_method_is_answered_and_the_lane_goes_on() -> None:
    async def main() -> None:
        async with under_attack() as scene:
            lane = await scene.lane()
            for method in (13, 76):
                answer = await lane.ask(wire.frame(wire.request(method), 9))
                assert (answer.kind, answer.tag) == (wire.RERROR, 9)
                told = wire.read_fault(answer.payload)
                assert told.code == "jetstream::unknown_method"
                assert f"no method {method}" in told.message
            again = await lane.ask(wire.frame(wire.request(ECHO), 9, wire.string("ok")))
            assert again.payload == wire.string("ok")

    run(main)


@pytest.mark.parametrize("depth", [1_000, 100_000, 1_000_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    async def main() -> None:
        async with under_attack() as scene:
            lane = await scene.lane("rs.jetstream.proto/forest/1.0.0")
            answer = await lane.ask(wire.frame(102, 0, b"\x01" * depth + b"\x00"))
            assert answer.kind == wire.RERROR
            told = wire.read_fault(answer.payload)
            assert told.code == "jetstream::decode"
            assert "nest" in told.message or "deep" in told.message
            shallow = await lane.ask(wire.frame(102, 0, b"\x01" * 10 + b"\x00"))
            assert shallow == (103, 0, b"\x01")

    run(main)


def test_a_lane_given_up_inside_a_frame(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with under_attack() as scene:
            finished, reset = await scene.lane(), await scene.lane()
            for lane in (finished, reset):
                await lane.send.write(HOLD_X)
                await scene.impl.arrival("x").wait()
                scene.impl.arrived.clear()
                await lane.send.write(header(500) + b"half")
            finished.send.finish()
            await assert_broken_off(finished)
            reset.send.reset(3)
            with pytest.raises(StreamClosed):
                await reset.receive.read()
            while scene.impl.cancelled != ["x", "x"]:
                scene.impl.ended.clear()
                await scene.impl.ended.wait()

    with caplog.at_level(logging.WARNING, "jetstream"):
        run(main)
    assert "inside a frame" in caplog.text


@pytest.mark.parametrize("seed", range(8))
def test_random_bytes_on_lanes(seed: int) -> None:
    source = random.Random(seed)

    async def main() -> None:
        async with under_attack() as scene:
            for _ in range(40):
                lane = await (scene.lane() if source.random() < 0.7 else scene.silent_lane())
                data = source.randbytes(source.randrange(1, 3000))
                if source.random() < 0.5:
                    # A header that fits, so that the noise reaches the methods.
                    kind = source.randrange(256)
                    data = wire.frame(kind, source.randrange(5), data[:100]) * 3
                await lane.send.write(data)
                lane.send.finish()
                try:
                    while await lane.receive.read():
                        pass
                except StreamClosed:
                    pass
                for gate in list(scene.impl.gates.values()):
                    gate.set()

    run(main)


@pytest.mark.slow
def test_thousands_of_lanes() -> None:
    async def main() -> None:
        async with under_attack() as scene:
            lane = await scene.lane()
            for number in range(3_000):
                passing = await scene.silent_lane()
                await passing.send.write(wire.tversion("rs.jetstream.proto/echo/1.0.0"))
                if number % 2:
                    passing.send.reset(0)
                    passing.receive.stop(0)
                else:
                    passing.send.finish()
                    while await passing.receive.read():
                        pass
            answer = await lane.ask(wire.frame(wire.request(ECHO), 0, wire.string("y")))
            assert answer.payload == wire.string("y")
            endpoint: Any = scene.server._endpoint  # pyright: ignore[reportPrivateUsage]
            assert endpoint.open_lanes <= 10

    run(main)
