"""A page of React, a typed service that it calls over WebTransport, and one port for both.

`make demo-web`, or `python examples/web/server.py` in an environment that has `starlette`, after
the page was built; README.md beside it says how.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from jetstream import Certificate, JetStreamError, Router, ServerTls
from jetstream.http import HttpOptions, HttpServer
from jetstream.webtransport import RefuseSession, SessionRequest, TokenPeer, WebTransport
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from station import StationImpl
from tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request

HERE = Path(__file__).parent
BUILT = HERE / "dist"

LONGEST_NAME = 40

HEADERS = [
    ("content-security-policy", "default-src 'self'; base-uri 'none'; frame-ancestors 'none'"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
]

log = logging.getLogger("example")


# ---- the application: the page, and tokens for it ----


def application(station: StationImpl, tokens: Tokens, built: Path) -> Starlette:
    async def token(request: Request) -> JSONResponse:
        """A token for whoever asks, by the name they give.

        An application that knows its users would look here at who is logged in.
        """
        given = (await request.json()).get("name")
        name = given.strip()[:LONGEST_NAME] if isinstance(given, str) else ""
        text, expires = tokens.issue(name or "visitor", datetime.now(UTC))
        told = {"token": text, "expires": expires.isoformat()}
        return JSONResponse(told, headers={"cache-control": "no-store"})

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        blowing = asyncio.create_task(station.blow())
        yield
        blowing.cancel()
        with suppress(asyncio.CancelledError):
            await blowing

    routes = [
        Route("/api/token", token, methods=["POST"]),
        Mount("/", StaticFiles(directory=built, html=True)),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


# ---- the server ----


def certificates_in(folder: Path) -> None:
    """Makes development certificates on first use, and new ones when they have expired."""
    made = folder / "server.crt"
    command = [sys.executable, "-m", "jetstream", "certs", "init", str(folder)]
    if made.exists():
        until = Certificate.from_der(made.read_bytes()).not_after
        if until > datetime.now(UTC) + timedelta(hours=1):
            return
        command.append("--renew")
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    log.info("certificates   were made in %s", folder)


def make_server(host: str, port: int, certificates: Path, built: Path = BUILT) -> HttpServer:
    """Everything on one port, not started yet."""
    station, tokens = StationImpl(), Tokens()

    def authenticate(request: SessionRequest) -> TokenPeer:
        """Who opens a session: browsers show no certificate there, so the URL has a token."""
        peer = tokens.peer(request.token or "", datetime.now(UTC))
        if peer is None:
            raise RefuseSession(401, "no token, or one that has expired")
        return peer

    return HttpServer(
        application(station, tokens, built),
        router=Router(station),
        webtransport=WebTransport(authenticate=authenticate),  # for pages of our own origin
        tls=ServerTls(certificates / "server.pem", certificates / "server.key"),
        host=host,
        port=port,
        # Calls by POST would come without a token.
        options=HttpOptions(rpc=False, json=False, headers=HEADERS),
    )


async def run(host: str, port: int, certificates: Path) -> None:
    certificates_in(certificates)
    server = make_server(host, port, certificates)
    await server.start()
    # A name may be tried over IPv6 only; an address is what it is.
    url = f"https://{server.tcp_address}/"
    log.info("the page       %s", url)
    log.info("a browser      %s examples/web/chrome.py %s", sys.executable, url)
    await server.run()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8443, help="of TCP and of UDP")
    parser.add_argument("--certificates", type=Path, default=Path(".demo/certs"))
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if not (BUILT / "index.html").exists():
        print(f"{BUILT} has no page: build it with 'make demo-web', or see README.md there")
        return 1
    try:
        asyncio.run(run(given.host, given.port, given.certificates))
    except (JetStreamError, OSError, subprocess.CalledProcessError) as error:
        print(f"cannot serve: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
