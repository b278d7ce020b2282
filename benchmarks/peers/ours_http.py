"""This project's server of HTTP as a peer of the benchmark.

`python -m benchmarks.peers.ours_http site|both CERTIFICATES` serves the application on uvloop until
stdin closes; with `both`, services are called on the same port.
"""

import sys
from pathlib import Path

import uvloop
from jetstream import Router, ServerTls
from jetstream.http import HttpServer

from benchmarks.peers.asgi_app import app
from benchmarks.peers.load import Harness
from benchmarks.peers.ours import EchoServer


async def main(what: str, certificates: Path) -> None:
    """Serves until stdin closes."""
    pair = str(certificates / "server.pem"), str(certificates / "server.key")
    if what == "both":
        ca = str(certificates / "ca.pem")
        router, tls = Router(EchoServer()), ServerTls(*pair, client_ca=ca, client_auth="optional")
    else:
        router, tls = None, ServerTls(*pair)
    async with HttpServer(app, router=router, tls=tls, port=0) as server:
        harness = await Harness.open()
        harness.say(address=str(server.tcp_address))
        await harness.end()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], Path(sys.argv[2])))
