"""Services on WebTransport sessions: by path, by version, in both directions, beside pages.

What holds on every transport is tried on this one too, in `tests/e2e`.
"""

# A service class only declares.
# mypy: disable-error-code="empty-body"

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import pytest
from jetstream import (
    INJECTED,
    U32,
    Client,
    ConnectError,
    ConnectionLost,
    Context,
    Done,
    Interface,
    JetStreamError,
    Reconnect,
    Router,
    Session,
    SessionRefused,
    StreamClosed,
    Subscription,
    Unavailable,
    VersionMismatch,
    alpn_of,
    connect,
    method,
    service,
)
from jetstream.http import H3Service, HttpOptions, HttpServer
from jetstream.interceptors import ServerInterceptor
from jetstream.webtransport import RefuseSession

from tests.e2e.services import Echo, EchoImpl
from tests.helpers import anonymous_tls, live_objects, run, serve
from tests.hostile import wire
from tests.http.serving import client, tls
from tests.webtransport.site import PAGE, join, opened, page, site, status, stay, url

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from jetstream.interceptors import ServerCall

ECHO = 1
PATH = "/rs.jetstream.proto/"


@service
class Gauge(Interface):
    """What a page shows."""

    @method(lossy=True)
    def values(self, count: U32) -> Subscription[U32, None]:
        """Numbers, of which the latest counts."""
        ...


class GaugeImpl(Gauge):
    """Counts."""

    @method
    async def values(self, count: U32) -> AsyncGenerator[U32 | Done[None]]:
        for number in range(count):
            yield number
            await asyncio.sleep(0)
        yield Done(None)


@service
class Window(Interface):
    """What a page serves."""

    async def title(self) -> str:
        """What it says."""
        ...


class WindowImpl(Window):
    """A page."""

    def __init__(self, title: str) -> None:
        self._title = title

    async def title(self) -> str:
        return self._title


@service
class Desk(Interface):
    """What calls pages back."""

    async def look(self, ctx: Context = INJECTED) -> str:
        """What the caller's page says."""
        ...


class DeskImpl(Desk):
    """Looks."""

    async def look(self, ctx: Context = INJECTED) -> str:
        return await ctx.session.channel(Window).title()


# ---- by path, and by version ----


@pytest.mark.parametrize("path", ["/", "/deep/inside?x=1", PATH + "echo", PATH + "echo/"])
def test_services_are_found_by_their_version(path: str, loop: str) -> None:
    async def main() -> None:
        async with site(EchoImpl()) as server, join(server, path) as session:
            echo = session.channel(Echo)
            assert await echo.echo("grüße") == "grüße"
            assert session.capabilities.transport == "webtransport"
            assert session.protocol == "h3"

    run(main, loop=loop)


def test_at_the_path_of_a_service_there_are_no_others() -> None:
    async def main() -> None:
        async with site(EchoImpl(), GaugeImpl()) as server:
            async with join(server, PATH + "echo") as session:
                with pytest.raises(VersionMismatch, match="gauge"):
                    _ = [n async for n in session.channel(Gauge).values(3)]
                assert await session.channel(Echo).echo("goes on") == "goes on"
            # On any other they are all there, a lane each.
            async with join(server) as session:
                assert [n async for n in session.channel(Gauge).values(3)][-1] == 2
                assert await session.channel(Echo).echo("both") == "both"

    run(main)


def test_calls_without_a_version_at_the_path_of_their_service(loop: str) -> None:
    """As the Rust crate 15.2 makes them."""

    async def main() -> None:
        async with site(EchoImpl()) as server, opened(server, PATH + "echo") as session:
            send, receive = await session.open_bi()
            await send.write(wire.frame(wire.request(ECHO), 7, wire.string("at once")))
            answer = await wire.read_frame(receive)
            assert answer == (wire.reply(ECHO), 7, wire.string("at once"))
            # There Tversion is a call like any other.
            await send.write(wire.version(wire.TVERSION, alpn_of(Echo), tag=9))
            answer = await wire.read_frame(receive)
            assert (answer.kind, answer.tag) == (wire.RVERSION, 9)
            await send.write(wire.frame(wire.request(ECHO), 9, wire.string("and on")))
            assert await wire.read_frame(receive) == (wire.reply(ECHO), 9, wire.string("and on"))
            # Another lane may begin as 16.x has it.
            send, receive = await session.open_bi()
            await send.write(wire.tversion("rs.jetstream.proto/echo/1.0.0"))
            assert (await wire.read_frame(receive)).kind == wire.RVERSION
            await send.write(wire.frame(wire.request(ECHO), 1, wire.string("later")))
            assert await wire.read_frame(receive) == (wire.reply(ECHO), 1, wire.string("later"))

    run(main, loop=loop)


