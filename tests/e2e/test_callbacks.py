"""Either end serves and calls on one connection."""

# A service class only declares.
# mypy: disable-error-code="empty-body"

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from jetstream import (
    I32,
    INJECTED,
    CallError,
    Context,
    Interface,
    LocalProtocolError,
    Reconnect,
    Router,
    Server,
    Session,
    VersionMismatch,
    service,
)
from jetstream.testing import pair

from tests.helpers import join, live_objects, run, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


@service
class Upper(Interface):
    """What the server serves."""

    async def down(self, depth: I32, ctx: Context = INJECTED) -> list[str]:
        """Calls the caller, and so on, until the depth is 0."""
        ...

    async def greet(self, ctx: Context = INJECTED) -> str:
        """What the caller calls itself."""
        ...


@service
class Lower(Interface):
    """What the client serves."""

    async def up(self, depth: I32, ctx: Context = INJECTED) -> list[str]:
        """Calls the server, and so on, until the depth is 0."""
        ...

    async def name(self) -> str:
        """What the client calls itself."""
        ...


class UpperImpl(Upper):
    """The server."""

    async def down(self, depth: I32, ctx: Context = INJECTED) -> list[str]:
        if depth == 0:
            return ["server"]
        return ["server", *await ctx.session.channel(Lower).up(depth - 1)]

    async def greet(self, ctx: Context = INJECTED) -> str:
        return "hello " + await ctx.session.channel(Lower).name()


class LowerImpl(Lower):
    """The client."""

    def __init__(self, name: str = "client") -> None:
        self._name = name
        self.sessions: list[Session] = []

    async def up(self, depth: I32, ctx: Context = INJECTED) -> list[str]:
        self.sessions.append(ctx.session)
        if depth == 0:
            return ["client"]
        return ["client", *await ctx.session.channel(Upper).down(depth - 1)]

    async def name(self) -> str:
        return self._name


@asynccontextmanager
async def over_quic(client: object = None, **options: Any) -> AsyncIterator[Session]:
    """A session over QUIC whose client serves."""
    async with serve(UpperImpl()) as server, join(server, serve=client, **options) as session:
        yield session


@asynccontextmanager
async def in_memory(client: object = None) -> AsyncIterator[Session]:
    """A session in memory whose client serves."""
    async with pair(UpperImpl(), client=client) as session:
        yield session


MEANS = [pytest.param(over_quic, id="quic"), pytest.param(in_memory, id="memory")]


@pytest.mark.parametrize("means", MEANS)
def test_calls_nest_in_both_directions(loop: str, means: Callable[..., Any]) -> None:
    async def main() -> None:
        before = live_objects()
        lower = LowerImpl()
        async with means(lower) as session:
            upper = session.channel(Upper)
            assert await upper.down(0) == ["server"]
            assert await upper.down(10) == ["server", "client"] * 5 + ["server"]
            assert await upper.greet() == "hello client"
            # The client's methods find the session that they belong to.
            assert {id(found) for found in lower.sessions} == {id(session)}
            lower.sessions.clear()
        del session, upper
        await asyncio.sleep(0)
        assert live_objects() == before

    run(main, loop=loop)


@pytest.mark.parametrize("means", MEANS)
def test_many_nested_calls_at_once(loop: str, means: Callable[..., Any]) -> None:
    async def main() -> None:
        async with means(LowerImpl()) as session:
            upper = session.channel(Upper)
            answers = await asyncio.gather(*(upper.down(5) for _ in range(64)))
            assert answers == [["server", "client"] * 3] * 64

    run(main, loop=loop)


@pytest.mark.parametrize("means", MEANS)
def test_a_client_that_serves_nothing_says_so(loop: str, means: Callable[..., Any]) -> None:
    async def main() -> None:
        async with means() as session:
            upper = session.channel(Upper)
            with pytest.raises(CallError) as caught:
                await upper.greet()
            assert caught.value.code == VersionMismatch.default_code
            assert await upper.down(0) == ["server"]

    run(main, loop=loop)


def test_each_end_serves_its_own(loop: str) -> None:
    async def main() -> None:
        async with pair(UpperImpl(), client=LowerImpl()) as session:
            # In memory both ends are of one endpoint, and still the server has no Lower.
            with pytest.raises(VersionMismatch):
                await session.channel(Lower).name()
            assert await session.channel(Upper).greet() == "hello client"

    run(main, loop=loop)


