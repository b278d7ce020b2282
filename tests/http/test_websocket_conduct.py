"""WebSockets of all versions of HTTP, and peers and applications that are slow, odd or gone."""

from __future__ import annotations

import asyncio
import logging
import struct
import zlib
from typing import Any

import pytest
from jetstream import Limits
from websockets.frames import Opcode

from tests.helpers import resident, run
from tests.http.serving import respond, server, tls
from tests.http.tunnels import Http2, WebSocket, connected

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


async def accept(receive: Any, send: Any) -> None:
    """What an application begins with that takes whoever comes."""
    await receive()
    await send({"type": "websocket.accept"})


async def outcome(sending: asyncio.Task[None]) -> str | None:
    """Why something could not be sent; `None` if it was."""
    try:
        await sending
    except OSError as error:
        return str(error)
    return None


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


@every_version
def test_a_sender_that_waits_hears_that_the_peer_is_lost(version: str) -> None:
    async def main() -> None:
        told = asyncio.Queue[Any]()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await accept(receive, send)
            try:
                while True:
                    await send({"type": "websocket.send", "bytes": bytes(1 << 20)})
            except OSError as error:
                told.put_nowait(str(error))

        limits = Limits(websocket_ping=0.05, websocket_pong=0.1)
        async with (
            served(version, app, limits=limits) as running,
            connected(version, running) as connection,
        ):
            await connection.websocket()
            connection.hold()
            async with asyncio.timeout(5):
                assert await told.get() == "the WebSocket is closed"

    run(main)


@every_version
def test_a_sender_that_waits_hears_that_the_peer_has_closed(version: str) -> None:
    async def main() -> None:
        told = asyncio.Queue[Any]()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await accept(receive, send)
            sending = await until_held_up(send)
            told.put_nowait("waits")
            told.put_nowait(await receive())
            told.put_nowait(await outcome(sending))

        async with served(version, app) as running, connected(version, running) as connection:
            client = await connection.websocket()
            connection.hold()
            assert await told.get() == "waits"
            await client.stream.send(close_frame(1001))
            assert (await told.get())["code"] == 1001
            connection.go_on()
            async with asyncio.timeout(5):
                assert await told.get() == "the WebSocket is closed"
            assert await client.closed() == (1001, "")

    run(main)


@every_version
def test_a_sender_that_waits_hears_that_the_server_stops(version: str) -> None:
    async def main() -> None:
        told = asyncio.Queue[Any]()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await accept(receive, send)
            sending = await until_held_up(send)
            told.put_nowait("waits")
            told.put_nowait(await outcome(sending))

        running = served(version, app)
        await running.start()
        async with connected(version, running) as connection:
            client = await connection.websocket()
            connection.hold()
            assert await told.get() == "waits"
            closing = asyncio.ensure_future(running.close())
            async with asyncio.timeout(5):
                assert await told.get() == "the WebSocket is closed"
            connection.go_on()
            assert (await client.closed())[0] == 1012
            await closing

    run(main)


@every_version
def test_compressed_messages_do_not_pass_the_window(version: str) -> None:
    size, count = 2 << 20, 32
    coder = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = (coder.compress(bytes(size)) + coder.flush(zlib.Z_SYNC_FLUSH))[:-4]

    async def main() -> None:
        told = asyncio.Queue[Any]()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await accept(receive, send)
            before = resident()
            sizes = [len((await receive())["bytes"])]
            told.put_nowait(resident() - before)
            while (message := await receive())["type"] != "websocket.disconnect":
                sizes.append(len(message["bytes"]))
            told.put_nowait(sizes)
            told.put_nowait(message["code"])

        async with served(version, app) as running, connected(version, running) as connection:
            client = await connection.websocket(headers=[DEFLATE])
            message = frame(Opcode.BINARY, packed, compressed=True)
            await client.stream.send(message * count + close_frame(1001))
            assert await told.get() < 16 << 20
            assert await told.get() == [size] * count
            assert await told.get() == 1001
            assert await client.closed() == (1001, "")

    run(main)


