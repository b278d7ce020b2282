"""WebSockets of all versions of HTTP, and peers and applications that are slow, odd or gone."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import pytest
from websockets.frames import Opcode

from tests.helpers import run
from tests.http.serving import respond, server, tls
from tests.http.tunnels import connected

VERSIONS = ("h1", "h2", "h3")

every_version = pytest.mark.parametrize("version", VERSIONS)

DEFLATE = ("sec-websocket-extensions", "permessage-deflate")


def served(version: str, app: Any, **options: Any) -> Any:
    """A server of an application for WebSockets; requests beside them are answered."""

    async def both(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await respond(b"ok")(scope, receive, send)
        else:
            await app(scope, receive, send)

    if version != "h1":
        options["tls"] = tls()
    return server(both, lifespan="off", **options)


def frame(opcode: Opcode, data: bytes = b"", *, compressed: bool = False) -> bytes:
    """A frame of a client, whose mask is all zeros."""
    length = len(data)
    head = bytes([0x80 | compressed << 6 | opcode])
    if length < 126:
        head += bytes([0x80 | length])
    elif length < 1 << 16:
        head += b"\xfe" + struct.pack(">H", length)
    else:
        head += b"\xff" + struct.pack(">Q", length)
    return head + bytes(4) + data


def close_frame(code: int) -> bytes:
    return frame(Opcode.CLOSE, struct.pack(">H", code))


async def until_held_up(send: Any) -> asyncio.Task[None]:
    """Sends until somebody has to wait, and gives the task that does."""
    while True:
        sending = asyncio.ensure_future(send({"type": "websocket.send", "bytes": bytes(66_000)}))
        for _ in range(3):
            await asyncio.sleep(0)
        if not sending.done():
            return sending
        await sending


async def is_listening(running: Any) -> bool:
    address = running.tcp_address
    try:
        _, writer = await asyncio.open_connection(str(address.ip), address.port)
    except OSError:
        return False
    writer.transport.abort()
    return True


@every_version
def test_what_came_before_it_is_taken_wakes_another_task(version: str, loop: str) -> None:
    async def main() -> None:
        go, told = asyncio.Event(), asyncio.Queue[Any]()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            waiting = asyncio.ensure_future(receive())
            await go.wait()
            try:
                await send({"type": "websocket.accept"})
                told.put_nowait(await waiting)
            except RuntimeError as error:
                told.put_nowait(error)

        async with served(version, app) as running, connected(version, running) as connection:
            stream = connection.tunnel()
            await stream.send(frame(Opcode.TEXT, b"early"))
            await connection.heard()
            go.set()
            assert await told.get() == {"type": "websocket.receive", "text": "early"}

    run(main, loop=loop)
