"""Channels: the typed client of a service, made of its class."""

from typing import Any, Protocol

import pytest
from jetstream import (
    I32,
    INJECTED,
    CallError,
    ClosedError,
    Context,
    EncodeError,
    Interface,
    JetStreamError,
    channel_type,
    close_channel,
    service,
    with_options,
)
from jetstream.testing import pair

from tests.helpers import run


@service
class Echo(Interface, Protocol):
    """Says things again."""

    kind = "echo"

    async def put(self, item: str, count: I32 = 1) -> str:
        """Says it."""
        ...

    async def who(self, ctx: Context = INJECTED) -> str: ...

    async def _own(self) -> str:
        return f"own {self.kind}"


class EchoImpl(Echo):
    async def put(self, item: str, count: I32 = 1) -> str:
        return item * count

    async def who(self, ctx: Context = INJECTED) -> str:
        return ctx.method


def with_channel(test):
    async def main() -> None:
        async with pair(EchoImpl(), call_timeout=7) as session:
            await test(session, session.channel(Echo))

    run(main)


@pytest.mark.parametrize("value", [5, "text", [1, 2], None, 10**12])
def test_metadata_is_bytes_and_nothing_that_bytes_can_be_made_of(value):
    async def test(_, echo):
        with pytest.raises(TypeError, match=r"^metadata\['k'\] must be bytes, not "):
            with_options(echo, metadata={"k": value})

    with_channel(test)


@pytest.mark.parametrize("value", [b"ab", bytearray(b"ab"), memoryview(b"ab")])
def test_metadata_of_whatever_holds_bytes(value):
    async def test(_, echo):
        assert await with_options(echo, metadata={"k": value}).put("a") == "a"

    with_channel(test)


class NoTransport:
    """A transport that is asked and says no."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def open_lane(self, version: str, max_concurrent: int) -> Any:
        self.asked.append((version, max_concurrent))
        raise ClosedError("no")


def test_calls_by_place_by_name_and_with_defaults():
    async def test(session, echo):
        assert await echo.put("ab", 2) == "abab"
        assert await echo.put("ab") == "ab"
        assert await echo.put(count=3, item="ab") == "ababab"
        assert await echo.put("ab", timeout=5) == "ab"
        assert await echo.put("ab", 2, timeout=None) == "abab"
        assert await echo.who() == "Echo.who"

    with_channel(test)


def test_a_channel_is_an_instance_of_the_class():
    async def test(session, echo):
        assert Echo in type(echo).__mro__
        assert type(echo).__name__ == "EchoChannel"
        assert type(echo).__doc__ == "Says things again."
        assert repr(echo) == "<EchoChannel: 0 calls in flight, 0 waiting>"
        # What is not on the wire is the class's own.
        assert await echo._own() == "own echo"

    with_channel(test)


def test_methods_say_what_they_are():
    async def test(session, echo):
        assert echo.put.__name__ == "put"
        assert repr(echo.put) == "<remote method Echo.put>"

    with_channel(test)


def test_methods_have_their_docstrings():
    async def test(session, echo):
        assert echo.put.__doc__ == "Says it."

    with_channel(test)


def test_a_call_is_not_made_before_it_is_awaited():
    async def test(session, echo):
        call = echo.put("ab")
        assert repr(call) == "<call of Echo.put, not awaited>"
        assert await call == "ab"
        assert repr(call) == "<call of Echo.put, over>"
        with pytest.raises(RuntimeError, match="already awaited"):
            await call

    with_channel(test)


def test_a_call_that_is_never_awaited_warns():
    async def test(session, echo):
        with pytest.warns(RuntimeWarning, match=r"call of 'Echo\.put' was never awaited"):
            echo.put("ab")

    with_channel(test)


def test_arguments_that_do_not_fit():
    async def test(session, echo):
        signature = r"Echo\.put\(item: str, count: I32 = 1\) -> str"
        with pytest.raises(TypeError, match=f"^{signature}: missing a required argument: 'item'$"):
            echo.put()
        with pytest.raises(EncodeError) as caught:
            await echo.put("ab", "two")
        assert caught.value.path == "Echo.put.count"
        assert await echo.put("still works") == "still works"

    with_channel(test)


@pytest.mark.parametrize(
    ("timeout", "error", "words"),
    [(-1, ValueError, "not be negative"), ("1", TypeError, "a number of seconds, or None")],
)
def test_timeouts_that_are_none(timeout, error, words):
    async def test(session, echo):
        with pytest.raises(error, match=words):
            echo.put("ab", timeout=timeout)
        with pytest.raises(error, match=words):
            with_options(echo, timeout=timeout)

    with_channel(test)


def test_other_options_on_the_same_lane():
    async def test(session, echo):
        other = with_options(echo, timeout=1)
        assert type(other) is type(echo)
        assert other is not echo
        assert await other.put("ab") == "ab"
        same = with_options(other)
        close_channel(same)
        with pytest.raises(ClosedError):
            await echo.put("ab")

    with_channel(test)


def test_closing_a_channel_leaves_the_others():
    async def test(session, echo):
        close_channel(echo)
        with pytest.raises(ClosedError, match="the channel is closed"):
            await echo.put("ab")
        assert await session.channel(Echo).put("ab") == "ab"

    with_channel(test)


@pytest.mark.parametrize("function", [with_options, close_channel])
@pytest.mark.parametrize("thing", [EchoImpl(), None, 3])
def test_what_is_no_channel(function, thing):
    with pytest.raises(TypeError, match=r"is not a channel: session\.channel\(\.\.\.\) makes one"):
        function(thing)


def test_a_channel_type_opens_a_lane():
    transport = NoTransport()
    with pytest.raises(ClosedError):
        Echo.Channel(10, transport)
    (asked,) = transport.asked
    assert asked == (f"rs.jetstream.proto/echo/1.0.0+{asked[0].partition('+')[2]}", 10)


@pytest.mark.parametrize("count", [0, -1, 65_536])
def test_there_are_65535_tags(count):
    with pytest.raises(ValueError, match=rf"max_concurrent={count}: it must be from 1 to 65535"):
        Echo.Channel(count, NoTransport())


def test_channel_types():
    assert channel_type(Echo) is Echo.Channel
    assert repr(Echo.Channel) == "<EchoChannel>"
    assert Echo.Channel.__doc__ == "The typed client of Echo."
    with pytest.raises(TypeError, match="is not a service class"):
        channel_type(int)


def test_a_channel_is_not_made_by_its_class():
    async def test(session, echo):
        with pytest.raises(
            TypeError, match=r"Echo\.Channel\(\.\.\.\) or session\.channel\(\.\.\.\)"
        ):
            type(echo)()

    with_channel(test)


@service
class Shop:
    async def sell(self, what: str) -> None:
        raise JetStreamError(
            "sold out", code="shop::out", help="come back", url="https://a.example"
        )


@service
class Agent:
    def __init__(self, shop: Shop) -> None:
        self.shop = shop

    async def buy(self, what: str) -> None:
        await self.shop.sell(what)


def test_an_error_that_is_passed_on_says_the_same():
    async def main() -> None:
        async with pair(Shop()) as first, pair(Agent(first.channel(Shop))) as second:
            with pytest.raises(CallError) as told:
                await second.channel(Agent).buy("cheese")
            error = told.value
            assert (error.message, error.code) == ("sold out", "shop::out")
            assert (error.help, error.url) == ("come back", "https://a.example")

    run(main)
