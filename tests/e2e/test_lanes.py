"""Who gets a lane where the peer bounds them: channels do, and streams where there are enough."""

# A service class only declares.
# mypy: disable-error-code="empty-body"

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import pytest
from jetstream import (
    INJECTED,
    U32,
    Context,
    Interface,
    Limits,
    Session,
    Subscription,
    method,
    service,
)

from tests.helpers import join, run, serve


@service
class Ticks(Interface):
    """Subscriptions without end."""

    def listen(self) -> Subscription[U32, None]:
        """One item, then nothing."""
        ...

    async def add(self, numbers: AsyncIterator[U32]) -> U32:
        """The sum."""
        ...


class TicksImpl(Ticks):
    @method
    async def listen(self) -> AsyncGenerator[U32]:
        yield 7
        await asyncio.Event().wait()

    async def add(self, numbers: AsyncIterator[U32]) -> U32:
        return sum([number async for number in numbers])


@service
class Other:
    """Another service, which needs a lane of its own."""

    async def greet(self) -> str:
        return "hello"


@service
class Back:
    """Makes its caller the called end."""

    async def listen(self, count: U32, ctx: Context = INJECTED) -> str:
        assert ctx.session is not None
        return await greeted_beside(ctx.session, count)


async def greeted_beside(session: Session, count: int) -> str:
    """What another service says while so many subscriptions run."""
    ticks = session.channel(Ticks)
    running = [ticks.listen() for _ in range(count)]
    for subscription in running:
        assert await anext(subscription) == 7
    answer = await session.channel(Other).greet()
    # Calls in order of their own have a lane of their own, too; and more streams still come about.
    assert await session.channel(Other, max_concurrent=1).greet() == answer
    assert await ticks.add([1, 2, 3]) == 6
    for subscription in running:
        await subscription.aclose()
    return answer


@pytest.mark.parametrize(
    ("lanes", "subscriptions"), [(128, 200), (128, 96), (100, 100), (20, 30), (3, 8)]
)
def test_subscriptions_leave_lanes_for_other_services(
    lanes: int, subscriptions: int, loop: str
) -> None:
    async def main() -> None:
        limits = Limits(max_streams_bidi=lanes)
        async with (
            serve(TicksImpl(), Other(), limits=limits) as server,
            join(server) as session,
        ):
            # Lanes that became free can be had again.
            for _ in range(2):
                assert await greeted_beside(session, subscriptions) == "hello"

    run(main, loop=loop)


def test_subscriptions_of_a_server_leave_lanes_for_what_it_calls_back() -> None:
    async def main() -> None:
        from jetstream import Router

        serves = Router(TicksImpl(), Other())
        async with serve(Back()) as server, join(server, serve=serves) as session:
            assert await session.channel(Back).listen(200) == "hello"

    run(main)
