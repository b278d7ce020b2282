"""Streams that one end gives up: the other hears of it, and nobody takes it for the normal end."""

# A service class only declares.
# mypy: disable-error-code="empty-body"

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest
from jetstream import (
    U32,
    CallError,
    ClosedError,
    DeadlineExceeded,
    Done,
    Interface,
    JetStreamError,
    Limits,
    Subscription,
    close_channel,
    method,
    service,
)
from jetstream.interceptors import ClientCall, ClientInterceptor
from jetstream.testing import pair

from tests.e2e.table import Ends, task
from tests.helpers import live_objects, run
from tests.transports import SOCKETS, joined, served


@service
class Odd(Interface):
    """Methods whose streams end otherwise than they should."""

    def stubborn(self) -> Subscription[bytes, None]:
        """One item; when it is cancelled, more without end."""
        ...

    def some(self, count: U32) -> Subscription[U32, str]:
        """So many items, then nothing for ever."""
        ...

    async def total(self, numbers: AsyncIterator[U32]) -> U32:
        """The sum."""
        ...

    def repeated(self, numbers: AsyncIterator[U32], how: str) -> Subscription[U32, str]:
        """The first number, then an end of some kind."""
        ...

    async def idle(self) -> None:
        """Nothing."""
        ...


class OddImpl(Odd):
    """Says what became of it."""

    def __init__(self) -> None:
        self.swallowed = asyncio.Event()
        self.closed = asyncio.Event()
        self.begun = asyncio.Event()
        self.read_on: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @method
    async def stubborn(self) -> AsyncGenerator[bytes]:
        try:
            yield b""
            self.begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.swallowed.set()
            while True:
                yield bytes(4096)
        finally:
            self.closed.set()

    @method
    async def some(self, count: U32) -> AsyncGenerator[U32 | Done[str]]:
        try:
            for number in range(count):
                yield number
            await asyncio.Event().wait()
            yield Done("never")
        finally:
            self.closed.set()

    async def total(self, numbers: AsyncIterator[U32]) -> U32:
        sum_ = 0
        try:
            async for number in numbers:
                sum_ += number
                self.begun.set()
        except asyncio.CancelledError:
            try:
                async for _ in numbers:
                    pass
            except JetStreamError as error:
                self.read_on.set_result(type(error).__name__)
            else:
                self.read_on.set_result("the end")
            raise
        return sum_

    @method
    async def repeated(
        self, numbers: AsyncIterator[U32], how: str
    ) -> AsyncGenerator[U32 | Done[str]]:
        async for number in numbers:
            yield number
            break
        if how == "failure":
            raise JetStreamError("enough")
        if how != "result":
            await asyncio.Event().wait()
        yield Done("enough")

    async def idle(self) -> None:
        return None


class Passing(ClientInterceptor):
    """Changes nothing."""

    def intercept_stream(
        self, call: ClientCall, proceed: Callable[[ClientCall], AsyncIterator[Any]], /
    ) -> AsyncIterator[Any]:
        return proceed(call)


class Cycle:
    """What only the garbage collector takes away."""

    me: Cycle
    held: object


