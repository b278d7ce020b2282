"""Sessions: who is at the other end, and channels to it."""

import asyncio
from typing import Protocol

import pytest
from jetstream import (
    FOREVER,
    DeadlineExceeded,
    JetStreamError,
    QuicTransport,
    ReceiveStream,
    SendStream,
    Session,
    VersionMismatch,
    service,
    time_left,
    with_options,
)
from jetstream.interceptors import ClientInterceptor
from jetstream.testing import ThrowawayCA, pair

from tests.helpers import run

CA = ThrowawayCA()
CLIENT = CA.issue_client("ada")
SERVER = CA.issue_server("example.org")


@service
class Echo(Protocol):
    async def put(self, item: str) -> str: ...


@service
class Absent(Protocol):
    async def put(self, item: str) -> str: ...


class EchoImpl(Echo):
    async def put(self, item: str) -> str:
        return item


def with_session(test, **options):
    async def main() -> None:
        async with pair(EchoImpl(), **options) as session:
            await test(session)

    run(main)


def test_who_is_at_the_other_end():
    async def test(session):
        assert session.peer.leaf.dns_names == ("example.org",)
        assert session.peer is session.peer
        assert session.remote is None
        assert session.protocol is None
        assert repr(session).startswith("<Session with CN=")
        assert repr(session).endswith(" at None, open>")

    with_session(test, server_chain=[SERVER.certificate_der])


def test_nobody_known():
    async def test(session):
        assert session.peer is None
        assert repr(session) == "<Session with nobody known at None, open>"

    with_session(test)


def test_channels_of_a_service_share_a_lane():
    async def test(session):
        lane = session.open_lane("rs.jetstream.proto/echo/1.0.0+00", 10)
        assert session.open_lane("rs.jetstream.proto/echo/1.0.0+00", 10) is lane
        assert session.open_lane("rs.jetstream.proto/echo/1.0.0+00", 11) is not lane
        lane.close()
        assert session.open_lane("rs.jetstream.proto/echo/1.0.0+00", 10) is not lane

    with_session(test)


@pytest.mark.parametrize(
    ("of_channel", "of_call", "told"),
    [({}, {}, 0.02), ({"timeout": 0.01}, {}, 0.01), ({"timeout": 9}, {"timeout": 0.01}, 0.01)],
)
def test_the_time_limit_of_a_call(of_channel, of_call, told):
    class Silent(Echo):
        async def put(self, item: str) -> str:
            return await asyncio.get_running_loop().create_future()

    async def main() -> None:
        async with pair(Silent(), call_timeout=0.02) as session:
            with pytest.raises(DeadlineExceeded) as caught:
                await session.channel(Echo, **of_channel).put("a", **of_call)
            assert (caught.value.what, caught.value.timeout) == ("Echo.put", told)

    run(main)


def test_no_time_limit():
    async def test(session):
        forever = session.channel(Echo, timeout=FOREVER)
        assert await forever.put("a") == "a"
        assert await forever.put("a", timeout=FOREVER) == "a"
        assert await with_options(forever, timeout=FOREVER).put("a") == "a"

    assert repr(FOREVER) == "FOREVER"
    with_session(test, call_timeout=None)


@pytest.mark.parametrize("count", [0, -1, 65_536, 70_000])
def test_calls_at_once_that_there_cannot_be(count):
    async def test(session):
        with pytest.raises(ValueError, match=rf"^max_concurrent={count}: it must be from 1 to"):
            session.channel(Echo, max_concurrent=count)
        assert await session.channel(Echo, max_concurrent=65_535).put("a") == "a"

    with_session(test)


def test_forever_takes_the_limit_away():
    class Slow(Echo):
        async def put(self, item: str) -> str:
            return f"{time_left()}"

    async def main() -> None:
        async with pair(Slow(), call_timeout=9) as session:
            echo = session.channel(Echo)
            assert await echo.put("a") != "None"
            assert await echo.put("a", timeout=FOREVER) == "None"
            assert await with_options(echo, timeout=FOREVER).put("a") == "None"
            around = with_options(echo, interceptors=[Passing()])
            assert await around.put("a", timeout=FOREVER) == "None"

    class Passing(ClientInterceptor):
        async def intercept_call(self, call, proceed, /):
            assert call.timeout is None
            return await proceed(call)

    run(main)


