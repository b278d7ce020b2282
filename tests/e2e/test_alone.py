"""What is over a limit fails alone, with a word about which limit; everything else goes on."""

# A service class only declares.
# mypy: disable-error-code="empty-body"

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from jetstream import (
    INJECTED,
    U32,
    CallError,
    Context,
    Done,
    Interface,
    JetStreamError,
    LimitExceeded,
    Limits,
    Session,
    Subscription,
    method,
    reply_metadata,
    service,
    with_options,
)
from jetstream.testing import pair

from tests.e2e.table import Ends
from tests.helpers import resident, run
from tests.transports import served


@service(name="alone", version="1.0.0", digest="a1")
class Alone(Interface):
    """Calls that reach limits, and one that must not notice."""

    async def twice(self, n: U32) -> U32:
        """Answers at once."""
        ...

    async def hold(self, name: str, data: bytes = b"") -> str:
        """Answers when the gate of that name opens."""
        ...

    async def say(self, size: U32, fail: bool = False) -> str:
        """An answer with so much metadata."""
        ...

    async def fail(self, code: U32, advice: U32) -> None:
        """Raises an error with a code and advice of these sizes."""
        ...

    def ticks(self, name: str, said: U32 = 0) -> Subscription[U32, str]:
        """One item, another when the gate of that name opens, and the result with metadata."""
        ...

    def trickle(self) -> Subscription[U32, None]:
        """Zeros without end, one in each turn of the loop."""
        ...

    async def total(self, name: str, items: AsyncIterator[bytes]) -> list[U32]:
        """The sizes of the items, which it takes when the gate of that name opens."""
        ...


@dataclass(eq=False)
class AloneImpl(Alone):
    """Answers, and counts what runs."""

    gates: defaultdict[str, asyncio.Event] = field(
        default_factory=lambda: defaultdict(asyncio.Event)
    )
    began: defaultdict[str, asyncio.Event] = field(
        default_factory=lambda: defaultdict(asyncio.Event)
    )
    running: int = 0
    most: int = 0
    trickled: int = 0

    @asynccontextmanager
    async def waiting(self, name: str) -> AsyncGenerator[None]:
        self.running += 1
        self.most = max(self.most, self.running)
        self.began[name].set()
        try:
            await self.gates[name].wait()
            yield
        finally:
            self.running -= 1

    async def twice(self, n: U32) -> U32:
        return 2 * n

    async def hold(self, name: str, data: bytes = b"") -> str:
        async with self.waiting(name):
            return name

    async def say(self, size: U32, fail: bool = False, ctx: Context = INJECTED) -> str:
        ctx.reply_metadata["said"] = bytes(size)
        if fail:
            raise JetStreamError("no", code="app::no")
        return ",".join(ctx.metadata)

    async def fail(self, code: U32, advice: U32) -> None:
        raise JetStreamError("no", code="c" * code, help="h" * advice)

    @method
    async def ticks(
        self, name: str, said: U32 = 0, ctx: Context = INJECTED
    ) -> AsyncIterator[U32 | Done[str]]:
        yield 1
        async with self.waiting(name):
            ctx.reply_metadata["said"] = bytes(said)
            yield 2
        yield Done("that was all")

    @method
    async def trickle(self) -> AsyncIterator[U32]:
        while True:
            self.trickled += 1
            yield 0
            await asyncio.sleep(0)

    async def total(self, name: str, items: AsyncIterator[bytes]) -> list[U32]:
        async with self.waiting(name):
            return [len(item) async for item in items]


def task(awaitable: Any) -> asyncio.Task[Any]:
    """A task that awaits it; a call is no coroutine for type checkers."""
    return asyncio.ensure_future(awaitable)


@asynccontextmanager
async def apart(
    transport: str, impl: Alone, *, ours: Limits | None = None, theirs: Limits | None = None
) -> AsyncGenerator[Session]:
    """A session whose two ends have limits of their own."""
    async with (
        served(transport, impl, limits=theirs or Limits(), graceful_timeout=1.0) as way,
        way.join(limits=ours or Limits()) as session,
    ):
        yield session


@asynccontextmanager
async def unnoticed(impl: AloneImpl, channel: Alone) -> AsyncGenerator[None]:
    """A call in flight and a subscription on the same channel, which what happens meanwhile must
    not disturb, and calls afterwards."""
    call, ticks = task(channel.hold("unnoticed")), channel.ticks("unnoticed")
    assert await anext(ticks) == 1
    await impl.began["unnoticed"].wait()
    yield
    assert await channel.twice(4) == 8
    impl.gates["unnoticed"].set()
    assert await call == "unnoticed"
    assert [item async for item in ticks] == [2]
    assert ticks.result == "that was all"
    assert await channel.twice(5) == 10


