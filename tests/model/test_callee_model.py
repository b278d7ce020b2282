"""Our server against a client that is spoken by hand: random requests in random pieces, answered as
the model says; and what a hostile client gets."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections import defaultdict
from typing import Any, Literal, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jetstream import (
    U32,
    Client,
    Connection,
    JetStreamError,
    Limits,
    StreamClosed,
    method,
    service,
)

from tests.helpers import client_tls, run, serve
from tests.model import frame, mux, version
from tests.model.frame import Frame
from tests.model.raw import RawLane

MSIZE = 8192
PROTOCOL = 1
"""The code with which a lane is given up whose peer broke the rules."""


@service(name="held", version="2.3.4", digest="d1")
class Held:
    """Methods that answer at once, when they are let go, or with a fault."""

    def __init__(self) -> None:
        self.gates: defaultdict[int, asyncio.Event] = defaultdict(asyncio.Event)

    @method
    def twice(self, n: U32) -> U32:
        return n * 2

    async def hold(self, n: U32) -> U32:
        await self.gates[n].wait()
        return n

    @method
    def fail(self, n: U32) -> None:
        raise JetStreamError(f"no {n}", code="app::no")

    @method
    def fill(self, n: U32) -> bytes:
        return bytes(n)


SERVED = "rs.jetstream.proto/held/2.3.4+d1"
TWICE, HOLD, FAIL, FILL = range(4)
METHODS = 4

FULL = MSIZE - frame.HEADER - 4
"""The longest bytes whose frame fits."""

LAST_TAG = 60_000
"""Of a request that comes after all the others: its answer tells that they were read."""


def u32(n: int) -> bytes:
    return struct.pack("<I", n)


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<H", len(data)) + data


def fault_head(message: str, code: str) -> bytes:
    return text(message) + b"\x01" + text(code)


class Expected(NamedTuple):
    """An answer, up to where its text is nobody's business."""

    kind: int
    tag: int
    head: bytes

    def fits(self, got: Frame) -> bool:
        if got.kind == frame.RERROR:
            return got[:2] == self[:2] and self.head in got.payload
        return (got.kind, got.tag, got.payload) == (self.kind, self.tag, self.head)


def answer(called: int | Literal["unknown"], tag: int, payload: bytes) -> Expected | None:
    """What the service above says to a request; None if it does not say it yet."""
    if called == "unknown":
        return Expected(frame.RERROR, tag, text("jetstream::unknown_method"))
    if len(payload) != 4:
        return Expected(frame.RERROR, tag, text("jetstream::decode"))
    n = int.from_bytes(payload, "little")
    if called == HOLD:
        return None
    if called == FAIL:
        return Expected(frame.RERROR, tag, fault_head(f"no {n}", "app::no"))
    if called == FILL and n > FULL:
        return Expected(frame.RERROR, tag, text("jetstream::limit"))
    result = u32(n * 2) if called == TWICE else u32(n) + bytes(n)
    return Expected(frame.reply(called), tag, result)


TAGS = st.integers(0, 5) | st.sampled_from([63, 64, 65_534, 65_535])
VALID = st.tuples(st.sampled_from([TWICE, HOLD, HOLD, FAIL]), TAGS).map(
    lambda pair: Frame(frame.request(pair[0]), pair[1], b"number")
)
"""The number is filled in afterwards: each has its own."""
ODD = st.one_of(
    st.builds(Frame, st.sampled_from([110, 112, 254]), TAGS, st.binary(max_size=5)),
    st.builds(Frame, st.sampled_from([102, 104, 106]), TAGS, st.binary(max_size=3)),
    st.builds(Frame, st.just(102), TAGS, st.binary(min_size=5, max_size=9)),
    st.builds(Frame, st.just(108), TAGS, st.sampled_from([FULL, FULL + 1]).map(u32)),
)
HOSTILE = st.builds(
    Frame, st.sampled_from([0, 5, 8, 99, 100, 101, 103, 105, 255]), TAGS, st.binary(max_size=9)
)
CUTS = st.lists(st.integers(0, 2000), max_size=6)


