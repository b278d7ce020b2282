"""Services called over HTTP: with frames, and with JSON."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from jetstream import (
    I8,
    ClientTls,
    Context,
    Done,
    JetStreamError,
    Limits,
    Router,
    Subscription,
    _core,
    connect,
    service,
)
from jetstream._json import NotOfType, from_json, to_json
from jetstream._schema import describe

from tests.helpers import authority, client_identity, run
from tests.http.serving import client, respond, served, server, tls


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclass
class Circle:
    radius: float


@dataclass
class Box:
    sides: tuple[int, int]
    label: str | None = None


@service
class Echo:
    async def echo(self, message: str) -> str: ...
    async def shape(self, shape: Circle | Box, count: I8 = 1) -> list[Circle | Box]: ...
    async def who(self) -> str: ...
    async def fail(self, how: str) -> None: ...
    async def wait(self) -> None: ...
    def plain(self, data: bytes) -> bytes: ...
    def ticks(self) -> Subscription[int, None]: ...


class EchoImpl(Echo):
    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def echo(self, message: str) -> str:
        return message

    async def shape(self, shape: Circle | Box, count: I8 = 1) -> list[Circle | Box]:
        return [shape] * count

    async def who(self, ctx: Context) -> str:
        name = getattr(getattr(ctx.peer, "leaf", None), "common_name", None)
        return f"{ctx.method} {name} {ctx.protocol}"

    async def fail(self, how: str) -> None:
        if how == "told":
            raise JetStreamError("no such book", code="shelf::none", help="look elsewhere")
        raise ZeroDivisionError("secret")

    async def wait(self) -> None:
        self.begun.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.cancelled.set()

    def plain(self, data: bytes) -> bytes:
        return data[::-1]

    async def ticks(self) -> AsyncGenerator[int | Done[None], None]:
        yield 1


APP = respond(b"the application", 404)


def methods() -> dict[str, Any]:
    from jetstream._definition import definition_of

    return {method.name: method for method in definition_of(Echo).methods}


# ---- JSON ----


@pytest.mark.parametrize(
    ("method", "given", "result"),
    [
        ("echo", {"message": "ä"}, "ä"),
        ("plain", {"data": "AQID"}, "AwIB"),
        ("shape", {"shape": {"Circle": {"radius": 1}}}, [{"Circle": {"radius": 1.0}}]),
        (
            "shape",
            {"shape": {"Box": {"sides": [1, "2"]}}, "count": 2},
            [{"Box": {"sides": [1, 2], "label": None}}] * 2,
        ),
        ("who", {}, "Echo.who None None"),
    ],
)
def test_a_call_with_json(method: str, given: Any, result: Any) -> None:
    async def main() -> None:
        async with served("http", APP, router=Router(EchoImpl())) as (_, asking):
            said = await asking.post(f"/echo/{method}", json=given)
            assert said.headers["content-type"] == "application/json"
            assert (said.status_code, said.json()) == (200, result)

    run(main)


@pytest.mark.parametrize(
    ("method", "given", "status", "code", "text"),
    [
        ("echo", {"message": 1}, 400, "jetstream::decode", "message must be a string, not 1"),
        ("echo", {}, 400, "jetstream::decode", "message"),
        ("echo", {"message": "a", "b": 1}, 400, "jetstream::decode", "'b'"),
        ("echo", [], 400, "jetstream::decode", "an object"),
        (
            "shape",
            {"shape": {"Circle": {"radius": 1}}, "count": 128},
            400,
            "jetstream::decode",
            "count",
        ),
        ("shape", {"shape": {"Square": {}}}, 400, "jetstream::decode", "Circle"),
        ("fail", {"how": "told"}, 422, "shelf::none", "no such book"),
        ("fail", {"how": "x"}, 500, "jetstream::internal", "Echo.fail failed"),
        ("ticks", {}, 501, "jetstream::extension_required", "stream"),
    ],
)
def test_what_json_is_told(method: str, given: Any, status: int, code: str, text: str) -> None:
    async def main() -> None:
        async with served("http", APP, router=Router(EchoImpl())) as (_, asking):
            said = await asking.post(f"/echo/{method}", json=given)
            assert said.status_code == status
            assert said.headers["content-type"] == "application/problem+json"
            told = said.json()
            assert (told["status"], told["code"]) == (status, code)
            assert text in told["detail"]
            assert "secret" not in said.text

    run(main)


def test_what_is_no_call_is_the_applications() -> None:
    async def main() -> None:
        limits = Limits(msize=4096)
        async with served("http", APP, router=Router(EchoImpl()), limits=limits) as (_, asking):
            for path in ("/", "/echo", "/echo/none", "/none/echo", "/echo/echo/x"):
                assert (await asking.post(path, json={})).text == "the application"
            assert (await asking.get("/echo/echo")).text == "the application"
            # Forms of other sites are sent without asking.
            assert (await asking.post("/echo/echo", data={"message": "x"})).status_code == 415
            assert (await asking.post("/echo/echo", content=b"{")).status_code == 415
            kind = {"content-type": "application/json"}
            assert (await asking.post("/echo/echo", content=b"{", headers=kind)).status_code == 400
            said = await asking.post("/echo/echo", json={"message": "x" * 5000})
            assert said.status_code == 413
            assert "msize" in said.json()["help"]

    run(main)


def test_it_can_be_switched_off() -> None:
    async def main() -> None:
        options = {"router": Router(EchoImpl()), "json": False, "rpc": False}
        async with served("http", APP, **options) as (_, asking):
            assert (await asking.post("/echo/echo", json={})).text == "the application"
            kind = {"content-type": "application/jetstream"}
            assert (await asking.post("/", content=b"", headers=kind)).text == "the application"

    run(main)


def test_a_call_whose_caller_is_gone_is_cancelled(loop: str) -> None:
    async def main() -> None:
        echo = EchoImpl()
        async with served("http", APP, router=Router(echo)) as (_, asking):
            calling = asyncio.ensure_future(asking.post("/echo/wait", json={}))
            await echo.begun.wait()
            calling.cancel()
            await asyncio.wait((calling,))
            await echo.cancelled.wait()

    run(main, loop=loop)


@pytest.mark.parametrize("version", ["https", "h2", "h3"])
def test_the_caller_is_known(version: str) -> None:
    async def main() -> None:
        secure = tls(client_ca=authority().ca_pem)
        async with (
            server(APP, router=Router(EchoImpl()), tls=secure, lifespan="off") as running,
            client(version, running, client_identity()) as asking,
        ):
            spoken = {"https": "http/1.1"}.get(version, version)
            said = await asking.post("/echo/who", json={})
            assert said.json() == f"Echo.who ada {spoken}"

    run(main)


# ---- frames ----


def test_a_call_with_a_frame() -> None:
    """A request's frame is a reply's with another type, so one is made of the other here."""
    echo = methods()["echo"]

    async def main() -> None:
        async with served("http", APP, router=Router(EchoImpl())) as (_, asking):
            headers = {
                "content-type": "application/jetstream",
                "x-jetstream-proto": "rs.jetstream.proto/echo/1.0.0+12345678",
            }

            async def call(index: int, payload: bytes, **changes: str) -> Any:
                frame = bytearray(_core.write_reply(index, 7, payload))
                frame[4] -= 1
                return await asking.post("/any", content=bytes(frame), headers=headers | changes)

            said = await call(echo.index, echo.arguments_plan.encode("hi"))
            assert said.headers["content-type"] == "application/jetstream"
            expected = _core.write_reply(echo.index, 7, echo.result_plan.encode("hi"))
            assert said.content == expected

            said = await call(70, b"")
            assert said.content[4] == 5
            assert b"jetstream::unknown_method" in said.content
            fail = methods()["fail"]
            said = await call(fail.index, fail.arguments_plan.encode("told"))
            assert b"shelf::none" in said.content
            said = await call(echo.index, b"\xff")
            assert said.content[4] == 5

            for version in ("rs.jetstream.proto/none/1.0.0", "rs.jetstream.proto/echo/2.0.0", ""):
                said = await call(echo.index, b"", **{"x-jetstream-proto": version})
                assert said.status_code == 404
            said = await asking.post("/", content=b"\x08\x00\x00\x00", headers=headers)
            assert said.status_code == 400

    run(main)


def test_beside_the_application_on_the_same_ports(loop: str) -> None:
    async def main() -> None:
        secure = tls()
        trust = ClientTls(ca=authority().ca_pem)
        options = {"router": Router(EchoImpl()), "tls": secure}
        async with served("h2", APP, **options) as (running, asking):
            assert running.address.port == running.tcp_address.port
            for address in (f"quic://{running.address}", f"tcp://{running.tcp_address}"):
                async with connect(address, tls=trust) as session:
                    assert await session.channel(Echo).echo("hi") == "hi"
            assert (await asking.get("/")).text == "the application"

    run(main, loop=loop)


# ---- values ----


@pytest.mark.parametrize(
    ("annotation", "value", "text"),
    [
        (int, -(2**63), -(2**63)),
        (float, float("inf"), "Infinity"),
        (bytes, b"\x00\xff", "AP8="),
        (datetime, datetime(2026, 1, 31, 12, tzinfo=UTC), "2026-01-31T12:00:00Z"),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (dict[int, str], {1: "a"}, [[1, "a"]]),
        (set[int], {1}, [1]),
        (tuple[int, ...], (1, 2), [1, 2]),
        (Colour, Colour.BLUE, "BLUE"),
        (Circle | Box, Box((1, 2)), {"Box": {"sides": [1, 2], "label": None}}),
        (str | None, None, None),
        (None, None, None),
    ],
)
def test_values_there_and_back(annotation: Any, value: Any, text: Any) -> None:
    nodes = describe(annotation, "it")
    assert to_json(nodes, value) == text
    assert from_json(nodes, text) == value


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, True),
        (int, 1.5),
        (bool, 1),
        (float, "x"),
        (bytes, "!"),
        (datetime, "yesterday"),
        (list[int], {}),
        (set[int], [1, 1]),
        (tuple[int, int], [1]),
        (dict[int, str], [[1]]),
        (dict[int, str], [[1, "a"], [1, "b"]]),
        (Colour, "GREEN"),
        (Circle, {"radius": 1, "x": 2}),
        (Circle, {}),
        (None, 0),
    ],
)
def test_what_is_none_of_a_type(annotation: Any, text: Any) -> None:
    with pytest.raises(NotOfType):
        from_json(describe(annotation, "it"), text)
