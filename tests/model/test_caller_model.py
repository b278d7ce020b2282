"""Our client against a server that is spoken by hand: who gets which answer, which tags are taken
when, in what order calls wait, and what a hostile server gets."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from jetstream import (
    U32,
    CallError,
    Client,
    ClosedError,
    ConnectionLost,
    DeadlineExceeded,
    DecodeError,
    EncodeError,
    JetStreamError,
    LimitExceeded,
    QuicTransport,
    RemoteProtocolError,
    VersionMismatch,
    channel_type,
    close_channel,
    service,
)

from tests.helpers import PATIENCE, client_tls, run, serve
from tests.model import frame, mux, version
from tests.model.frame import Frame
from tests.model.raw import ByHand, RawLane

T = TypeVar("T")

MSIZE = version.MIN_MSIZE
PROTOCOL = 1
"""The code with which a lane is given up whose peer broke the rules."""


@service(name="numbers", version="1.2.3", digest="cafe")
class Numbers(Protocol):
    async def number(self, n: U32) -> U32: ...
    async def text(self, n: U32) -> str: ...
    async def size(self, data: bytes) -> U32: ...


ASKED = "rs.jetstream.proto/numbers/1.2.3+cafe"
NUMBER, TEXT, SIZE = range(3)
TOO_LARGE = bytes(MSIZE - frame.HEADER - 4 + 1)

picks = st.integers(0, 1000)
cuts = st.lists(st.integers(0, 200), max_size=4)


def u32(n: int) -> bytes:
    return struct.pack("<I", n)


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<H", len(data)) + data


def fault(message: str) -> bytes:
    return text(message) + bytes(3) + bytes(4)


class OurCaller(RuleBasedStateMachine):
    """One lane of our client, the other end by hand, and the model of what must happen."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.complaints: list[dict[str, Any]] = []
        self.numbers = 0
        self.tasks: dict[int, asyncio.Task[Any]] = {}
        self.methods: dict[int, int] = {}
        self.used_tags: set[int] = set()
        self.over: type[JetStreamError] | None = None

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(asyncio.wait_for(main, PATIENCE))

    # ---- the two ends ----

    @initialize(most=st.integers(1, 4), early=st.integers(0, 6), large=st.booleans())
    def begin(self, most: int, early: int, large: bool) -> None:
        self.model = mux.Caller(most)
        self.run(self.connect(early, large))

    async def connect(self, early: int, large: bool) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, told: self.complaints.append(told))
        by_hand = ByHand()
        self.server = serve(by_hand)
        await self.server.start()
        self.client = Client(client_tls())
        self.ours = await self.client.connect(self.server.address, "localhost")
        transport = QuicTransport(*await self.ours.open_bi())
        make = channel_type(Numbers)
        self.channel = make(self.model.most, transport, timeout=None)
        # Calls before the version is agreed wait in order; what turns out to be too large for the
        # server fails alone when its turn comes.
        oversized = loop.create_task(self.channel.size(TOO_LARGE)) if large else None
        for _ in range(early):
            await self.start()

        self.theirs = await by_hand.connections.get()
        self.lane = RawLane(*await self.theirs.accept_bi())
        offer = await self.lane.read()
        assert offer is not None
        assert (offer.kind, offer.tag) == (frame.TVERSION, frame.NO_TAG)
        assert version.read(offer.payload) == (4 << 20, f"{ASKED}.x1")
        answer = version.Offer(MSIZE, ASKED).payload()
        await self.lane.write(Frame(frame.RVERSION, offer.tag, answer))
        self.model.open = True
        await self.all_sent()
        if oversized is None:
            # Something that the client has certainly read, or a later call might come before.
            await self.start()
            await self.all_sent()
        else:
            with pytest.raises(LimitExceeded):
                await oversized

    async def start(self, method: int = NUMBER, **options: Any) -> int:
        self.numbers += 1
        number = self.numbers
        call = self.channel.number if method == NUMBER else self.channel.text
        self.tasks[number] = asyncio.get_running_loop().create_task(call(number, **options))
        self.methods[number] = method
        self.model.call(number, frame.reply(method))
        # A coroutine begins in the loop's next round, and calls in its first step.
        await asyncio.sleep(0)
        return number

    async def all_sent(self) -> None:
        """Whoever can have a tag has sent, in order, and nobody else has."""
        while (expected := self.model.next_to_send()) is not None:
            sent = await self.lane.read()
            assert sent is not None
            call = self.model.took(sent.tag)
            assert call is expected
            assert sent.kind == call.reply - 1
            assert sent.payload == u32(call.number)
            fresh = sent.tag not in self.used_tags
            free_used = self.used_tags - self.model.held.keys()
            assert not (fresh and free_used), "tags stay low: a used one is taken before a new one"
            self.used_tags.add(sent.tag)
        assert self.lane.unread() == []

    async def outcome(self, number: int) -> Any:
        """The result of a call, or its exception."""
        return (await asyncio.gather(self.tasks.pop(number), return_exceptions=True))[0]

    def result(self, call: mux.Call, tag: int) -> tuple[Frame, object]:
        """A right reply to a call, and what its caller must get."""
        if self.methods[call.number] == NUMBER:
            return Frame(call.reply, tag, u32(call.number * 2)), call.number * 2
        return Frame(call.reply, tag, text(f"<{call.number}>")), f"<{call.number}>"

    def held(self, *, abandoned: bool) -> list[int]:
        return [tag for tag, call in self.model.held.items() if call.abandoned == abandoned]

    # ---- calls and their ends ----

    @precondition(lambda self: self.over is None)
    @rule(method=st.sampled_from([NUMBER, TEXT]))
    def call(self, method: int) -> None:
        async def main() -> None:
            await self.start(method)
            await self.all_sent()

        self.run(main())

    @precondition(lambda self: self.over is None and self.held(abandoned=False))
    @rule(
        pick=picks, what=st.sampled_from(["result", "fault", "bad result", "bad fault"]), cuts=cuts
    )
    def answer(self, pick: int, what: str, cuts: list[int]) -> None:
        tags = self.held(abandoned=False)
        tag = tags[pick % len(tags)]
        call = self.model.held[tag]
        reply, expected = self.result(call, tag)
        if what == "fault":
            reply = Frame(frame.RERROR, tag, fault(f"no {call.number}"))
        elif what == "bad result":
            reply = reply._replace(payload=reply.payload + b"!")
        elif what == "bad fault":
            reply = Frame(frame.RERROR, tag, fault("cut off")[:-1])

        async def main() -> None:
            await self.lane.write(reply, cuts=cuts)
            assert self.model.reply(reply.kind, tag) is call
            got = await self.outcome(call.number)
            if what == "result":
                assert got == expected
            elif what == "fault":
                assert isinstance(got, CallError)
                assert got.message == f"no {call.number}"
            else:
                # Its own call fails, and no other.
                assert isinstance(got, DecodeError if what == "bad result" else RemoteProtocolError)
            await self.all_sent()

        self.run(main())

    @precondition(lambda self: self.over is None and self.held(abandoned=False))
    @rule(order=st.randoms(use_true_random=False), pick=picks, cuts=cuts)
    def answer_many(self, order: Any, pick: int, cuts: list[int]) -> None:
        """Some of the replies that are due, in any order, late ones among them."""
        live, late = self.held(abandoned=False), self.held(abandoned=True)
        last = live.pop(pick % len(live))
        others = live + late
        order.shuffle(others)
        # The last one is somebody's, so that it is known when all have been read.
        tags = [*others[: pick % (len(others) + 1)], last]

        async def main() -> None:
            replies = [self.result(self.model.held[tag], tag) for tag in tags]
            await self.lane.write(*(reply for reply, _ in replies), cuts=cuts)
            for reply, expected in replies:
                call = self.model.reply(reply.kind, reply.tag)
                if not call.abandoned:
                    assert await self.outcome(call.number) == expected
            await self.all_sent()

        self.run(main())

    @precondition(lambda self: self.over is None and self.model.live())
    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        live = self.model.live()
        number = live[pick % len(live)]

        async def main() -> None:
            self.tasks[number].cancel()
            assert isinstance(await self.outcome(number), asyncio.CancelledError)
            self.model.abandon(number)
            await self.all_sent()

        self.run(main())

    @precondition(lambda self: self.over is None)
    @rule()
    def run_out_of_time(self) -> None:
        async def main() -> None:
            number = await self.start(timeout=0.001)
            await self.all_sent()
            assert isinstance(await self.outcome(number), DeadlineExceeded)
            self.model.abandon(number)

        self.run(main())

    @precondition(lambda self: self.over is None and self.held(abandoned=True))
    @rule(pick=picks, failed=st.booleans())
    def answer_late(self, pick: int, failed: bool) -> None:
        """The reply to a call that was given up: nobody gets it, and its tag is free."""
        tags = self.held(abandoned=True)
        tag = tags[pick % len(tags)]
        late, _ = self.result(self.model.held[tag], tag)
        if failed:
            late = Frame(frame.RERROR, tag, fault("too late"))

        async def main() -> None:
            if not self.model.waiting:
                # Without anybody who waits for the tag, nothing would tell when it is free.
                await self.start()
                await self.all_sent()
            if self.model.waiting:
                await self.lane.write(late)
                self.model.reply(late.kind, tag)
                await self.all_sent()
            else:
                last = list(self.model.held)[-1]
                reply, expected = self.result(self.model.held[last], last)
                await self.lane.write(late, reply)
                self.model.reply(late.kind, tag)
                call = self.model.reply(reply.kind, last)
                assert await self.outcome(call.number) == expected

        self.run(main())

    @precondition(lambda self: self.over is None)
    @rule()
    def call_with_what_does_not_fit(self) -> None:
        """It fails before a tag is taken or a byte leaves, also where others wait."""

        async def main() -> None:
            with pytest.raises(EncodeError):
                await self.channel.number(-1)
            with pytest.raises(LimitExceeded):
                await self.channel.size(TOO_LARGE)
            await self.all_sent()

        self.run(main())

    # ---- the lane's end ----

    def violation(self, what: str, pick: int) -> bytes:
        free = [self.model.most, frame.NO_TAG]
        if self.model.live() and not self.model.waiting:
            # Else a call may take such a tag before the reply is read, and have it for its own.
            free += sorted(self.model.free_tags())
        unknown = free[pick % len(free)]
        held = sorted(self.model.held) or [unknown]
        taken = held[pick % len(held)]
        match what:
            case "unknown tag":
                return frame.write(Frame(frame.reply(NUMBER), unknown, u32(0)))
            case "fault under an unknown tag":
                return frame.write(Frame(frame.RERROR, unknown, fault("whose?")))
            case "wrong type":
                return frame.write(Frame(frame.reply(SIZE), taken, u32(0)))
            case "a request":
                return frame.write(Frame(frame.request(NUMBER), taken, u32(0)))
            case "another version":
                answer = version.Offer(MSIZE, ASKED).payload()
                return frame.write(Frame(frame.RVERSION, unknown, answer))
            case "too small":
                return struct.pack("<I", pick % frame.HEADER)
            case _:
                return struct.pack("<I", 4 * MSIZE << 10 | pick)

    @precondition(lambda self: self.over is None)
    @rule(
        what=st.sampled_from(
            [
                "unknown tag",
                "fault under an unknown tag",
                "wrong type",
                "a request",
                "another version",
                "too small",
                "too large",
            ]
        ),
        pick=picks,
        answered_before=st.booleans(),
        cuts=cuts,
    )
    def break_the_rules(self, what: str, pick: int, answered_before: bool, cuts: list[int]) -> None:
        """What came before still counts; then every call fails, and the server is told."""
        data = b""
        answered: mux.Call | None = None
        expected: object = None
        tags = self.held(abandoned=False)
        if tags and answered_before:
            tag = tags[pick % len(tags)]
            reply, expected = self.result(self.model.held[tag], tag)
            answered = self.model.reply(reply.kind, tag)
            data = frame.write(reply)
        waiting = len(self.model.waiting)
        data += self.violation(what, pick)

        async def main() -> None:
            await self.lane.write_bytes(data, cuts)
            if answered is not None:
                assert await self.outcome(answered.number) == expected
            await self.everything_fails(RemoteProtocolError)
            # The tag that came free may have gone to somebody before the rules were broken.
            sent, code = await self.lane.read_to_failure()
            assert len(sent) <= waiting
            assert code == PROTOCOL

        self.run(main())

    @precondition(lambda self: self.over is None)
    @rule(how=st.sampled_from(["finish", "reset", "cut", "server", "client", "channel"]))
    def end(self, how: str) -> None:
        async def main() -> None:
            match how:
                case "finish":
                    self.lane.send.finish()
                    await self.everything_fails(ConnectionLost)
                case "reset":
                    self.lane.send.reset(7)
                    await self.everything_fails(ConnectionLost)
                case "cut":
                    await self.lane.write_bytes(frame.write(Frame(103, 0, u32(0)))[:-1])
                    self.lane.send.finish()
                    await self.everything_fails(RemoteProtocolError)
                case "server":
                    self.theirs.close(7, "enough")
                    await self.everything_fails(ConnectionLost)
                case "client":
                    self.ours.close()
                    await self.everything_fails(ClosedError)
                case _:
                    close_channel(self.channel)
                    await self.everything_fails(ClosedError)

        self.run(main())

    async def everything_fails(self, kind: type[JetStreamError]) -> None:
        live = self.model.live()
        if not live:
            # Whether it is over already shows in a call of its own: the next one must fail.
            self.numbers += 1
            self.tasks[self.numbers] = asyncio.ensure_future(self.channel.number(0))
            live = [self.numbers]
        for number in live:
            got = await self.outcome(number)
            assert type(got) is kind, repr(got)
        assert not self.tasks
        self.over = kind

    @precondition(lambda self: self.over is not None)
    @rule()
    def call_afterwards(self) -> None:
        async def main() -> None:
            assert self.over is not None
            with pytest.raises(self.over):
                await self.channel.number(1)

        self.run(main())

    # ---- always ----

    @invariant()
    def both_count_the_same(self) -> None:
        if self.over is None:
            counted = f"{len(self.model.held)} calls in flight, {len(self.model.waiting)} waiting"
        else:
            counted = "0 calls in flight, 0 waiting"
        assert repr(self.channel) == f"<NumbersChannel: {counted}>"
        assert all(not task.done() for task in self.tasks.values()), "an answer for nobody's asking"
        assert not self.complaints, self.complaints

    def teardown(self) -> None:
        async def main() -> None:
            self.ours.close()
            await asyncio.gather(*self.tasks.values(), return_exceptions=True)
            await self.client.close()
            await self.server.close(graceful_timeout=0)

        with self.runner:
            if hasattr(self, "server"):
                self.run(main())
        # Hypothesis keeps machines for longer than their ends are to live.
        for name in ("server", "client", "ours", "theirs", "lane", "channel"):
            self.__dict__.pop(name, None)
        self.tasks.clear()
        assert not self.complaints, self.complaints


