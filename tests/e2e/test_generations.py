"""Peers that speak as the Rust crates 15 do: the protocol name is the version string, nothing is
agreed, and those of 15.1 number the methods from 101."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import pytest
from jetstream import (
    I32,
    CallError,
    Client,
    ClosedError,
    Connection,
    ConnectionLost,
    Context,
    Done,
    Generation,
    Limits,
    LocalProtocolError,
    NoSharedProtocol,
    QuicTransport,
    RemoteProtocolError,
    Router,
    Server,
    Session,
    Subscription,
    VersionMismatch,
    _core,
    alpn_of,
    channel_type,
    close_channel,
    service,
    with_options,
)
from jetstream._channel import CallOptions
from jetstream._definition import definition_of

from tests.e2e.services import Echo, EchoImpl
from tests.helpers import client_tls, join, run, serve
from tests.model.frame import NO_TAG, RERROR, RVERSION, TVERSION, Frame
from tests.model.raw import ByHand, RawLane
from tests.model.version import REFUSED, Offer, read

VERSION = "rs.jetstream.proto/echo/15.2.0+0a1b2c3d"

PING, ECHO, ADD, HOLD = 0, 1, 2, 4

FIRST: dict[Generation, int] = {"15.2": 102, "15.1": 101}
"""The type of the first method's request."""

OLD: tuple[Generation, ...] = ("15.2", "15.1")

PROTOCOL = 1
"""The code of a lane whose frames break the rules."""


@service(name="echo", version="15.2.0", digest="0a1b2c3d")
class OldEcho(Echo):
    """`Echo` with the digest of a Rust trait, as it were."""


@service(name="pinger", version="15.2.0", digest="ffffffff")
class Pinger:
    """The other service of the same server."""

    async def ping(self) -> None:
        return None


def text(value: str) -> bytes:
    """A string as it is on the wire."""
    return len(value.encode()).to_bytes(2, "little") + value.encode()


def version(msize: int, asked: str, tag: int = NO_TAG) -> Frame:
    return Frame(TVERSION, tag, Offer(msize, asked).payload())


def router(*generations: Generation) -> Router:
    given = generations or ("16", "15.2", "15.1")
    return Router(Pinger(), generations=given).register(EchoImpl(), service=OldEcho)


@asynccontextmanager
async def raw_lane(server: Server, alpn: str = VERSION) -> AsyncGenerator[RawLane]:
    """A lane to a server, to be spoken on by hand."""
    async with Client(client_tls(), alpns=[alpn]) as client:
        connection = await client.connect(server.address, "localhost")
        yield RawLane(*await connection.open_bi())


class Recorder(ByHand):
    """Gets the connections of one protocol, to be served by hand."""

    def __init__(self, alpn: str) -> None:
        super().__init__()
        self.alpn = alpn

    def alpns(self) -> list[str]:
        return [self.alpn]


@pytest.mark.parametrize("generation", OLD)
def test_both_ends_speak_as_the_old_crates_do(loop: str, generation: Generation) -> None:
    async def main() -> None:
        alpns = [alpn_of(OldEcho, generation)]
        async with serve(router()) as server, join(server, alpns=alpns) as session:
            assert session.protocol == alpns[0]
            echo = session.channel(OldEcho)
            await echo.ping()
            assert await echo.echo("héllo") == "héllo"
            assert await echo.add(-3, 5) == 2
            blob = bytes(range(256)) * 4000
            assert await echo.blob(blob) == blob
            sums = await asyncio.gather(*(echo.add(i, 1) for i in range(1000)))
            assert sums == list(range(1, 1001))
            with pytest.raises(CallError, match="out of cheese") as caught:
                await echo.fail("told")
            assert caught.value.code == "shop::empty"
            # The last of thirteen methods: its number is that of its place, too.
            assert await echo.options([1, None], flag=True) == "[1, None] True"

    run(main, loop=loop)


