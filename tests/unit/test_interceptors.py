"""Interceptors at both ends, in memory: order, what they see, what they may do, what they cost."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from jetstream import (
    I32,
    INJECTED,
    CallError,
    ClosedError,
    Context,
    Done,
    JetStreamError,
    Router,
    Session,
    _core,
    method,
    reply_metadata,
    service,
    with_options,
)
from jetstream.interceptors import (
    ClientCall,
    ClientInterceptor,
    MethodInfo,
    ServerCall,
    ServerInterceptor,
)
from jetstream.testing import pair

from tests.helpers import live_objects, run


@service
class Shelf:
    """Calls and streams of every kind, and what became of them."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.closed = asyncio.Event()

    async def put(self, name: str, count: I32 = 1) -> str:
        self.seen.append((name, count))
        return name * count

    def plain(self, a: I32, b: I32) -> I32:
        return a - b

    @method(idempotent=True)
    async def between(self, a: str, ctx: Context = INJECTED, b: str = "b") -> str:
        ctx.reply_metadata["said"] = ctx.metadata.get("asked", b"nothing")
        return f"{a}{ctx.method}{b}"

    async def fail(self, secret: bool) -> None:
        if secret:
            raise ValueError("the password")
        raise JetStreamError("no", code="shelf::no", help="do not")

    async def count(self, upto: I32, ctx: Context = INJECTED) -> AsyncIterator[I32 | Done[str]]:
        ctx.reply_metadata["said"] = b"count"
        try:
            for number in range(upto):
                yield number
            if upto == 99:
                await asyncio.Event().wait()
            if upto == 98:
                raise JetStreamError("enough", code="shelf::enough")
            yield Done("counted")
        finally:
            self.closed.set()

    async def add(self, numbers: AsyncIterator[I32]) -> I32:
        return sum([number async for number in numbers])