@every_version
def test_what_was_held_back_is_read_before_the_end_of_a_tunnel(version: str) -> None:
    async def main() -> None:
        told = asyncio.Queue[Any]()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await accept(receive, send)
            texts = []
            while (message := await receive())["type"] != "websocket.disconnect":
                texts.append(message["text"])
            told.put_nowait((texts, message["code"]))

        limits = Limits(websocket_window=100)
        async with (
            served(version, app, limits=limits) as running,
            connected(version, running) as connection,
        ):
            client = await connection.websocket()
            texts = [str(number) for number in range(100)]
            frames = [frame(Opcode.TEXT, text.encode()) for text in texts]
            await client.stream.send(b"".join(frames), end=True)
            assert await told.get() == (texts, 1006)

    run(main)


@pytest.mark.parametrize("version", ["h2"])
def test_pongs_wait_for_a_peer_that_does_not_read(version: str) -> None:
    count = 12_000

    async def main() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await accept(receive, send)
            while (await receive())["type"] != "websocket.disconnect":
                pass

        limits = Limits(websocket_ping=None)
        async with (
            served(version, app, limits=limits) as running,
            connected(version, running) as connection,
        ):
            client = await connection.websocket()
            connection.hold()
            pair = frame(Opcode.PING, bytes(125)) + frame(Opcode.BINARY)
            for _ in range(count - 1):
                await client.stream.send(pair)
            await client.stream.send(frame(Opcode.PING, b"last") + frame(Opcode.BINARY))
            await connection.heard()
            connection.go_on()
            pongs = []
            while not pongs or pongs[-1] != b"last":
                answer = await client.frame()
                assert answer is not None
                pongs.append(bytes(answer.data))
            assert len(pongs) < count // 2

    run(main)


@every_version
def test_pings_cannot_be_answered_blindly(version: str) -> None:
    async def main() -> None:
        over = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await accept(receive, send)
            await over.wait()

        limits = Limits(websocket_ping=0.01, websocket_pong=5.0)
        async with (
            served(version, app, limits=limits) as running,
            connected(version, running) as connection,
        ):
            client = await connection.websocket()
            seen = []
            while len(seen) < 3:
                ping = await client.frame()
                assert ping is not None
                assert ping.opcode is Opcode.PING
                seen.append(bytes(ping.data))
            assert {len(data) for data in seen} == {8}
            assert len(set(seen)) == 3
            over.set()

    run(main)


@every_version
def test_a_peer_that_is_held_up_is_not_lost(version: str) -> None:
    async def main() -> None:
        told = asyncio.Queue[Any]()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await accept(receive, send)
            # Longer than a ping and its answer may take.
            await asyncio.sleep(0.5)
            told.put_nowait("awake")
            got = 0
            while (message := await receive())["type"] != "websocket.disconnect":
                got += len(message["bytes"])
            told.put_nowait((got, message["code"]))

        limits = Limits(websocket_ping=0.05, websocket_pong=0.2, websocket_window=1000)
        async with (
            served(version, app, limits=limits) as running,
            connected(version, running) as connection,
        ):
            client = await connection.websocket()

            async def answer() -> None:
                while await client.frame() is not None:
                    pass

            answering = asyncio.ensure_future(answer())
            for _ in range(4):
                await client.send(bytes(1000))
            assert await told.get() == "awake"
            await client.close(1001)
            assert await told.get() == (4000, 1001)
            await answering

    run(main)


def test_a_peer_that_takes_a_big_message_slowly_is_not_lost() -> None:
    size, pause = 1_000_000, 0.05

    async def main() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await accept(receive, send)
            await send({"type": "websocket.send", "bytes": bytes(size)})
            await receive()

        limits = Limits(websocket_ping=0.05, websocket_pong=0.2)
        async with (
            served("h2", app, limits=limits) as running,
            connected("h2", running) as connection,
        ):
            assert isinstance(connection, Http2)
            client = await connection.websocket()
            connection.hold()
            receiving = asyncio.ensure_future(client.recv())
            while not receiving.done():
                await asyncio.sleep(pause)
                connection.take_held()
            connection.go_on()
            assert await receiving == bytes(size)
            await client.close(1000)
            assert (await client.closed())[0] == 1000

    run(main)


