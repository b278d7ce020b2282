"""Requests of HTTP and typed calls to one process: each gets its part of the loop's time."""

from __future__ import annotations

import asyncio
import time
from itertools import groupby
from typing import TYPE_CHECKING, Any

from jetstream import connect, service

from tests.helpers import client_tls, run
from tests.http.serving import server, tls

if TYPE_CHECKING:
    from pathlib import Path

BUSY = 0.0005
"""Seconds that one request takes, more than the whole slice of a turn."""

REQUESTS = 64


@service
class Counter:
    async def count(self) -> None: ...


def test_requests_that_come_together_do_not_hold_calls_up(loop: str, tmp_path: Path) -> None:
    order: list[str] = []

    class CounterImpl(Counter):
        async def count(self) -> None:
            order.append("call")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        end = time.perf_counter() + BUSY
        while time.perf_counter() < end:
            pass
        order.append("request")
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def main() -> None:
        path = tmp_path / "http"
        async with (
            server(app, router=CounterImpl(), tls=tls(), unix=path, lifespan="off") as served,
            connect(str(served.address), tls=client_tls()) as session,
        ):
            counter = session.channel(Counter)
            await counter.count()
            order.clear()
            sockets = [await asyncio.open_unix_connection(path) for _ in range(REQUESTS)]
            for _, writer in sockets:
                writer.write(b"GET / HTTP/1.1\r\nhost: local\r\nconnection: close\r\n\r\n")
            answers = asyncio.gather(*(reader.read() for reader, _ in sockets))
            while not answers.done():
                await counter.count()
            assert all(answer.startswith(b"HTTP/1.1 204") for answer in await answers)
            for _, writer in sockets:
                writer.close()

    run(main, loop=loop)
    runs = [len(list(run)) for kind, run in groupby(order) if kind == "request"]
    assert sum(runs) == REQUESTS
    # Between a call and the next there are some rounds of the loop, each with one request.
    assert max(runs) <= REQUESTS // 4, runs
