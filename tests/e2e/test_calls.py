"""Calls over real sockets with mutual TLS: every style, many at once, in any order, given up."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import anyio
import pytest
from jetstream import (
    FOREVER,
    CallError,
    ClosedError,
    DeadlineExceeded,
    JetStreamError,
    Session,
    close_channel,
    service,
    with_options,
)

from tests.e2e.services import Echo, EchoImpl
from tests.helpers import join, run, serve


def test_every_style_of_method(loop: str) -> None:
    async def main() -> None:
        async with serve(EchoImpl()) as server, join(server) as session:
            echo = session.channel(Echo)
            assert await echo.ping() is None
            assert await echo.echo("grüße") == "grüße"
            assert await echo.echo(message="by keyword") == "by keyword"
            assert await echo.add(2, -5) == -3
            assert await echo.thread() is True

    run(main, loop=loop)


def test_a_context_may_stand_anywhere(loop: str) -> None:
    async def main() -> None:
        async with serve(EchoImpl()) as server, join(server) as session:
            echo = session.channel(Echo)
            assert await echo.first(message="x") == "ada Echo.first x"
            assert await echo.middle("a", b="b") == "ada Echo.middle ab"
            assert await echo.last("z") == "ada Echo.last z"

    run(main, loop=loop)


def test_a_thousand_at_once(loop: str) -> None:
    async def main() -> None:
        async with serve(EchoImpl()) as server, join(server) as session:
            echo = session.channel(Echo)
            calls = [echo.echo(str(n)) for n in range(500)]
            sums = [echo.add(n, 1) for n in range(500)]
            answers = await asyncio.gather(*calls)
            assert answers == [str(n) for n in range(500)]
            assert await asyncio.gather(*sums) == [n + 1 for n in range(500)]

    run(main, loop=loop)


@pytest.mark.slow
def test_ten_thousand_at_once(loop: str) -> None:
    async def main() -> None:
        async with serve(EchoImpl()) as server, join(server) as session:
            echo = session.channel(Echo)
            answers = await asyncio.gather(*[echo.echo(str(n)) for n in range(10_000)])
            assert answers == [str(n) for n in range(10_000)]

    run(main, loop=loop)


def test_ten_thousand_that_all_run_together() -> None:
    async def main() -> None:
        impl = EchoImpl()
        async with serve(impl) as server, join(server) as session:
            echo = session.channel(Echo)
            tasks = [asyncio.ensure_future(echo.hold("all")) for _ in range(10_000)]
            last = asyncio.ensure_future(echo.hold("last"))
            await impl.arrival("last").wait()
            assert impl.running == 10_001
            impl.gate("all").set()
            impl.gate("last").set()
            assert set(await asyncio.gather(*tasks, last)) == {"all", "last"}

    run(main)


def test_replies_come_in_any_order(loop: str) -> None:
    async def main() -> None:
        impl = EchoImpl()
        async with serve(impl) as server, join(server) as session:
            echo = session.channel(Echo)
            ended: list[str] = []

            async def hold(name: str) -> None:
                assert await echo.hold(name) == name
                ended.append(name)

            tasks = {name: asyncio.create_task(hold(name)) for name in "abc"}
            await impl.arrival("c").wait()
            for name in "bca":
                impl.gate(name).set()
                await tasks[name]
            assert ended == ["b", "c", "a"]
            assert impl.order == ["a", "b", "c"]

    run(main, loop=loop)


def test_calls_over_max_concurrent_wait_in_order() -> None:
    async def main() -> None:
        impl = EchoImpl()
        async with serve(impl) as server, join(server) as session:
            echo = Echo.Channel(2, session)
            tasks = {name: asyncio.ensure_future(echo.hold(name)) for name in "abcdef"}
            await impl.arrival("b").wait()
            assert "2 calls in flight, 4 waiting" in repr(echo)
            # Whoever stops waiting leaves the queue without a trace.
            tasks["d"].cancel()
            await asyncio.wait([tasks["d"]])
            for opened, next_one in (("b", "c"), ("a", "e"), ("c", "f")):
                assert not impl.arrival(next_one).is_set()
                impl.gate(opened).set()
                await impl.arrival(next_one).wait()
                assert impl.running == 2
            assert impl.order == ["a", "b", "c", "e", "f"]
            impl.gate("e").set()
            impl.gate("f").set()
            names = list("abcef")
            assert await asyncio.gather(*[tasks[name] for name in names]) == names

    run(main)


@service
class Stubborn:
    """A method that ends when it likes."""

    async def hold(self) -> None: ...
    async def echo(self, message: str) -> str: ...


class StubbornImpl:
    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self.told = asyncio.Event()
        self.gate = asyncio.Event()
        self.order: list[str] = []

    async def hold(self) -> None:
        self.arrived.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.told.set()
            await self.gate.wait()

    async def echo(self, message: str) -> str:
        self.order.append(message)
        return message


def test_a_cancelled_call_frees_its_tag_only_when_it_has_ended(loop: str) -> None:
    async def main() -> None:
        impl = StubbornImpl()
        async with serve(Stubborn.Service(impl)) as server, join(server) as session:
            stubborn = Stubborn.Channel(1, session)
            given_up = asyncio.ensure_future(stubborn.hold())
            await impl.arrived.wait()
            given_up.cancel()
            with pytest.raises(asyncio.CancelledError):
                await given_up
            await impl.told.wait()
            # The only tag is still the late call's, so the next call is not even sent.
            behind = asyncio.ensure_future(stubborn.echo("mine"))
            other = session.channel(Stubborn, max_concurrent=5)
            assert await other.echo("on another lane") == "on another lane"
            assert "mine" not in impl.order
            assert "1 calls in flight, 1 waiting" in repr(stubborn)
            impl.gate.set()
            assert await behind == "mine"
            assert await stubborn.echo("and again") == "and again"

    run(main, loop=loop)


def test_a_cancelled_call_is_cancelled_at_the_other_end(loop: str) -> None:
    async def main() -> None:
        impl = EchoImpl()
        async with serve(impl) as server, join(server) as session:
            echo = Echo.Channel(1, session)
            given_up = asyncio.ensure_future(echo.hold("late"))
            await impl.arrival("late").wait()
            given_up.cancel()
            with pytest.raises(asyncio.CancelledError):
                await given_up
            # It takes the only tag, so it comes when the cancelled one has ended.
            assert await echo.echo("behind") == "behind"
            assert impl.cancelled == ["late"]

    run(main, loop=loop)


def test_a_call_has_one_task_that_waits_for_it(loop: str) -> None:
    async def main() -> None:
        impl = EchoImpl()
        async with serve(impl) as server, join(server) as session:
            call = session.channel(Echo).hold("x")
            first = asyncio.ensure_future(call)
            await impl.arrival("x").wait()
            with pytest.raises(RuntimeError, match="another task is waiting for this call of Echo"):
                await call
            impl.gate("x").set()
            assert await first == "x"

    run(main, loop=loop)


def test_a_cancellation_keeps_its_message(loop: str) -> None:
    """By which anyio knows its own."""

    async def main() -> None:
        impl = EchoImpl()
        async with serve(impl) as server, join(server) as session:
            holding = asyncio.ensure_future(session.channel(Echo).hold("x"))
            await impl.arrival("x").wait()
            holding.cancel("because")
            with pytest.raises(asyncio.CancelledError) as caught:
                await holding
            assert caught.value.args == ("because",)
            with anyio.move_on_after(0.01) as scope:
                await session.channel(Echo).hold("y")
            assert scope.cancelled_caught

    run(main, loop=loop)


def test_an_asyncio_timeout_gives_a_call_up(loop: str) -> None:
    async def main() -> None:
        impl = EchoImpl()
        async with serve(impl) as server, join(server) as session:
            echo = session.channel(Echo)
            await echo.ping()
            with pytest.raises(TimeoutError) as caught:
                async with asyncio.timeout(0.01):
                    await echo.hold("slow")
            assert not isinstance(caught.value, JetStreamError), "it is asyncio's own"
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(echo.hold("slow"), 0.01)
            answers = asyncio.gather(*[echo.echo(str(n)) for n in range(50)])
            impl.gate("slow").set()
            assert await answers == [str(n) for n in range(50)]

    run(main, loop=loop)


def test_cancelling_many_leaves_the_others_right() -> None:
    async def main() -> None:
        impl = EchoImpl()
        async with serve(impl) as server, join(server) as session:
            echo = Echo.Channel(64, session)
            tasks = [asyncio.ensure_future(echo.hold(str(n))) for n in range(200)]
            await impl.arrival("63").wait()
            for number, task in enumerate(tasks):
                if number % 3:
                    task.cancel()
            for number in range(200):
                impl.gate(str(number)).set()
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            for number, answer in enumerate(answers):
                if number % 3:
                    assert isinstance(answer, asyncio.CancelledError)
                else:
                    assert answer == str(number)
            again = await asyncio.gather(*[echo.echo(str(n)) for n in range(200)])
            assert again == [str(n) for n in range(200)]

    run(main)


def test_timeouts_of_a_call_a_channel_and_a_session(loop: str) -> None:
    async def main() -> None:
        impl = EchoImpl()
        async with serve(impl) as server, join(server, call_timeout=0.03) as session:
            for echo, options, seconds in (
                (session.channel(Echo), {}, 0.03),
                (session.channel(Echo, timeout=0.02), {}, 0.02),
                (session.channel(Echo, timeout=FOREVER), {"timeout": 0.01}, 0.01),
                (with_options(session.channel(Echo), timeout=0.015), {}, 0.015),
            ):
                with pytest.raises(DeadlineExceeded) as caught:
                    await echo.hold("never", **options)
                assert isinstance(caught.value, TimeoutError)
                assert caught.value.code == "jetstream::deadline_exceeded"
                assert caught.value.what == "Echo.hold"
                assert caught.value.timeout == seconds
                assert "Echo.hold" in str(caught.value)
            impl.gate("never").set()
            assert await session.channel(Echo, timeout=5).echo("on") == "on"

    run(main, loop=loop)


def test_no_time_limit(loop: str) -> None:
    async def main() -> None:
        impl = EchoImpl()
        async with serve(impl) as server, join(server, call_timeout=0.02) as session:
            patient = session.channel(Echo, timeout=FOREVER)
            untyped: Any = session.channel(Echo)
            one = asyncio.ensure_future(patient.hold("x"))
            two = asyncio.ensure_future(untyped.hold("x", timeout=None))
            with pytest.raises(DeadlineExceeded):
                await session.channel(Echo).hold("y")
            assert not one.done()
            assert not two.done()
            impl.gate("x").set()
            assert [await one, await two] == ["x", "x"]
            impl.gate("y").set()

    run(main, loop=loop)


def test_a_deadline_that_has_passed_already() -> None:
    async def main() -> None:
        async with serve(EchoImpl()) as server, join(server) as session:
            echo: Any = session.channel(Echo)
            with pytest.raises(DeadlineExceeded):
                await echo.hold("x", timeout=0)
            with pytest.raises(ValueError, match="negative"):
                await echo.echo("x", timeout=-1)
            with pytest.raises(TypeError, match="seconds"):
                await echo.echo("x", timeout="soon")

    run(main)


def test_a_call_that_waits_for_a_tag_can_time_out() -> None:
    async def main() -> None:
        impl = EchoImpl()
        async with serve(impl) as server, join(server) as session:
            echo: Any = Echo.Channel(1, session)
            holder = asyncio.ensure_future(echo.hold("x"))
            await impl.arrival("x").wait()
            with pytest.raises(DeadlineExceeded):
                await echo.echo("never sent", timeout=0.01)
            impl.gate("x").set()
            assert await holder == "x"
            assert await echo.echo("sent") == "sent"
            assert impl.order == ["x", "sent"]

    run(main)


def test_what_a_handler_tells_its_caller(loop: str) -> None:
    async def main() -> None:
        async with serve(EchoImpl()) as server, join(server) as session:
            with pytest.raises(CallError) as caught:
                await session.channel(Echo).fail("told")
            error = caught.value
            assert (error.message, error.code) == ("out of cheese", "shop::empty")
            assert (error.help, error.url) == ("come back", "https://example.com/")

    run(main, loop=loop)


def test_what_a_handler_did_not_mean_to_tell(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with serve(EchoImpl()) as server, join(server) as session:
            echo = session.channel(Echo)
            with pytest.raises(CallError) as caught:
                await echo.fail("secret")
            assert caught.value.code == "jetstream::internal"
            assert "hunter2" not in f"{caught.value} {caught.value.help} {caught.value.backtrace}"
            assert await echo.echo("goes on") == "goes on"

    with caplog.at_level(logging.ERROR, "jetstream"):
        run(main)
    (record,) = [record for record in caplog.records if record.exc_info]
    assert "Echo.fail" in record.getMessage()
    assert "hunter2" in caplog.text
    assert "Traceback" in caplog.text


def test_several_sessions_at_once() -> None:
    async def main() -> None:
        impl = EchoImpl()
        async with serve(impl) as server:
            sessions: list[Session] = [await join(server) for _ in range(20)]
            held = [asyncio.ensure_future(s.channel(Echo).hold("x")) for s in sessions]
            answers = await asyncio.gather(
                *[s.channel(Echo).echo(f"{n}/{k}") for n, s in enumerate(sessions) for k in "ab"]
            )
            assert answers == [f"{n}/{k}" for n in range(20) for k in "ab"]
            assert server.connections == 20
            impl.gate("x").set()
            assert await asyncio.gather(*held) == ["x"] * 20
            for session in sessions:
                await session.close()

    run(main)


def test_closing_a_channel_leaves_the_others() -> None:
    async def main() -> None:
        impl = EchoImpl()
        async with serve(impl) as server, join(server) as session:
            echo, other = session.channel(Echo), session.channel(Echo, max_concurrent=7)
            held = asyncio.ensure_future(echo.hold("x"))
            stays = asyncio.ensure_future(other.hold("y"))
            await asyncio.gather(impl.arrival("x").wait(), impl.arrival("y").wait())
            close_channel(echo)
            with pytest.raises(ClosedError):
                await held
            with pytest.raises(ClosedError):
                await echo.ping()
            impl.gate("y").set()
            assert await stays == "y"
            # Nobody waits for the answer any more, so the handler is not left running.
            await impl.ended.wait()
            assert await session.channel(Echo).echo("a new lane") == "a new lane"

    run(main)
