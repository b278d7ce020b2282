"""Thousands of requests of h2load, over many connections at once: all are answered."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.helpers import run
from tests.http.programs import need, said_by
from tests.http.serving import respond, server, tls

REQUESTS = 4000
BODY = b"x" * 100


@pytest.mark.parametrize("version", ["http", "https", "h2"])
@pytest.mark.parametrize("upload", [0, 20_000], ids=["get", "post"])
def test_all_are_answered(version: str, upload: int, tmp_path: Any) -> None:
    h2load = need("h2load", "nghttp2-client")
    sent = tmp_path / "body"
    sent.write_bytes(bytes(upload))
    served: dict[str, int] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        size, more = 0, True
        while more:
            message = await receive()
            assert message["type"] == "http.request"
            size += len(message["body"])
            more = message["more_body"]
        assert size == upload
        served[scope["http_version"]] = served.get(scope["http_version"], 0) + 1
        await respond(BODY)(scope, receive, send)

    async def main() -> bytes:
        secure = None if version == "http" else tls()
        async with server(app, tls=secure, lifespan="off") as running:
            scheme = "http" if version == "http" else "https"
            asked = (f"{scheme}://{running.tcp_address}/", *(["-d", str(sent)] if upload else []))
            protocol = ("-m10",) if version == "h2" else ("--h1",)
            done = await said_by(h2load, f"-n{REQUESTS}", "-c20", *protocol, *asked)
            return done.well()

    told = run(main, patience=120).decode()
    line = re.search(r"^requests: (.*)$", told, re.MULTILINE)
    assert line is not None, told
    counts = {name: int(number) for number, name in re.findall(r"(\d+) (\w+)", line[1])}
    assert counts["succeeded"] == counts["done"] == counts["total"] == REQUESTS, told
    assert counts["failed"] == counts["errored"] == counts["timeout"] == 0, told
    assert f"status codes: {REQUESTS} 2xx, 0 3xx, 0 4xx, 0 5xx" in told
    assert f"({REQUESTS * len(BODY)}) data" in told
    assert served == {"2" if version == "h2" else "1.1": REQUESTS}
