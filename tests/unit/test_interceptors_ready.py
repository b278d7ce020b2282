"""The interceptors that come with the package: Logging, Metrics, Retry and Authorize."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from jetstream import (
    I32,
    CallError,
    ConnectionLost,
    Context,
    DeadlineExceeded,
    Done,
    JetStreamError,
    TokenPeer,
    Unavailable,
    UnixPeer,
    method,
    service,
)
from jetstream.interceptors import (
    Authorize,
    Backoff,
    ClientCall,
    ClientInterceptor,
    Logging,
    MethodInfo,
    Metrics,
    Retry,
    RetryBudget,
    ServerCall,
    names_of,
)
from jetstream.interceptors._metrics import Histogram
from jetstream.testing import ThrowawayCA, pair

from tests.helpers import run


@service
class Shop:
    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.arrived = asyncio.Event()

    @method(idempotent=True)
    async def get(self, name: str) -> str:
        return name

    async def put(self, name: str) -> None:
        if name == "bad":
            raise JetStreamError("no such name", code="shop::bad")
        if name == "worse":
            raise ValueError("the password")
        if name == "slow":
            self.arrived.set()
            await self.gate.wait()

    async def list(self, count: I32) -> AsyncIterator[str | Done[I32]]:
        for number in range(count):
            yield str(number)
        yield Done(count)


def chain(*names: str, common_name: str = "ada") -> list[bytes]:
    """A client's certificates, for `pair`."""
    return [_ca().issue_client(common_name, *names).certificate_der]


_authority: list[ThrowawayCA] = []


def _ca() -> ThrowawayCA:
    if not _authority:
        _authority.append(ThrowawayCA())
    return _authority[0]


INFO = MethodInfo("Shop", "get", ("name",), True, False, False, False)
UNSAFE = MethodInfo("Shop", "put", ("name",), False, False, False, False)
STREAM = MethodInfo("Shop", "list", ("count",), True, True, False, False)
UPLOAD = MethodInfo("Shop", "fill", ("names",), True, False, True, False)


# ---- Logging ----


def test_a_line_for_each_call(caplog):
    async def main() -> None:
        caplog.set_level(logging.INFO, "jetstream.call")
        async with pair(
            Shop(), client_chain=chain("ada.example"), interceptors=[Logging()]
        ) as session:
            shop = session.channel(Shop)
            await shop.get("a")
            with pytest.raises(CallError):
                await shop.put("bad")
            with pytest.raises(CallError):
                await shop.put("worse")
            assert len([item async for item in shop.list(3)]) == 3

    run(main)
    lines = [record for record in caplog.records if hasattr(record, "rpc_method")]
    found = [(record.levelname, record.getMessage().partition(" after ")[0]) for record in lines]
    assert found == [
        ("INFO", "Shop.get from ada.example: ok"),
        ("WARNING", "Shop.put from ada.example: shop::bad"),
        ("WARNING", "Shop.put from ada.example: ValueError"),
        ("INFO", "Shop.list from ada.example: ok"),
    ]
    assert lines[-1].getMessage().endswith(" ms, 3 items")
    last: Any = lines[-1]
    assert (last.rpc_method, last.rpc_peer, last.rpc_outcome) == ("Shop.list", "ada.example", "ok")
    assert last.rpc_items == 3
    assert 0 < last.rpc_seconds < 30
    assert "password" not in "".join(record.getMessage() for record in lines)


def test_a_line_of_a_client_and_of_a_call_given_up(caplog):
    async def main() -> None:
        own = logging.getLogger("tests.shop")
        caplog.set_level(logging.DEBUG, "tests.shop")
        around = Logging(own, level=logging.DEBUG, failures=logging.ERROR)
        async with pair(Shop(), server_chain=chain("shop.example")) as session:
            shop = session.channel(Shop, interceptors=[around])
            task = asyncio.ensure_future(shop.put("slow"))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(CallError):
                await shop.put("bad")

    run(main)
    found = [
        (record.levelname, record.getMessage().partition(" after ")[0])
        for record in caplog.records
        if record.name == "tests.shop"
    ]
    assert found == [
        ("DEBUG", "Shop.put to shop.example: cancelled"),
        ("ERROR", "Shop.put to shop.example: shop::bad"),
    ]


