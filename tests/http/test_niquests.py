"""niquests, over HTTP/3."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from typing import TYPE_CHECKING, Any

import niquests
import pytest
from jetstream import JetStreamError, Router, service
from jetstream.http import JetStreamContext

from tests.helpers import run
from tests.http.programs import WRONG, identity, written
from tests.http.serving import respond, server, tls

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from jetstream.http import HttpServer

HTTP2, HTTP3 = 20, 30
PIECE = bytes(range(256)) * 256
PIECES = 80
"""Of 64 KiB: more than any window holds."""

START = {"type": "http.response.start", "status": 200}


@contextlib.asynccontextmanager
async def session(
    running: HttpServer, folder: Path, issued: Any = None, *, told: bool = True
) -> AsyncGenerator[niquests.AsyncSession]:
    """A session that speaks HTTP/3 at once if it has been told of it before."""
    assert running.tcp_address is not None
    place = (str(running.tcp_address.ip), running.tcp_address.port)
    ca, chain, key = written(folder, issued)
    async with niquests.AsyncSession(
        quic_cache_layer={place: place} if told else None,
        base_url=f"https://{running.tcp_address}",
        revocation_configuration=None,
        timeout=20,
        verify=str(ca),
        cert=None if issued is None else (str(chain), str(key)),
    ) as asking:
        asking.trust_env = False
        yield asking


@contextlib.asynccontextmanager
async def served(
    app: Any, folder: Path, **options: Any
) -> AsyncGenerator[tuple[HttpServer, niquests.AsyncSession]]:
    """A server and a session with it."""
    async with (
        server(app, tls=tls(), lifespan="off", **options) as running,
        session(running, folder) as asking,
    ):
        yield running, asking


async def everything(receive: Any) -> bytes:
    parts = []
    while True:
        message = await receive()
        assert message["type"] == "http.request"
        parts.append(message["body"])
        if not message["more_body"]:
            return b"".join(parts)


def test_get(tmp_path: Path, loop: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        fields = dict(scope["headers"])
        told = {
            "version": scope["http_version"],
            "method": scope["method"],
            "path": scope["path"],
            "query": scope["query_string"].decode(),
            "scheme": scope["scheme"],
            "host": fields[b"host"].decode(),
            "mine": fields[b"x-mine"].decode(),
        }
        headers = [(b"content-type", b"application/json"), (b"x-extra", b"1"), (b"x-extra", b"2")]
        await respond(json.dumps(told).encode(), headers=headers)(scope, receive, send)

    async def main() -> None:
        async with served(app, tmp_path) as (running, asking):
            for _ in range(3):
                said = await asking.get("/a%20b?c=d", headers={"x-mine": "ä".encode().hex()})
                assert (said.status_code, said.http_version) == (200, HTTP3)
                assert said.headers["x-extra"] == "1, 2"
                assert "date" in said.headers
                assert "alt-svc" not in said.headers
                assert said.json() == {
                    "version": "3",
                    "method": "GET",
                    "path": "/a b",
                    "query": "c=d",
                    "scheme": "https",
                    "host": str(running.tcp_address),
                    "mine": "c3a4",
                }

    run(main, loop=loop)


def test_a_streamed_upload(tmp_path: Path, loop: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert "content-length" not in dict(scope["headers"])
        told = hashlib.sha256(await everything(receive)).hexdigest()
        await respond(told.encode())(scope, receive, send)

    async def pieces() -> AsyncGenerator[bytes]:
        for _ in range(PIECES):
            yield PIECE

    async def main() -> None:
        async with served(app, tmp_path) as (_, asking):
            said = await asking.post("/", data=pieces())
            assert said.http_version == HTTP3
            assert said.text == hashlib.sha256(PIECE * PIECES).hexdigest()

    run(main, loop=loop)


@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_000])
def test_a_body_comes_back(size: int, tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        length = dict(scope["headers"]).get(b"content-length", b"0")
        data = await everything(receive)
        assert int(length) == len(data)
        await respond(data)(scope, receive, send)

    async def main() -> None:
        data = (PIECE * (size // len(PIECE) + 1))[:size]
        async with served(app, tmp_path) as (_, asking):
            said = await asking.post("/", data=data)
            assert said.http_version == HTTP3
            assert said.content == data or (not data and not said.content)
            assert said.headers["content-length"] == str(size)

    run(main)


def test_a_streamed_download(tmp_path: Path, loop: str) -> None:
    async def main() -> None:
        seen = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(START)
            await send({"type": "http.response.body", "body": PIECE, "more_body": True})
            # It goes on once the first piece has come.
            await seen.wait()
            for _ in range(PIECES):
                await send({"type": "http.response.body", "body": PIECE, "more_body": True})
            await send({"type": "http.response.body"})

        async with served(app, tmp_path) as (_, asking):
            said = await asking.get("/", stream=True)
            assert said.http_version == HTTP3
            size, hashed = 0, hashlib.sha256()
            async for piece in await said.iter_content(16 << 10):
                seen.set()
                size += len(piece)
                hashed.update(piece)
            assert size == len(PIECE) * (PIECES + 1)
            assert hashed.digest() == hashlib.sha256(PIECE * (PIECES + 1)).digest()

    run(main, loop=loop)


def test_server_sent_events(tmp_path: Path, loop: str) -> None:
    async def main() -> None:
        wanted: asyncio.Queue[int | None] = asyncio.Queue()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({**START, "headers": [(b"content-type", b"text/event-stream")]})
            while (number := await wanted.get()) is not None:
                event = f"id: {number}\ndata: event {number}\n\n".encode()
                await send({"type": "http.response.body", "body": event, "more_body": True})
            await send({"type": "http.response.body"})

        async with served(app, tmp_path) as (_, asking):
            wanted.put_nowait(0)
            said = await asking.get("/", stream=True)
            assert said.http_version == HTTP3
            assert said.headers["content-type"] == "text/event-stream"
            number = 0
            # Each is asked for when the one before has come.
            async for piece in await said.iter_content(-1):
                assert piece == f"id: {number}\ndata: event {number}\n\n".encode()
                number += 1
                wanted.put_nowait(number if number < 10 else None)
            assert number == 10

    run(main, loop=loop)


def test_head(tmp_path: Path) -> None:
    app = respond(b"hello", headers=[(b"content-length", b"5")])

    async def main() -> None:
        async with served(app, tmp_path) as (_, asking):
            said = await asking.head("/")
            assert (said.status_code, said.http_version) == (200, HTTP3)
            assert said.headers["content-length"] == "5"
            assert not said.content
            assert (await asking.get("/")).content == b"hello"

    run(main)


@pytest.mark.parametrize("status", [204, 304, 400, 404, 503])
def test_statuses(status: int, tmp_path: Path) -> None:
    bodyless = status in (204, 304)

    async def main() -> None:
        app = respond(b"" if bodyless else b"because", status)
        async with served(app, tmp_path) as (_, asking):
            said = await asking.get("/")
            assert (said.status_code, said.http_version) == (status, HTTP3)
            assert (said.content or b"") == (b"" if bodyless else b"because")

    run(main)


def test_an_application_that_fails(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/begun":
            await send(START)
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            await asyncio.sleep(0)
        raise ZeroDivisionError("oops")

    async def main() -> None:
        async with served(app, tmp_path) as (_, asking):
            said = await asking.get("/")
            assert (said.status_code, said.http_version) == (500, HTTP3)
            assert said.text == "Internal Server Error"
            with pytest.raises(niquests.RequestException):
                await asking.get("/begun")
            assert (await asking.get("/")).status_code == 500

    run(main)
    assert len([each for each in caplog.records if each.name == "jetstream.http"]) == 3


def test_many_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        inside = 0
        together = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            nonlocal inside
            inside += 1
            if inside == 20:
                together.set()
            await together.wait()
            await respond(scope["path"].encode())(scope, receive, send)

        async with served(app, tmp_path) as (running, _):
            assert running.tcp_address is not None
            place = (str(running.tcp_address.ip), running.tcp_address.port)
            async with niquests.AsyncSession(
                multiplexed=True,
                quic_cache_layer={place: place},
                base_url=f"https://{running.tcp_address}",
                revocation_configuration=None,
                verify=str(tmp_path / "ca.pem"),
                timeout=20,
            ) as asking:
                asking.trust_env = False
                waiting = [await asking.get(f"/{number}") for number in range(20)]
                await asking.gather()
                assert [said.text for said in waiting] == [f"/{number}" for number in range(20)]
                assert {said.http_version for said in waiting} == {HTTP3}

    run(main)


# ---- who is let in ----


def test_a_client_with_a_certificate(tmp_path: Path) -> None:
    issued, secure = identity("good")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        peer: Any = JetStreamContext.from_scope(scope).peer
        told = [scope["http_version"], peer.leaf.common_name, scope["extensions"]["tls"]]
        assert told[2]["client_cert_name"] == peer.leaf.subject
        await respond(json.dumps(told[:2]).encode())(scope, receive, send)

    async def main() -> None:
        async with (
            server(app, tls=secure, lifespan="off") as running,
            session(running, tmp_path, issued) as asking,
        ):
            said = await asking.get("/")
            assert said.http_version == HTTP3
            assert said.json() == ["3", "ada"]

    run(main)


@pytest.mark.parametrize("case", WRONG)
def test_a_client_that_is_not_let_in(case: str, tmp_path: Path) -> None:
    issued, secure = identity(case)
    good, _ = identity("good")
    called: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        called.append(scope["http_version"])
        await respond(b"ok")(scope, receive, send)

    async def main() -> None:
        async with server(app, tls=secure, lifespan="off") as running:
            async with session(running, tmp_path, issued) as asking:
                with pytest.raises((niquests.RequestException, OSError)):
                    await asking.get("/")
            assert called == []
            async with session(running, tmp_path, good) as asking:
                assert (await asking.get("/")).text == "ok"
            assert called == ["3"]

    run(main)


# ---- Alt-Svc ----


@pytest.mark.parametrize("told", [True, False])
def test_the_next_request_goes_where_it_is_told(told: bool, tmp_path: Path) -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["http_version"])
        await respond(b"ok")(scope, receive, send)

    async def main() -> None:
        async with (
            server(app, tls=tls(), lifespan="off", alt_svc=told) as running,
            session(running, tmp_path, told=False) as asking,
        ):
            versions = [(await asking.get("/")).http_version for _ in range(3)]
            assert versions == [HTTP2, *([HTTP3 if told else HTTP2] * 2)]

    run(main)
    assert seen == ["2", *(["3" if told else "2"] * 2)]


# ---- services ----


@service
class Echo:
    async def echo(self, message: str) -> str: ...
    async def fail(self) -> str: ...


class EchoImpl(Echo):
    async def echo(self, message: str) -> str:
        return message

    async def fail(self) -> str:
        raise JetStreamError("no such book", code="shelf::none", help="look elsewhere")


def test_a_call(tmp_path: Path) -> None:
    async def main() -> None:
        async with served(respond(), tmp_path, router=Router(EchoImpl())) as (_, asking):
            said = await asking.post("/echo/echo", json={"message": "hällo"})
            assert (said.status_code, said.http_version) == (200, HTTP3)
            assert said.json() == "hällo"
            said = await asking.post("/echo/fail", json={})
            assert (said.status_code, said.http_version) == (422, HTTP3)
            assert said.headers["content-type"] == "application/problem+json"
            assert (said.json()["code"], said.json()["detail"]) == ("shelf::none", "no such book")

    run(main)
