"""Registering implementations: what fits, how it is called, and what is said if it does not fit."""

import asyncio
import functools
import operator
import threading
from typing import Any, Protocol
from unittest.mock import AsyncMock

import pytest
from jetstream import I32, INJECTED, Context, Interface, method, service
from jetstream._definition import definition_of
from jetstream._implementation import is_stub, service_table
from jetstream.testing import pair

from tests.helpers import run
from tests.unit.snapshot import check_snapshot, snapshots


@service
class Echo(Interface, Protocol):
    async def put(self, item: str, count: I32 = 1) -> str: ...


@service
class Options(Protocol):
    async def put(self, *, item: str, count: I32) -> str: ...


def answer(implementation: object, *args: Any, of: type = Echo, **kwargs: Any) -> str:
    """What `put` answers, through the real codec and mux."""

    async def main() -> str:
        async with pair(definition_of(of).cls.Service(implementation)) as session:
            return await session.channel(of).put(*args, **kwargs)

    return run(main)


# ---- what fits ----


class Plain(Echo):
    async def put(self, item: str, count: I32 = 1) -> str:
        return item * count


class Direct:
    def put(self, item: str, count: I32) -> str:
        return item * count


class OtherNames:
    async def put(self, text, times) -> str:
        return text * times


class Star:
    async def put(self, *args):
        return args[0] * args[1]


class KeywordOnly:
    async def put(self, *, count: I32, item: str) -> str:
        return item * count


class MoreThanAsked:
    async def put(self, item: str, count: I32, shout: bool = False, **rest: object) -> str:
        assert not shout
        assert not rest
        return item * count


class ContextFirst:
    async def put(self, ctx: Context, item: str, count: I32) -> str:
        assert ctx.method == "Echo.put"
        return item * count


class ContextBetween:
    def put(self, item: str, context: Context | None, count: I32) -> str:
        assert context is not None
        return item * count


class ContextAfterADefault:
    async def put(self, item: str, count: I32, extra: int = 7, ctx: Context = INJECTED) -> str:
        assert extra == 7
        assert ctx.method == "Echo.put"
        return item * count


class ContextByName:
    async def put(self, item: str, count: I32, *, ctx: Context) -> str:
        assert ctx.method == "Echo.put"
        return item * count


class Static:
    @staticmethod
    async def put(item: str, count: I32) -> str:
        return item * count


def wrapped(function):
    @functools.wraps(function)
    async def run(*args, **kwargs):
        return await function(*args, **kwargs)

    return run


class Wrapped:
    @wrapped
    async def put(self, item: str, count: I32) -> str:
        return item * count


class Attribute:
    def __init__(self) -> None:
        self.put = lambda item, count: item * count


class Builtin:
    put = operator.mul


FITTING = [
    Plain,
    Direct,
    OtherNames,
    Star,
    MoreThanAsked,
    ContextFirst,
    ContextBetween,
    ContextAfterADefault,
    ContextByName,
    Static,
    Wrapped,
    Attribute,
    Builtin,
]


@pytest.mark.parametrize("implementation", FITTING, ids=lambda cls: cls.__name__)
def test_anything_with_the_methods_serves(implementation):
    assert answer(implementation(), "ab", 2) == "abab"


def test_arguments_by_name_arrive_by_name():
    assert answer(Direct(), item="ab", of=Options, count=3) == "ababab"


def test_keyword_only_arguments():
    class Mine(Options):
        async def put(self, *, item: str, count: I32) -> str:
            return item * count

    assert answer(Mine(), of=Options, item="ab", count=3) == "ababab"


def test_a_mock_serves():
    mock = AsyncMock()
    mock.put.return_value = "mocked"
    assert answer(mock, "ab", 2) == "mocked"
    mock.put.assert_awaited_once_with("ab", 2)


def test_a_channel_serves_another_session():
    async def main() -> None:
        async with pair(Plain()) as inner, pair(inner.channel(Echo)) as outer:
            assert await outer.channel(Echo).put("ab", 2) == "abab"

    run(main)


def test_a_class_may_implement_its_own_methods():
    @service
    class Own:
        async def put(self, item: str, count: I32) -> str:
            return item * count

    assert answer(Own(), "ab", 2, of=Own) == "abab"


def test_inherited_methods_count():
    class Child(Plain):
        pass

    assert answer(Child(), "ab", 2) == "abab"


