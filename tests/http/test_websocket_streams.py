"""WebSockets in streams of HTTP/2 (RFC 8441) and HTTP/3 (RFC 9220)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from jetstream import Limits
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Opcode

from tests.helpers import run
from tests.http.serving import respond, server, tls
from tests.http.tunnels import ENABLE_CONNECT_PROTOCOL, VERSIONS, Http2, WebSocket, connected

pytestmark = pytest.mark.parametrize("version", VERSIONS)

BIG = 2 << 20


async def echo(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await respond(scope["path"].encode())(scope, receive, send)
        return
    assert await receive() == {"type": "websocket.connect"}
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        await send({**message, "type": "websocket.send"})


def served(app: Any, **options: Any) -> Any:
    return server(app, tls=tls(), lifespan="off", **options)


def test_messages_come_back(version: str, loop: str) -> None:
    async def main() -> None:
        async with served(echo) as running, connected(version, running) as connection:
            assert (await connection.settings())[ENABLE_CONNECT_PROTOCOL] == 1
            client = await connection.websocket()
            for message in ("hello", "ä" * 100, b"", "", b"\x00" * 70_000, "x" * 200_000):
                await client.send(message)
                assert await client.recv() == message
            for number in range(100):
                await client.send(str(number))
            await client.send_pieces(b"a", b"b", b"c")
            assert [await client.recv() for _ in range(100)] == [str(n) for n in range(100)]
            assert await client.recv() == b"abc"
            await client.ping(b"there?")
            pong = await client.frame()
            assert pong is not None
            assert (pong.opcode, bytes(pong.data)) == (Opcode.PONG, b"there?")
            await client.close(1000)
            assert await client.closed() == (1000, "")

    run(main, loop=loop)


def test_big_messages(version: str) -> None:
    async def main() -> None:
        async with served(echo) as running, connected(version, running) as connection:
            client = await connection.websocket()
            for message in ("ä" * (BIG // 2), bytes(range(256)) * (BIG // 256)):
                await client.send(message)
                assert await client.recv() == message

    run(main)


def test_what_the_application_is_told(version: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        assert scope["scheme"] == "wss"
        assert scope["http_version"] == VERSIONS[version]
        assert (scope["path"], scope["query_string"]) == ("/a b", b"c=d")
        assert scope["subprotocols"] == ["one", "two"]
        assert "websocket.http.response" in scope["extensions"]
        assert "method" not in scope
        fields = dict(scope["headers"])
        assert fields[b"host"] == b"localhost"
        assert fields[b"x-mine"] == b"1"
        await receive()
        headers = [(b"x-extra", b"1")]
        await send({"type": "websocket.accept", "subprotocol": "two", "headers": headers})
        await send({"type": "websocket.send", "text": "hi"})
        await send({"type": "websocket.close", "code": 4000, "reason": "enough"})

    async def main() -> None:
        async with served(app) as running, connected(version, running) as connection:
            asked = [("sec-websocket-protocol", "one, two"), ("x-mine", "1")]
            client = await connection.websocket("/a%20b?c=d", asked)
            head = await client.stream.head
            assert head["sec-websocket-protocol"] == "two"
            assert head["x-extra"] == "1"
            # What only HTTP/1.1 has.
            assert not {"sec-websocket-accept", "upgrade", "connection"} & set(head)
            assert await client.recv() == "hi"
            assert await client.closed() == (4000, "enough")

    run(main)


def test_compression(version: str) -> None:
    async def main() -> None:
        async with served(echo) as running, connected(version, running) as connection:
            offer = ("sec-websocket-extensions", "permessage-deflate")
            stream = connection.tunnel(headers=[offer])
            head = await stream.head
            assert head["sec-websocket-extensions"].startswith("permessage-deflate")
            deflate = PerMessageDeflate(
                remote_no_context_takeover="server_no" in head["sec-websocket-extensions"],
                local_no_context_takeover="client_no" in head["sec-websocket-extensions"],
                remote_max_window_bits=15,
                local_max_window_bits=15,
            )
            client = WebSocket(stream, [deflate])
            message = "again and " * 10_000
            for _ in range(2):
                await client.send(message)
                assert await client.recv() == message

    run(main)


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/close", "403", b""),
        ("/denied", "451", b"not here"),
        ("/raise", "500", b"Internal Server Error"),
        ("/return", "500", b"Internal Server Error"),
    ],
)
def test_one_that_is_not_taken(version: str, path: str, status: str, text: bytes) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        match scope["path"]:
            case "/close":
                await send({"type": "websocket.close"})
                assert (await receive())["type"] == "websocket.disconnect"
            case "/denied":
                headers = [(b"x-why", b"law")]
                start = {"type": "websocket.http.response.start", "status": 451}
                await send({**start, "headers": headers})
                await send({"type": "websocket.http.response.body", "body": b"not here"})
            case "/raise":
                raise ZeroDivisionError
            case _:
                return

    async def main() -> None:
        async with served(app) as running, connected(version, running) as connection:
            stream = connection.tunnel(path)
            head = await stream.head
            assert head[":status"] == status
            assert head.get("x-why") == ("law" if path == "/denied" else None)
            body = await stream.rest()
            assert body == text or not text
            # The connection is as good as before.
            assert (await connection.tunnel("/denied").head)[":status"] == "451"

    run(main)


@pytest.mark.parametrize(
    ("asked", "status"), [({"version": "8"}, "426"), ({"protocol": "connect-udp"}, "501")]
)
def test_what_is_not_spoken(version: str, asked: Any, status: str) -> None:
    async def main() -> None:
        async with served(echo) as running, connected(version, running) as connection:
            head = await connection.tunnel(**asked).head
            assert head[":status"] == status
            assert head.get("sec-websocket-version") == ("13" if status == "426" else None)
            assert (await connection.tunnel().head)[":status"] == "200"

    run(main)


class Listening:
    """An application that notes how its WebSockets end."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[Any] = asyncio.Queue()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        message = await receive()
        self.told.put_nowait(message)
        with pytest.raises(OSError, match="closed"):
            await send({"type": "websocket.send", "text": "late"})


