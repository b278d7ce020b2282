"""A server of pages in a process of its own, to be killed: `tests.faults.server` runs it.

As a program: `python -m tests.web.killed FOLDER PORT`; the pages' script is FOLDER/page.js.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from jetstream import Router, ServerTls

from tests.http.serving import server
from tests.web.pages import Pages
from tests.web.services import Lab


async def _serve(folder: Path, port: int) -> None:
    tls = ServerTls(folder / "chain.pem", folder / "key.pem")
    pages = Pages((folder / "page.js").read_bytes())
    serving = server(pages, router=Router(Lab()), tls=tls, port=port, lifespan="off")
    await serving.start()
    print(serving.tcp_address.port, flush=True)
    await serving.run()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2])))