def test_what_a_peer_says_stays_on_its_line(caplog):
    async def main() -> None:
        context = Context(peer=None)
        call = ServerCall(INFO, ("a",), context=context)

        async def proceed(call: Any) -> Any:
            raise CallError("x", code="a\nb")

        with pytest.raises(CallError):
            await Logging().intercept_call(call, proceed)

    run(main)
    (record,) = caplog.records
    assert "\n" not in record.getMessage()
    assert "somebody unknown" in record.getMessage()


def test_nothing_is_made_for_a_level_that_is_off(caplog):
    async def main() -> None:
        caplog.set_level(logging.ERROR, "jetstream.call")
        async with pair(Shop(), interceptors=[Logging()]) as session:
            await session.channel(Shop).get("a")

    run(main)
    assert not [record for record in caplog.records if record.name == "jetstream.call"]


# ---- Metrics ----


@pytest.mark.parametrize("side", ["server", "client"])
def test_counts_of_either_end(side):
    metrics = Metrics(buckets=[1e-9, 30])

    async def main() -> None:
        around = [metrics]
        impl = Shop()
        async with pair(impl, interceptors=around if side == "server" else ()) as session:
            shop = session.channel(Shop, interceptors=around if side == "client" else ())
            for name in ("a", "b"):
                await shop.get(name)
            with pytest.raises(CallError):
                await shop.put("bad")
            assert len([item async for item in shop.list(3)]) == 3
            task = asyncio.ensure_future(shop.put("slow"))
            await impl.arrived.wait()
            assert metrics.snapshot()["Shop.put"]["in_flight"] == 1
            impl.gate.set()
            await task

    run(main)
    found = json.loads(json.dumps(metrics.snapshot()))
    assert found["Shop.get"]["outcomes"] == {"ok": 2}
    assert found["Shop.put"]["outcomes"] == {"shop::bad": 1, "ok": 1}
    assert found["Shop.list"]["items"] == 3
    assert {each["in_flight"] for each in found.values()} == {0}
    seconds: Histogram = found["Shop.get"]["seconds"]
    assert seconds["count"] == 2
    assert 0 < seconds["sum"] < 60
    assert seconds["buckets"] == {"1e-09": 0, "30": 2, "+Inf": 2}


def test_outcomes_cannot_be_invented_without_end():
    metrics = Metrics()

    async def main() -> None:
        for number in range(1000):

            async def proceed(call: Any, number: int = number) -> Any:
                raise CallError("x", code=f"code-{number}")

            with pytest.raises(CallError):
                await metrics.intercept_call(ClientCall(INFO, ("a",)), proceed)

    run(main)
    outcomes = metrics.snapshot()["Shop.get"]["outcomes"]
    assert len(outcomes) == 65
    assert outcomes["other"] == 1000 - 64


@pytest.mark.parametrize("buckets", [[], [1, 1], [2, 1]])
def test_bounds_that_do_not_ascend(buckets):
    with pytest.raises(ValueError, match="must ascend"):
        Metrics(buckets)


# ---- Retry ----


class Failing:
    """What `proceed` comes to: one outcome after the other."""

    def __init__(self, *outcomes: Any, then: Callable[[ClientCall], None] | None = None) -> None:
        self.outcomes = list(outcomes)
        self.timeouts: list[float | None] = []
        self.metadata: list[dict[str, bytes]] = []
        self.then = then

    def _next(self, call: ClientCall) -> Any:
        self.timeouts.append(call.timeout)
        self.metadata.append(dict(call.metadata))
        if self.then is not None:
            self.then(call)
        return self.outcomes.pop(0)

    async def __call__(self, call: ClientCall) -> Any:
        outcome = self._next(call)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def stream(self, call: ClientCall) -> AsyncIterator[Any]:
        for item in self._next(call):
            if isinstance(item, Exception):
                raise item
            yield item


AT_ONCE = Backoff(0, 1, 0)


def lost() -> ConnectionLost:
    return ConnectionLost("gone")


def unavailable() -> Unavailable:
    return Unavailable("not begun")