@pytest.mark.parametrize("how", ["close", "no-code", "end", "reset", "abort"])
def test_how_it_ends_is_told(version: str, how: str, loop: str) -> None:
    async def main() -> None:
        app = Listening()
        async with served(app) as running, connected(version, running) as connection:
            client = await connection.websocket()
            code, reason = 1006, ""
            match how:
                case "close":
                    code, reason = 4321, "bye"
                    await client.close(code, reason)
                    assert (await client.closed())[0] == code
                case "no-code":
                    code = 1005
                    await client.close(None)
                    assert (await client.closed())[0] == 1005
                case "end":
                    await client.stream.send(b"", end=True)
                case "reset":
                    client.stream.reset()
                case _:
                    connection.abort()
            told = await app.told.get()
            assert told == {"type": "websocket.disconnect", "code": code, "reason": reason}
            if how != "abort":
                other = await connection.websocket()
                await other.close(1000)
                assert (await app.told.get())["code"] == 1000

    run(main, loop=loop)


@pytest.mark.parametrize(("path", "code"), [("/return", 1000), ("/raise", 1011)])
def test_when_the_application_ends(version: str, path: str, code: int) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        if path == "/raise":
            raise ZeroDivisionError

    async def main() -> None:
        async with served(app) as running, connected(version, running) as connection:
            client = await connection.websocket(path)
            assert (await client.closed())[0] == code

    run(main)


def test_a_server_that_stops(version: str) -> None:
    async def main() -> None:
        app = Listening()
        running = served(app)
        await running.start()
        async with connected(version, running) as connection:
            client = await connection.websocket()
            closing = asyncio.ensure_future(running.close())
            assert (await client.closed())[0] == 1012
            await closing
            assert (await app.told.get())["code"] == 1012
            await connection.is_over.wait()
            if isinstance(connection, Http2):
                assert connection.goaways
                assert set(connection.goaways) == {0}

    run(main)


def test_a_message_over_the_limit(version: str) -> None:
    async def main() -> None:
        limits = Limits(websocket_message=1000)
        async with (
            served(echo, limits=limits) as running,
            connected(version, running) as connection,
        ):
            client = await connection.websocket()
            await client.send("x" * 1000)
            assert await client.recv() == "x" * 1000
            await client.send("x" * 1001)
            assert (await client.closed())[0] == 1009

    run(main)


def test_a_frame_that_is_not_masked(version: str) -> None:
    """A violation of the protocol."""

    async def main() -> None:
        async with served(echo) as running, connected(version, running) as connection:
            client = await connection.websocket()
            await client.stream.send(b"\x81\x02hi")
            assert (await client.closed())[0] == 1002

    run(main)


def test_many_beside_requests_on_one_connection(version: str, loop: str) -> None:
    async def main() -> None:
        async with served(echo) as running, connected(version, running) as connection:
            clients = [await connection.websocket(f"/{number}") for number in range(20)]
            for turn in range(3):
                for number, client in enumerate(clients):
                    await client.send(f"{turn} {number}")
                asked = connection.get(f"/plain/{turn}")
                assert (await asked.head)[":status"] == "200"
                assert await asked.rest() == f"/plain/{turn}".encode()
                for number, client in enumerate(clients):
                    assert await client.recv() == f"{turn} {number}"
            for client in clients[::2]:
                await client.close(1000)
                assert await client.closed() == (1000, "")
            for client in clients[1::2]:
                await client.send("still")
                assert await client.recv() == "still"

    run(main, loop=loop)


def test_messages_that_nobody_takes_hold_the_peer_up(version: str) -> None:
    size, count = 64 << 10, 96

    async def main() -> None:
        go, over = asyncio.Event(), asyncio.Event()
        got = 0

        async def app(scope: Any, receive: Any, send: Any) -> None:
            nonlocal got
            if scope["type"] == "http":
                await respond(b"ok")(scope, receive, send)
                return
            await receive()
            await send({"type": "websocket.accept"})
            await go.wait()
            while (message := await receive())["type"] != "websocket.disconnect":
                got += len(message["bytes"])
            over.set()

        async with served(app) as running, connected(version, running) as connection:
            client = await connection.websocket()

            async def send_all() -> None:
                for _ in range(count):
                    await client.send(bytes(size))
                await client.close(1000)

            sending = asyncio.ensure_future(send_all())
            # What was sent before a request is heard before it: until nothing more is let through.
            number, quiet = client.stream.number, 0
            while quiet < 5:
                before = connection.sent(number)
                assert await connection.get().rest() == b"ok"
                quiet = quiet + 1 if connection.sent(number) == before > 0 else 0
            assert connection.sent(number) < 2 << 20
            go.set()
            await sending
            await over.wait()
            assert got == size * count

    run(main)