@pytest.mark.parametrize("generation", OLD)
def test_the_first_frame_is_a_call(generation: Generation) -> None:
    """What a client puts on the wire, and what it takes from there."""
    first = FIRST[generation]

    async def main() -> None:
        handler = Recorder(alpn_of(OldEcho, generation))
        async with serve(handler) as server, join(server, alpns=handler.alpns()) as session:
            echo = session.channel(OldEcho)
            async with asyncio.TaskGroup() as group:
                ping = group.create_task(echo.ping())
                said = group.create_task(echo.echo("hi"))
                connection = await handler.connections.get()
                lane = RawLane(*await connection.accept_bi())
                one, two = await lane.read(), await lane.read()
                assert one is not None
                assert two is not None
                assert (one.kind, one.payload) == (first, b"")
                assert (two.kind, two.payload) == (first + 2, text("hi"))
                await lane.write(
                    Frame(first + 3, two.tag, text("ho")), Frame(first + 1, one.tag, b"")
                )
            assert (ping.result(), said.result()) == (None, "ho")

    run(main)


@pytest.mark.parametrize("generation", OLD)
def test_a_server_answers_the_first_frame(generation: Generation) -> None:
    """What a server takes from the wire, and what it puts there."""
    first = FIRST[generation]

    async def main() -> None:
        alpn = alpn_of(OldEcho, generation)
        async with serve(router()) as server, raw_lane(server, alpn) as lane:
            await lane.write(
                Frame(first, 0), Frame(first + 2, NO_TAG, text("hi")), Frame(first + 2, 7, b"\5")
            )
            lane.send.finish()
            answers = [await lane.read() for _ in range(3)]
            assert answers[:2] == [
                Frame(first + 1, 0),
                Frame(first + 3, NO_TAG, text("hi")),
            ]
            assert answers[2] is not None
            assert (answers[2].kind, answers[2].tag) == (RERROR, 7)
            assert await lane.read() is None

    run(main)


