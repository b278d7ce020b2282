"""What users get for tests of their own."""

from typing import Protocol

import pytest
from jetstream import (
    INJECTED,
    ClosedError,
    Context,
    DecodeError,
    JetStreamError,
    LimitExceeded,
    Limits,
    Router,
    service,
)
from jetstream.testing import ThrowawayCA, pair

from tests.helpers import live_objects, run

CA = ThrowawayCA()


@service
class Echo(Protocol):
    async def put(self, item: str) -> str: ...
    async def who(self, ctx: Context = INJECTED) -> str: ...


class EchoImpl(Echo):
    async def put(self, item: str) -> str:
        return item

    async def who(self, ctx: Context = INJECTED) -> str:
        return f"{ctx.peer and ctx.peer.leaf.common_name} {ctx.remote} {ctx.protocol}"


@service(name="other")
class Other:
    async def put(self, item: str) -> str:
        return item[::-1]


class Handler:
    def alpns(self):
        return ["chat"]

    async def accept(self, ctx, connection): ...


@pytest.mark.parametrize(
    "entries", [(EchoImpl(), Other()), (Router(EchoImpl(), Other()),)], ids=["services", "router"]
)
def test_what_is_served(entries):
    async def main() -> None:
        async with pair(*entries) as session:
            assert await session.channel(Echo).put("ab") == "ab"
            assert await session.channel(Other).put("ab") == "ba"

    run(main)


def test_who_calls_can_be_chosen():
    async def main() -> None:
        chain = [CA.issue_client("ada").certificate_der, CA.ca_der]
        async with pair(EchoImpl(), client_chain=chain) as session:
            assert await session.channel(Echo).who() == "ada None None"
            assert session.peer is None

    run(main)


def test_limits_hold_in_memory_too():
    async def main() -> None:
        async with pair(EchoImpl(), limits=Limits(msize=4096)) as session:
            echo = session.channel(Echo)
            with pytest.raises(LimitExceeded) as caught:
                await echo.put("x" * 5000)
            assert (caught.value.allowed, caught.value.side) == (4096, "here")
            assert await echo.put("x" * 4000) == "x" * 4000

    run(main)


def test_the_session_is_over_with_its_block():
    async def main() -> None:
        async with pair(EchoImpl()) as session:
            echo = session.channel(Echo)
        with pytest.raises(ClosedError):
            await echo.put("ab")

    run(main)


def test_an_error_in_the_block_passes():
    async def main() -> None:
        async with pair(EchoImpl()):
            raise DecodeError("here", 0, "mine")

    with pytest.raises(DecodeError, match="mine"):
        run(main)


def test_nothing_is_left():
    async def main() -> None:
        async with pair(EchoImpl()) as session:
            await session.channel(Echo).put("ab")

    before = live_objects()
    run(main)
    assert live_objects() == before


def test_a_handler_needs_a_real_connection():
    async def main() -> None:
        async with pair(Handler()) as session:
            with pytest.raises(JetStreamError):
                await session.channel(Echo).put("ab")

    run(main)


def test_a_throwaway_authority():
    assert repr(CA).startswith("ThrowawayCA('CN=JetStream Throwaway CA,")
    assert CA.issue_client("ada").common_name == "ada"