TestOurCaller = OurCaller.TestCase
TestOurCaller.settings = settings(max_examples=15, stateful_step_count=25)


@pytest.mark.slow
def test_our_caller_for_longer() -> None:
    run_state_machine_as_test(
        OurCaller, settings=settings(max_examples=100, stateful_step_count=50)
    )


VERSIONS = st.builds(
    "{}/{}/{}.{}.{}{}".format,
    st.sampled_from(["rs.jetstream.proto"] * 4 + ["rs.jetstream", ""]),
    st.sampled_from(["numbers"] * 4 + ["Numbers", "others", "a/b", ""]),
    st.sampled_from([1, 1, 1, 2, "01", 2**64]),
    st.sampled_from([2, 2, 1, 3, 10]),
    st.sampled_from([3, 3, 2, 4, "x", ""]),
    st.sampled_from(["", "+cafe", "+other", "-rc.1", "-rc.1+x", "/", "x"]),
)
OFFERS = st.builds(
    version.Offer,
    st.sampled_from([MSIZE, MSIZE, MSIZE - 1, 0, 2**32 - 1]),
    VERSIONS | st.just(version.UNKNOWN) | st.text(max_size=8),
)


@given(st.lists(OFFERS, min_size=20, max_size=20))
@settings(max_examples=10)
def test_our_client_takes_a_server_that_fits_and_no_other(offers: list[version.Offer]) -> None:
    asked = version.parse(ASKED)
    assert asked is not None

    async def main() -> None:
        by_hand = ByHand()
        async with serve(by_hand) as server:
            ours = await Client(client_tls()).connect(server.address, "localhost")
            theirs = await by_hand.connections.get()
            for offer in offers:
                channel = channel_type(Numbers)(1, QuicTransport(*await ours.open_bi()))
                call = asyncio.ensure_future(channel.number(1))
                lane = RawLane(*await theirs.accept_bi())
                await lane.read()
                await lane.write(Frame(frame.RVERSION, frame.NO_TAG, offer.payload()))
                answered = version.parse(offer.version)
                if answered is None or not answered.serves(asked):
                    with pytest.raises(VersionMismatch) as caught:
                        await call
                    assert (caught.value.asked, caught.value.answered) == (ASKED, offer.version)
                elif offer.msize < version.MIN_MSIZE:
                    with pytest.raises(RemoteProtocolError):
                        await call
                else:
                    sent = await lane.read()
                    assert sent is not None
                    assert (sent.kind, sent.payload) == (frame.request(NUMBER), u32(1))
                    await lane.write(Frame(frame.reply(NUMBER), sent.tag, u32(2)))
                    assert await call == 2
                close_channel(channel)
                lane.send.reset()
            ours.close()

    run(main)
