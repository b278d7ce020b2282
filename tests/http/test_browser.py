"""A browser: its first visit is over HTTP/2, and it moves to HTTP/3 because it is told of it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import re
import tempfile
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from websockets.asyncio.client import ClientConnection, connect

from tests.helpers import run, server_identity
from tests.http import programs
from tests.http.serving import respond, server, tls

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.slow

PATIENCE = 120.0

PAGE_PATIENCE = 30
"""Seconds for which a page fetches until it gets what it waits for."""

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--no-first-run", "--disable-sync", "--disable-extensions", "--disable-component-update"),
    *("--disable-background-networking", "--remote-debugging-port=0"),
    # It asks nobody but us.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    # Over QUIC it takes no certificate of an authority that it did not come with, except of hosts
    # on which it is to speak QUIC unasked, whatever the port. Ours is another port, so that there
    # it speaks QUIC only if told of it.
    "--origin-to-force-quic-on=127.0.0.1:1",
)


def public_key_hash() -> str:
    """Of the server's certificate, as the browser wants it: it takes that one unverified."""
    certificate = x509.load_pem_x509_certificate(server_identity().chain_pem)
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(key).digest()).decode()


class Page:
    """A page in the browser, by the DevTools protocol."""

    def __init__(self, websocket: ClientConnection) -> None:
        self._websocket = websocket
        self._number = 0
        self._session: str | None = None

    async def call(self, method: str, **arguments: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": arguments}
        if self._session is not None:
            message["sessionId"] = self._session
        await self._websocket.send(json.dumps(message))
        while True:
            told = json.loads(await self._websocket.recv())
            if told.get("id") == self._number:
                assert "error" not in told, told
                return told["result"]

    async def open(self) -> None:
        target = (await self.call("Target.createTarget", url="about:blank"))["targetId"]
        attached = await self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]

    async def visit(self, url: str) -> None:
        told = await self.call("Page.navigate", url=url)
        assert "errorText" not in told, told

    async def evaluate(self, script: str) -> Any:
        """What an async function with this body returns in the page."""
        told = await self.call(
            "Runtime.evaluate",
            expression=f"(async () => {{{script}}})()",
            awaitPromise=True,
            returnByValue=True,
        )
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")


@contextlib.asynccontextmanager
async def browser() -> AsyncGenerator[Page]:
    """A page of a browser that knows nothing yet."""
    chromium = programs.need("chromium", "chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        async with programs.running(
            chromium,
            *FLAGS,
            f"--user-data-dir={folder}",
            f"--ignore-certificate-errors-spki-list={public_key_hash()}",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={**programs.environment(), "HOME": folder},
        ) as process:
            assert process.stderr is not None
            said = []
            while (line := (await process.stderr.readline()).decode(errors="replace")) != "":
                said.append(line)
                if (listens := re.match(r"DevTools listening on (ws://\S+)", line)) is not None:
                    break
            else:
                raise AssertionError("".join(said))
            # What it goes on to say must not fill the pipe.
            rest = asyncio.ensure_future(process.stderr.read())
            try:
                async with connect(listens[1], proxy=None, max_size=None) as websocket:
                    page = Page(websocket)
                    await page.open()
                    yield page
                    page._session = None
                    await page.call("Browser.close")
            finally:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await rest


class App:
    """Says which version it is asked over."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.closed: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        version = scope["http_version"]
        self.seen.append((scope["path"], version))
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            while (message := await receive())["type"] != "websocket.disconnect":
                await send({**message, "type": "websocket.send"})
            self.closed.set_result(message["code"])
            return
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            size += len(message["body"])
            if not message["more_body"]:
                break
        told = json.dumps({"version": version, "size": size}).encode()
        kind = b"text/html" if scope["path"] == "/" else b"application/json"
        await respond(told, headers=[(b"content-type", kind)])(scope, receive, send)


UNTIL_HTTP3 = f"""
    const seen = [];
    const end = performance.now() + 1000 * {PAGE_PATIENCE};
    while (seen.at(-1) !== "3" && performance.now() < end)
        seen.push((await (await fetch("/again")).json()).version);
    return seen;
"""

SOME = """
    const seen = new Set();
    for (let number = 0; number < 50; number++)
        seen.add((await (await fetch("/again")).json()).version);
    return [...seen];
"""

UPLOAD = """
    const body = new Uint8Array(3 << 20);
    return await (await fetch("/upload", {method: "POST", body})).json();
"""

TALK = """
    const url = `wss://${location.host}/talk`;
    return await new Promise((resolve, reject) => {
        const socket = new WebSocket(url);
        const seen = [];
        socket.onerror = () => reject(new Error("failed"));
        socket.onopen = () => socket.send("hello");
        socket.onmessage = (event) => {
            seen.push(event.data.length);
            if (seen.length === 1) socket.send("x".repeat(1 << 20));
            else socket.close(4321, "bye");
        };
        socket.onclose = (event) => resolve([...seen, event.code, event.wasClean]);
    });
"""


def test_it_moves_to_http3_because_it_is_told() -> None:
    async def main() -> None:
        app = App()
        async with server(app, tls=tls(), lifespan="off") as running, browser() as page:
            await page.visit(f"https://{running.tcp_address}/")
            assert app.seen[0] == ("/", "2")
            seen = await page.evaluate(UNTIL_HTTP3)
            assert seen[-1] == "3", seen
            assert ("/again", "3") in app.seen
            # It stays, and bodies come through.
            assert await page.evaluate(SOME) == ["3"]
            assert await page.evaluate(UPLOAD) == {"version": "3", "size": 3 << 20}
            await page.visit(f"https://{running.tcp_address}/once-more")
            assert ("/once-more", "3") in app.seen

    run(main, patience=PATIENCE)


def test_it_stays_if_it_is_not_told() -> None:
    async def main() -> None:
        app = App()
        async with (
            server(app, tls=tls(), lifespan="off", alt_svc=False) as running,
            browser() as page,
        ):
            await page.visit(f"https://{running.tcp_address}/")
            assert await page.evaluate(SOME) == ["2"]
            assert await page.evaluate(UPLOAD) == {"version": "2", "size": 3 << 20}
            assert {version for _, version in app.seen} == {"2"}

    run(main, patience=PATIENCE)


def test_a_websocket_of_a_page() -> None:
    async def main() -> None:
        app = App()
        async with (
            server(app, tls=tls(), lifespan="off", alt_svc=False) as running,
            browser() as page,
        ):
            await page.visit(f"https://{running.tcp_address}/")
            assert await page.evaluate(TALK) == [5, 1 << 20, 4321, True]
            # On the connection that it has, by RFC 8441.
            assert ("/talk", "2") in app.seen
            assert await app.closed == 4321

    run(main, patience=PATIENCE)