class Noting:
    """Notes what happens; serves either end."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self.name = name
        self.notes = notes

    async def intercept_call(self, call: Any, proceed: Any, /) -> Any:
        self.notes.append(f"{self.name} before {call.method.what}")
        try:
            return await proceed(call)
        finally:
            self.notes.append(f"{self.name} after")

    async def intercept_stream(self, call: Any, proceed: Any, /) -> AsyncIterator[Any]:
        self.notes.append(f"{self.name} before {call.method.what}")
        try:
            async for item in proceed(call):
                self.notes.append(f"{self.name} {item}")
                yield item
            self.notes.append(f"{self.name} at the end")
        finally:
            self.notes.append(f"{self.name} after")


@asynccontextmanager
async def shelf(
    *,
    server: tuple[Any, ...] = (),
    client: tuple[Any, ...] = (),
    single_lane: bool = False,
) -> AsyncIterator[tuple[Shelf, Shelf]]:
    """The implementation, and a channel to it."""
    served = Shelf()
    async with pair(served, interceptors=server, single_lane=single_lane) as session:
        yield served, session.channel(Shelf, interceptors=client)


# ---- order ----


def test_the_first_one_is_outermost_at_both_ends():
    async def main() -> None:
        notes: list[str] = []
        router = Router(Shelf(), interceptors=[Noting("router", notes)])
        async with pair(router, interceptors=[Noting("server", notes)]) as session:
            outer, inner = Noting("outer", notes), Noting("inner", notes)
            channel = session.channel(Shelf, interceptors=[outer, inner])
            assert await channel.put("a") == "a"
        before = [f"{name} before Shelf.put" for name in ("outer", "inner", "server", "router")]
        after = [f"{name} after" for name in ("router", "server", "inner", "outer")]
        assert notes == before + after

    run(main)


@pytest.mark.parametrize("single_lane", [False, True])
def test_streams_pass_through_in_the_same_order(single_lane):
    async def main() -> None:
        notes: list[str] = []
        one, two = Noting("one", notes), Noting("two", notes)
        async with shelf(server=(one, two), single_lane=single_lane) as (_, channel):
            items = channel.count(1)
            assert [item async for item in items] == [0]
            assert items.result == "counted"
        assert notes == [
            "one before Shelf.count",
            "two before Shelf.count",
            "two 0",
            "one 0",
            "two Done(value='counted')",
            "one Done(value='counted')",
            "two at the end",
            "two after",
            "one at the end",
            "one after",
        ]

    run(main)


def test_the_calling_end_of_a_stream():
    async def main() -> None:
        notes: list[str] = []
        one, two = Noting("one", notes), Noting("two", notes)
        async with shelf(client=(one, two)) as (_, channel):
            items = channel.count(1)
            assert notes == []
            with pytest.raises(RuntimeError, match="has not ended"):
                _ = items.result
            assert [item async for item in items] == [0]
            assert items.result == "counted"
            assert reply_metadata(items) == {"said": b"count"}
            assert [item async for item in items] == []
        assert notes[-4:] == ["two at the end", "two after", "one at the end", "one after"]

    run(main)


def test_options_take_the_place_of_interceptors():
    async def main() -> None:
        notes: list[str] = []
        async with shelf(client=(Noting("old", notes),)) as (_, channel):
            await with_options(channel, interceptors=[Noting("new", notes)]).put("a")
            assert notes == ["new before Shelf.put", "new after"]
            await with_options(channel, timeout=1).put("a")
            assert notes[2:] == ["old before Shelf.put", "old after"]
            bare = with_options(channel, interceptors=[])
            assert type(bare.put) is _core.ChannelMethod
            await bare.put("a")
            assert len(notes) == 4

    run(main)


# ---- without any ----


def test_without_interceptors_nothing_is_in_between():
    class OnlyStreams(ClientInterceptor):
        def intercept_stream(self, call: ClientCall, proceed: Any, /) -> AsyncIterator[Any]:
            return proceed(call)

    async def main() -> None:
        async with shelf() as (_, channel):
            assert type(channel.put) is _core.ChannelMethod
            streams = with_options(channel, interceptors=[OnlyStreams()])
            assert type(streams.put) is _core.ChannelMethod
            assert type(streams.count) is not _core.ChannelMethod
            idle = with_options(channel, interceptors=[ClientInterceptor.__new__(Idle)])
            assert type(idle.count) is _core.ChannelMethod

    class Idle(ClientInterceptor):
        pass

    run(main)


# ---- what they see ----


def test_what_a_server_sees():
    seen: list[ServerCall] = []

    class See(ServerInterceptor):
        async def intercept_call(self, call: ServerCall, proceed: Any, /) -> Any:
            seen.append(call)
            answer = await proceed(call)
            call.reply_metadata["more"] = b"m"
            return answer

    async def main() -> None:
        async with shelf(server=(See(),)) as (_, channel):
            asking = with_options(channel, metadata={"asked": b"a"}, timeout=5)
            call = asking.between("x", b="y")
            assert await call == "xShelf.betweeny"
            assert reply_metadata(call) == {"said": b"a", "more": b"m"}
            assert await channel.plain(5, 3) == 2
            assert await channel.add(_numbers(4)) == 6
        first, second, third = seen
        assert first.method == MethodInfo(
            service="Shelf",
            name="between",
            parameters=("a", "b"),
            idempotent=True,
            gives_stream=False,
            takes_stream=False,
            lossy=False,
        )
        assert dict(first.arguments) == {"a": "x", "b": "y"}
        assert first.metadata == {"asked": b"a"}
        assert first.context.deadline is not None
        assert repr(first) == "<ServerCall of Shelf.between>"
        assert dict(second.arguments) == {"a": 5, "b": 3}
        assert third.method.takes_stream
        with pytest.raises(TypeError):
            first.arguments["a"] = "z"  # type: ignore[index]

    run(main)


async def _numbers(upto: int) -> AsyncIterator[int]:
    for number in range(upto):
        yield number


def test_what_a_client_sees_and_sets():
    class Set(ClientInterceptor):
        async def intercept_call(self, call: ClientCall, proceed: Any, /) -> Any:
            assert call.timeout == 30
            assert call.session is sessions[0]
            assert call.reply_metadata == {}
            call.timeout = 5
            call.metadata["asked"] = b"by an interceptor"
            answer = await proceed(call)
            assert call.reply_metadata == {"said": b"by an interceptor"}
            return answer + "!"

    sessions: list[Session] = []

    async def main() -> None:
        async with pair(Shelf()) as session:
            sessions.append(session)
            channel = session.channel(Shelf, interceptors=[Set()])
            call = channel.between("x", b="y")
            assert await call == "xShelf.betweeny!"
            assert reply_metadata(call) == {"said": b"by an interceptor"}
            # What one call says, the next one does not.
            plain = with_options(channel, interceptors=[])
            assert await plain.between("x") == "xShelf.betweenb"

    run(main)


def test_metadata_of_a_call_does_not_stay():
    class Once(ClientInterceptor):
        def __init__(self) -> None:
            self.calls = 0

        async def intercept_call(self, call: ClientCall, proceed: Any, /) -> Any:
            self.calls += 1
            if self.calls == 1:
                call.metadata["asked"] = b"once"
            await proceed(call)
            return call.reply_metadata["said"].decode()

    async def main() -> None:
        async with shelf(client=(Once(),)) as (_, channel):
            assert await channel.between("x") == "once"
            assert await channel.between("x") == "nothing"

    run(main)


def test_metadata_that_is_too_large_fails_the_call():
    class Much(ClientInterceptor):
        async def intercept_call(self, call: ClientCall, proceed: Any, /) -> Any:
            call.metadata["much"] = bytes(9000)
            return await proceed(call)

    async def main() -> None:
        async with shelf(client=(Much(),)) as (_, channel):
            with pytest.raises(ValueError, match="metadata"):
                await channel.put("a")

    run(main)


# ---- what they may do ----


class Answer(ServerInterceptor):
    async def intercept_call(self, call: ServerCall, proceed: Any, /) -> Any:
        return "instead"

    async def intercept_stream(self, call: ServerCall, proceed: Any, /) -> AsyncIterator[Any]:
        yield 7
        yield Done("instead")


def test_an_answer_instead_of_the_method():
    async def main() -> None:
        async with shelf(server=(Answer(),)) as (served, channel):
            assert await channel.put("a") == "instead"
            items = channel.count(3)
            assert [item async for item in items] == [7]
            assert items.result == "instead"
            assert served.seen == []

    run(main)


class Refuse(ServerInterceptor):
    def __init__(self, error: Exception) -> None:
        self.error = error

    async def intercept_call(self, call: ServerCall, proceed: Any, /) -> Any:
        raise self.error

    async def intercept_stream(self, call: ServerCall, proceed: Any, /) -> AsyncIterator[Any]:
        raise self.error
        yield


@pytest.mark.parametrize(
    ("error", "message", "code"),
    [
        (JetStreamError("not you", code="shelf::you"), "not you", "shelf::you"),
        (ValueError("the password"), "Shelf.{} failed", "jetstream::internal"),
    ],
)
def test_errors_of_an_interceptor_are_those_of_the_method(error, message, code):
    async def main() -> None:
        async with shelf(server=(Refuse(error),)) as (served, channel):
            with pytest.raises(CallError) as told:
                await channel.put("a")
            assert (told.value.message, told.value.code) == (message.format("put"), code)
            with pytest.raises(CallError) as told:
                async for _ in channel.count(3):
                    pass
            assert (told.value.message, told.value.code) == (message.format("count"), code)
            assert served.seen == []

    run(main)


def test_errors_of_the_method_reach_the_interceptors_and_may_be_changed():
    seen: list[str] = []

    class Hide(ServerInterceptor):
        async def intercept_call(self, call: ServerCall, proceed: Any, /) -> Any:
            try:
                return await proceed(call)
            except Exception as error:
                seen.append(type(error).__name__)
                raise JetStreamError("hidden", code="shelf::hidden") from error

    async def main() -> None:
        async with shelf(server=(Hide(),)) as (_, channel):
            for secret in (True, False):
                with pytest.raises(CallError) as told:
                    await channel.fail(secret)
                assert told.value.code == "shelf::hidden"
        assert seen == ["ValueError", "JetStreamError"]

    run(main)


def test_errors_of_a_stream_reach_the_client_through_its_interceptors():
    async def main() -> None:
        notes: list[str] = []
        async with shelf(client=(Noting("one", notes),)) as (_, channel):
            items = channel.count(98)
            with pytest.raises(CallError, match="enough"):
                async for _ in items:
                    pass
            with pytest.raises(CallError, match="enough"):
                _ = items.result
            assert notes[-2:] == ["one 97", "one after"]

    run(main)


def test_a_call_can_be_made_more_than_once():
    class Twice(ClientInterceptor):
        async def intercept_call(self, call: ClientCall, proceed: Any, /) -> Any:
            return await proceed(call) + await proceed(call)

    async def main() -> None:
        async with shelf(client=(Twice(),)) as (served, channel):
            assert await channel.put("a", 2) == "aaaa"
            assert served.seen == [("a", 2), ("a", 2)]

    run(main)


@pytest.mark.parametrize("side", ["server", "client"])
def test_a_stream_from_the_caller_is_taken_once(side):
    class Twice(ClientInterceptor, ServerInterceptor):
        async def intercept_call(self, call: Any, proceed: Any, /) -> Any:
            first = await proceed(call)
            return first, await proceed(call)

    class Told(ServerInterceptor):
        async def intercept_call(self, call: ServerCall, proceed: Any, /) -> Any:
            try:
                return await proceed(call)
            except RuntimeError as error:
                raise JetStreamError(str(error)) from error

    class Both(ClientInterceptor):
        async def intercept_call(self, call: ClientCall, proceed: Any, /) -> Any:
            return 1000 * await proceed(call) + await proceed(call)

    async def main() -> None:
        words = r"Shelf\.add cannot proceed a second time"
        if side == "client":
            async with shelf(client=(Twice(),)) as (_, channel):
                with pytest.raises(RuntimeError, match=words):
                    await channel.add(_numbers(4))
                with pytest.raises(RuntimeError, match=words):
                    await channel.add(iter([1, 2]))
        else:
            async with shelf(server=(Told(), Twice())) as (_, channel):
                with pytest.raises(CallError, match=words):
                    await channel.add(_numbers(4))
        # What can begin anew is sent again.
        async with shelf(client=(Both(),)) as (_, channel):
            assert await channel.add([1, 2, 3]) == 6006

    run(main)


def test_items_can_be_changed_and_left_out():
    class Even(ClientInterceptor):
        async def intercept_stream(self, call: ClientCall, proceed: Any, /) -> AsyncIterator[Any]:
            async for item in proceed(call):
                if isinstance(item, Done):
                    yield Done(item.value.upper())
                elif item % 2 == 0:
                    yield item * 10

    async def main() -> None:
        async with shelf(client=(Even(),)) as (_, channel):
            items = channel.count(5)
            assert [item async for item in items] == [0, 20, 40]
            assert items.result == "COUNTED"

    run(main)


@pytest.mark.parametrize("side", ["server", "client"])
def test_an_item_after_the_result_is_a_mistake(side):
    class More(Noting):
        async def intercept_stream(self, call: Any, proceed: Any, /) -> AsyncIterator[Any]:
            yield Done("early")
            yield 1

    async def main() -> None:
        more: Any = {side: (More("", []),)}
        async with shelf(**more) as (_, channel):
            # A server's mistake is its own business, a client's is ours.
            expected = CallError if side == "server" else RuntimeError
            with pytest.raises(expected, match="failed" if side == "server" else "after the res"):
                async for _ in channel.count(1):
                    pass

    run(main)


# ---- calls that are given up ----


def test_a_call_that_is_cancelled_is_cancelled_all_the_way():
    async def main() -> None:
        notes: list[str] = []
        begun = asyncio.Event()

        class Wait(ServerInterceptor):
            async def intercept_call(self, call: ServerCall, proceed: Any, /) -> Any:
                begun.set()
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    ended.set()
                    raise

        ended = asyncio.Event()
        async with shelf(server=(Wait(),), client=(Noting("client", notes),)) as (_, channel):
            task = asyncio.ensure_future(channel.put("a"))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await ended.wait()
            assert notes == ["client before Shelf.put", "client after"]

    run(main)


def _leave_loop(items: Any) -> Any:
    async def leave() -> None:
        async for _ in items:
            break

    return leave


@pytest.mark.parametrize("way", ["break", "cancel", "with", "task"])
@pytest.mark.parametrize("side", ["server", "client", "both"])
def test_leaving_a_stream_ends_it_at_both_ends(way, side):
    async def main() -> None:
        notes: list[str] = []
        around = (Noting("one", notes), Noting("two", notes))
        server = around if side != "client" else ()
        client = around if side != "server" else ()
        async with shelf(server=server, client=client) as (served, channel):
            if way == "break":
                async for item in channel.count(99):
                    if item == 98:
                        break
            elif way == "cancel":
                items = channel.count(99)
                assert await anext(items) == 0
                items.cancel()
                with pytest.raises(ClosedError, match="given up"):
                    await anext(items)
            elif way == "with":
                async with channel.count(99) as items:
                    assert await anext(items) == 0
            else:
                got = asyncio.Event()

                async def take() -> None:
                    async for item in channel.count(99):
                        if item == 98:
                            got.set()

                task = asyncio.create_task(take())
                await got.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            await served.closed.wait()
            ends = bool(server) + bool(client)
            while notes.count("one after") < ends or notes.count("two after") < ends:  # noqa: ASYNC110
                await asyncio.sleep(0)
            assert not any(note.endswith("at the end") for note in notes)

    before = live_objects()
    run(main)
    assert live_objects() == before


def test_an_interceptor_that_fails_when_it_is_left_keeps_nothing_open():
    class Failing(Noting):
        async def intercept_stream(self, call: Any, proceed: Any, /) -> AsyncIterator[Any]:
            try:
                async for item in proceed(call):
                    yield item
            finally:
                raise LookupError(self.name)

    async def main() -> None:
        notes: list[str] = []
        around = (Failing("one", notes), Failing("two", notes), Noting("three", notes))
        async with shelf(client=around) as (served, channel):
            items = channel.count(99)
            assert await anext(items) == 0
            with pytest.raises(LookupError, match="one"):
                await items.aclose()
            assert notes[-1] == "three after"
            await served.closed.wait()

    run(main)


@pytest.mark.parametrize("intercepted", [True, False])
def test_cancelling_from_another_task_is_no_end_to_the_one_that_waits(intercepted):
    async def main() -> None:
        notes: list[str] = []
        client = (Noting("one", notes),) if intercepted else ()
        async with shelf(client=client) as (served, channel):
            items = channel.count(99)
            got: list[int] = []
            waits = asyncio.Event()

            async def take() -> None:
                async for item in items:
                    got.append(item)
                    if item == 98:
                        waits.set()

            task = asyncio.create_task(take())
            await waits.wait()
            await asyncio.sleep(0)
            items.cancel()
            with pytest.raises(ClosedError, match="given up"):
                await task
            assert len(got) == 99
            assert task.cancelling() == 0
            await served.closed.wait()
            with pytest.raises(ClosedError, match="given up"):
                await anext(items)
            with pytest.raises(ClosedError, match="given up"):
                _ = items.result

    run(main)


@pytest.mark.parametrize("intercepted", [True, False])
@pytest.mark.parametrize("way", ["task", "aclose", "with"])
def test_what_was_given_up_is_no_end(intercepted, way):
    async def main() -> None:
        client = (Noting("one", []),) if intercepted else ()
        async with shelf(client=client) as (served, channel):
            items = channel.count(99)
            assert await anext(items) == 0
            if way == "aclose":
                await items.aclose()
            elif way == "with":
                async with items:
                    pass
            else:
                for _ in range(98):
                    await anext(items)
                waiting = asyncio.ensure_future(anext(items))
                await asyncio.sleep(0)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
            await served.closed.wait()
            for _ in range(2):
                with pytest.raises(ClosedError, match="given up"):
                    await anext(items)
                with pytest.raises(ClosedError, match="given up"):
                    _ = items.result

    run(main)


@pytest.mark.parametrize("intercepted", [True, False])
def test_leaving_after_the_end_changes_nothing(intercepted):
    async def main() -> None:
        client = (Noting("one", []),) if intercepted else ()
        async with shelf(client=client) as (_, channel):
            items = channel.count(2)
            async with items:
                assert [item async for item in items] == [0, 1]
            items.cancel()
            await items.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(items)
            assert items.result == "counted"

    run(main)


def test_a_stream_has_one_taker():
    async def main() -> None:
        notes: list[str] = []
        async with (
            shelf(client=(Noting("one", notes),)) as (_, channel),
            channel.count(99) as items,
        ):
            for _ in range(99):
                await anext(items)
            first = asyncio.ensure_future(anext(items))
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="one taker"):
                await anext(items)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first

    run(main)


def test_a_call_that_is_never_awaited_warns():
    async def main() -> None:
        async with shelf(client=(Noting("one", []),)) as (_, channel):
            with pytest.warns(RuntimeWarning) as caught:
                channel.put("a")
            assert [str(each.message) for each in caught] == [
                "call of 'Shelf.put' was never awaited"
            ]
            assert caught[0].filename == __file__
            # These are seen to, whether or not they have begun.
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                channel.put("a").close()
                task = asyncio.create_task(channel.put("a"))
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                assert await channel.put("a") == "a"

    run(main)


def test_arguments_that_do_not_fit_fail_at_once():
    async def main() -> None:
        async with shelf(client=(Noting("one", []),)) as (_, channel):
            with pytest.raises(TypeError, match=r"Shelf\.put\(name: str.*missing a required"):
                channel.put()  # type: ignore[call-arg]
            assert repr(channel.put) == "<intercepted <remote method Shelf.put>>"
            assert channel.put.__name__ == "put"
            call = channel.put("a", timeout=3)
            assert repr(call) == "<intercepted call of Shelf.put>"
            assert await asyncio.create_task(call) == "a"
            assert "Shelf.count" in repr(channel.count(1))

    run(main)


def test_a_channel_with_interceptors_can_be_served():
    async def main() -> None:
        notes: list[str] = []
        async with shelf(client=(Noting("client", notes),)) as (_, channel):
            router = Router(interceptors=[Noting("server", notes)])
            router.register(channel, service=Shelf)
            async with pair(router) as session:
                passing = session.channel(Shelf)
                assert await passing.put("a", 2) == "aa"
                items = passing.count(2)
                assert [item async for item in items] == [0, 1]
                assert items.result == "counted"
        assert notes[:4] == [
            "server before Shelf.put",
            "client before Shelf.put",
            "client after",
            "server after",
        ]

    run(main)


class Plain(ServerInterceptor):
    def intercept_call(self, call: Any, proceed: Any, /) -> Any:
        return "the password"


@pytest.mark.parametrize("around", [(), (Noting("outside", []),)])
def test_an_interceptor_that_gives_nothing_to_await_is_named(around, caplog):
    words = r"^Plain\.intercept_call gave a str and nothing to await: let it be async, as in"

    async def main() -> None:
        async with shelf(client=(*around, Plain())) as (_, channel):
            with pytest.raises(TypeError, match=words):
                await channel.put("a")
        async with shelf(server=(*around, Plain())) as (_, channel):
            with pytest.raises(CallError, match=r"Shelf\.put failed"):
                await channel.put("a")

    run(main)
    assert "Plain.intercept_call gave a str" in caplog.text
    assert "the password" not in caplog.text


class Awaitable:
    def __init__(self, made: Any) -> None:
        self.made = made

    def __await__(self) -> Any:
        return self.made.__await__()


class Intercepting:
    """An interceptor whose method is an attribute."""

    def __init__(self, intercept: Any) -> None:
        self.intercept_call = intercept

    intercept_stream = ServerInterceptor.intercept_stream


class Callable:
    async def __call__(self, call: Any, proceed: Any) -> Any:
        return await proceed(call)


@pytest.mark.parametrize(
    "intercept",
    [
        lambda call, proceed: proceed(call),
        lambda call, proceed: asyncio.ensure_future(proceed(call)),
        lambda call, proceed: Awaitable(proceed(call)),
        Callable(),
    ],
)
@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize("around", [(), (Noting("outside", []),)])
def test_whatever_gives_something_to_await_will_do(intercept, side, around):
    async def main() -> None:
        async with shelf(**{side: (*around, Intercepting(intercept))}) as (_, channel):
            assert await channel.put("a") == "a"
            assert await asyncio.create_task(channel.put("b")) == "b"
            assert await channel.plain(3, 1) == 2

    run(main)


# ---- what is none ----


class Many(ServerInterceptor):
    async def intercept_call(self, call: Any, proceed: Any, /) -> Any:  # type: ignore[override]
        yield await proceed(call)


class Async(ServerInterceptor):
    async def intercept_stream(self, call: Any, proceed: Any, /) -> Any:  # type: ignore[override]
        return proceed(call)


@pytest.mark.parametrize(
    ("thing", "words"),
    [
        (Noting, r"Noting is the class itself: give an instance"),
        (print, r"print has no intercept_call: derive it from"),
        (Async(), r"Async\.intercept_stream returns one thing and not many"),
        (Many(), r"Many\.intercept_call gives many things and not one"),
    ],
)
def test_what_is_no_interceptor(thing, words):
    with pytest.raises(TypeError, match=words):
        Router(Shelf(), interceptors=[thing])
