"""What an application is told of a request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.helpers import run
from tests.http.serving import SPOKEN, VERSIONS, answer, raw, served, server

KEYS = ("type", "asgi", "http_version", "method", "scheme", "path", "root_path")


async def tell(scope: Any, receive: Any, send: Any) -> None:
    """Answers with what it was told."""
    told = {key: scope[key] for key in KEYS}
    told["raw_path"] = scope["raw_path"].decode("latin-1")
    told["query_string"] = scope["query_string"].decode("latin-1")
    told["headers"] = [[name.decode(), value.decode("latin-1")] for name, value in scope["headers"]]
    told["client"] = scope["client"] and scope["client"][0]
    told["server"] = scope["server"] and list(scope["server"])
    told["extensions"] = sorted(scope["extensions"])
    body = json.dumps(told).encode()
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize("version", VERSIONS)
def test_a_request_is_described(version: str, loop: str) -> None:
    async def main() -> None:
        async with served(version, tell, lifespan="off") as (running, client):
            told = (await client.get("/a%20b/%C3%A4?x=1&y=%20", headers={"X-One": "1"})).json()
            assert told["type"] == "http"
            assert told["asgi"] == {"version": "3.0", "spec_version": "2.5"}
            assert told["http_version"] == SPOKEN[version]
            assert told["scheme"] == ("http" if version == "http" else "https")
            assert told["method"] == "GET"
            assert told["path"] == "/a b/ä"
            assert told["raw_path"] == "/a%20b/%C3%A4"
            assert told["query_string"] == "x=1&y=%20"
            assert told["client"] == "127.0.0.1"
            assert told["server"] == ["127.0.0.1", running.tcp_address.port]
            headers = dict(told["headers"])
            assert headers["x-one"] == "1"
            assert headers["host"] == str(running.tcp_address)
            assert not any(name.startswith(":") for name in headers)
            assert {"http.response.trailers", "http.response.pathsend"} <= set(told["extensions"])
            assert ("tls" in told["extensions"]) == (version != "http")

    run(main, loop=loop)


def test_each_request_has_a_scope_of_its_own() -> None:
    """What is the same in two requests is made once, and changed by neither."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((list(scope["headers"]), set(scope), sorted(scope["extensions"])))
        scope["headers"].append((b"x-added", b"1"))
        scope["extensions"].clear()
        scope["extra"] = 1
        scope["path"] = "/elsewhere"
        await tell({**scope, "extensions": {}}, receive, send)

    async def main() -> None:
        async with served("http", app, lifespan="off") as (_, client):
            await client.get("/one")
            await client.get("/one")
            again = await client.get("/two", headers={"x-new": "2"})
            assert again.json()["path"] == "/elsewhere"

    run(main)
    assert seen[0] == seen[1]
    assert (b"x-new", b"2") in seen[2][0]


def test_where_it_is_mounted_comes_before_the_path() -> None:
    async def main() -> None:
        async with served("http", tell, root_path="/api", lifespan="off") as (_, client):
            told = (await client.get("/x%20y")).json()
            assert (told["root_path"], told["path"], told["raw_path"]) == (
                "/api",
                "/api/x y",
                "/api/x%20y",
            )

    run(main)


def test_bytes_of_a_path_that_are_no_text() -> None:
    async def main() -> None:
        async with server(tell, lifespan="off") as running, raw(running) as (reader, writer):
            writer.write(b"GET /%ff%2fx%zz% HTTP/1.1\r\nhost: a\r\n\r\n")
            _, _, body = await answer(reader)
            told = json.loads(body)
            assert told["path"] == "/\ufffd/x%zz%"
            assert told["raw_path"] == "/%ff%2fx%zz%"

    run(main)


def test_the_old_version_and_the_absolute_form() -> None:
    async def main() -> None:
        async with server(tell, lifespan="off") as running:
            async with raw(running) as (reader, writer):
                writer.write(b"GET / HTTP/1.0\r\n\r\n")
                _, _, body = await answer(reader)
                assert json.loads(body)["http_version"] == "1.0"
            async with raw(running) as (reader, writer):
                writer.write(b"GET http://other/p?q HTTP/1.1\r\nhost: lie\r\n\r\n")
                _, _, body = await answer(reader)
                told = json.loads(body)
                assert dict(told["headers"])["host"] == "other"
                assert told["path"] == "/p"

    run(main)


def test_over_a_unix_socket(tmp_path: Any) -> None:
    import httpx

    path = str(tmp_path / "s.sock")

    async def main() -> None:
        transport = httpx.AsyncHTTPTransport(uds=path)
        async with (
            server(tell, port=None, unix=path, lifespan="off"),
            httpx.AsyncClient(transport=transport, base_url="http://local") as client,
        ):
            told = (await client.get("/")).json()
            assert told["server"] == [path, None]
            assert told["client"] is None
            assert told["scheme"] == "http"

    run(main)