async def opened(connection: Connection) -> RawLane:
    return RawLane(*await connection.open_bi())


def hello(msize: int = MSIZE, text: str = SERVED) -> Frame:
    return Frame(frame.TVERSION, frame.NO_TAG, version.Offer(msize, text).payload())


async def still_works(connection: Connection) -> None:
    """A lane beside the one that was misused answers."""
    lane = await opened(connection)
    await lane.write(hello(), Frame(frame.request(TWICE), 1, u32(21)))
    await lane.read()
    assert await lane.read() == Frame(frame.reply(TWICE), 1, u32(42))
    lane.send.finish()
    assert await lane.read() is None


async def check(
    connection: Connection, held: Held, requests: list[Frame], cuts: list[int], order: Any
) -> None:
    callee = mux.Callee(METHODS)
    expected: list[Expected] = []
    holding: dict[int, int] = {}
    broken = False
    sent = [hello()]
    for number, request in enumerate(requests):
        if request.payload == b"number":
            request = request._replace(payload=u32(number))
        sent.append(request)
        try:
            called = callee.request(request.kind, request.tag)
        except mux.BrokenError:
            broken = True
            break
        told = answer(called, request.tag, request.payload)
        if told is None:
            holding[number] = request.tag
            continue
        expected.append(told)
        if called != "unknown":
            callee.answered(request.tag)
    last = Frame(frame.request(TWICE), LAST_TAG, u32(1))
    lane = await opened(connection)
    # A lane that is given up may be so before the last piece of it is written.
    with contextlib.suppress(*((StreamClosed,) if broken else ())):
        await lane.write(*sent, last, cuts=cuts)

    if broken:
        # Answers may be lost with the lane, but none comes that is not due.
        answers, code = await lane.read_to_failure()
        assert code == PROTOCOL
        for got in answers[1:]:
            assert expected.pop(0).fits(got)
        lane.send.reset()
        await still_works(connection)
        return

    answered = await lane.read()
    assert answered == Frame(frame.RVERSION, frame.NO_TAG, version.Offer(MSIZE, SERVED).payload())
    for told in [*expected, Expected(frame.reply(TWICE), LAST_TAG, u32(2))]:
        reply = await lane.read()
        assert reply is not None
        assert told.fits(reply), (told, reply)
    numbers = list(holding)
    order.shuffle(numbers)
    for number in numbers:
        held.gates[number].set()
        assert await lane.read() == Frame(frame.reply(HOLD), holding[number], u32(number))
        callee.answered(holding[number])
    assert not callee.running
    lane.send.finish()
    assert await lane.read() is None


def serving(requests: list[Frame], cuts: list[int], order: Any) -> None:
    async def main() -> None:
        held = Held()
        async with serve(held, limits=Limits(msize=MSIZE)) as server:
            client = Client(client_tls())
            async with await client.connect(server.address, "localhost") as connection:
                await check(connection, held, requests, cuts, order)

    run(main)


@given(
    st.lists(VALID | VALID | ODD, max_size=12, unique_by=lambda request: request.tag),
    CUTS,
    st.randoms(use_true_random=False),
)
@settings(max_examples=20)
def test_every_request_gets_its_answer(requests: list[Frame], cuts: list[int], order: Any) -> None:
    serving(requests, cuts, order)


@pytest.mark.slow
@given(
    st.lists(VALID | VALID | ODD | HOSTILE, max_size=12), CUTS, st.randoms(use_true_random=False)
)
@settings(max_examples=80)
def test_tags_that_meet_and_frames_that_are_no_requests(
    requests: list[Frame], cuts: list[int], order: Any
) -> None:
    serving(requests, cuts, order)


def test_a_tag_is_taken_until_its_answer_has_gone() -> None:
    first = Frame(frame.request(HOLD), 7, b"number")
    for kind in (frame.request(TWICE), frame.request(HOLD), frame.request(METHODS)):
        serving([first, Frame(kind, 7, u32(1))], [], None)


