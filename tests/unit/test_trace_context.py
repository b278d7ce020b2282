"""W3C Trace Context: what is taken, what is replaced, what is passed on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jetstream import CallError, service, with_options
from jetstream.interceptors import ServerCall, ServerInterceptor, Trace, TraceContext, current_trace
from jetstream.testing import pair

from tests.helpers import run

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{SPAN}-01"


# ---- traceparent (section 3.2) ----


@pytest.mark.parametrize(
    ("header", "sampled"),
    [
        (VALID, True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-ff", True),  # flags that are not known count for nothing
        (f"00-{TRACE}-{SPAN}-fe", False),
        (f"cc-{TRACE}-{SPAN}-01", True),  # a later version
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", True),
        (f"cc-{TRACE}-{SPAN}-01-", True),
        (f"fe-{TRACE}-{SPAN}-01-\nx", True),
    ],
)
def test_valid(header, sampled):
    trace = Trace.parse(header.encode())
    assert trace == Trace(TRACE, SPAN, sampled=sampled)
    assert trace.traceparent == f"00-{TRACE}-{SPAN}-0{int(sampled)}"


@pytest.mark.parametrize(
    "header",
    [
        "",
        VALID.upper(),
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}0-{SPAN}-01",
        f"00-{TRACE}-{SPAN[1:]}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-0g",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-",
        f"00-{TRACE}-{SPAN}-01-more",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"cc-{TRACE}-{SPAN}-012",
        f" {VALID}",
        f"{VALID}\n",
        f"00_{TRACE}_{SPAN}_01",
        f"\N{FULLWIDTH DIGIT ZERO}0-{TRACE}-{SPAN}-01",  # digits, but not of ASCII
    ],
)
def test_invalid(header):
    assert Trace.parse(header.encode()) is None


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_any_bytes(header, state):
    trace = Trace.parse(header, state)
    assert trace is None or Trace.parse(trace.traceparent.encode()) is not None
    assert Trace.parse(VALID.encode(), state) is not None


# ---- tracestate (section 3.3) ----


def state(header: str | bytes) -> str:
    trace = Trace.parse(VALID.encode(), header if isinstance(header, bytes) else header.encode())
    assert trace is not None
    return trace.state


@pytest.mark.parametrize(
    ("header", "passed_on"),
    [
        ("a=1", "a=1"),
        ("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        ("a=1 ,\t b=2 ", "a=1,b=2"),
        ("a=1,,b=2,", "a=1,b=2"),
        ("", ""),
        ("a_b-c*d/e=x y~!", "a_b-c*d/e=x y~!"),
        ("0tenant@system=1", "0tenant@system=1"),
        (f"{'t' * 241}@{'s' * 14}=1", ""),  # valid, and too long to have to be passed on
        (f"{'k' * 100}={'v' * 27}", f"{'k' * 100}={'v' * 27}"),
    ],
)
def test_a_state_that_is_valid(header, passed_on):
    assert state(header) == (passed_on or ("" if len(header) < 200 else header))


@pytest.mark.parametrize(
    "header",
    [
        "a",
        "a=",
        "=1",
        "A=1",
        "1=1",
        "a =1",
        "a=1=2",
        "a=b\x7f",
        "a=1,a=2",
        "é=1",
        "a=é",
        b"a=\xff",
        "tenant@1=1",
        "a@b@c=1",
        f"{'t' * 242}@s=1",
        f"t@{'s' * 15}=1",
        f"{'k' * 257}=1",
        f"a={'v' * 257}",
        ",".join(f"k{number}=1" for number in range(33)),
    ],
)
def test_a_state_that_is_not_valid_is_left_out(header):
    assert state(header) == ""


def test_a_long_state_loses_long_members_first_and_then_the_last():
    long = f"long={'v' * 200}"
    short = [f"k{number:02}={'v' * 40}" for number in range(12)]
    found = state(",".join([short[0], long, *short[1:]])).split(",")
    assert found == short[: len(found)]
    assert 400 < len(",".join(found)) <= 512
    fits = [short[0], long]
    assert state(",".join(fits)) == ",".join(fits)


def test_new_traces_and_steps():
    traces = {Trace.begin().trace_id for _ in range(100)}
    assert len(traces) == 100
    trace = Trace.begin(sampled=True)
    assert Trace.parse(trace.traceparent.encode()) == trace
    step = trace.step()
    assert (step.trace_id, step.parent_id, step.sampled) == (trace.trace_id, trace.span_id, True)
    assert step.span_id != trace.span_id


# ---- from call to call ----


@service
class Front:
    def __init__(self, back: Back) -> None:
        self.back = back

    async def ask(self) -> list[str]:
        return [*_told(), *await self.back.tell()]

    async def follow(self) -> AsyncIterator[str]:
        for told in _told():
            yield told
        async for told in self.back.follow():
            yield told


@service
class Back:
    async def tell(self) -> list[str]:
        return _told()

    async def follow(self) -> AsyncIterator[str]:
        for told in _told():
            yield told


def _told() -> list[str]:
    trace = current_trace()
    assert trace is not None
    return [trace.trace_id, trace.span_id, trace.parent_id or "", f"{trace.sampled} {trace.state}"]


class Headers(ServerInterceptor):
    """Notes what came."""

    def __init__(self) -> None:
        self.seen: list[dict[str, bytes]] = []

    async def intercept_call(self, call: ServerCall, proceed: Any, /) -> Any:
        self.seen.append(dict(call.metadata))
        return await proceed(call)


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("header", [VALID, None, "00-nonsense", VALID.upper()])
def test_a_trace_goes_on_through_a_server(streams, header):
    async def main() -> None:
        carry = TraceContext(sampled=True)
        async with pair(Back(), interceptors=[carry]) as behind:
            front = Front(behind.channel(Back, interceptors=[carry]))
            async with pair(front, interceptors=[carry]) as session:
                channel = session.channel(Front)
                if header is not None:
                    metadata = {"traceparent": header.encode(), "tracestate": b"rojo=1"}
                    channel = with_options(channel, metadata=metadata)
                told = [item async for item in channel.follow()] if streams else await channel.ask()
        first, second = told[:4], told[4:]
        assert first[0] == second[0]
        assert first[1] != second[1]
        assert second[2] not in ("", first[1], SPAN)  # the call in between is a step, too
        if header == VALID:
            assert (first[0], first[2]) == (TRACE, SPAN)
            assert first[3] == second[3] == "True rojo=1"
        else:
            assert first[0] != TRACE
            assert first[2] == ""
            # Without a valid parent the state means nothing.
            assert first[3] == second[3] == "True "

    run(main)


def test_a_client_begins_a_trace_and_each_call_is_a_step():
    async def main() -> None:
        headers = Headers()
        async with pair(Back(), interceptors=[headers, TraceContext()]) as session:
            back = session.channel(Back, interceptors=[TraceContext()])
            await back.tell()
            await back.tell()
            own = with_options(back, metadata={"traceparent": VALID.encode()})
            assert (await own.tell())[0] == TRACE
        one, two, three = (Trace.parse(seen["traceparent"]) for seen in headers.seen)
        assert one is not None
        assert two is not None
        assert one.trace_id != two.trace_id
        assert not one.sampled
        assert three == Trace(TRACE, SPAN, sampled=True)

    run(main)


def test_tasks_of_other_calls_do_not_see_each_others_traces():
    async def main() -> None:
        async with pair(Back(), interceptors=[TraceContext()]) as session:
            back = session.channel(Back)
            told = await asyncio.gather(*[back.tell() for _ in range(50)])
            assert len({trace_id for trace_id, *_ in told}) == 50
        assert current_trace() is None

    run(main)


def test_without_the_interceptor_there_is_no_trace():
    async def main() -> None:
        async with pair(Back()) as session:
            with pytest.raises(CallError, match="failed"):
                await session.channel(Back).tell()

    run(main)
