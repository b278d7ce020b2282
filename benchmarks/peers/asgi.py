"""Other servers of ASGI applications as peers: one process of each serves, on uvloop.

`python -m benchmarks.peers.asgi uvicorn|hypercorn|granian CERTIFICATES`, with the interpreter of an
environment that has them. Prints the address and serves until stdin closes.
"""

# mypy: disable-error-code="import-untyped, import-not-found, no-any-return, unused-ignore"
# pyright: basic

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import socket
import ssl
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import uvloop

from benchmarks.peers.load import Harness

APP = "benchmarks.peers.asgi_app:app"
PATIENCE = 15.0
MANY = 1_000_000_000


def uvicorn(port: int, certificates: Path) -> None:
    import uvicorn

    uvicorn.run(
        APP,
        port=port,
        http="httptools",
        loop="uvloop",
        ssl_certfile=certificates / "server.pem",
        ssl_keyfile=certificates / "server.key",
        access_log=False,
        log_level="warning",
    )


def granian(port: int, certificates: Path) -> None:
    """A process that serves, and one that looks after it."""
    from granian import Granian
    from granian.constants import Interfaces, Loops
    from granian.log import LogLevels

    Granian(
        APP,
        port=port,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        ssl_cert=certificates / "server.pem",
        ssl_key=certificates / "server.key",
        workers_kill_timeout=1,
        log_level=LogLevels.warning,
    ).serve()


def hypercorn(port: int, certificates: Path) -> None:
    """HTTP/3 on the UDP port of the same number."""
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    from benchmarks.peers.asgi_app import app

    config = Config()
    config.bind = config.quic_bind = [f"127.0.0.1:{port}"]
    config.certfile = str(certificates / "server.pem")
    config.keyfile = str(certificates / "server.key")
    # By default it drops each connection after a thousand requests.
    config.keep_alive_max_requests = MANY
    config.graceful_timeout = 0.5
    config.loglevel = "WARNING"

    async def main() -> None:
        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        await serve(app, config, shutdown_trigger=ended.wait)

    uvloop.run(main())


SERVERS = {"uvicorn": uvicorn, "granian": granian, "hypercorn": hypercorn}


def free_port() -> int:
    """A port that is free for TCP and UDP now."""
    while True:
        with (
            socket.socket() as tcp,
            socket.socket(type=socket.SOCK_DGRAM) as udp,
            suppress(OSError),
        ):
            tcp.bind(("127.0.0.1", 0))
            port: int = tcp.getsockname()[1]
            udp.bind(("127.0.0.1", port))
            return port


def accompany(port: int, certificates: Path) -> None:
    """Tells the harness when the server answers, and the server when it may end."""
    context = ssl.create_default_context(cafile=certificates / "ca.pem")
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        client = http.client.HTTPSConnection("localhost", port, timeout=PATIENCE, context=context)
        with suppress(OSError, http.client.HTTPException):
            client.request("GET", "/hello")
            if client.getresponse().status == 200:
                client.close()
                Harness.say(address=f"127.0.0.1:{port}")
                break
        client.close()
        # Whether a foreign server is up, only asking it tells.
        time.sleep(0.05)
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


def main(name: str, certificates: Path) -> None:
    port = free_port()
    threading.Thread(target=accompany, args=(port, certificates), daemon=True).start()
    SERVERS[name](port, certificates)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