def test_a_server_calls_its_clients(loop: str) -> None:
    async def main() -> None:
        greeted: asyncio.Queue[str] = asyncio.Queue()

        async def greet(session: Session) -> None:
            greeted.put_nowait(await session.channel(Lower).name())

        server = serve(UpperImpl(), on_session=greet)
        async with server:
            assert server.sessions == []
            async with join(server, serve=LowerImpl("ada")), join(server, serve=LowerImpl("bob")):
                assert {await greeted.get(), await greeted.get()} == {"ada", "bob"}
                sessions = server.sessions
                assert len(sessions) == 2
                assert [id(each) for each in server.sessions] == [id(each) for each in sessions]
                names = [await each.channel(Lower).name() for each in sessions]
                assert sorted(names) == ["ada", "bob"]
            while server.sessions:  # noqa: ASYNC110  only looking tells
                await asyncio.sleep(0.001)
        assert server.sessions == []

    run(main, loop=loop)


def test_a_hook_that_fails_harms_nobody(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        def fail(session: Session) -> None:
            raise RuntimeError("so not")

        async def fail_later(session: Session) -> None:
            raise RuntimeError("nor so")

        for hook in (fail, fail_later):
            server: Server = serve(UpperImpl(), on_session=hook)
            async with server, join(server) as session:
                assert await session.channel(Upper).down(0) == ["server"]
        assert caplog.text.count("on_session failed") == 2

    run(main, loop=loop)


def test_a_hook_runs_no_longer_than_its_server(loop: str) -> None:
    async def main() -> None:
        ended = asyncio.Event()

        async def stay(session: Session) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        server: Server = serve(UpperImpl(), on_session=stay)
        async with server, join(server) as session:
            await session.channel(Upper).down(0)
            async with asyncio.timeout(5):
                await server.close()
                await ended.wait()

    run(main, loop=loop)


def test_only_the_connecting_end_opens_the_only_lane() -> None:
    async def main() -> None:
        async with pair(UpperImpl(), client=LowerImpl(), single_lane=True) as session:
            with pytest.raises(CallError) as caught:
                await session.channel(Upper).greet()
            assert caught.value.code == LocalProtocolError.default_code
            assert "single lane" in caught.value.message

    run(main)


@pytest.mark.parametrize("served", [Router(), object()])
def test_what_a_client_cannot_serve(served: object) -> None:
    async def main() -> None:
        async with serve(UpperImpl()) as server:
            with pytest.raises((TypeError, ValueError), match=r"serve|service"):
                await join(server, serve=served)

    run(main)


def test_callbacks_go_on_over_the_next_connection(loop: str) -> None:
    async def main() -> None:
        lower = LowerImpl()
        options = Reconnect(first=0.02, most=0.1)
        server = serve(UpperImpl())
        await server.start()
        async with join(server, serve=lower, reconnect=options) as session:
            upper = session.channel(Upper)
            assert await upper.greet() == "hello client"
            port = server.address.port
            await server.close()
            async with serve(UpperImpl(), port=port):
                assert await upper.down(3) == ["server", "client"] * 2
                assert {id(found) for found in lower.sessions} == {id(session)}

    run(main, loop=loop)


def test_limits_hold_for_clients_that_serve(loop: str) -> None:
    async def main() -> None:
        from jetstream import Limits

        gate, arrived = asyncio.Event(), asyncio.Event()
        running: list[int] = []

        class Slow(LowerImpl):
            async def name(self) -> str:
                running.append(1)
                arrived.set()
                await gate.wait()
                running.pop()
                return "slow"

        limits = Limits(max_handlers=2)
        server: Server = serve(UpperImpl())
        async with server, join(server, serve=Slow(), limits=limits) as session:
            assert session.state == "ready"
            (there,) = server.sessions
            calls = [asyncio.ensure_future(there.channel(Lower).name()) for _ in range(10)]
            await arrived.wait()
            for _ in range(20):
                await session.channel(Upper).down(0)
            assert len(running) == 2
            gate.set()
            assert await asyncio.gather(*calls) == ["slow"] * 10

    run(main, loop=loop)