class Numbers:
    """What a caller sends: one number, then it waits."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    async def give(self) -> AsyncGenerator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            # What has to be done at the end may take its time, undisturbed.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            self.closed.set()


async def until_nothing_is_in_flight(odd: Odd) -> None:
    while "0 calls in flight, 0 waiting" not in repr(odd):
        await odd.idle()


# ---- generators that go on ----


@pytest.mark.parametrize("how", ["left", "deadline"])
def test_a_generator_that_swallows_its_cancellation_ends_with_its_next_item(
    ends: Ends, how: str
) -> None:
    async def main() -> None:
        impl = OddImpl()
        async with ends(impl) as session:
            odd: Any = session.channel(Odd)
            if how == "left":
                async for _ in odd.stubborn():
                    await impl.begun.wait()
                    break
            else:
                stubborn = odd.stubborn(timeout=0.1)
                with pytest.raises(DeadlineExceeded):
                    async for _ in stubborn:
                        pass
            await impl.closed.wait()
            assert impl.swallowed.is_set() or how == "deadline"
            await until_nothing_is_in_flight(odd)

    before = live_objects()
    run(main)
    assert live_objects() == before


@pytest.mark.parametrize("transport", SOCKETS)
def test_a_generator_that_swallows_its_cancellation_holds_no_server_up(transport: str) -> None:
    async def main() -> None:
        impl = OddImpl()
        # Longer than the test has.
        async with (
            served(transport, impl, graceful_timeout=120.0) as way,
            way.join() as session,
        ):
            taking = session.channel(Odd).stubborn()
            assert await anext(taking) == b""
            await impl.begun.wait()
            await way.server.close()
            assert impl.swallowed.is_set()
            assert impl.closed.is_set()
            # Nobody may take what it made since for its end.
            with pytest.raises(JetStreamError):
                await anext(taking)

    run(main)


# ---- streams from the caller ----


def test_a_cancelled_error_of_the_callers_iterator_ends_the_call(ends: Ends) -> None:
    async def main() -> None:
        async with ends(OddImpl()) as session:
            odd = session.channel(Odd)

            async def waits_for_somebody_else() -> AsyncGenerator[int]:
                yield 1
                other = asyncio.get_running_loop().create_future()
                other.cancel()
                await other

            with pytest.raises(asyncio.CancelledError):
                await odd.total(waits_for_somebody_else())
            with pytest.raises(asyncio.CancelledError):
                async for _ in odd.repeated(waits_for_somebody_else(), "waits"):
                    pass
            current = asyncio.current_task()
            assert current is not None
            assert current.cancelling() == 0
            await until_nothing_is_in_flight(odd)

    run(main)


@pytest.mark.parametrize("how", ["result", "failure", "deadline", "cancel", "closed"])
def test_the_callers_generator_is_closed_when_the_subscription_ends(ends: Ends, how: str) -> None:
    async def main() -> None:
        numbers = Numbers()
        async with ends(OddImpl()) as session:
            odd: Any = session.channel(Odd)
            timeout = 0.3 if how == "deadline" else None
            # It is held all the time.
            repeated = odd.repeated(numbers.give(), how, timeout=timeout)
            if how == "result":
                assert [number async for number in repeated] == [1]
                assert repeated.result == "enough"
            elif how == "failure":
                with pytest.raises(CallError, match="enough"):
                    [number async for number in repeated]
            elif how == "deadline":
                with pytest.raises(DeadlineExceeded):
                    [number async for number in repeated]
            else:
                assert await anext(repeated) == 1
                if how == "cancel":
                    repeated.cancel()
                else:
                    await session.close()
            await numbers.closed.wait()
            assert repr(repeated)

    run(main)


@pytest.mark.parametrize("how", ["cancelled", "deadline", "lost"])
def test_a_method_that_reads_on_does_not_take_the_callers_leaving_for_the_end(
    ends: Ends, how: str
) -> None:
    async def main() -> None:
        impl = OddImpl()
        async with ends(impl) as session:
            odd: Any = session.channel(Odd)
            timeout = 0.3 if how == "deadline" else None
            calling = task(odd.total(Numbers().give(), timeout=timeout))
            await impl.begun.wait()
            if how == "cancelled":
                calling.cancel()
            elif how == "lost":
                await session.close()
            await asyncio.gather(calling, return_exceptions=True)
            assert await impl.read_on == "ClosedError"

    run(main)


# ---- subscriptions ----


@pytest.mark.parametrize("how", ["cancelled task", "timeout", "cancel", "aclose", "async with"])
def test_a_subscription_that_was_given_up_says_so(ends: Ends, how: str) -> None:
    async def main() -> None:
        impl = OddImpl()
        async with ends(impl) as session:
            some = session.channel(Odd).some(2)
            assert await anext(some) == 0
            if how in ("cancelled task", "timeout"):
                assert await anext(some) == 1
            if how == "cancelled task":
                waiting = task(anext(some))
                await asyncio.sleep(0)
                waiting.cancel()
                await asyncio.wait([waiting])
                assert waiting.cancelled()
            elif how == "timeout":
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(some), 0.001)
            elif how == "cancel":
                some.cancel()
            elif how == "aclose":
                await some.aclose()
            else:
                async with some:
                    pass
            for _ in range(2):
                with pytest.raises(ClosedError, match=r"Odd\.some: the subscription was given up"):
                    await anext(some)
                with pytest.raises(ClosedError, match=r"Odd\.some: the subscription was given up"):
                    _ = some.result
            await impl.closed.wait()

    run(main)


def test_cancelling_from_another_task_is_no_end_of_the_loop(ends: Ends) -> None:
    async def main() -> None:
        async with ends(OddImpl()) as session:
            some = session.channel(Odd).some(2)
            seen: list[int] = []
            waits = asyncio.Event()

            async def take() -> None:
                async for number in some:
                    seen.append(number)
                    if number == 1:
                        waits.set()

            taking = task(take())
            await waits.wait()
            await asyncio.sleep(0)
            some.cancel()
            with pytest.raises(ClosedError, match="given up"):
                await taking
            assert seen == [0, 1]

    run(main)


@pytest.mark.parametrize("how", ["cancel", "aclose", "async with"])
def test_leaving_after_the_end_changes_nothing(ends: Ends, how: str) -> None:
    async def main() -> None:
        async with ends(OddImpl()) as session:
            repeated = session.channel(Odd).repeated([1, 2, 3], "result")
            assert [number async for number in repeated] == [1]
            if how == "cancel":
                repeated.cancel()
            elif how == "aclose":
                await repeated.aclose()
            else:
                async with repeated:
                    pass
            with pytest.raises(StopAsyncIteration):
                await anext(repeated)
            assert repeated.result == "enough"

    run(main)


def test_a_subscription_is_closed_as_generators_are(ends: Ends) -> None:
    async def main() -> None:
        impl = OddImpl()
        async with ends(impl) as session:
            async with aclosing(session.channel(Odd).some(2)) as some:
                async for _ in some:
                    break
            await impl.closed.wait()

    run(main)


def test_a_subscription_that_could_not_begin_does_not_wait() -> None:
    async def main() -> None:
        async with pair(OddImpl(), limits=Limits(msize=4096)) as session:
            some = session.channel(Odd).some(-1)
            with pytest.raises(JetStreamError) as caught:
                await anext(some)
            with pytest.raises(StopAsyncIteration):
                await anext(some)
            with pytest.raises(type(caught.value)):
                _ = some.result

    run(main)


@pytest.mark.parametrize("transport", SOCKETS)
@pytest.mark.parametrize("derived", [False, True])
def test_what_another_thread_collects_is_given_up(transport: str, derived: bool, loop: str) -> None:
    """The garbage collector runs in whichever thread comes across it."""

    async def main() -> None:
        impl = OddImpl()
        interceptors = [Passing()] if derived else []
        async with joined(transport, impl) as session:
            channel = session.channel(Odd, interceptors=interceptors)
            gc.collect()
            gc.disable()
            try:
                await forget(channel)
                collector = threading.Thread(target=gc.collect)
                collector.start()
                collector.join()
                # Nothing else has the loop go on.
                await impl.closed.wait()
            finally:
                gc.enable()
            await channel.idle()

    async def forget(channel: Odd) -> None:
        cycle = Cycle()
        cycle.me = cycle
        cycle.held = items = channel.some(1)
        assert await anext(aiter(items)) == 0

    run(main, loop=loop)


@pytest.mark.parametrize("transport", SOCKETS)
def test_streams_end_with_their_channel(transport: str, loop: str) -> None:
    """Also those with lanes of their own."""

    async def main() -> None:
        impl = OddImpl()
        async with joined(transport, impl) as session:
            channel = session.channel(Odd)
            numbers = Numbers()
            items, summing = channel.some(1), asyncio.ensure_future(channel.total(numbers.give()))
            assert await anext(aiter(items)) == 0
            await impl.begun.wait()
            close_channel(channel)
            with pytest.raises(ClosedError):
                await anext(aiter(items))
            with pytest.raises(ClosedError):
                await summing
            await asyncio.gather(impl.closed.wait(), numbers.closed.wait())
            await session.channel(Odd).idle()

    run(main, loop=loop)