def test_a_call_of_a_task_that_outlives_its_method_says_whose_deadline_it_was():
    passed, told = asyncio.Event(), []

    class Outlived(Echo):
        async def put(self, item: str) -> str:
            async def later() -> None:
                await passed.wait()
                with pytest.raises(DeadlineExceeded) as caught:
                    await self.other.put("a")
                told.append(caught.value)

            self.later = asyncio.ensure_future(later())
            return await asyncio.get_running_loop().create_future()

    async def main() -> None:
        outlived = Outlived()
        async with pair(outlived) as session, pair(Outlived()) as other:
            outlived.other = other.channel(Echo)
            with pytest.raises(DeadlineExceeded, match=r"no answer within 0\.01 s") as caught:
                await session.channel(Echo).put("a", timeout=0.01)
            assert not caught.value.inherited
            passed.set()
            await outlived.later
        [error] = told
        assert error.inherited
        assert error.timeout <= 0.01
        assert "before the deadline of the method that makes the call" in str(error)

    run(main)


def test_a_service_that_is_not_there_shows_in_the_first_call():
    async def test(session):
        absent = session.channel(Absent)
        with pytest.raises(VersionMismatch, match="absent") as caught:
            await absent.put("a")
        assert caught.value.asked.startswith("rs.jetstream.proto/absent/1.0.0+")
        assert await session.channel(Echo).put("a") == "a"

    with_session(test)


def test_no_service_class():
    async def test(session):
        with pytest.raises(TypeError, match="is not a service class: decorate"):
            session.channel(int)

    with_session(test)


def test_the_end():
    async def test(session):
        echo = session.channel(Echo)
        assert session.closed is None
        async with session:
            assert await echo.put("a") == "a"
        reason = await session.wait_closed()
        assert isinstance(reason, JetStreamError)
        assert type(session.closed) is type(reason)
        assert repr(session).endswith(", over>")
        with pytest.raises(JetStreamError):
            await echo.put("a")
        with pytest.raises(JetStreamError):
            session.channel(Echo)
        await session.close()  # once more does no harm

    with_session(test)


def test_a_session_takes_along_what_it_owns():
    closed: list[str] = []

    async def on_close() -> None:
        closed.append("now")

    class Core:
        lost = None

        def close(self, code: int, reason: bytes) -> None:
            assert (code, reason) == (7, b"enough")

    async def main() -> None:
        await Session(Core(), on_close=on_close).close(7, "enough")

    run(main)
    assert closed == ["now"]


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ((-1,), ValueError, r"^close\(code=-1\): it must be from 0 to 2\*\*62 - 1$"),
        ((1 << 62,), ValueError, "from 0 to"),
        ((1.5,), TypeError, r"^close\(code=1.5\): it must be an int, not float$"),
        (("a",), TypeError, "an int, not str"),
        ((0, b"x"), TypeError, r"^close\(reason=\.\.\.\): it must be a str, not bytes$"),
        ((0, None), TypeError, "a str, not NoneType"),
        (
            (0, "a\ud800"),
            ValueError,
            r"^close\(reason=\.\.\.\): UTF-8 cannot carry '\\ud800' at 1$",
        ),
    ],
)
def test_an_end_that_cannot_be_told_stops_nothing(given, error, says):
    stopped: list[object] = []

    class Upkeep:
        error = None

        def start(self, *_: object) -> None:
            pass

        def stop(self, why: object) -> None:
            stopped.append(why)

    async def main() -> None:
        with pytest.raises(error, match=says):
            await Session(None, upkeep=Upkeep()).close(*given)

    async def test(session):
        with pytest.raises(error, match=says):
            await session.close(*given)
        assert await session.channel(Echo).put("a") == "a"

    run(main)
    assert not stopped
    with_session(test)


@pytest.mark.parametrize("state", ["Ready", None])
def test_a_state_that_there_is_not(state):
    async def test(session):
        wrong = r"^wait_for\(.*\): a session is connecting, ready, unavailable or closed$"
        async with asyncio.timeout(5):
            with pytest.raises(ValueError, match=wrong):
                await session.wait_for(state)

    with_session(test)


def test_a_stream_is_a_transport_once():
    class Core:
        pass

    halves = SendStream(Core(), 4), ReceiveStream(Core(), 4)
    transport = QuicTransport(*halves)
    with pytest.raises(TypeError):
        transport.open_lane("rs.jetstream.proto/echo/1.0.0+00", 1)  # no connection of the core's
    with pytest.raises(RuntimeError, match=r"one channel: open another one with connection\.open"):
        transport.open_lane("rs.jetstream.proto/echo/1.0.0+00", 1)


def test_two_halves_of_different_streams():
    with pytest.raises(ValueError, match="of different streams"):
        QuicTransport(SendStream(None, 0), ReceiveStream(None, 4))
