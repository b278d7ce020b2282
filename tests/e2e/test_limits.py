"""Sizes that two ends agree on, and how many handlers run."""

from __future__ import annotations

import asyncio

import pytest
from jetstream import U32, CallError, LimitExceeded, Limits, Subscription, method, service

from tests.e2e.services import Echo, EchoImpl
from tests.helpers import join, run, serve

HEADER = 7 + 4
"""A frame's header and the length of its bytes."""


@pytest.mark.parametrize(("ours", "theirs"), [(64 << 10, 8 << 10), (8 << 10, 64 << 10)])
def test_the_smaller_msize_holds_both_ways(ours: int, theirs: int, loop: str) -> None:
    agreed = min(ours, theirs)

    async def main() -> None:
        async with (
            serve(EchoImpl(), limits=Limits(msize=theirs)) as server,
            join(server, limits=Limits(msize=ours)) as session,
        ):
            echo = session.channel(Echo)
            await echo.ping()
            exact = bytes(agreed - HEADER)
            assert await echo.blob(exact) == exact
            with pytest.raises(LimitExceeded) as caught:
                await echo.size(exact + b"!")
            error = caught.value
            assert error.limit == "message size of Echo.size"
            assert (error.size, error.allowed) == (agreed + 1, agreed)
            assert error.side == ("peer" if theirs < ours else "here"), "whose limit it is"
            assert "msize" in error.setting
            assert f"{agreed:,}" in str(error)
            assert await echo.size(exact) == len(exact), "the lane goes on"

    run(main, loop=loop)


@pytest.mark.parametrize(("ours", "theirs"), [(64 << 10, 8 << 10), (8 << 10, 64 << 10)])
def test_a_result_over_the_limit_is_told_to_the_caller(ours: int, theirs: int) -> None:
    agreed = min(ours, theirs)

    async def main() -> None:
        async with (
            serve(EchoImpl(), limits=Limits(msize=theirs)) as server,
            join(server, limits=Limits(msize=ours)) as session,
        ):
            echo = session.channel(Echo)
            assert len(await echo.make(agreed - HEADER)) == agreed - HEADER
            with pytest.raises(LimitExceeded) as caught:
                await echo.make(agreed - HEADER + 1)
            error = caught.value
            assert error.limit == "message size of Echo.make"
            assert (error.size, error.allowed) == (agreed + 1, agreed)
            assert error.side == ("peer" if theirs < ours else "here"), "whose limit it is"
            assert error.setting == "Limits(msize=...)"
            assert await echo.echo("on") == "on"

    run(main)


@service
class Press:
    """Gives what is too large, and what a call of its own met."""

    def __init__(self) -> None:
        self.back: LimitExceeded | None = None

    async def sheets(self, sizes: list[U32]) -> Subscription[bytes, None]:
        for size in sizes:
            yield bytes(size)

    @method(lossy=True)
    async def latest(self, size: U32) -> Subscription[bytes, None]:
        yield bytes(size)

    async def relayed(self) -> None:
        assert self.back is not None
        raise self.back


def test_an_item_over_the_limit_is_told_to_the_caller() -> None:
    async def main() -> None:
        async with serve(Press(), limits=Limits(msize=8 << 10)) as server, join(server) as session:
            press = session.channel(Press)
            got: list[int] = []

            async def take() -> None:
                async for sheet in press.sheets([10, 9 << 10, 11]):
                    got.append(len(sheet))

            with pytest.raises(LimitExceeded) as caught:
                await take()
            assert got == [10]
            assert (caught.value.allowed, caught.value.side) == (8 << 10, "peer")
            with pytest.raises(LimitExceeded, match=r"message size of Press\.latest"):
                await anext(press.latest(9 << 10))

    run(main)


def test_a_limit_between_a_method_and_somebody_else_is_not_its_callers() -> None:
    async def main() -> None:
        impl = Press()
        async with (
            serve(EchoImpl(), limits=Limits(msize=8 << 10)) as behind,
            serve(impl) as server,
            join(behind) as further,
            join(server) as session,
        ):
            echo = further.channel(Echo)
            for meet in (lambda: echo.size(bytes(9 << 10)), lambda: echo.make(9 << 10)):
                with pytest.raises(LimitExceeded) as caught:
                    await meet()
                impl.back = caught.value
                with pytest.raises(CallError) as relayed:
                    await session.channel(Press).relayed()
                assert relayed.value.code == "jetstream::limit"
                assert relayed.value.message == caught.value.message

    run(main)


def test_a_first_call_that_turns_out_too_large() -> None:
    """It is made before the server's limit is known."""

    async def main() -> None:
        async with (
            serve(EchoImpl(), limits=Limits(msize=8 << 10)) as server,
            join(server) as session,
        ):
            echo = session.channel(Echo)
            large = asyncio.ensure_future(echo.size(bytes(9 << 10)))
            small = asyncio.ensure_future(echo.size(bytes(5)))
            with pytest.raises(LimitExceeded) as caught:
                await large
            assert (caught.value.side, caught.value.allowed) == ("peer", 8 << 10)
            assert await small == 5

    run(main)


def test_large_values(loop: str) -> None:
    async def main() -> None:
        async with serve(EchoImpl()) as server, join(server) as session:
            echo = session.channel(Echo)
            large = bytes(range(256)) * (((4 << 20) - HEADER) // 256)
            assert await echo.blob(large) == large
            assert await echo.size(bytes(271_828)) == 271_828
            assert len(await echo.make(314_159)) == 314_159
            text = "ü" * 32_767
            assert await echo.echo(text) == text

    run(main, loop=loop)


@pytest.mark.slow
def test_a_thousand_large_calls_at_once() -> None:
    async def main() -> None:
        async with serve(EchoImpl()) as server, join(server) as session:
            echo = session.channel(Echo)
            blobs = [n.to_bytes(2, "big") * 16_384 for n in range(1_000)]
            assert await asyncio.gather(*[echo.blob(blob) for blob in blobs]) == blobs

    run(main)


def test_handlers_over_max_handlers_wait_and_are_answered(loop: str) -> None:
    async def main() -> None:
        impl = EchoImpl()
        async with (
            serve(impl, limits=Limits(max_handlers=10)) as server,
            join(server) as session,
        ):
            echo = session.channel(Echo)
            held = [asyncio.ensure_future(echo.hold("x")) for _ in range(500)]
            last = asyncio.ensure_future(echo.echo("behind"))
            await impl.arrival("x").wait()
            async with join(server) as second:
                # The bound is each connection's own; and these calls take many turns.
                for number in range(50):
                    assert await second.channel(Echo).echo(str(number)) == str(number)
            assert impl.running == 10
            assert "behind" not in impl.order
            impl.gate("x").set()
            assert await asyncio.gather(*held) == ["x"] * 500
            assert await last == "behind"
            assert impl.most == 10

    run(main, loop=loop)
