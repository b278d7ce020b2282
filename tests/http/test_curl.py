"""curl, over HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import asyncio
import functools
import json
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from jetstream import JetStreamError, Router, service
from jetstream.http import JetStreamContext
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from tests.helpers import run
from tests.http.programs import WRONG, Said, identity, need, said_by, written
from tests.http.serving import respond, server, tls

if TYPE_CHECKING:
    from pathlib import Path

    from jetstream.http import HttpServer

CLEAR, SECURE = ["http"], ["https", "h2"]
SPOKEN = {"http": "1.1", "https": "1.1", "h2": "2"}

FAILED_HANDSHAKE = (35, 55, 56)
"""What curl ends with if TLS does not come about: in the handshake, or, as the server of TLS 1.3
verifies clients behind it, in what is sent or read next."""

everything = pytest.mark.parametrize("version", CLEAR + SECURE)
secured = pytest.mark.parametrize("version", SECURE)


@functools.cache
def curl_of(version: str) -> str:
    """curl, where it speaks this version."""
    curl = need("curl", "curl")
    features = subprocess.run([curl, "--version"], capture_output=True, text=True, check=True)
    if version == "h2" and "HTTP2" not in features.stdout.split():
        pytest.skip("this curl was built without HTTP/2")
    return curl


@dataclass(frozen=True)
class Answer:
    """An answer: the last head that was sent with it, and those before it."""

    version: str
    status: int
    heads: list[tuple[int, dict[str, str]]]
    body: bytes
    sent: int

    @property
    def fields(self) -> dict[str, str]:
        return next(fields for status, fields in reversed(self.heads) if status >= 200)

    def json(self) -> Any:
        return json.loads(self.body)


def heads_in(text: str) -> list[tuple[int, dict[str, str]]]:
    """Each head; what comes behind the last is trailers, of which the status is 0."""
    heads: list[tuple[int, dict[str, str]]] = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        lines = [line for line in block.split("\n") if line]
        if not lines:
            continue
        status = 0
        if lines[0].startswith("HTTP/"):
            status = int(lines.pop(0).split()[1])
        pairs = [line.partition(":") for line in lines]
        heads.append((status, {name.lower(): value.strip() for name, _, value in pairs}))
    return heads


async def raw_curl(
    version: str, folder: Path, *options: str, issued: Any = None, **settings: Any
) -> Said:
    ca, chain, key = written(folder, issued)
    shown = () if issued is None else ("--cert", str(chain), "--key", str(key))
    spoken = "--http2" if version == "h2" else "--http1.1"
    basics = ("-q", "-sS", spoken, "--cacert", str(ca), "--max-time", "20")
    return await said_by(curl_of(version), *basics, *shown, *options, **settings)


async def curl(
    version: str, running: HttpServer, folder: Path, path: str, *options: str, issued: Any = None
) -> Answer:
    """One request, that is answered over the version that was wanted."""
    head, out = folder / "head.txt", folder / "out.bin"
    out.write_bytes(b"")
    scheme = "http" if version == "http" else "https"
    where = f"{scheme}://{running.tcp_address}{path}"
    form = "%{http_version} %{response_code} %{size_upload}"
    files = ("-D", str(head), "-o", str(out), "-w", form)
    told = await raw_curl(version, folder, *files, *options, where, issued=issued)
    spoken, status, sent = told.well().split()
    assert spoken.decode() == SPOKEN[version]
    return Answer(
        spoken.decode(), int(status), heads_in(head.read_text()), out.read_bytes(), int(sent)
    )


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Says what it was asked, and what came with it."""
    parts, more = [], True
    while more:
        message = await receive()
        assert message["type"] == "http.request"
        parts.append(message["body"])
        more = message["more_body"]
    fields = {name.decode(): value.decode() for name, value in scope["headers"]}
    told = {
        "version": scope["http_version"],
        "method": scope["method"],
        "path": scope["path"],
        "query": scope["query_string"].decode(),
        "type": fields.get("content-type"),
        "size": len(b"".join(parts)),
        "body": b"".join(parts)[:100].decode("latin-1"),
    }
    headers = [(b"content-type", b"application/json")]
    await respond(json.dumps(told).encode(), headers=headers)(scope, receive, send)


async def asked(
    version: str, app: Any, folder: Path, path: str, *options: str, **settings: Any
) -> Answer:
    """One request to a server that is there for it."""
    if version != "http":
        settings.setdefault("tls", tls())
    async with server(app, lifespan="off", **settings) as running:
        return await curl(version, running, folder, path, *options)