def test_calls_without_a_version_anywhere_else() -> None:
    async def main() -> None:
        async with site(EchoImpl()) as server, opened(server) as session:
            send, receive = await session.open_bi()
            await send.write(wire.frame(wire.request(ECHO), 7, wire.string("at once")))
            with pytest.raises(StreamClosed):
                await wire.read_frame(receive)
            # That lane has ended, and no other.
            send, receive = await session.open_bi()
            await send.write(wire.tversion("rs.jetstream.proto/echo/1.0.0"))
            assert (await wire.read_frame(receive)).kind == wire.RVERSION

    run(main)


def test_paths_at_which_there_is_nothing() -> None:
    async def main() -> None:
        async with site(EchoImpl()) as server:
            for path in (PATH, PATH + "other", PATH + "ECHO", PATH + "echo/more"):
                assert await status(server, path) == 404
            assert await status(server, PATH + "echo") == 200
        async with site(EchoImpl(), services=False, handlers={"/mine": stay}) as server:
            assert await status(server, "/mine") == 200
            assert await status(server, "/") == 404
            assert await status(server, PATH + "echo") == 404

    run(main)


def test_where_there_is_nothing_there_are_no_sessions() -> None:
    async def main() -> None:
        async with site() as server:
            assert "WebTransport" not in repr(server)
            with pytest.raises(ConnectError, match="WebTransport"):
                await join(server, timeout=5)
            async with client("h3", server) as asking:
                assert (await asking.get("/")).content == PAGE
        async with site(EchoImpl()) as server:
            assert "WebTransport" in repr(server)

    run(main)


def test_an_application_that_is_mounted(loop: str) -> None:
    async def main() -> None:
        options = HttpOptions(root_path="/api", lifespan="off")
        router = Router(EchoImpl())
        async with HttpServer(page, router=router, tls=tls(), port=0, options=options) as server:
            assert await status(server, PATH + "echo") == 200
            assert await status(server, PATH + "other") == 404

    run(main, loop=loop)


# ---- calls ----


def test_what_becomes_of_calls(loop: str) -> None:
    async def main() -> None:
        impl = EchoImpl()
        async with site(impl) as server, join(server) as session:
            echo = session.channel(Echo)
            call = asyncio.ensure_future(echo.hold("a"))
            await impl.arrival("a").wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await impl.ended.wait()
            assert impl.cancelled == ["a"]
            impl.ended.clear()
            with pytest.raises(JetStreamError) as caught:
                await session.channel(Echo, timeout=0.05).hold("b")
            # Whichever end notices first.
            assert caught.value.code == "jetstream::deadline_exceeded"
            await impl.ended.wait()
            assert impl.cancelled == ["a", "b"]
            blob = bytes(range(256)) * 8000
            assert await echo.blob(blob) == blob

    run(main, loop=loop)


def test_the_latest_of_lossy_items(loop: str) -> None:
    async def main() -> None:
        async with site(GaugeImpl()) as server, join(server) as session:
            gauge = session.channel(Gauge)
            seen: list[list[int]] = await asyncio.gather(
                *[_collect(gauge.values(200)) for _ in range(5)]
            )
            for numbers in seen:
                assert numbers == sorted(set(numbers))
                assert numbers[-1] == 199

    run(main, loop=loop)


async def _collect(values: Any) -> list[int]:
    return [number async for number in values]


