"""`receive` and `send`: bodies both ways, their order, and the end."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
from typing import Any

import httpx
import pytest

from tests.helpers import run
from tests.http.serving import VERSIONS, raw, respond, served, server

START = {"type": "http.response.start", "status": 200}


def body(data: bytes = b"", *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def everything(receive: Any) -> bytes:
    parts = []
    while True:
        message = await receive()
        assert message["type"] == "http.request"
        parts.append(message["body"])
        if not message["more_body"]:
            return b"".join(parts)


async def echo(scope: Any, receive: Any, send: Any) -> None:
    data = await everything(receive)
    await send(START)
    await send(body(data))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_000])
def test_a_body_comes_back(version: str, size: int, loop: str) -> None:
    async def main() -> None:
        data = bytes(range(256)) * (size // 256) + bytes(size % 256)
        async with served(version, echo) as (_, client):
            for _ in range(2):
                assert (await client.post("/", content=data)).content == data

    run(main, loop=loop)


@pytest.mark.parametrize("version", VERSIONS)
def test_blanks_around_values_are_not_sent(version: str) -> None:
    """RFC 9113, section 8.2.1."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"x-a", b" \ta b\t "), (b"x-b", b" "), (b"content-length", b" 3 ")]
        await send({**START, "headers": headers})
        await send(body(b"abc"))

    async def main() -> None:
        async with served(version, app, lifespan="off") as (_, client):
            got = await client.get("/")
            assert got.content == b"abc"
            raw = {name.lower(): value for name, value in got.headers.raw}
            assert (raw[b"x-a"], raw[b"x-b"], raw[b"content-length"]) == (b"a b", b"", b"3")

    run(main)


def test_trailers_do_not_say_how_long_the_body_is() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({**START, "trailers": True})
        await send(body(b"four"))
        headers = [(b"x-sum", b"4"), (b"content-length", b"4")]
        await send({"type": "http.response.trailers", "headers": headers})

    async def main() -> None:
        async with served("h3", app, lifespan="off") as (_, client):
            got = await client.get("/")
            assert got.content == b"four"
            stream: Any = got.stream
            assert stream._stream.trailers == [(b"x-sum", b"4")]

    run(main)


@pytest.mark.parametrize("version", VERSIONS)
def test_pieces_of_an_answer_come_as_they_are_sent(version: str, loop: str) -> None:
    async def main() -> None:
        seen = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(START)
            await send(body(b"one", more=True))
            await seen.wait()
            await send(body(b"two", more=True))
            await send(body())

        async with served(version, app) as (_, client), client.stream("GET", "/") as answering:
            pieces = answering.aiter_raw()
            assert await anext(pieces) == b"one"
            seen.set()
            assert b"".join([piece async for piece in pieces]) == b"two"

    run(main, loop=loop)


@pytest.mark.parametrize("version", VERSIONS)
def test_head_has_no_body(version: str) -> None:
    async def main() -> None:
        app = respond(b"hello", headers=[(b"content-length", b"5")])
        async with served(version, app) as (_, client):
            said = await client.head("/")
            assert said.headers["content-length"] == "5"
            assert said.content == b""
            assert (await client.get("/")).content == b"hello"

    run(main)


def test_handlers_run_in_a_task_from_their_first_step(loop: str) -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)
    tasks: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert variable.get() == 0
        variable.set(1)
        tasks.append(asyncio.current_task())
        assert tasks[-1] is not None
        async with asyncio.timeout(10):
            if scope["path"] == "/wait":
                await asyncio.sleep(0)
                assert asyncio.current_task() is tasks[-1]
                assert variable.get() == 1
            await respond(b"ok")(scope, receive, send)

    async def main() -> None:
        async with served("http", app, lifespan="off") as (_, client):
            for path in ("/", "/wait", "/", "/wait"):
                assert (await client.get(path)).text == "ok"

    run(main, loop=loop)


# ---- order ----


def failing(*messages: dict[str, Any]) -> Any:
    """An application that notes what the last of its messages comes to."""
    raised: list[BaseException] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        *before, last = messages
        for message in before:
            await send(message)
        try:
            await send(last)
        except Exception as error:
            raised.append(error)
            raise

    return app, raised