@pytest.mark.slow
def test_a_farewell_waits_for_what_was_sent_before_it() -> None:
    async def main() -> None:
        left = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await accept(receive, send)
            # The first waits until little is unsent, and the second does not.
            await send({"type": "websocket.send", "bytes": bytes(600_000)})
            await send({"type": "websocket.send", "bytes": bytes(190_000)})
            left.set()

        async with served("h2", app) as running, connected("h2", running) as connection:
            assert isinstance(connection, Http2)
            client = await connection.websocket()
            connection.hold()
            receiving = asyncio.ensure_future(client.recv())
            while not left.is_set():
                await asyncio.sleep(0.01)
                connection.take_held()
            for _ in range(6):
                await asyncio.sleep(1)
                connection.take_held()
            connection.go_on()
            assert await receiving == bytes(600_000)
            assert await client.recv() == bytes(190_000)
            assert (await client.closed())[0] == 1000

    run(main)


@every_version
@pytest.mark.parametrize("how", ["close", "return"])
def test_one_that_is_left_while_its_peer_is_held_up(version: str, how: str) -> None:
    async def main() -> None:
        over = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await accept(receive, send)
            await receive()
            # The next one is too much already.
            for _ in range(20):
                await asyncio.sleep(0)
            if how == "close":
                await send({"type": "websocket.close", "code": 4000})
                await over.wait()

        limits = Limits(websocket_window=1000)
        async with (
            served(version, app, limits=limits) as running,
            connected(version, running) as connection,
        ):
            client = await connection.websocket()
            for _ in range(4):
                await client.send(bytes(2000))
            async with asyncio.timeout(4):
                assert (await client.closed())[0] == (4000 if how == "close" else 1000)
            over.set()

    run(main)


@every_version
@pytest.mark.parametrize("status", [200, 204])
def test_a_denial_is_no_success(version: str, status: int) -> None:
    async def main() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            start = {"type": "websocket.http.response.start", "status": status, "headers": []}
            with pytest.raises(ValueError, match=str(status)):
                await send(start)
            await send({**start, "status": 401})
            await send({"type": "websocket.http.response.body", "body": b"no"})

        async with served(version, app) as running, connected(version, running) as connection:
            assert (await connection.tunnel().head)[":status"] == "401"

    run(main)


@every_version
def test_a_denial_is_followed_by_the_disconnect(version: str) -> None:
    async def main() -> None:
        told = asyncio.Queue[Any]()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            waiting = asyncio.ensure_future(receive())
            start = {"type": "websocket.http.response.start", "status": 401, "headers": []}
            await send(start)
            await send({"type": "websocket.http.response.body", "body": b"no"})
            told.put_nowait(await waiting)
            told.put_nowait(await receive())

        async with served(version, app) as running, connected(version, running) as connection:
            assert (await connection.tunnel().head)[":status"] == "401"
            over = {"type": "websocket.disconnect", "code": 1006, "reason": ""}
            async with asyncio.timeout(5):
                assert [await told.get(), await told.get()] == [over, over]

    run(main)


@pytest.mark.parametrize("version", ["h2", "h3"])
def test_a_connect_that_has_ended_opens_nothing(version: str) -> None:
    async def main() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await accept(receive, send)

        async with served(version, app) as running, connected(version, running) as connection:
            pseudo = {":method": "CONNECT", ":protocol": "websocket", ":scheme": "https"}
            asked = {**pseudo, ":authority": "localhost", ":path": "/"}
            headers = [*asked.items(), ("sec-websocket-version", "13")]
            head = await connection.request(headers, end=True).head
            assert head[":status"] == "400"

    run(main)