def told(error: LimitExceeded) -> tuple[int, int, str, str]:
    return error.size, error.allowed, error.side, error.setting


OVER_QUIC_AND_TCP = pytest.mark.parametrize("transport", ["quic", "tcp"])

# ---- metadata ----


@OVER_QUIC_AND_TCP
def test_metadata_over_the_servers_limit(transport: str) -> None:
    async def main() -> None:
        impl = AloneImpl()
        async with apart(transport, impl, theirs=Limits(max_metadata=1000)) as session:
            channel = session.channel(Alone)
            async with unnoticed(impl, channel):
                most = 1000 - 2 - 2 - 1 - 4
                fits = with_options(channel, metadata={"k": bytes(most)})
                assert await fits.say(0) == "k"
                over = with_options(channel, metadata={"k": bytes(most + 1)})
                with pytest.raises(LimitExceeded, match=r"metadata of Alone\.say") as caught:
                    await over.say(0)
                assert told(caught.value) == (1001, 1000, "peer", "Limits(max_metadata=...)")
                with pytest.raises(LimitExceeded, match=r"metadata of Alone\.ticks"):
                    await anext(over.ticks("never"))
                with pytest.raises(LimitExceeded, match=r"metadata of Alone\.total"):
                    await over.total("never", [b"a"] * 100)
                assert "never" not in impl.began

    run(main)


@OVER_QUIC_AND_TCP
def test_metadata_of_an_answer_over_the_callers_limit(transport: str) -> None:
    async def main() -> None:
        impl = AloneImpl()
        async with apart(transport, impl, ours=Limits(max_metadata=1000)) as session:
            channel = session.channel(Alone)
            async with unnoticed(impl, channel):
                most = 1000 - 2 - 2 - 4 - 4
                fits = channel.say(most)
                await fits
                assert reply_metadata(fits) == {"said": bytes(most)}
                with pytest.raises(
                    LimitExceeded, match=r"metadata of the answer of Alone\.say"
                ) as caught:
                    await channel.say(most + 1)
                assert told(caught.value) == (1001, 1000, "here", "Limits(max_metadata=...)")
                # What the method failed with says more.
                with pytest.raises(CallError) as failed:
                    await channel.say(most + 1, fail=True)
                assert failed.value.code == "app::no"
                impl.gates["now"].set()
                ticks = channel.ticks("now", 2000)
                assert [await anext(ticks), await anext(ticks)] == [1, 2]
                with pytest.raises(LimitExceeded, match=r"the answer of Alone\.ticks"):
                    await anext(ticks)

    run(main)


@OVER_QUIC_AND_TCP
@pytest.mark.parametrize("agreed", [True, False], ids=["agreed", "not agreed"])
def test_metadata_over_the_agreed_msize(transport: str, agreed: bool) -> None:
    async def main() -> None:
        impl = AloneImpl()
        async with apart(transport, impl, theirs=Limits(msize=4096)) as session:
            channel = session.channel(Alone)
            if agreed:
                await channel.twice(1)
            # A frame has a header of 7 bytes, and the time that is left takes 8.
            most = 4096 - 7 - 8 - 2 - 2 - 1 - 4
            fits = task(with_options(channel, metadata={"k": bytes(most)}).say(0))
            over = task(with_options(channel, metadata={"k": bytes(most + 1)}).say(0))
            with pytest.raises(LimitExceeded, match=r"the metadata of Alone\.say") as caught:
                await over
            assert told(caught.value) == (4097, 4096, "peer", "Limits(msize=...)")
            assert await fits == "k"
            assert await channel.twice(1) == 2

    run(main)


# ---- subscriptions ----


def test_subscriptions_leave_the_handlers_to_calls(ends: Ends) -> None:
    async def main() -> None:
        impl = AloneImpl()
        async with ends(impl, limits=Limits(max_handlers=2, max_subscriptions=6)) as session:
            channel = session.channel(Alone)
            async with unnoticed(impl, channel):
                open_ones = [channel.ticks("open") for _ in range(4)]
                for ticks in open_ones:
                    assert await anext(ticks) == 1
                totals = task(channel.total("open", [b"abc", b""]))
                await impl.began["open"].wait()
                assert await channel.twice(1) == 2
                holds = [task(channel.hold("held")) for _ in range(5)]
                await impl.began["held"].wait()
                impl.gates["held"].set()
                assert await asyncio.gather(*holds) == ["held"] * 5
                impl.gates["open"].set()
                assert await totals == [3, 0]
                for ticks in open_ones:
                    assert await anext(ticks) == 2

    run(main)