@pytest.mark.parametrize(
    ("messages", "kind", "text"),
    [
        ([body(b"x")], RuntimeError, "before http.response.start"),
        ([START, START], RuntimeError, "has begun already"),
        ([{"type": "nonsense"}], RuntimeError, "nonsense"),
        ([{"status": 200}], KeyError, "'type'"),
        ([START | {"status": "200"}], TypeError, "int"),
        ([START | {"status": 99}], ValueError, "99"),
        ([START | {"headers": [("a", "b")]}], TypeError, "latin-1"),
        ([START | {"headers": [(b"a", b"b", b"c")]}], TypeError, "pair"),
        ([START | {"headers": [(b"a b", b"c")]}, body(b"x")], ValueError, "a b"),
        ([START | {"headers": [(b"a", b"b\r\nc: d")]}, body(b"x")], ValueError, "cannot be sent"),
        ([START, body("text")], TypeError, "bytes"),  # type: ignore[arg-type]
        (
            [START | {"headers": [(b"content-length", b"1")]}, body(b"xy")],
            RuntimeError,
            "longer than its content-length",
        ),
        (
            [START | {"headers": [(b"content-length", b"3")]}, body(b"xy")],
            RuntimeError,
            "shorter than its content-length",
        ),
        ([START | {"headers": [(b"content-length", b"abc")]}], ValueError, "number of bytes"),
        ([START | {"headers": [(b"content-length", b"+1")]}], ValueError, "number of bytes"),
        (
            [START | {"headers": [(b"content-length", b"1"), (b"Content-Length", b"2")]}],
            ValueError,
            "said twice",
        ),
    ],
)
def test_what_cannot_be_sent(
    messages: Any, kind: type[Exception], text: str, caplog: pytest.LogCaptureFixture
) -> None:
    app, raised = failing(*messages)

    async def main() -> None:
        async with served("http", app, lifespan="off") as (_, client):
            said = await client.get("/")
            assert said.status_code == 500
            assert said.text == "Internal Server Error"

    run(main)
    assert isinstance(raised[0], kind)
    assert text in str(raised[0])
    (record,) = [each for each in caplog.records if each.name == "jetstream.http"]
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert record.exc_info[1] is raised[0]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_length_is_said_once_and_never_of_nothing(version: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        status = 204 if scope["path"] == "/nothing" else 200
        twice = [(b"content-length", b"3")] * 2
        await send({"type": "http.response.start", "status": status, "headers": twice})
        await send(body(b"" if status == 204 else b"abc"))

    async def main() -> None:
        async with served(version, app, lifespan="off") as (_, client):
            assert (await client.get("/")).headers.get_list("content-length") == ["3"]
            assert "content-length" not in (await client.get("/nothing")).headers

    run(main)


def test_nothing_can_be_sent_behind_the_end(caplog: pytest.LogCaptureFixture) -> None:
    app, raised = failing(START, body(b"whole"), body(b"more"))

    async def main() -> None:
        async with served("http", app, lifespan="off") as (_, client):
            assert (await client.get("/")).text == "whole"
            assert (await client.get("/")).text == "whole"

    run(main)
    assert "whole already" in str(raised[0])


@pytest.mark.parametrize("version", VERSIONS)
def test_an_application_that_fails(version: str, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/begun":
            await send(START)
            await send(body(b"half", more=True))
            await asyncio.sleep(0)
        if scope["path"] != "/silent":
            raise ZeroDivisionError("oops")

    async def main() -> None:
        import httpx

        async with served(version, app, lifespan="off") as (_, client):
            for path in ("/", "/silent"):
                said = await client.get(path)
                assert (said.status_code, said.text) == (500, "Internal Server Error")
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                await client.get("/begun")
            assert (await client.get("/")).status_code == 500

    run(main)
    told = [record for record in caplog.records if record.name == "jetstream.http"]
    assert len(told) == 4
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("how", ["raises", "returns", "length", "trailers"])
def test_an_answer_that_fails_behind_its_first_piece_is_cut_off(
    version: str, how: str, loop: str
) -> None:
    """In the same step: the head has not left yet, either."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/whole":
            await echo(scope, receive, send)
            return
        fields = [(b"content-length", b"5")] if how == "length" else []
        await send({**START, "headers": fields, "trailers": how == "trailers"})
        await send(body(b"x", more=True))
        if how == "raises":
            raise ZeroDivisionError
        if how == "length":
            await send(body(b"y"))
        if how == "trailers":
            await send(body())
            wrong = [(b"x-name", b"a\r\nb: c")]
            await send({"type": "http.response.trailers", "headers": wrong})

    async def main() -> None:
        async with served(version, app, lifespan="off") as (_, client):
            for _ in range(2):
                with pytest.raises(httpx.HTTPError):
                    await client.get("/")
                assert (await client.post("/whole", content=b"all")).content == b"all"

    run(main, loop=loop)


# ---- disconnects, backpressure ----


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_that_goes_is_told_of(version: str, loop: str) -> None:
    async def main() -> None:
        begun, over = asyncio.Event(), asyncio.Event()
        seen: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            assert await everything(receive) == b""
            await send(START)
            await send(body(b"x", more=True))
            begun.set()
            seen.append(await receive())
            try:
                await send(body(b"y"))
            except OSError as error:
                seen.append(error)
            over.set()

        async with served(version, app) as (_, client):
            async with client.stream("GET", "/"):
                await begun.wait()
            # httpcore leaves a stream of HTTP/2 as it is.
            await client.aclose()
            await over.wait()
        assert seen[0] == {"type": "http.disconnect"}
        assert isinstance(seen[1], ConnectionResetError)

    run(main, loop=loop)


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_whoever_sends_without_a_pause_finds_out_that_the_client_is_gone(
    kind: str, loop: str
) -> None:
    piece = bytes(65536)
    ends: asyncio.Queue[BaseException | None] = asyncio.Queue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        message: dict[str, Any]
        if kind == "http":
            await send(START)
            message = body(piece, more=True)
        else:
            await receive()
            await send({"type": "websocket.accept"})
            message = {"type": "websocket.send", "bytes": piece}
        try:
            for _ in range(20_000):
                await send(message)
        except OSError as error:
            ends.put_nowait(error)
        else:
            ends.put_nowait(None)

    asked = b"GET / HTTP/1.1\r\nhost: a\r\n"
    if kind == "websocket":
        asked += (
            b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
            b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        )

    async def main() -> None:
        async with server(app, lifespan="off") as running:
            for reads in range(8):
                async with raw(running) as (reader, writer):
                    writer.write(asked + b"\r\n")
                    for _ in range(reads + 1):
                        await reader.read(65536)
                    if reads % 2:
                        writer.transport.abort()
                assert isinstance(await ends.get(), ConnectionResetError)

    run(main, loop=loop)


def test_behind_the_answer_comes_a_disconnect() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await echo(scope, receive, send)
        seen.append(await receive())
        await asyncio.sleep(0)
        seen.append(await receive())

    async def main() -> None:
        async with served("http", app, lifespan="off") as (_, client):
            await client.post("/", content=b"x")

    run(main)
    assert seen == [{"type": "http.disconnect"}] * 2


def test_receive_can_be_a_task(loop: str) -> None:
    """As some frameworks have it, and cancel it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert await asyncio.create_task(receive()) == {
            "type": "http.request",
            "body": b"",
            "more_body": False,
        }
        waiting = [asyncio.create_task(receive()) for _ in range(3)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        assert all(task.cancelled() for task in waiting)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await receive()
        await asyncio.create_task(send(START))
        await asyncio.create_task(send(body(b"ok")))

    async def main() -> None:
        async with served("http", app, lifespan="off") as (_, client):
            assert (await client.get("/")).text == "ok"

    run(main, loop=loop)


def test_a_client_that_does_not_read_holds_the_application_up(loop: str) -> None:
    async def main() -> None:
        sent = 0
        held = asyncio.Event()
        piece = bytes(64 << 10)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            nonlocal sent
            await send(START)
            loop = asyncio.get_running_loop()
            for _ in range(1000):
                handle = loop.call_later(0.3, held.set)
                await send(body(piece, more=True))
                handle.cancel()
                sent += len(piece)
            await send(body())

        async with server(app, lifespan="off") as running, raw(running) as (reader, writer):
            reader._transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            await held.wait()
            assert sent < 20 << 20  # what the system's buffers hold, and 256 KiB
            reader._transport.resume_reading()  # type: ignore[attr-defined]
            # It may come in two reads.
            tail = b""
            while tail != b"0\r\n\r\n":
                tail = (tail + await reader.read(1 << 20))[-5:]
            assert sent == 1000 * len(piece)

    run(main, loop=loop)


def test_an_application_that_does_not_read_holds_the_client_up() -> None:
    async def main() -> None:
        go = asyncio.Event()
        got = 0

        async def app(scope: Any, receive: Any, send: Any) -> None:
            nonlocal got
            await go.wait()
            while True:
                message = await receive()
                got += len(message["body"])
                if not message["more_body"]:
                    break
            await respond(b"ok")(scope, receive, send)

        async with server(app, lifespan="off") as running, raw(running) as (reader, writer):
            size = 64 << 20
            writer.write(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % size)
            wrote = 0
            try:
                async with asyncio.timeout(0.5):
                    while wrote < size:
                        writer.write(bytes(1 << 20))
                        wrote += 1 << 20
                        await writer.drain()
            except TimeoutError:
                pass
            assert wrote < 32 << 20
            go.set()
            writer.write(bytes(size - wrote))
            await reader.readuntil(b"ok")
            assert got == size

    run(main)


def test_a_body_is_asked_for_when_it_is_wanted() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/refuse":
            await respond(b"no", 413)(scope, receive, send)
        else:
            await echo(scope, receive, send)

    async def main() -> None:
        async with server(app, lifespan="off") as running:
            head = b" HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
            async with raw(running) as (reader, writer):
                writer.write(b"POST /" + head)
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
                writer.write(b"hi")
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            async with raw(running) as (reader, writer):
                writer.write(b"POST /refuse" + head)
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 413 ")

    run(main)


# ---- extensions ----


@pytest.mark.parametrize("version", VERSIONS)
def test_a_file_is_sent_by_its_path(version: str, tmp_path: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 5000)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.pathsend", "path": str(path)})

    async def main() -> None:
        async with served(version, app) as (_, client):
            said = await client.get("/")
            assert said.content == path.read_bytes()
            assert said.headers["content-length"] == str(path.stat().st_size)
            assert (await client.head("/")).headers["content-length"] == "1280000"

    run(main)


@pytest.mark.parametrize("kind", ["pipe", "folder", "nothing"])
def test_what_is_no_file_is_not_waited_for(kind: str, tmp_path: Any) -> None:
    path = tmp_path / "file"
    if kind == "pipe":
        os.mkfifo(path)
    if kind == "folder":
        path.mkdir()
    pathsend = {"type": "http.response.pathsend", "path": str(path)}
    app, raised = failing(START, pathsend)

    async def main() -> None:
        async with served("http", app, lifespan="off") as (_, client):
            assert (await client.get("/")).status_code == 500

    run(main)
    assert isinstance(raised[0], OSError if kind == "nothing" else ValueError)


def test_trailers_and_early_hints() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        hint = {"type": "http.response.early_hint", "links": [b"</s.css>; rel=preload"]}
        await send(hint)
        trailer = [(b"trailer", b"x-sum")]
        await send(START | {"headers": trailer, "trailers": True})
        await send(body(b"data"))
        last = {"type": "http.response.trailers"}
        await send(last | {"headers": [(b"x-sum", b"4")], "more_trailers": False})

    async def main() -> None:
        async with server(app, lifespan="off") as running, raw(running) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\n\r\n")
            first = await reader.readuntil(b"\r\n\r\n")
            assert first == b"HTTP/1.1 103 Early Hints\r\nlink: </s.css>; rel=preload\r\n\r\n"
            rest = await reader.readuntil(b"x-sum: 4\r\n\r\n")
            assert rest.startswith(b"HTTP/1.1 200 ")
            assert b"\r\n4\r\ndata\r\n0\r\n" in rest

    run(main)


def test_usual_fields_and_concurrency() -> None:
    async def main() -> None:
        begun, go = asyncio.Event(), asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            begun.set()
            await go.wait()
            await respond(b"ok")(scope, receive, send)

        options = {"headers": [("x-served-by", "us")], "concurrency": 1, "lifespan": "off"}
        async with served("http", app, **options) as (_, client):
            first = asyncio.ensure_future(client.get("/"))
            await begun.wait()
            second = await client.get("/")
            assert second.status_code == 503
            assert second.headers["x-served-by"] == "us"
            go.set()
            assert (await first).status_code == 200

    run(main)