@pytest.mark.parametrize("version", ["h2", "h3"])
def test_a_peer_that_sends_no_more_hears_all_of_a_denial(version: str) -> None:
    async def main() -> None:
        told, go = asyncio.Queue[Any](), asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            start = {"type": "websocket.http.response.start", "status": 403, "headers": []}
            await send(start)
            body = {"type": "websocket.http.response.body", "body": b"part", "more_body": True}
            await send(body)
            told.put_nowait(await receive())
            await send(body)
            await send({**body, "body": b"end", "more_body": False})

        async def late(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            go.set()
            told.put_nowait(await receive())
            with pytest.raises(OSError, match="closed"):
                await send({"type": "websocket.accept"})
            await send({"type": "websocket.close"})

        over = {"type": "websocket.disconnect", "code": 1006, "reason": ""}
        async with served(version, app) as running, connected(version, running) as connection:
            stream = connection.tunnel()
            assert (await stream.head)[":status"] == "403"
            await stream.send(b"", end=True)
            assert await told.get() == over
            assert await stream.rest() == b"partpartend"
            assert await stream.ended is None
        async with served(version, late) as running, connected(version, running) as connection:
            stream = connection.tunnel()
            await go.wait()
            await stream.send(b"", end=True)
            assert await told.get() == over
            assert (await stream.head)[":status"] == "403"

    run(main)


@every_version
def test_one_that_is_taken_while_the_server_stops(version: str) -> None:
    async def main() -> None:
        asked, go, told = asyncio.Event(), asyncio.Event(), asyncio.Queue[Any]()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            asked.set()
            await go.wait()
            await send({"type": "websocket.accept"})
            told.put_nowait(await receive())

        running = served(version, app, graceful_timeout=5.0)
        await running.start()
        async with connected(version, running) as connection:
            stream = connection.tunnel()
            await asked.wait()
            closing = asyncio.ensure_future(running.close())
            while await is_listening(running):
                pass
            go.set()
            assert (await stream.head)[":status"] == "200"
            async with asyncio.timeout(3):
                assert (await WebSocket(stream).closed())[0] == 1012
                assert (await told.get())["code"] == 1012
            await closing

    run(main)


@every_version
def test_pings_of_a_quiet_peer_are_counted_by_the_second(version: str) -> None:
    async def main() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await accept(receive, send)
            while (await receive())["type"] != "websocket.disconnect":
                pass

        limits = Limits(websocket_ping=None)
        async with (
            served(version, app, limits=limits) as running,
            connected(version, running) as connection,
        ):
            client = await connection.websocket()
            for pause in (1.1, 0):
                await client.stream.send(frame(Opcode.PING) * 900)
                await asyncio.sleep(pause)
            await client.stream.send(close_frame(1001))
            assert await client.closed() == (1001, "")

    run(main)


@every_version
def test_what_is_not_awaited_takes_no_message(version: str, loop: str) -> None:
    async def main() -> None:
        told = asyncio.Queue[Any]()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await accept(receive, send)
            assert (await receive())["text"] == "go"
            given_up = asyncio.ensure_future(receive())
            given_up.cancel()
            await asyncio.wait([given_up])
            for _ in range(2):
                told.put_nowait((await receive())["text"])

        async with served(version, app) as running, connected(version, running) as connection:
            client = await connection.websocket()
            frames = [frame(Opcode.TEXT, text) for text in (b"go", b"one", b"two")]
            await client.stream.send(b"".join(frames))
            assert [await told.get(), await told.get()] == ["one", "two"]

    run(main, loop=loop)


@every_version
def test_one_that_the_peer_has_closed_is_no_failure(
    version: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        over = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await accept(receive, send)
            assert (await receive())["type"] == "websocket.disconnect"
            over.set()
            await send({"type": "websocket.send", "text": "late"})

        async with served(version, app) as running, connected(version, running) as connection:
            client = await connection.websocket()
            await client.close(1001)
            await over.wait()

    with caplog.at_level(logging.DEBUG):
        run(main)
    assert not [line for line in caplog.records if line.levelno >= logging.ERROR]


@every_version
def test_what_is_no_message_at_that_point(version: str) -> None:
    async def main() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            with pytest.raises(RuntimeError, match="early_hint"):
                await send({"type": "http.response.early_hint", "links": [b"</a>"]})
            start = {"type": "websocket.http.response.start", "status": 401, "headers": []}
            await send(start)
            with pytest.raises(RuntimeError, match=r"websocket\.accept"):
                await send({"type": "websocket.accept"})
            await send({"type": "websocket.http.response.body", "body": b"no"})

        async with served(version, app) as running, connected(version, running) as connection:
            assert (await connection.tunnel().head)[":status"] == "401"

    run(main)