@pytest.mark.parametrize(
    ("info", "error", "again"),
    [
        (INFO, lost(), True),
        (INFO, unavailable(), True),
        (INFO, CallError("x", code="jetstream::unavailable"), True),
        (INFO, CallError("x", code="shop::busy"), True),
        (INFO, CallError("x", code="shop::bad"), False),
        (INFO, DeadlineExceeded("Shop.get", 1), False),
        (INFO, ValueError("x"), False),
        (UNSAFE, lost(), False),
        (UNSAFE, unavailable(), True),
        (UNSAFE, CallError("x", code="jetstream::unavailable"), False),
        (UNSAFE, CallError("x", code="shop::busy"), False),
        (UPLOAD, lost(), False),
        (UPLOAD, unavailable(), False),
    ],
)
def test_what_is_made_again(info, error, again):
    async def main() -> None:
        retry = Retry(backoff=AT_ONCE, codes=["jetstream::unavailable", "shop::busy"])
        proceed = Failing(error, "answer")
        call = ClientCall(info, ("a",))
        if again:
            assert await retry.intercept_call(call, proceed) == "answer"
        else:
            with pytest.raises(type(error)):
                await retry.intercept_call(call, proceed)
        assert len(proceed.timeouts) == 1 + again

    run(main)


def test_so_many_attempts_and_no_more():
    async def main() -> None:
        proceed = Failing(*[lost() for _ in range(9)])
        with pytest.raises(ConnectionLost):
            await Retry(attempts=3, backoff=AT_ONCE).intercept_call(ClientCall(INFO), proceed)
        assert len(proceed.timeouts) == 3
        with pytest.raises(ConnectionLost):
            await Retry(attempts=1).intercept_call(ClientCall(INFO), proceed)
        assert len(proceed.timeouts) == 4

    run(main)


def test_an_attempt_finds_the_call_as_the_first_one_did():
    async def main() -> None:
        def spoil(call: ClientCall) -> None:
            call.metadata["spoilt"] = b"s"
            call.metadata_required = False

        proceed = Failing(lost(), "answer", then=spoil)
        call = ClientCall(INFO, metadata={"own": b"o"}, timeout=9)
        await Retry(backoff=AT_ONCE).intercept_call(call, proceed)
        assert proceed.metadata == [{"own": b"o"}] * 2
        first, second = proceed.timeouts
        assert first is not None
        assert second is not None
        assert 8 < second <= first <= 9

    run(main)


def test_waits_end_before_the_deadline():
    async def main() -> None:
        # The wait would be longer than the time that is left: the error is told now.
        proceed = Failing(lost(), lost(), "too late")
        retry = Retry(backoff=_Exactly(60))
        with pytest.raises(ConnectionLost):
            await retry.intercept_call(ClientCall(INFO, timeout=5), proceed)
        assert len(proceed.timeouts) == 1

    run(main)


