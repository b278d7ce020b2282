"""What applications of Starlette and FastAPI usually do."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest
from fastapi import FastAPI, Form, UploadFile, WebSocket
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from tests.helpers import resident, run
from tests.http.serving import VERSIONS, raw, served, server


@pytest.mark.parametrize("version", VERSIONS)
def test_forms_and_files(version: str, loop: str) -> None:
    app = FastAPI()

    @app.post("/form")
    async def form(name: str = Form(), age: int = Form()) -> dict[str, Any]:
        return {"name": name, "age": age}

    @app.post("/file")
    async def file(upload: UploadFile) -> dict[str, Any]:
        data = await upload.read()
        return {"name": upload.filename, "size": len(data)}

    @app.post("/json")
    async def as_json(value: dict[str, int]) -> dict[str, int]:
        return {key: number + 1 for key, number in value.items()}

    @app.get("/thread")
    def thread() -> str:
        return "from a thread"

    async def main() -> None:
        async with served(version, app) as (_, client):
            said = await client.post("/form", data={"name": "ä", "age": "3"})
            assert said.json() == {"name": "ä", "age": 3}
            said = await client.post("/file", files={"upload": ("a.bin", bytes(2_000_000))})
            assert said.json() == {"name": "a.bin", "size": 2_000_000}
            assert (await client.post("/json", json={"a": 1})).json() == {"a": 2}
            assert (await client.post("/json", json="no")).status_code == 422
            assert (await client.get("/thread")).json() == "from a thread"
            assert (await client.get("/nowhere")).status_code == 404

    run(main, loop=loop)


async def count(request: Request) -> Response:
    size, digest = 0, hashlib.sha256()
    async for piece in request.stream():
        size += len(piece)
        digest.update(piece)
    return JSONResponse({"size": size, "sha256": digest.hexdigest()})


def _upload(size: int) -> None:
    piece = bytes(range(256)) * 256

    async def main() -> None:
        app = Starlette(routes=[Route("/", count, methods=["POST"])])
        async with served("https", app) as (_, client):

            async def pieces() -> Any:
                for _ in range(size // len(piece)):
                    yield piece

            await client.post("/", content=pieces())
            before = resident()
            said = await client.post("/", content=pieces())
            assert said.json()["size"] == size
            assert resident() - before < 16 << 20

    run(main, patience=300)


def test_an_upload_is_streamed() -> None:
    _upload(64 << 20)


@pytest.mark.slow
def test_an_upload_of_a_gibibyte_takes_no_more_memory() -> None:
    _upload(1 << 30)


@pytest.mark.parametrize("version", VERSIONS)
def test_server_sent_events_until_the_client_goes(version: str, loop: str) -> None:
    async def main() -> None:
        over = asyncio.Event()

        async def events(request: Request) -> Response:
            async def produce() -> Any:
                number = 0
                try:
                    while True:
                        yield f"data: {number}\n\n"
                        number += 1
                        await asyncio.sleep(0)
                finally:
                    over.set()

            return StreamingResponse(produce(), media_type="text/event-stream")

        app = Starlette(routes=[Route("/", events)])
        async with served(version, app) as (_, client):
            async with client.stream("GET", "/") as answering:
                assert answering.headers["content-type"].startswith("text/event-stream")
                lines = answering.aiter_lines()
                got = [line for line in [await anext(lines) for _ in range(20)] if line]
                assert got == [f"data: {number}" for number in range(10)]
            # httpcore leaves a stream of HTTP/2 as it is.
            await client.aclose()
            await over.wait()

    run(main, loop=loop)


def test_background_tasks_run_behind_the_answer(loop: str) -> None:
    async def main() -> None:
        answered, done = asyncio.Event(), asyncio.Event()

        async def later() -> None:
            await answered.wait()
            done.set()

        async def home(request: Request) -> Response:
            return PlainTextResponse("ok", background=BackgroundTask(later))

        async with served("http", Starlette(routes=[Route("/", home)])) as (_, client):
            assert (await client.get("/")).text == "ok"
            assert not done.is_set()
            answered.set()
            await done.wait()

    run(main, loop=loop)


@pytest.mark.parametrize("version", VERSIONS)
def test_static_files_and_ranges(version: str, tmp_path: Any) -> None:
    (tmp_path / "index.html").write_text("<h1>hi</h1>")
    data = bytes(range(256)) * 8192
    (tmp_path / "large.bin").write_bytes(data)

    async def file(request: Request) -> Response:
        return FileResponse(tmp_path / "large.bin")

    routes = [
        Route("/file", file),
        Mount("/", StaticFiles(directory=tmp_path, html=True)),
    ]

    async def main() -> None:
        async with served(version, Starlette(routes=routes)) as (_, client):
            assert (await client.get("/")).text == "<h1>hi</h1>"
            for path in ("/large.bin", "/file"):
                said = await client.get(path)
                assert said.content == data
                again = await client.get(path, headers={"if-none-match": said.headers["etag"]})
                assert again.status_code == (304 if path == "/large.bin" else 200)
                part = await client.get(path, headers={"range": "bytes=1000-1999"})
                assert (part.status_code, part.content) == (206, data[1000:2000])
                head = await client.head(path)
                assert head.headers["content-length"] == str(len(data))
            assert (await client.get("/missing")).status_code == 404

    run(main)


def test_middleware_and_sessions(loop: str) -> None:
    class Timing(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: Any) -> Response:
            response: Response = await call_next(request)
            response.headers["x-passed"] = "1"
            return response

    async def visit(request: Request) -> Response:
        request.session["visits"] = request.session.get("visits", 0) + 1
        return JSONResponse({"visits": request.session["visits"], "pad": "x" * 5000})

    async def fail(request: Request) -> Response:
        raise ZeroDivisionError

    async def body(request: Request) -> Response:
        return PlainTextResponse(str(len(await request.body())))

    app = Starlette(
        routes=[Route("/", visit), Route("/fail", fail), Route("/body", body, methods=["POST"])],
        middleware=[
            Middleware(SessionMiddleware, secret_key="secret"),
            Middleware(GZipMiddleware),
            Middleware(Timing),
        ],
    )

    async def main() -> None:
        async with served("http", app) as (_, client):
            for number in (1, 2, 3):
                said = await client.get("/")
                assert said.json()["visits"] == number
                assert said.headers["content-encoding"] == "gzip"
                assert said.headers["x-passed"] == "1"
            assert (await client.get("/fail")).status_code == 500
            assert (await client.post("/body", content=bytes(300_000))).text == "300000"

    run(main, loop=loop)


def test_a_client_that_goes_while_it_uploads(loop: str) -> None:
    async def main() -> None:
        seen = asyncio.Event()

        async def upload(request: Request) -> Response:
            try:
                await request.body()
            except ClientDisconnect:
                seen.set()
                raise
            return PlainTextResponse("ok")

        app = Starlette(routes=[Route("/", upload, methods=["POST"])])
        async with server(app) as running:
            async with raw(running) as (_, writer):
                writer.write(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf")
                await writer.drain()
            await seen.wait()

    run(main, loop=loop)


def test_websockets_of_fastapi(loop: str) -> None:
    app = FastAPI()

    @app.websocket("/json/{name}")
    async def talk(websocket: WebSocket, name: str) -> None:
        await websocket.accept()
        async for value in websocket.iter_json():
            await websocket.send_json({"name": name, "value": value})

    async def main() -> None:
        from websockets.asyncio.client import connect

        async with (
            server(app) as running,
            connect(f"ws://{running.tcp_address}/json/ada") as client,
        ):
            await client.send("[1, 2]")
            assert await client.recv() == '{"name":"ada","value":[1,2]}'

    run(main, loop=loop)


def test_what_lifespan_leaves_is_each_requests_own() -> None:
    from contextlib import asynccontextmanager

    over: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Any) -> Any:
        yield {"numbers": [1], "name": "first"}
        over.append("over")

    async def home(request: Request) -> Response:
        request.state.numbers.append(2)
        name = request.state.name
        request.state.name = "changed"
        return JSONResponse([name, request.state.numbers])

    async def main() -> None:
        app = Starlette(routes=[Route("/", home)], lifespan=lifespan)
        async with served("http", app) as (_, client):
            assert (await client.get("/")).json() == ["first", [1, 2]]
            assert (await client.get("/")).json() == ["first", [1, 2, 2]]
            assert not over
        assert over == ["over"]

    run(main)