@pytest.mark.parametrize(
    ("generation", "frame"),
    [
        ("15.1", version(65_536, VERSION)),
        ("15.1", Frame(102, 1)),
        ("15.1", Frame(254, 1)),
        ("15.2", Frame(101, 1)),
        ("15.2", Frame(103, 1)),
    ],
    ids=lambda part: part if isinstance(part, str) else f"type {part.kind}",
)
def test_what_is_no_request_ends_the_lane(
    generation: Generation, frame: Frame, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        alpn = alpn_of(OldEcho, generation)
        async with serve(router()) as server, raw_lane(server, alpn) as lane:
            await lane.write(frame)
            frames, code = await lane.read_to_failure()
            assert (frames, code) == ([], PROTOCOL)

    with caplog.at_level(logging.WARNING):
        run(main)
    assert f"a frame of type {frame.kind} is no request" in caplog.text


class TestVersionAmongCalls:
    """In 15.2 a client may ask for the version whenever it likes."""

    def test_it_is_answered_like_a_call(self) -> None:
        async def main() -> None:
            limits = Limits(msize=1 << 20)
            async with serve(router(), limits=limits) as server, raw_lane(server) as lane:
                await lane.write(Frame(102, 1), version(8192, VERSION, tag=1), Frame(102, 1))
                answers = [await lane.read() for _ in range(3)]
                assert answers[0] == answers[2] == Frame(103, 1)
                assert answers[1] is not None
                assert (answers[1].kind, answers[1].tag) == (RVERSION, 1)
                assert read(answers[1].payload) == Offer(8192, VERSION)
                # Once more, with more than the server takes.
                await lane.write(version(1 << 30, VERSION))
                again = await lane.read()
                assert again is not None
                assert read(again.payload) == Offer(1 << 20, VERSION)

        run(main)

    def test_the_size_that_was_agreed_holds(self) -> None:
        async def main() -> None:
            async with serve(router()) as server, raw_lane(server) as lane:
                long = text("x" * 10_000)
                await lane.write(Frame(104, 1, long))
                assert await lane.read() == Frame(105, 1, long)
                await lane.write(version(8192, VERSION))
                await lane.read()
                await lane.write(Frame(122, 1, (10_000).to_bytes(4, "little")))
                answer = await lane.read()
                assert answer is not None
                assert answer.kind == RERROR
                await lane.write(Frame(104, 1, long))
                _, code = await lane.read_to_failure()
                assert code == PROTOCOL

        run(main)

    @pytest.mark.parametrize(
        ("msize", "asked"),
        [
            (65_536, "rs.jetstream.proto/echo/15.3.0+0a1b2c3d"),
            (65_536, "rs.jetstream.proto/echo/14.0.0+0a1b2c3d"),
            (65_536, "rs.jetstream.proto/pinger/15.2.0+ffffffff"),
            (65_536, "9P2000.L"),
            (4095, VERSION),
        ],
    )
    def test_a_refusal_ends_nothing(self, msize: int, asked: str) -> None:
        async def main() -> None:
            async with serve(router()) as server, raw_lane(server) as lane:
                await lane.write(version(msize, asked), Frame(102, 5))
                refusal = await lane.read()
                assert refusal == Frame(RVERSION, NO_TAG, REFUSED.payload())
                assert await lane.read() == Frame(103, 5)

        run(main)

    def test_its_tag_must_be_free(self, caplog: pytest.LogCaptureFixture) -> None:
        async def main() -> None:
            async with serve(router()) as server, raw_lane(server) as lane:
                await lane.write(Frame(102 + 2 * HOLD, 3, text("x")), version(8192, VERSION, tag=3))
                assert await lane.read_to_failure() == ([], PROTOCOL)

        with caplog.at_level(logging.WARNING):
            run(main)
        assert "tag 3" in caplog.text

    def test_a_malformed_one_ends_the_lane(self, caplog: pytest.LogCaptureFixture) -> None:
        async def main() -> None:
            async with serve(router()) as server, raw_lane(server) as lane:
                await lane.write(Frame(TVERSION, NO_TAG, b"\0\0"))
                assert await lane.read_to_failure() == ([], PROTOCOL)

        with caplog.at_level(logging.WARNING):
            run(main)
        assert "a malformed Tversion" in caplog.text


def test_a_connection_is_for_one_service() -> None:
    async def main() -> None:
        async with (
            serve(router()) as server,
            join(server, alpns=[alpn_of(OldEcho, "15.2")]) as session,
        ):
            with pytest.raises(VersionMismatch, match="connect once more") as caught:
                session.channel(Pinger)
            assert caught.value.asked == alpn_of(Pinger, "15.2")
            assert caught.value.answered == VERSION
            await session.channel(OldEcho).ping()
            async with join(server, alpns=[alpn_of(Pinger, "15.2")]) as other:
                await other.channel(Pinger).ping()
            # All of them, and every version that fits, under the protocol of 16.
            async with join(server) as all_of_them:
                await all_of_them.channel(Pinger).ping()
                await all_of_them.channel(OldEcho).ping()

    run(main)


def test_the_name_must_match_to_the_letter() -> None:
    @service(name="echo", version="15.2.0", digest="00000000")
    class Rebuilt(Echo):
        """The same methods, another digest."""

    async def main() -> None:
        async with serve(router()) as server:
            for name in (alpn_of(Rebuilt, "15.2"), VERSION.replace("15.2.0", "15.1.9")):
                with pytest.raises(NoSharedProtocol):
                    await join(server, alpns=[name])

    run(main)


def test_a_server_chooses_the_newest_of_what_both_speak() -> None:
    async def main() -> None:
        offered = [alpn_of(OldEcho, "15.1"), alpn_of(OldEcho, "15.2"), "jetstream"]
        expected: list[tuple[tuple[Generation, ...], str]] = [
            (("15.1", "16", "15.2"), "jetstream"),
            (("15.1", "15.2"), offered[1]),
            (("15.1",), offered[0]),
        ]
        for generations, chosen in expected:
            async with (
                serve(router(*generations)) as server,
                join(server, alpns=offered) as session,
            ):
                assert session.protocol == chosen
                assert await session.channel(OldEcho).echo(chosen) == chosen

    run(main)


def test_15_1_is_served_on_request_only() -> None:
    async def main() -> None:
        async with serve(Router().register(EchoImpl(), service=OldEcho)) as server:
            async with join(server, alpns=[alpn_of(OldEcho, "15.2")]) as session:
                await session.channel(OldEcho).ping()
            with pytest.raises(NoSharedProtocol):
                await join(server, alpns=[alpn_of(OldEcho, "15.1")])

    run(main)


@pytest.mark.parametrize("generation", OLD)
def test_a_channel_on_a_stream_of_ones_own(generation: Generation) -> None:
    async def main() -> None:
        alpn = alpn_of(OldEcho, generation)
        async with serve(router()) as server, Client(client_tls(), alpns=[alpn]) as client:
            connection = await client.connect(server.address, "localhost")
            transport = QuicTransport(*await connection.open_bi())
            echo = channel_type(OldEcho)(4, transport)
            assert await echo.echo("hi") == "hi"
            session = Session.on(connection)
            assert await session.channel(OldEcho).add(1, 2) == 3

    run(main)


def test_calls_made_before_the_lane_may_open() -> None:
    """They wait for the stream, and then start without another round trip."""

    async def main() -> None:
        limits = Limits(max_streams_bidi=1)
        async with (
            serve(router(), limits=limits) as server,
            join(server, alpns=[VERSION]) as session,
        ):
            occupied = session.channel(OldEcho)
            await occupied.ping()
            waiting = session.channel(OldEcho, max_concurrent=1)
            async with asyncio.TaskGroup() as group:
                sums = [group.create_task(waiting.add(i, 1)) for i in range(3)]
                await occupied.ping()
                assert not any(each.done() for each in sums)
                close_channel(occupied)
            assert [each.result() for each in sums] == [1, 2, 3]

    run(main)


def test_a_version_that_nobody_asked_for_ends_the_lane() -> None:
    async def main() -> None:
        handler = Recorder(VERSION)
        async with serve(handler) as server, join(server, alpns=[VERSION]) as session:
            echo = session.channel(OldEcho)

            async def answer(connection: Connection) -> None:
                lane = RawLane(*await connection.accept_bi())
                await lane.read()
                await lane.write(Frame(RVERSION, NO_TAG, Offer(65_536, VERSION).payload()))

            async with asyncio.TaskGroup() as group:
                call = group.create_task(expect_failure(echo))
                await answer(await handler.connections.get())
            assert "no call has" in call.result()

    run(main)


async def expect_failure(echo: OldEcho) -> str:
    """What the call failed with."""
    with pytest.raises(RemoteProtocolError) as caught:
        await echo.ping()
    return str(caught.value)


def test_handlers_see_the_caller_and_the_connection() -> None:
    async def main() -> None:
        async with serve(router()) as server, join(server, alpns=[VERSION]) as session:
            assert await session.channel(OldEcho).last("x") == "ada OldEcho.last x"

    run(main)


def test_a_connection_that_goes_takes_its_calls_along() -> None:
    async def main() -> None:
        impl = EchoImpl()
        served = Router().register(impl, service=OldEcho)
        async with serve(served) as server, join(server, alpns=[VERSION]) as session:
            echo = session.channel(OldEcho)
            async with asyncio.TaskGroup() as group:
                held = group.create_task(lost(echo))
                await impl.arrival("x").wait()
                await session.close()
            assert held.result()
            await impl.ended.wait()
            assert impl.cancelled == ["x"]

    async def lost(echo: OldEcho) -> bool:
        with pytest.raises((ClosedError, ConnectionLost)):
            await echo.hold("x")
        return True

    run(main)


def test_a_protocol_handler_may_speak_for_itself() -> None:
    """The name of a service that is not served is a protocol like any other."""

    async def attend(ctx: Context, connection: Connection) -> None:
        await connection.wait_closed()

    class Own:
        def alpns(self) -> list[str]:
            return [VERSION]

        accept = staticmethod(attend)

    async def main() -> None:
        async with serve(Own(), Pinger()) as server, join(server, alpns=[VERSION]) as session:
            assert session.protocol == VERSION

    run(main)


# ---- streams: nothing that the crates 15 know, but two ends of this project do ----


@service(name="ticker", version="15.2.0", digest="0a1b2c3d")
class Ticker(Protocol):
    """A call, a subscription, and a stream from the caller."""

    async def now(self) -> I32: ...
    def ticks(self, until: I32) -> Subscription[I32, str]: ...
    async def put(self, items: AsyncIterator[I32]) -> I32: ...


class TickerImpl(Ticker):
    """Counts."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def now(self) -> I32:
        return 7

    async def ticks(self, until: I32) -> AsyncIterator[I32 | Done[str]]:
        try:
            for number in range(until):
                yield number
                await asyncio.sleep(0)
            yield Done("enough")
        finally:
            self.ended.set()

    async def put(self, items: AsyncIterator[I32]) -> I32:
        return sum([item async for item in items])


@pytest.mark.parametrize("generation", OLD)
def test_a_subscription_needs_no_extension(loop: str, generation: Generation) -> None:
    async def main() -> None:
        impl = TickerImpl()
        served = Router(impl, generations=[generation])
        async with (
            serve(served) as server,
            join(server, alpns=[alpn_of(Ticker, generation)]) as session,
        ):
            ticker = session.channel(Ticker)
            async with ticker.ticks(500) as ticks:
                assert [tick async for tick in ticks] == list(range(500))
                assert ticks.result == "enough"
            impl.ended.clear()
            async with ticker.ticks(2**31 - 1) as ticks:
                assert [await anext(ticks) for _ in range(3)] == [0, 1, 2]
            await impl.ended.wait()
            assert await ticker.now() == 7

    run(main, loop=loop)


@pytest.mark.parametrize("generation", OLD)
def test_what_needs_the_extension_is_refused_before_it_leaves(generation: Generation) -> None:
    async def main() -> None:
        served = Router(TickerImpl(), generations=[generation])
        async with (
            serve(served) as server,
            join(server, alpns=[alpn_of(Ticker, generation)]) as session,
        ):
            ticker = session.channel(Ticker)

            async def items() -> AsyncIterator[I32]:
                yield 1

            with pytest.raises(LocalProtocolError, match="a stream from the caller"):
                await ticker.put(items())
            asking = with_options(ticker, metadata={"k": b"v"}, metadata_required=True)
            with pytest.raises(LocalProtocolError, match="metadata"):
                await asking.now()
            assert await with_options(asking, metadata_required=False).now() == 7

    run(main)


def vanish(server: Server) -> None:
    """The server closes its connections at once, and ends no lane before."""
    endpoint, server._endpoint = server._endpoint, None
    assert endpoint is not None
    endpoint.shutdown(2, b"gone")


def test_a_lane_that_stays_up_meets_another_generation() -> None:
    """Its server was replaced meanwhile: what waits leaves as the new one numbers it."""

    async def main() -> None:
        order: list[Generation] = ["15.1", "16", "15.2", "15.1"]
        offered = [alpn_of(OldEcho, each) for each in order[:3]]
        lane: _core.Lane | None = None
        async with Client(client_tls(), alpns=offered) as client:
            for generation in order:
                served = Router(generations=[generation]).register(EchoImpl(), service=OldEcho)
                async with serve(served) as server:
                    connection = await client.connect(server.address, "localhost")
                    assert connection.protocol == alpn_of(OldEcho, generation)
                    core = connection._core
                    if lane is None:
                        lane = _core.Lane(
                            core,
                            definition_of(OldEcho).version_string,
                            limits=Limits(),
                            max_concurrent=8,
                            stays_up=True,
                        )
                        echo = channel_type(OldEcho).on_lane(lane, CallOptions(None))
                    else:
                        said = asyncio.ensure_future(echo.echo(generation))
                        await asyncio.sleep(0)
                        lane.attach(core)
                        assert await said == generation
                    assert await echo.add(1, 2) == 3
                    vanish(server)
                await connection.wait_closed()
                assert lane.detached

    run(main)
