"""Sizes that two ends agree on, and how many handlers run."""

from __future__ import annotations

import asyncio

import pytest
from jetstream import CallError, LimitExceeded, Limits

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
            with pytest.raises(CallError) as caught:
                await echo.make(agreed - HEADER + 1)
            assert caught.value.code == "jetstream::limit"
            for part in ("Echo.make", f"{agreed + 1:,}", f"{agreed:,}", "msize"):
                assert part in caught.value.message
            assert await echo.echo("on") == "on"

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