@everything
def test_get(version: str, tmp_path: Path) -> None:
    answer = run(lambda: asked(version, echo, tmp_path, "/a%20b?c=d%26e"))
    assert answer.status == 200
    assert answer.fields["content-type"] == "application/json"
    assert "date" in answer.fields
    told = answer.json()
    assert told["version"] == SPOKEN[version]
    assert (told["method"], told["path"], told["query"]) == ("GET", "/a b", "c=d%26e")
    assert ("alt-svc" in answer.fields) == (version != "http")


@everything
def test_post_of_json(version: str, tmp_path: Path) -> None:
    data = json.dumps({"name": "ada"})
    kind = "content-type: application/json"
    told = run(lambda: asked(version, echo, tmp_path, "/", "-d", data, "-H", kind)).json()
    assert (told["method"], told["type"], told["body"]) == ("POST", "application/json", data)


@everything
def test_one_connection_for_many_requests(version: str, tmp_path: Path) -> None:
    async def main() -> bytes:
        secure = None if version == "http" else tls()
        async with server(echo, tls=secure, lifespan="off") as running:
            scheme = "http" if version == "http" else "https"
            where = f"{scheme}://{running.tcp_address}/[1-5]"
            form = ("-w", "%{num_connects}", "-o", str(tmp_path / "#1"))
            return (await raw_curl(version, tmp_path, *form, where)).well()

    assert run(main) == b"10000"
    assert json.loads((tmp_path / "5").read_text())["path"] == "/5"


@everything
def test_an_upload_waits_until_it_is_wanted(version: str, tmp_path: Path) -> None:
    file = tmp_path / "upload"
    file.write_bytes(bytes(range(256)) * 20_000)
    # It would send the body unasked only after we gave it up.
    options = ("-T", str(file), "-H", "Expect: 100-continue", "--expect100-timeout", "60")
    answer = run(lambda: asked(version, echo, tmp_path, "/", *options))
    assert answer.json()["method"] == "PUT"
    assert answer.json()["size"] == answer.sent == file.stat().st_size
    assert [status for status, _ in answer.heads] == [100, 200]


# Over HTTP/2 some versions of curl, 7.88 of them, take what RFC 9113, section 8.1, has for this, a
# reset without error behind the whole answer, for a failure.
@pytest.mark.parametrize("version", ["http", "https"])
def test_an_upload_that_is_not_wanted_is_not_sent(version: str, tmp_path: Path) -> None:
    file = tmp_path / "upload"
    file.write_bytes(bytes(1 << 20))
    options = ("-T", str(file), "-H", "Expect: 100-continue", "--expect100-timeout", "60")
    answer = run(lambda: asked(version, respond(b"no", 413), tmp_path, "/", *options))
    assert [status for status, _ in answer.heads] == [413]
    assert (answer.body, answer.sent) == (b"no", 0)


@everything
def test_an_upload_without_a_length(version: str, tmp_path: Path) -> None:
    file = tmp_path / "upload"
    file.write_bytes(b"piece " * 200_000)

    async def main() -> Said:
        secure = None if version == "http" else tls()
        async with server(echo, tls=secure, lifespan="off") as running:
            scheme = "http" if version == "http" else "https"
            options = ("-T", "-", "-H", "Expect:", f"{scheme}://{running.tcp_address}/")
            with file.open("rb") as given:
                return await raw_curl(version, tmp_path, *options, stdin=given)

    told = json.loads(run(main).well())
    assert (told["method"], told["version"]) == ("PUT", SPOKEN[version])
    assert told["size"] == file.stat().st_size


@everything
def test_head(version: str, tmp_path: Path) -> None:
    app = respond(b"hello", headers=[(b"content-length", b"5")])
    answer = run(lambda: asked(version, app, tmp_path, "/", "--head"))
    assert (answer.status, answer.fields["content-length"]) == (200, "5")
    # curl writes the head there, too.
    assert b"hello" not in answer.body


@everything
def test_a_range_of_a_file(version: str, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    content = bytes(range(256)) * 4096
    (folder / "data.bin").write_bytes(content)

    async def main() -> list[Answer]:
        secure = None if version == "http" else tls()
        app = Starlette(routes=[Mount("/", StaticFiles(directory=folder))])
        async with server(app, tls=secure, lifespan="off") as running:
            get = functools.partial(curl, version, running, tmp_path)
            return [
                await get("/data.bin"),
                await get("/data.bin", "-r", "1000-1999"),
                await get("/data.bin", "-r", "-10"),
                await get("/data.bin", "-r", f"{len(content)}-"),
                await get("/none"),
            ]

    whole, some, last, behind, none = run(main)
    assert (whole.status, whole.body) == (200, content)
    assert (some.status, some.body) == (206, content[1000:2000])
    assert some.fields["content-range"] == f"bytes 1000-1999/{len(content)}"
    assert (last.status, last.body) == (206, content[-10:])
    assert behind.status == 416
    assert none.status == 404


@everything
def test_a_download_comes_piece_by_piece(version: str, tmp_path: Path) -> None:
    piece = bytes(range(256)) * 256

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        for _ in range(64):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})

    answer = run(lambda: asked(version, app, tmp_path, "/"))
    assert answer.body == piece * 64
    assert "content-length" not in answer.fields