def test_interceptors_and_who_is_served(loop: str) -> None:
    seen: list[str] = []

    class Note(ServerInterceptor):
        async def intercept_call(
            self, call: ServerCall, proceed: Callable[[ServerCall], Awaitable[Any]], /
        ) -> Any:
            seen.append(call.method.what)
            return await proceed(call)

    async def main() -> None:
        async with site(EchoImpl(), interceptors=[Note()]) as server, join(server) as session:
            await session.channel(Echo).echo("x")
            assert seen == ["Echo.echo"]

    run(main, loop=loop)


# ---- in both directions ----


def test_the_server_calls_back(loop: str) -> None:
    async def main() -> None:
        async with (
            site(DeskImpl()) as server,
            join(server, serve=WindowImpl("one")) as one,
            join(server, PATH + "desk", serve=WindowImpl("two")) as two,
        ):
            assert await one.channel(Desk).look() == "one"
            assert await two.channel(Desk).look() == "two"
            titles = [await each.channel(Window).title() for each in server.sessions]
            assert sorted(titles) == ["one", "two"]

    run(main, loop=loop)


def test_whoever_connects_is_told_of(loop: str) -> None:
    greeted: asyncio.Queue[str] = asyncio.Queue()

    async def greet(session: Session) -> None:
        greeted.put_nowait(await session.channel(Window).title())

    async def main() -> None:
        async with site(EchoImpl(), on_session=greet, handlers={"/mine": stay}) as server:
            async with join(server, serve=WindowImpl("here")) as session:
                assert await greeted.get() == "here"
                assert len(server.sessions) == 1
                # Neither a raw session nor a connection of HTTP/3 is one of those.
                async with opened(server, "/mine"):
                    assert await session.channel(Echo).echo("x") == "x"
                    assert len(server.sessions) == 1
            assert len(server.sessions) <= 1
            assert greeted.empty()

    run(main, loop=loop)


def test_a_server_sends_a_session_away(loop: str) -> None:
    async def main() -> None:
        async with site(EchoImpl()) as server, join(server) as session:
            await session.channel(Echo).ping()
            (there,) = server.sessions
            await there.close(4711, "no hard feelings")
            lost = await session.wait_closed()
            assert isinstance(lost, ConnectionLost)
            assert lost.by_peer
            assert lost.close_code == 4711
            assert "no hard feelings" in str(lost)

    run(main, loop=loop)


# ---- several ----


def test_sessions_of_their_own(loop: str) -> None:
    async def main() -> None:
        before = live_objects()
        impl = EchoImpl()
        async with site(impl) as server, Client(anonymous_tls()) as one:
            sessions = [await one.session(url(server)) for _ in range(5)]
            channels = [each.channel(Echo) for each in sessions]
            held = [asyncio.ensure_future(each.hold("x")) for each in channels]
            while impl.running < 5:
                await channels[0].ping()
            assert len(server.sessions) == 5
            await sessions[1].close()
            # The others have not noticed.
            impl.gate("x").set()
            answers = await asyncio.gather(*held, return_exceptions=True)
            assert [type(each) for each in answers].count(str) == 4
            for each in sessions:
                await each.close()
        del server, one, sessions, channels, held, answers, each, impl
        assert live_objects() == before

    run(main, loop=loop)


def test_lanes_of_many_channels() -> None:
    async def main() -> None:
        async with site(EchoImpl()) as server, join(server) as session:
            channels = [session.channel(Echo, max_concurrent=n) for n in range(1, 51)]
            answers = await asyncio.gather(*[each.echo(str(n)) for n, each in enumerate(channels)])
            assert answers == [str(n) for n in range(50)]

    run(main)


# ---- beside pages ----


def test_services_on_a_plain_server(loop: str) -> None:
    async def main() -> None:
        h3 = H3Service(page).with_handler(EchoImpl()).with_handler(GaugeImpl())
        async with serve(h3, tls=tls()) as server:
            async with join(server) as session:
                assert await session.channel(Echo).echo("x") == "x"
                assert [n async for n in session.channel(Gauge).values(10)][-1] == 9
                assert len(server.sessions) == 1
            assert await status(server, PATH + "gauge") == 200

    run(main, loop=loop)