def test_where_a_method_runs():
    class Threads:
        @method(thread=True)
        def put(self, item: str, count: I32, ctx: Context = INJECTED) -> str:
            assert ctx.method == "Echo.put"
            return str(threading.current_thread() is threading.main_thread())

    class Loop:
        @method
        def put(self, item: str, count: I32) -> str:
            return str(threading.current_thread() is threading.main_thread())

    class Task:
        async def put(self, item: str, count: I32) -> str:
            return str(asyncio.current_task() is not None)

    assert answer(Threads(), "a", 1) == "False"
    assert answer(Loop(), "a", 1) == "True"
    assert answer(Task(), "a", 1) == "True"


def test_what_is_called_can_be_wrapped():
    seen: list[tuple[str, bool]] = []

    def wrap(what, function, task):
        seen.append((what, task))
        return function

    service_table(definition_of(Echo), Plain(), wrap)
    service_table(definition_of(Echo), Direct(), wrap)
    assert seen == [("Echo.put", True), ("Echo.put", False)]


# ---- what does not ----


class Missing:
    pass


class NotCallable:
    put = "put"


class Inherits(Echo):
    pass


class Fewer:
    async def put(self, item: str) -> str: ...


class More:
    async def put(self, item: str, count: I32, colour: str) -> str: ...


class Typed:
    async def put(self, item: str, count: str) -> str: ...


class Narrower:
    async def put(self, item: str, count: int) -> str: ...


class Unsendable:
    async def put(self, item: complex, count: I32) -> str: ...


class Returns:
    async def put(self, item: str, count: I32) -> bytes: ...


class ReturnsNothing:
    async def put(self, item: str, count: I32) -> None: ...


class AsyncInThread:
    @method(thread=True)
    async def put(self, item: str, count: I32) -> str: ...


class Undefined:
    async def put(self, item: "Parcel", count: I32) -> str: ...  # noqa: F821 - that is the mistake


MISTAKES = [
    AsyncInThread,
    Fewer,
    Inherits,
    KeywordOnly,
    Missing,
    More,
    Narrower,
    NotCallable,
    Returns,
    ReturnsNothing,
    Typed,
    Undefined,
    Unsendable,
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda cls: cls.__name__)
def test_a_mistake_is_told_when_it_is_registered(mistake):
    with pytest.raises(TypeError) as caught:
        Echo.Service(mistake())
    check_snapshot("implementation", mistake.__name__, str(caught.value))


def test_no_snapshot_is_left_over():
    assert snapshots("implementation") == {mistake.__name__ for mistake in MISTAKES}


def test_methods_of_a_base_of_the_service_may_be_missing_too():
    class Base:
        async def put(self, item: str) -> str: ...

    @service
    class Derived(Base):
        async def get(self) -> str:
            return ""

    with pytest.raises(TypeError, match=r"Derived does not implement Derived\.put, which is only"):
        Derived.Service(Derived())


def test_nothing_may_be_all_there_is_to_do():
    @service
    class Door:
        async def knock(self) -> None:
            pass

        async def open(self) -> str:
            return "come in"

    class Gate(Door):
        pass

    Door.Service(Door())
    Door.Service(Gate())


def test_nothing_to_do_is_no_implementation_of_what_is_only_declared():
    @service
    class Door:
        async def knock(self) -> None: ...

    @service
    class Gate(Protocol):
        async def knock(self) -> None: ...

    @service
    class Hatch:
        async def knock(self) -> None:
            raise NotImplementedError

    for cls in (Door, Gate):
        with pytest.raises(TypeError, match="which is only declared"):
            cls.Service(type("Mine", (cls,), {})())
    with pytest.raises(TypeError, match="which is only declared"):
        Hatch.Service(Hatch())


# ---- bodies that only declare ----


class Declared:
    async def dots(self): ...
    async def passes(self):
        pass

    async def text(self):
        """Text."""

    async def text_and_dots(self):
        """Text."""
        ...

    async def raises(self):
        raise NotImplementedError

    async def raises_with_a_reason(self):
        """Text."""
        raise NotImplementedError("to be written, some day")

    def plain(self): ...
    def plain_raises(self):
        raise NotImplementedError()


class Written:
    def returns(self):
        return 1

    def returns_text(self):
        return ""

    async def awaits(self):
        await asyncio.sleep(0)

    async def raises_something(self):
        raise ValueError("no")

    async def may_raise(self, item=None):
        if item:
            raise NotImplementedError

    async def says_more(self, item=None):
        raise NotImplementedError(item)


@pytest.mark.parametrize("name", [name for name in vars(Declared) if not name.startswith("_")])
def test_only_declared(name):
    assert is_stub(vars(Declared)[name])


@pytest.mark.parametrize("name", [name for name in vars(Written) if not name.startswith("_")])
def test_written(name):
    assert not is_stub(vars(Written)[name])


def test_what_is_no_function_is_no_declaration():
    assert not is_stub(len)
    assert not is_stub(None)