@pytest.mark.parametrize("size", [0, 6, MSIZE + 1, 2**32 - 1])
def test_an_impossible_size_ends_its_lane_only(size: int) -> None:
    async def main() -> None:
        async with serve(Held(), limits=Limits(msize=MSIZE)) as server:
            client = Client(client_tls())
            async with await client.connect(server.address, "localhost") as connection:
                lane = await opened(connection)
                await lane.write_bytes(frame.write(hello()) + struct.pack("<I", size))
                _, code = await lane.read_to_failure()
                assert code == PROTOCOL
                await still_works(connection)

    run(main)


VERSIONS = st.builds(
    "{}/{}/{}.{}.{}{}".format,
    st.sampled_from(["rs.jetstream.proto"] * 4 + ["rs.jetstream", ""]),
    st.sampled_from(["held"] * 4 + ["Held", "others", "a/b", ""]),
    st.sampled_from([2, 2, 2, 1, 3, "02", 2**64]),
    st.sampled_from([3, 3, 2, 4, 10]),
    st.sampled_from([4, 4, 3, 5, "x", ""]),
    st.sampled_from(["", "+d1", "+other", "-rc.1", "-rc.1+x", "/", "x", "+\n"]),
)
OFFERS = st.builds(
    version.Offer,
    st.sampled_from([MSIZE, MSIZE - 1, version.MIN_MSIZE, version.MIN_MSIZE - 1, 0, 2**32 - 1]),
    VERSIONS | st.just(version.UNKNOWN) | st.text(max_size=8),
)


@given(st.lists(st.tuples(OFFERS, st.integers(0, 65_535)), min_size=30, max_size=30))
@settings(max_examples=10)
def test_our_server_takes_a_client_that_fits_and_no_other(
    offers: list[tuple[version.Offer, int]],
) -> None:
    async def main() -> None:
        async with serve(Held(), limits=Limits(msize=MSIZE)) as server:
            client = Client(client_tls())
            async with await client.connect(server.address, "localhost") as connection:
                for offer, tag in offers:
                    await negotiate(connection, offer, tag)

    run(main)


async def negotiate(connection: Connection, offer: version.Offer, tag: int) -> None:
    lane = await opened(connection)
    await lane.write(Frame(frame.TVERSION, tag, offer.payload()))
    expected = version.answer(offer, [SERVED], MSIZE)
    assert await lane.read() == Frame(frame.RVERSION, tag, expected.payload())
    if expected == version.REFUSED:
        assert await lane.read() is None
        lane.send.reset()
        return
    # What was agreed holds in both directions, to the byte.
    fits = expected.msize - frame.HEADER - 4
    await lane.write(
        Frame(frame.request(FILL), 1, u32(fits)), Frame(frame.request(FILL), 2, u32(fits + 1))
    )
    assert await lane.read() == Frame(frame.reply(FILL), 1, u32(fits) + bytes(fits))
    refused = await lane.read()
    assert refused is not None
    assert (refused.kind, refused.tag) == (frame.RERROR, 2)
    lane.send.finish()
    assert await lane.read() is None


@pytest.mark.parametrize(
    "first",
    [
        Frame(frame.request(TWICE), 1, u32(1)),
        Frame(frame.RVERSION, 1, version.Offer(MSIZE, SERVED).payload()),
        hello()._replace(payload=b""),
        hello()._replace(payload=hello().payload[:-1]),
        hello()._replace(payload=hello().payload + b"!"),
        hello()._replace(payload=struct.pack("<IH", MSIZE, 1) + b"\xff"),
        hello(text="x" * (version.MAX_STRING + 1)),
    ],
    ids=["request", "reply", "empty", "short", "long", "not UTF-8", "too long"],
)
def test_a_lane_that_does_not_begin_with_a_version_is_given_up(first: Frame) -> None:
    async def main() -> None:
        async with serve(Held(), limits=Limits(msize=MSIZE)) as server:
            client = Client(client_tls())
            async with await client.connect(server.address, "localhost") as connection:
                lane = await opened(connection)
                await lane.write(first)
                assert await lane.read_to_failure() == ([], PROTOCOL)
                await still_works(connection)

    run(main)