def test_pages_and_typed_quic_and_sessions_on_one_port(loop: str) -> None:
    async def main() -> None:
        impl = EchoImpl()
        async with (
            site(impl) as server,
            client("h3", server) as third,
            client("h2", server) as second,
            join(server) as session,
            connect(server.address, tls=anonymous_tls()) as plain,
        ):
            for _ in range(3):
                assert (await third.get("/")).content == PAGE
                assert (await second.get("/")).content == PAGE
                assert await session.channel(Echo).echo("wt") == "wt"
                assert await plain.channel(Echo).echo("quic") == "quic"
            assert len(server.sessions) == 2

    run(main, loop=loop)


# ---- ends ----


def test_calls_in_flight_end_before_a_server_that_stops(loop: str) -> None:
    async def main() -> None:
        impl = EchoImpl()
        async with site(impl, graceful_timeout=20) as server, join(server) as session:
            echo = session.channel(Echo)
            held = asyncio.ensure_future(echo.hold("x"))
            await impl.arrival("x").wait()
            closing = asyncio.ensure_future(server.close())
            # It is told at once, and nothing is begun any more.
            await session._core.wait("going_away")
            with pytest.raises(Unavailable):
                await echo.echo("too late")
            assert not held.done()
            impl.gate("x").set()
            assert await held == "x"
            await closing
            assert isinstance(await session.wait_closed(), ConnectionLost)

    run(main, loop=loop)


def test_a_server_that_comes_back(loop: str) -> None:
    swift = Reconnect(first=0.02, most=0.1, patience=30.0)

    async def main() -> None:
        async with site(EchoImpl()) as first:
            port = first.address.port
            session = await join(first, PATH + "echo", reconnect=swift)
            echo = session.channel(Echo)
            assert await echo.echo("one") == "one"
            states: list[str] = []

            async def watch() -> None:
                async for state in session.states():
                    states.append(state)

            watching = asyncio.ensure_future(watch())
            await asyncio.sleep(0)
        async with site(EchoImpl(), port=port):
            assert await echo.echo("two") == "two"
            assert session.state == "ready"
        await session.close()
        await watching
        assert states[0] == "ready"
        assert "connecting" in states
        assert states[-1] == "closed"

    run(main, loop=loop)


def test_a_session_that_cannot_be_had_for_a_while_is_asked_for_again(loop: str) -> None:
    swift = Reconnect(first=0.01, most=0.05, patience=0.2)
    is_good = True

    def authenticate(request: Any) -> None:
        if not is_good:
            raise RefuseSession(503)

    async def main() -> None:
        nonlocal is_good
        async with (
            site(EchoImpl(), authenticate=authenticate) as server,
            join(server, reconnect=swift) as session,
        ):
            echo = session.channel(Echo)
            assert await echo.echo("one") == "one"
            is_good = False
            (there,) = server.sessions
            await there.close()
            await session.wait_for("unavailable")
            assert "503" in str(session.unavailable)
            with pytest.raises(Unavailable, match="503"):
                await echo.ping()
            is_good = True
            await session.wait_for("ready")
            assert await echo.echo("two") == "two"

    run(main, loop=loop)


def test_a_session_that_is_refused_later_is_over(loop: str) -> None:
    """What it shows is what it was given at first: it can only be refused again."""
    asked = 0

    def authenticate(request: Any) -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise RefuseSession(401)

    async def main() -> None:
        swift = Reconnect(first=0.01, most=0.05)
        async with site(EchoImpl(), authenticate=authenticate) as server:
            session = await join(server, reconnect=swift)
            echo = session.channel(Echo)
            assert await echo.echo("one") == "one"
            (there,) = server.sessions
            await there.close()
            why = await session.wait_closed()
            assert isinstance(why, SessionRefused)
            assert why.status == 401
            with pytest.raises(ConnectionLost, match="401"):
                await echo.ping()
            assert session.state == "closed"
            assert asked == 2
            await session.close()

    run(main, loop=loop)
