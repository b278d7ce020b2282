"""WebSockets, with the client of `websockets`."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
import websockets
from jetstream import Limits
from websockets.asyncio.client import connect

from tests.helpers import run
from tests.http.serving import raw, server, ssl_context, tls


def url(running: Any, path: str = "/") -> str:
    return f"ws://{running.tcp_address}{path}"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "websocket"
    assert await receive() == {"type": "websocket.connect"}
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        await send({**message, "type": "websocket.send"})


def test_messages_come_back(loop: str) -> None:
    async def main() -> None:
        async with server(echo, lifespan="off") as running:
            async with connect(url(running)) as client:
                for message in ("hello", "ä" * 100, b"", "", b"\x00" * 70_000, "x" * 200_000):
                    await client.send(message)
                    assert await client.recv() == message
                # In one go, and in fragments.
                for number in range(100):
                    await client.send(str(number))
                await client.send(["a", "b", "c"])
                assert [await client.recv() for _ in range(100)] == [str(n) for n in range(100)]
                assert await client.recv() == "abc"
                await (await client.ping())
            assert client.close_code == 1000

    run(main, loop=loop)


@pytest.mark.parametrize("compression", [True, False])
def test_compression(compression: bool) -> None:
    async def main() -> None:
        async with (
            server(echo, lifespan="off", compression=compression) as running,
            connect(url(running)) as client,
        ):
            names = [each.name for each in client.protocol.extensions]
            assert names == (["permessage-deflate"] if compression else [])
            await client.send("again and " * 1000)
            assert await client.recv() == "again and " * 1000

    run(main)


def test_over_tls_with_subprotocol_and_headers() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["scheme"] == "wss"
        assert scope["subprotocols"] == ["one", "two"]
        assert scope["http_version"] == "1.1"
        assert scope["path"] == "/a b"
        assert "websocket.http.response" in scope["extensions"]
        assert "method" not in scope
        await receive()
        headers = [(b"x-extra", b"1")]
        await send({"type": "websocket.accept", "subprotocol": "two", "headers": headers})
        await send({"type": "websocket.send", "text": "hi"})
        await send({"type": "websocket.close", "code": 4000, "reason": "enough"})

    async def main() -> None:
        async with server(app, tls=tls(), lifespan="off") as running:
            address = f"wss://{running.tcp_address}/a%20b"
            names: Any = ["one", "two"]
            async with connect(address, ssl=ssl_context(), subprotocols=names) as client:
                assert client.subprotocol == "two"
                assert client.response is not None
                assert client.response.headers["x-extra"] == "1"
                assert await client.recv() == "hi"
                with pytest.raises(websockets.ConnectionClosed):
                    await client.recv()
                assert (client.close_code, client.close_reason) == (4000, "enough")

    run(main)


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/close", 403, b""),
        ("/denied", 451, b"not here"),
        ("/raise", 500, b"Internal Server Error"),
        ("/return", 500, b"Internal Server Error"),
    ],
)
def test_one_that_is_not_taken(path: str, status: int, text: bytes) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        match scope["path"]:
            case "/close":
                await send({"type": "websocket.close"})
                assert (await receive())["type"] == "websocket.disconnect"
            case "/denied":
                start = {"type": "websocket.http.response.start", "status": 451, "headers": []}
                await send(start)
                await send({"type": "websocket.http.response.body", "body": b"not here"})
            case "/raise":
                raise ZeroDivisionError
            case _:
                return

    async def main() -> None:
        async with server(app, lifespan="off") as running:
            with pytest.raises(websockets.InvalidStatus) as caught:
                await connect(url(running, path))
            assert caught.value.response.status_code == status
            if text:
                assert caught.value.response.body == text

    run(main)


def test_how_it_ends_is_told(loop: str) -> None:
    told: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        told.append(await receive())
        with pytest.raises(OSError, match="closed"):
            await send({"type": "websocket.send", "text": "late"})

    async def main() -> None:
        async with server(app, lifespan="off") as running:
            async with connect(url(running)) as client:
                await client.close(4321, "bye")
            client = await connect(url(running))
            client.transport.abort()
            await client.wait_closed()

    run(main, loop=loop)
    assert told == [
        {"type": "websocket.disconnect", "code": 4321, "reason": "bye"},
        {"type": "websocket.disconnect", "code": 1006, "reason": ""},
    ]


@pytest.mark.parametrize(("path", "code"), [("/return", 1000), ("/raise", 1011)])
def test_when_the_application_ends(path: str, code: int) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        if path == "/raise":
            raise ZeroDivisionError

    async def main() -> None:
        async with server(app, lifespan="off") as running:
            client = await connect(url(running, path))
            with pytest.raises(websockets.ConnectionClosed):
                await client.recv()
            assert client.close_code == code

    run(main)


def test_a_server_that_stops() -> None:
    told: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        told.append(await receive())

    async def main() -> None:
        running = server(app, lifespan="off")
        await running.start()
        async with connect(url(running)) as client:
            closing = asyncio.ensure_future(running.close())
            with pytest.raises(websockets.ConnectionClosed):
                await client.recv()
            assert client.close_code == 1012
            await closing
        assert told[0]["code"] == 1012

    run(main)


def test_a_message_over_the_limit() -> None:
    async def main() -> None:
        limits = Limits(websocket_message=1000)
        async with (
            server(echo, limits=limits, lifespan="off") as running,
            connect(url(running)) as client,
        ):
            await client.send("x" * 1000)
            assert len(await client.recv()) == 1000
            await client.send("x" * 1001)
            with pytest.raises(websockets.ConnectionClosed):
                await client.recv()
            assert client.close_code == 1009

    run(main)


def test_a_peer_that_does_not_answer_is_lost() -> None:
    told: list[Any] = []
    over = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        told.append(await receive())
        over.set()

    async def main() -> None:
        limits = Limits(websocket_ping=0.05, websocket_pong=0.1)
        async with server(app, limits=limits, lifespan="off") as running:
            # A client that answers is not.
            async with connect(url(running), ping_interval=None) as client:
                await asyncio.sleep(0.3)
                assert client.close_code is None
                await client.send("still here")
            await over.wait()
            over.clear()
            async with raw(running) as (reader, writer):
                writer.write(
                    b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
                    b"sec-websocket-version: 13\r\n"
                    b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
                )
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
                assert await reader.read(2) == b"\x89\x08"
                await over.wait()
                # Ended or reset, as the system has it.
                with contextlib.suppress(ConnectionResetError):
                    assert await reader.read() == b""
        assert told[1] == {
            "type": "websocket.disconnect",
            "code": 1006,
            "reason": "no answer to a ping",
        }

    run(main)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"sec-websocket-version: 8\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n", 426),
        (b"sec-websocket-version: 13\r\nsec-websocket-key: short\r\n", 400),
    ],
)
def test_a_handshake_that_is_wrong(headers: bytes, status: int) -> None:
    async def main() -> None:
        async with server(echo, lifespan="off") as running, raw(running) as (reader, writer):
            writer.write(
                b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
                + headers
                + b"\r\n"
            )
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 %d " % status)
            assert (b"sec-websocket-version: 13" in head) == (status == 426)

    run(main)


def test_messages_that_nobody_takes_hold_the_peer_up() -> None:
    async def main() -> None:
        go = asyncio.Event()
        got = 0

        async def app(scope: Any, receive: Any, send: Any) -> None:
            nonlocal got
            await receive()
            await send({"type": "websocket.accept"})
            await go.wait()
            while (message := await receive())["type"] != "websocket.disconnect":
                got += len(message["bytes"])

        async with (
            server(app, lifespan="off") as running,
            connect(url(running), compression=None, ping_interval=None) as client,
        ):
            sent = 0
            try:
                async with asyncio.timeout(0.5):
                    while sent < 64 << 20:
                        await client.send(bytes(1 << 18))
                        sent += 1 << 18
            except TimeoutError:
                pass
            assert sent < 32 << 20
            go.set()
            await client.send(b"last")
        assert got >= sent + 4

    run(main)