def test_one_subscription_too_many_is_refused(ends: Ends) -> None:
    async def main() -> None:
        impl = AloneImpl()
        async with ends(impl, limits=Limits(max_subscriptions=2)) as session:
            channel = session.channel(Alone)
            async with unnoticed(impl, channel):
                second = channel.ticks("open")
                assert await anext(second) == 1
                with pytest.raises(LimitExceeded, match=r"with Alone\.ticks: 3 is") as caught:
                    await anext(channel.ticks("open"))
                assert told(caught.value) == (3, 2, "peer", "Limits(max_subscriptions=...)")
                with pytest.raises(LimitExceeded, match=r"with Alone\.total: 3 is"):
                    await channel.total("open", [b"abc"])
                # When one has ended there is room for another.
                impl.gates["open"].set()
                assert [item async for item in second] == [2]
                assert [item async for item in channel.ticks("open")] == [1, 2]

    run(main)


# ---- requests that wait ----


def test_items_and_cancellations_arrive_whatever_waits_to_begin(ends: Ends) -> None:
    async def items() -> AsyncIterator[bytes]:
        yield b"first"
        await refused.wait()
        for size in range(100):
            yield bytes(1000 * size)

    refused = asyncio.Event()

    async def main() -> None:
        impl = AloneImpl()
        limits = Limits(max_handlers=1, max_queued=1 << 20)
        async with ends(impl, limits=limits) as session:
            channel = session.channel(Alone)
            impl.gates["total"].set()
            total, held = task(channel.total("total", items())), task(channel.hold("held"))
            await impl.began["held"].wait()
            # They wait for the one that is held, and most of them are too many for that.
            calls = [task(channel.hold("next", bytes(60_000))) for _ in range(50)]
            fit = (1 << 20) // (60_000 + 4 + 6 + 128)
            for call in calls[fit:]:
                with pytest.raises(LimitExceeded, match="requests of one connection") as caught:
                    await call
                assert told(caught.value)[1:] == (1 << 20, "peer", "Limits(max_queued=...)")
            refused.set()
            assert await total == [5, *range(0, 100_000, 1000)]
            held.cancel()
            await impl.began["next"].wait()
            impl.gates["next"].set()
            assert await asyncio.gather(*calls[:fit]) == ["next"] * fit
            assert impl.most == 2
            assert await channel.twice(1) == 2

    run(main)


# ---- items ----


@pytest.mark.slow
def test_tiny_items_cost_the_taker_about_their_window() -> None:
    """They come one by one, each in a turn of its own."""

    async def main() -> None:
        impl = AloneImpl()
        limits, size = Limits(stream_window=64 << 10), 7 + 4
        async with pair(impl, limits=limits, single_lane=True) as session:
            trickles = [session.channel(Alone).trickle() for _ in range(40)]
            for trickle in trickles:
                assert await anext(trickle) == 0
            before = resident()
            while impl.trickled < len(trickles) * (limits.stream_window // size):
                await session.channel(Alone).twice(1)
            held = len(trickles) * limits.stream_window
            assert resident() - before < 2.5 * held
            for trickle in trickles:
                trickle.cancel()

    run(main)


# ---- errors ----


def test_an_error_that_does_not_fit_is_told_without_what_is_too_long(ends: Ends) -> None:
    async def main() -> None:
        impl = AloneImpl()
        async with ends(impl, limits=Limits(msize=4096)) as session:
            channel = session.channel(Alone)
            async with unnoticed(impl, channel):
                for code, advice, kept in [
                    (7, 5000, "c" * 7),
                    (5000, 7, None),
                    (4000, 4000, "c" * 4000),
                ]:
                    with pytest.raises(CallError, match="too large for the peer's msize") as caught:
                        await channel.fail(code, advice)
                    assert caught.value.code == kept

    run(main)


def test_what_is_said_beside_a_call_that_was_given_up_is_told_to_nobody(loop: str) -> None:
    async def main() -> None:
        async with pair(AloneImpl()) as session:
            alone = session.channel(Alone)
            await alone.twice(1)
            given_up = asyncio.ensure_future(_wait_for(alone.say(8)))
            await asyncio.sleep(0)
            given_up.cancel()
            await asyncio.wait([given_up])
            assert given_up.cancelled()
            # Whichever of them gets its tag, in whichever round.
            for _ in range(3):
                calls = [alone.twice(n) for n in range(3)]
                assert await asyncio.gather(*calls) == [0, 2, 4]
                assert not any(dict(reply_metadata(call)) for call in calls)

    run(main, loop=loop)


async def _wait_for(call: Any) -> Any:
    return await call
