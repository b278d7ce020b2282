"""An application of FastAPI, a page for browsers and a typed service, on one port.

`python examples/http/server.py` in an environment that has `fastapi`; README.md beside it says what
to ask. With `--mtls`, clients must show a certificate.
"""

import argparse
import asyncio
import logging
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI
from fastapi.staticfiles import StaticFiles
from jetstream import (
    I32,
    INJECTED,
    Certificate,
    Context,
    JetStreamError,
    Peer,
    Router,
    ServerTls,
    TlsPeer,
    service,
)
from jetstream.http import HttpOptions, HttpServer, JetStreamContext

STATIC = Path(__file__).parent / "static"

log = logging.getLogger("example")


def name_of(peer: Peer | None) -> str:
    return (peer.leaf.common_name or "no name") if isinstance(peer, TlsPeer) else "nobody"


# ---- the service: over QUIC, over TCP, and by POST ----


@service
class Echo:
    async def echo(self, message: str) -> str:
        return message

    async def add(self, a: I32, b: I32) -> I32:
        return a + b

    async def who_am_i(self, ctx: Context = INJECTED) -> str:
        return name_of(ctx.peer)


# ---- the application ----

app = FastAPI(title="Echo")


@app.get("/api/whoami")
async def whoami(ctx: Annotated[JetStreamContext, Depends()]) -> dict[str, str]:
    """Who asks, and in which version of HTTP."""
    return {"name": name_of(ctx.peer), "from": str(ctx.remote), "http": ctx.http_version}


# Last, because it answers whatever nobody before it has answered.
app.mount("/", StaticFiles(directory=STATIC, html=True))


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
    log.info("certificates were made in %s", folder)


async def run(host: str, port: int, certificates: Path, *, mtls: bool) -> None:
    certificates_in(certificates)
    tls = ServerTls(
        certificates / "server.pem",
        certificates / "server.key",
        client_ca=certificates / "ca.pem" if mtls else None,
    )
    server = HttpServer(
        app,
        router=Router(Echo()),
        tls=tls,
        host=host,
        port=port,
        options=HttpOptions(access_log=True),
    )
    await server.start()
    url = f"https://localhost:{server.tcp_address.port}"
    log.info("the page        %s/", url)
    log.info("FastAPI         %s/api/whoami, %s/docs", url, url)
    log.info("Echo, with JSON POST %s/echo/echo", url)
    log.info("Echo, typed     connect('localhost:%d', tls=...)", server.address.port)
    log.info("certificates    of clients: %s", "required" if mtls else "not asked for")
    await server.run()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8443, help="of TCP and of UDP")
    parser.add_argument("--mtls", action="store_true", help="clients must show a certificate")
    parser.add_argument("--certificates", type=Path, default=Path(".demo/certs"))
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        asyncio.run(run(given.host, given.port, given.certificates, mtls=given.mtls))
    except (JetStreamError, OSError, subprocess.CalledProcessError) as error:
        print(f"cannot serve: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
