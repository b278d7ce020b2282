"""The application that serves the pages of Chromium's tests."""

from __future__ import annotations

from typing import Any

from tests.http.serving import respond


class Pages:
    """Serves the page, and keeps which versions of HTTP it was asked over, from which ports."""

    def __init__(self, script: bytes) -> None:
        self._script = script
        self.versions: list[str] = []
        self.ports: set[int] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.ports.add(scope["client"][1])
        body, kind = b"", b"application/json"
        match scope["path"]:
            case "/":
                self.versions.append(scope["http_version"])
                body, kind = b'<script type="module" src="/page.js"></script>', b"text/html"
            case "/page.js":
                body, kind = self._script, b"text/javascript"
            case "/version":
                body = b'"%s"' % scope["http_version"].encode()
        # Nothing comes out of a cache.
        headers = [(b"content-type", kind), (b"cache-control", b"no-store")]
        status = 200 if body else 404
        await respond(body, status, headers=headers)(scope, receive, send)