class _Exactly(Backoff):
    """A backoff without chance."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds, 1, seconds)

    def delay(self, attempt: int) -> float:
        return self.cap


def test_attempts_that_end_early():
    async def main() -> None:
        retry = Retry(backoff=AT_ONCE, attempt_timeout=2)
        proceed = Failing(DeadlineExceeded("Shop.get", 2), "answer")
        assert await retry.intercept_call(ClientCall(INFO, timeout=3), proceed) == "answer"
        assert [timeout == 2 for timeout in proceed.timeouts] == [True, True]
        # What is no idempotent method keeps all its time.
        proceed = Failing("answer")
        await retry.intercept_call(ClientCall(UNSAFE, timeout=None), proceed)
        assert proceed.timeouts == [None]

    run(main)


def test_a_first_attempt_has_the_time_that_was_given():
    async def main() -> None:
        proceed = Failing("answer")
        await Retry().intercept_call(ClientCall(INFO, timeout=3), proceed)
        assert proceed.timeouts == [3]

    run(main)


def test_whose_deadline_it_was_is_not_hidden():
    passed, told = asyncio.Event(), []

    class Outer(Shop):
        @method(idempotent=True)
        async def get(self, name: str) -> str:
            async def later() -> None:
                await passed.wait()
                with pytest.raises(DeadlineExceeded) as caught:
                    await inner.get("a")
                told.append(caught.value)

            self.later = asyncio.ensure_future(later())
            return await inner.get("a", timeout=None)

    class Inner(Shop):
        @method(idempotent=True)
        async def get(self, name: str) -> str:
            await asyncio.get_running_loop().create_future()
            return name

    async def main() -> None:
        nonlocal inner
        outer = Outer()
        async with pair(Inner()) as deep, pair(outer) as session:
            inner = deep.channel(Shop, interceptors=[Retry()])
            with pytest.raises(DeadlineExceeded):
                await session.channel(Shop).get("a", timeout=0.05)
            passed.set()
            await outer.later

    inner: Any = None
    run(main)
    [error] = told
    assert error.inherited
    assert "the deadline of the method that makes the call, which had passed already" in str(error)


def test_a_budget_ends_a_storm():
    async def main() -> None:
        budget = RetryBudget(tokens=4, ratio=0.5)
        retry = Retry(attempts=100, backoff=AT_ONCE, budget=budget)
        proceed = Failing(*[lost() for _ in range(100)])
        with pytest.raises(ConnectionLost):
            await retry.intercept_call(ClientCall(INFO), proceed)
        # 4 tokens, and retries while there are more than 2.
        assert len(proceed.timeouts) == 2
        assert not budget.allows
        for _ in range(20):
            with pytest.raises(ConnectionLost):
                await retry.intercept_call(ClientCall(INFO), Failing(lost(), "never"))
        # Successes give it back, never more than there was.
        for _ in range(100):
            await retry.intercept_call(ClientCall(INFO), Failing("answer"))
        assert budget.allows
        again = Failing(lost(), "answer")
        assert await retry.intercept_call(ClientCall(INFO), again) == "answer"

    run(main)


def test_streams_are_made_again_until_something_comes():
    async def main() -> None:
        retry = Retry(backoff=AT_ONCE)
        proceed = Failing([lost()], [unavailable()], ["a", "b", Done(2)])
        stream = retry.intercept_stream(ClientCall(STREAM), proceed.stream)
        assert [item async for item in stream] == ["a", "b", Done(2)]
        proceed = Failing(["a", lost()], ["never"])
        stream = retry.intercept_stream(ClientCall(STREAM), proceed.stream)
        assert await anext(stream) == "a"
        with pytest.raises(ConnectionLost):
            await anext(stream)

    run(main)


def test_a_retry_over_the_wire():
    async def main() -> None:
        class Broken(ClientInterceptor):
            """The connection that is lost is that of the first attempt."""

            calls = 0

            async def intercept_call(self, call: ClientCall, proceed: Any, /) -> Any:
                self.calls += 1
                answer = await proceed(call)
                if self.calls == 1:
                    raise lost()
                return answer

        broken = Broken()
        async with pair(Shop()) as session:
            shop = session.channel(Shop, interceptors=[Retry(backoff=AT_ONCE), broken])
            assert await shop.get("a") == "a"
            assert broken.calls == 2

    run(main)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Retry(attempts=0),
        lambda: Retry(attempt_timeout=-1),
        lambda: Retry(attempt_timeout=float("nan")),
        lambda: Retry(attempt_timeout="2"),
        lambda: RetryBudget(tokens=0),
        lambda: RetryBudget(ratio=-1),
        lambda: Backoff(first=-1),
        lambda: Backoff(first=2, cap=1),
        lambda: Backoff(factor=0.5),
        lambda: Backoff(cap=float("inf")),
        lambda: Backoff(first=float("nan")),
    ],
)
def test_settings_that_cannot_be(make):
    with pytest.raises(ValueError, match="must be"):
        make()


def test_one_code_is_no_collection_of_them():
    with pytest.raises(TypeError, match=r"^codes='abc': .* as in codes=\['abc'\]$"):
        Retry(codes="abc")


def test_waits_grow_to_a_cap_and_are_drawn_by_lot():
    backoff = Backoff(first=0.5, factor=2, cap=3)
    assert [backoff.bound(attempt) for attempt in range(1, 6)] == [0.5, 1, 2, 3, 3]
    assert backoff.bound(10**9) == 3
    delays = [backoff.delay(3) for _ in range(200)]
    assert all(0 <= delay <= 2 for delay in delays)
    assert max(delays) - min(delays) > 1


# ---- Authorize ----


async def failure(call: Any) -> CallError | None:
    try:
        await call
    except CallError as error:
        return error
    return None


def allowed(around: Authorize, *, names: tuple[str, ...] | None, common_name: str = "ada") -> Any:
    """What a client of these names may do: the names of methods."""

    async def main() -> list[str]:
        client_chain = [] if names is None else chain(*names, common_name=common_name)
        found: list[str] = []
        async with pair(Shop(), client_chain=client_chain, interceptors=[around]) as session:
            shop = session.channel(Shop)
            for name, make in (
                ("get", lambda: shop.get("a")),
                ("put", lambda: shop.put("a")),
                ("list", lambda: anext(shop.list(1))),
            ):
                error = await failure(make())
                if error is None:
                    found.append(name)
                else:
                    assert error.code == "jetstream::permission_denied"
                    assert error.message.endswith(f" may not call Shop.{name}")
        return found

    return run(main)


RULES = {
    "Shop.put": ["dns:Writer.example", "uri:spiffe://example.org/importer", "cn:root"],
    "Shop.list": ["authenticated"],
    "Shop.*": ["anybody"],
}


@pytest.mark.parametrize(
    ("names", "common_name", "expected"),
    [
        (None, "", ["get"]),
        (("reader.example",), "ada", ["get", "list"]),
        (("writer.example",), "ada", ["get", "put", "list"]),
        (("spiffe://example.org/importer",), "ada", ["get", "put", "list"]),
        (("spiffe://example.org/importer/2",), "ada", ["get", "list"]),
        (("other.example",), "root", ["get", "put", "list"]),
        # A name of one kind is none of another.
        (("root",), "writer.example", ["get", "list"]),
    ],
)
def test_who_may_call_what(names, common_name, expected):
    assert allowed(Authorize(RULES), names=names, common_name=common_name) == expected


def test_where_no_rule_fits_nobody_may():
    assert allowed(Authorize({"Shop.get": ["authenticated"]}), names=("a.example",)) == ["get"]
    assert allowed(Authorize({}), names=("a.example",)) == []
    assert allowed(Authorize({"Shop.put": [], "*": ["anybody"]}), names=None) == ["get", "list"]


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_a_function_that_decides(kind):
    asked: list[tuple[str, MethodInfo]] = []

    def decide(context: Context, info: MethodInfo) -> bool:
        asked.append((context.method, info))
        return info.idempotent

    async def decide_later(context: Context, info: MethodInfo) -> bool:
        await asyncio.sleep(0)
        return decide(context, info)

    around = Authorize(decide if kind == "plain" else decide_later)
    assert allowed(around, names=None) == ["get"]
    assert [what for what, _ in asked] == ["Shop.get", "Shop.put", "Shop.list"]
    assert asked[0][1].what == "Shop.get"


def test_what_is_not_a_yes_is_a_no():
    answer: Any = "yes"
    assert allowed(Authorize(lambda context, info: answer), names=None) == []


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"*": ["ada"]}, r"'ada' is no name: write what it is, one of uri:, dns:"),
        ({"*": "cn:ada"}, r"write a list of names, \['cn:ada'\]"),
    ],
)
def test_rules_that_cannot_be(rules, words):
    with pytest.raises(ValueError, match=words):
        Authorize(rules)


def test_names_of_peers():
    assert names_of(None) == frozenset()
    assert names_of(UnixPeer(pid=1, uid=1000, gid=5)) == {"uid:1000"}
    assert names_of(TokenPeer("ada")) == {"token:ada"}
    # What a token says is no name of another kind, and is compared as it is.
    assert names_of(TokenPeer("cn:root")) == {"token:cn:root"}
    assert names_of(TokenPeer("ADA")).isdisjoint(names_of(TokenPeer("ada")))

    async def main() -> None:
        names = ("Ada.Example", "ada@example.org", "spiffe://example.org/ada", "192.0.2.7")
        async with pair(Shop(), server_chain=chain(*names)) as session:
            found = names_of(session.peer)
            fingerprint = next(name for name in found if name.startswith("sha256:"))
            assert found - {fingerprint} == {
                "cn:ada",
                "dns:ada.example",
                "email:ada@example.org",
                "uri:spiffe://example.org/ada",
                "ip:192.0.2.7",
            }

    run(main)