@everything
def test_one_that_breaks_off_is_seen_to(version: str, tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        await asyncio.sleep(0)
        raise ZeroDivisionError

    async def main() -> Said:
        secure = None if version == "http" else tls()
        async with server(app, tls=secure, lifespan="off") as running:
            scheme = "http" if version == "http" else "https"
            return await raw_curl(version, tmp_path, f"{scheme}://{running.tcp_address}/")

    told = run(main)
    # Of HTTP/1.1: chunks that do not end, or a reset; of HTTP/2: a stream that was reset.
    assert told.code in ((92,) if version == "h2" else (18, 56)), told


@everything
def test_early_hints_and_trailers(version: str, tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        links = [b"</s.css>; rel=preload", b"</s.js>; rel=preload"]
        await send({"type": "http.response.early_hint", "links": links})
        headers = [(b"trailer", b"x-sum")]
        start = {"type": "http.response.start", "status": 200, "trailers": True}
        await send({**start, "headers": headers})
        await send({"type": "http.response.body", "body": b"data"})
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"4")]})

    answer = run(lambda: asked(version, app, tmp_path, "/", "-H", "TE: trailers"))
    assert answer.body == b"data"
    hints, head, trailers = answer.heads
    assert hints[0] == 103
    assert "rel=preload" in hints[1]["link"]
    assert head[0] == 200
    assert "x-sum" not in head[1]
    assert trailers == (0, {"x-sum": "4"})


# ---- who is let in ----


async def name(scope: Any, receive: Any, send: Any) -> None:
    peer = JetStreamContext.from_scope(scope).peer
    assert peer is not None
    await respond((peer.leaf.common_name or "").encode())(scope, receive, send)  # type: ignore[union-attr]


@secured
def test_a_client_with_a_certificate(version: str, tmp_path: Path) -> None:
    issued, secure = identity("good")

    async def main() -> Answer:
        async with server(name, tls=secure, lifespan="off") as running:
            return await curl(version, running, tmp_path, "/", issued=issued)

    assert run(main).body == b"ada"


@secured
@pytest.mark.parametrize("case", WRONG)
def test_a_client_that_is_not_let_in(version: str, case: str, tmp_path: Path) -> None:
    issued, secure = identity(case)
    called: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        called.append(scope)
        await respond(b"ok")(scope, receive, send)

    async def main() -> Said:
        async with server(app, tls=secure, lifespan="off") as running:
            where = f"https://{running.tcp_address}/"
            return await raw_curl(version, tmp_path, where, issued=issued)

    told = run(main)
    assert told.code in FAILED_HANDSHAKE, told
    assert told.out == b""
    assert called == []


@secured
def test_a_server_that_is_not_trusted(version: str, tmp_path: Path) -> None:
    async def main() -> Said:
        from jetstream.testing import ThrowawayCA

        other = tmp_path / "other.pem"
        other.write_bytes(ThrowawayCA().ca_pem)
        async with server(echo, tls=tls(), lifespan="off") as running:
            where = f"https://{running.tcp_address}/"
            return await raw_curl(version, tmp_path, "--cacert", str(other), where)

    assert run(main).code == 60


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


@everything
def test_a_call(version: str, tmp_path: Path) -> None:
    post = ("-H", "content-type: application/json", "-d")

    async def main() -> tuple[Answer, Answer, Answer]:
        secure = None if version == "http" else tls()
        router = Router(EchoImpl())
        async with server(echo, router=router, tls=secure, lifespan="off") as running:
            call = functools.partial(curl, version, running, tmp_path)
            return (
                await call("/echo/echo", *post, '{"message": "hällo"}'),
                await call("/echo/fail", *post, "{}"),
                await call("/echo/echo", *post, '{"message": 1}'),
            )

    good, failed, wrong = run(main)
    assert (good.status, good.json()) == (200, "hällo")
    for answer, status, code in ((failed, 422, "shelf::none"), (wrong, 400, "jetstream::decode")):
        assert answer.status == status
        assert answer.fields["content-type"] == "application/problem+json"
        told = answer.json()
        assert (told["status"], told["code"]) == (status, code)
    assert failed.json()["detail"] == "no such book"
    assert failed.json()["help"] == "look elsewhere"
