"""This project's server of HTTP as a peer of the benchmark.

`python -m benchmarks.peers.ours_http site|both|page CERTIFICATES` serves the application on uvloop
until stdin closes; with `both` and `page`, services are called on the same port. A page is asked
for no certificate, and is not told of HTTP/3.
"""

import sys
from pathlib import Path

import uvloop
from jetstream import Router, ServerTls
from jetstream.http import HttpOptions, HttpServer

from benchmarks.peers.asgi_app import app
from benchmarks.peers.load import Harness
from benchmarks.peers.ours import EchoServer


async def main(what: str, certificates: Path) -> None:
    """Serves until stdin closes."""
    pair = str(certificates / "server.pem"), str(certificates / "server.key")
    router = None if what == "site" else Router(EchoServer())
    if what == "both":
        ca = str(certificates / "ca.pem")
        tls = ServerTls(*pair, client_ca=ca, client_auth="optional")
    else:
        tls = ServerTls(*pair)
    options = HttpOptions(alt_svc=what != "page")
    async with HttpServer(app, router=router, tls=tls, port=0, options=options) as server:
        harness = await Harness.open()
        harness.say(address=str(server.tcp_address))
        await harness.end()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], Path(sys.argv[2])))
