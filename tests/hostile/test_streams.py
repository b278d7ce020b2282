"""TCP and Unix sockets under attack: bounded memory, the right error, and nobody else harmed."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from jetstream import (
    Client,
    ClientTls,
    ConnectError,
    ConnectionLost,
    Limits,
    NoSharedProtocol,
    RemoteProtocolError,
    ServerTls,
    TlsError,
    connect,
)
from jetstream.testing import ThrowawayCA

from tests.e2e.services import Echo, EchoImpl
from tests.helpers import (
    anonymous_tls,
    authority,
    client_identity,
    client_tls,
    resident,
    run,
    server_tls,
)
from tests.hostile import wire
from tests.hostile.scene import ECHO_VERSION, HOLD, MAKE, MSIZE
from tests.transports import Way, served

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from pathlib import Path

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture(params=["tcp", "unix"])
def transport(request: pytest.FixtureRequest) -> str:
    """The name of a transport: the test runs once on each."""
    return str(request.param)


@asynccontextmanager
async def under_attack(
    transport: str, *, slack: int = 64 << 20, **options: Any
) -> AsyncGenerator[tuple[Way, EchoImpl]]:
    """A server with a bystander, who gets right answers before and after, as newcomers do."""
    impl = EchoImpl()
    options.setdefault("limits", Limits(msize=MSIZE))
    async with served(transport, impl, graceful_timeout=0, **options) as way:
        async with way.join() as session:
            bystander = session.channel(Echo)
            assert await bystander.echo("before") == "before"
            before = resident()
            yield way, impl
            assert resident() - before < slack
            answers = await asyncio.gather(*[bystander.echo(str(n)) for n in range(20)])
            assert answers == [str(n) for n in range(20)]
        async with way.join() as session:
            assert await session.channel(Echo).add(1, 2) == 3


def python_tls(folder: Path, alpn: str | None = "jetstream") -> ssl.SSLContext:
    """TLS of Python's own, for clients that are none of ours."""
    issued = client_identity()
    (folder / "client.pem").write_bytes(issued.chain_pem + issued.key_pem)
    context = ssl.create_default_context(cadata=authority().ca_pem.decode())
    context.load_cert_chain(folder / "client.pem")
    if alpn is not None:
        context.set_alpn_protocols([alpn])
    return context


async def knock(way: Way) -> Streams:
    """A socket to the server, without TLS."""
    if way.transport == "unix":
        return await asyncio.open_unix_connection(way.server.unix_path)
    address = way.server.tcp_address
    return await asyncio.open_connection(str(address.ip), address.port)


async def stranger(way: Way, folder: Path) -> Streams:
    """A peer that is none of ours and may connect."""
    if way.transport == "unix":
        return await knock(way)
    address = way.server.tcp_address
    return await asyncio.open_connection(
        str(address.ip), address.port, ssl=python_tls(folder), server_hostname="localhost"
    )


async def lane(way: Way, folder: Path) -> Streams:
    """The same, which has agreed on a version."""
    reader, writer = await stranger(way, folder)
    writer.write(wire.tversion(ECHO_VERSION, MSIZE))
    assert (await read_frame(reader)).kind == wire.RVERSION
    return reader, writer


async def until(done: Callable[[], bool]) -> None:
    """Waits for what there is no event for."""
    while not done():  # noqa: ASYNC110
        await asyncio.sleep(0)


async def read_frame(reader: asyncio.StreamReader) -> wire.Frame:
    """The next frame."""
    size, kind, tag = struct.unpack("<IBH", await reader.readexactly(7))
    return wire.Frame(kind, tag, await reader.readexactly(size - 7))


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What came before the other end was gone, however it went."""
    rest = b""
    try:
        while data := await reader.read(1 << 16):
            rest += data
    except (ConnectionError, ssl.SSLError):
        pass
    return rest


# ---- somebody who is no client ----


def test_a_foreign_client_gets_answers(transport: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with under_attack(transport) as (way, _):
            reader, writer = await lane(way, tmp_path)
            writer.write(wire.frame(wire.request(1), 7, wire.string("hi")))
            assert await read_frame(reader) == (wire.reply(1), 7, wire.string("hi"))
            # It asks no more, and still gets the answer to what it has asked.
            writer.write(wire.frame(wire.request(1), 8, wire.string("last")))
            if writer.can_write_eof():
                writer.write_eof()
            assert await read_frame(reader) == (wire.reply(1), 8, wire.string("last"))
            writer.close()

    run(main)


GARBAGE = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "zeros": bytes(10_000),
    "TLS 1.0": bytes.fromhex("16030100050100000103"),
    "a record of 16 MiB": b"\x16\x03\x01\xff\xff" + bytes(100),
    "frames without TLS": wire.tversion(ECHO_VERSION),
}


@pytest.mark.parametrize("case", GARBAGE)
def test_garbage_instead_of_tls(case: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with under_attack("tcp") as (way, _):
            for _ in range(20):
                reader, writer = await knock(way)
                writer.write(GARBAGE[case])
                if writer.can_write_eof():
                    writer.write_eof()
                await ended(reader)
                writer.close()

    with caplog.at_level(logging.INFO, "jetstream"):
        run(main)
    assert "handshake with 127.0.0.1:" in caplog.text


def test_handshakes_that_do_not_go_on(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        limits = Limits(msize=MSIZE, handshake_timeout=0.2)
        async with under_attack("tcp", limits=limits) as (way, _):
            hello = python_hello()
            for sent in (b"", hello[:1], hello[:-1]):
                reader, writer = await knock(way)
                writer.write(sent)
                assert await ended(reader) == b""
                writer.close()
            # One byte at a time does not buy time either.
            reader, writer = await knock(way)
            gone = asyncio.ensure_future(ended(reader))
            for byte in hello:
                if gone.done():
                    break
                writer.write(bytes([byte]))
                await asyncio.wait([gone], timeout=0.01)
            assert gone.done()
            writer.close()

    with caplog.at_level(logging.INFO, "jetstream"):
        run(main)
    assert "failed" in caplog.text


def python_hello() -> bytes:
    """The first flight of a TLS client."""
    context = ssl.create_default_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def test_more_connections_than_there_may_be(transport: str) -> None:
    async def main() -> None:
        limits = Limits(msize=MSIZE, max_connections=10)
        async with under_attack(transport, limits=limits) as (way, _):
            kept = [await knock(way) for _ in range(9)]
            await until(lambda: way.server.connections == 10)
            over = [await knock(way) for _ in range(50)]
            for reader, writer in over:
                assert await ended(reader) == b""
                writer.close()
            assert way.server.connections == 10
            if transport == "tcp":
                with pytest.raises(ConnectError, match="it may take no more"):
                    await way.join()
            else:
                session = await way.join()
                with pytest.raises(ConnectionLost):
                    await session.channel(Echo).ping()
            for _, writer in kept:
                writer.close()
            await until(lambda: way.server.connections <= 1)

    run(main)


def test_many_who_come_and_go(transport: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with under_attack(transport) as (way, _):
            for _ in range(200):
                _, writer = await knock(way)
                writer.close()
            for _ in range(50):
                _, writer = await stranger(way, tmp_path)
                writer.transport.abort()
            await until(lambda: way.server.connections <= 1)

    run(main)


# ---- frames ----

HALVES = {
    "half a header": b"\x10\0",
    "a header": struct.pack("<IBH", 100, wire.request(1), 0),
    "half a frame": wire.frame(wire.request(1), 0, wire.string("x" * 1000))[:500],
}


@pytest.mark.parametrize("case", HALVES)
def test_half_frames(case: str, transport: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with under_attack(transport) as (way, _):
            waiting = [await lane(way, tmp_path) for _ in range(20)]
            for _, writer in waiting:
                writer.write(HALVES[case])
            for reader, writer in waiting:
                writer.transport.abort()
                await ended(reader)
            await until(lambda: way.server.connections <= 1)

    run(main)


BROKEN = {
    "4 GiB": (struct.pack("<IBH", 0xFFFFFFFF, wire.request(1), 0), "over the limit"),
    "msize + 1": (struct.pack("<IBH", MSIZE + 1, wire.request(1), 0), "over the limit"),
    "size 0": (struct.pack("<IBH", 0, wire.request(1), 0), "smaller than its own header"),
    "no request": (wire.frame(wire.reply(1), 0), "is no request"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_frames_that_are_none(
    case: str, transport: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data, why = BROKEN[case]

    async def main() -> None:
        async with under_attack(transport, slack=16 << 20) as (way, _):
            for _ in range(20):
                reader, writer = await lane(way, tmp_path)
                writer.write(data)
                await ended(reader)
                writer.close()

    run(main)
    assert why in caplog.text


def test_4_gib_as_the_first_frame(transport: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with under_attack(transport, slack=16 << 20) as (way, _):
            reader, writer = await stranger(way, tmp_path)
            writer.write(struct.pack("<IBH", 0xFFFFFFFF, wire.TVERSION, 0))
            await ended(reader)
            writer.close()

    run(main)


def test_a_client_that_never_reads(transport: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with under_attack(transport, slack=48 << 20) as (way, _):
            reader, writer = await lane(way, tmp_path)
            transport_ = writer.transport
            transport_.pause_reading()  # type: ignore[attr-defined]
            # 2 GiB of answers are asked for.
            for tag in range(4096):
                writer.write(wire.frame(wire.request(MAKE), tag, struct.pack("<i", 512 << 10)))
            async with way.join() as session:
                for _ in range(50):
                    assert await session.channel(Echo).echo("meanwhile") == "meanwhile"
            transport_.abort()
            del reader

    run(main)


def test_a_caller_that_is_gone_is_not_answered(transport: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with under_attack(transport) as (way, impl):
            _, writer = await lane(way, tmp_path)
            writer.write(wire.frame(wire.request(HOLD), 0, wire.string("x")))
            await impl.arrival("x").wait()
            assert impl.running == 1
            raw: socket.socket = writer.get_extra_info("socket")
            if transport == "tcp":
                # Not asking any more would leave it waiting for the answer; this does not.
                linger = struct.pack("ii", 1, 0)
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
            await impl.ended.wait()
            assert impl.cancelled == ["x"]

    run(main)


# ---- servers that are none ----


@asynccontextmanager
async def fake(
    transport: str, folder: Path, play: Callable[[Streams], Awaitable[None]]
) -> AsyncGenerator[str]:
    """A server that is none of ours; it plays, and then closes."""
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await play((reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()
            over.set()

    if transport == "unix":
        path = folder / "fake.sock"
        server = await asyncio.start_unix_server(serve, path)
        address = f"unix:{path}"
    else:
        issued = authority().issue_server()
        (folder / "server.pem").write_bytes(issued.chain_pem + issued.key_pem)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(folder / "server.pem")
        context.set_alpn_protocols(["jetstream"])
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        address = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield address
        server.close()
        await over.wait()


async def agree(streams: Streams) -> None:
    """Takes the version and the first request."""
    reader, writer = streams
    first = await read_frame(reader)
    assert first.kind == wire.TVERSION
    writer.write(wire.rversion(ECHO_VERSION, MSIZE))
    await read_frame(reader)


ANSWERS = {
    "4 GiB": (struct.pack("<IBH", 0xFFFFFFFF, wire.reply(1), 0), "over the limit"),
    "an unknown tag": (wire.frame(wire.reply(1), 999, wire.string("x")), "999"),
    "size 3": (struct.pack("<IBH", 3, wire.reply(1), 0), "smaller than its own header"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_a_server_that_answers_with_nonsense(case: str, transport: str, tmp_path: Path) -> None:
    data, why = ANSWERS[case]

    async def play(streams: Streams) -> None:
        await agree(streams)
        streams[1].write(data)
        await streams[0].read()

    async def main() -> None:
        async with (
            fake(transport, tmp_path, play) as address,
            connect(address, tls=client_tls()) as session,
        ):
            with pytest.raises(RemoteProtocolError, match=why):
                await session.channel(Echo).echo("x")

    run(main)


def test_a_stream_that_is_cut_off_is_no_end(tmp_path: Path) -> None:
    async def play(streams: Streams) -> None:
        await agree(streams)
        # Whoever is on the way can end TCP; only the server can end TLS.
        raw: socket.socket = streams[1].get_extra_info("socket")
        with raw.dup() as own:
            own.shutdown(socket.SHUT_WR)
        await streams[0].read()

    async def main() -> None:
        async with (
            fake("tcp", tmp_path, play) as address,
            connect(address, tls=client_tls()) as session,
        ):
            with pytest.raises(ConnectionLost, match="cut off"):
                await session.channel(Echo).echo("x")

    run(main)


def test_a_server_that_ends_inside_a_frame(tmp_path: Path) -> None:
    async def play(streams: Streams) -> None:
        await agree(streams)
        streams[1].write(wire.frame(wire.reply(1), 0, wire.string("x" * 100))[:50])
        streams[1].write_eof()
        await streams[0].read()

    async def main() -> None:
        async with fake("unix", tmp_path, play) as address, connect(address) as session:
            with pytest.raises(RemoteProtocolError, match="inside a frame"):
                await session.channel(Echo).echo("x")

    run(main)


def test_a_server_that_speaks_no_tls(tmp_path: Path) -> None:
    async def main() -> None:
        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(10)
            writer.write(b"220 mail.example ESMTP\r\n")
            writer.close()

        async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(ConnectError):
                await connect(f"tcp://127.0.0.1:{port}", tls=client_tls())

    run(main)


def test_a_server_that_has_no_word_for_accepting(tmp_path: Path) -> None:
    async def play(streams: Streams) -> None:
        await agree(streams)
        streams[1].write(wire.frame(wire.reply(1), 0, wire.string("hello")))
        await streams[0].read()

    async def main() -> None:
        async with (
            fake("tcp", tmp_path, play) as address,
            connect(address, tls=client_tls()) as session,
        ):
            assert await session.channel(Echo).echo("x") == "hello"

    run(main)


# ---- refusals, which have the classes that they have over QUIC ----


def foreign() -> ClientTls:
    """A client with a certificate of an authority that nobody here trusts."""
    return client_tls(ThrowawayCA("Somebody Else").issue_client("mallory"))


REFUSED_CLIENTS = {
    "no certificate": (anonymous_tls, "certificate_required", "none was presented"),
    "another authority": (foreign, "unknown_ca", "is not trusted"),
    "expired": (
        lambda: client_tls(authority().expired_client()),
        "certificate_expired",
        "expired",
    ),
}


@pytest.mark.parametrize("case", REFUSED_CLIENTS)
def test_a_client_that_the_server_refuses(case: str, caplog: pytest.LogCaptureFixture) -> None:
    make, reason, words = REFUSED_CLIENTS[case]

    async def main() -> None:
        async with under_attack("tcp") as (way, _):
            with pytest.raises(TlsError) as caught:
                await way.join(tls=make())
            assert caught.value.reason == reason

    with caplog.at_level(logging.INFO, "jetstream"):
        run(main)
    assert words in caplog.text


@pytest.mark.parametrize(
    ("copies", "words"), [(20, "a chain of 21 certificates"), (200, "TooLarge")]
)
def test_a_chain_that_is_too_long(
    copies: int, words: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """More certificates than anybody needs, then more bytes: 64 KiB is the most."""

    async def main() -> None:
        async with under_attack("tcp", slack=16 << 20) as (way, _):
            context = python_tls(tmp_path)
            file, issued = tmp_path / "long.pem", client_identity()
            file.write_bytes(issued.chain_pem + authority().ca_pem * copies + issued.key_pem)
            context.load_cert_chain(file)
            address = way.server.tcp_address
            for _ in range(10):
                # To the client its handshake is complete when it has shown its certificate.
                reader, writer = await asyncio.open_connection(
                    str(address.ip), address.port, ssl=context, server_hostname="localhost"
                )
                assert await ended(reader) == b""
                writer.transport.abort()
            await until(lambda: way.server.connections <= 1)

    with caplog.at_level(logging.INFO, "jetstream"):
        run(main)
    assert words in caplog.text


def test_revoked_certificates() -> None:
    async def main() -> None:
        ca = ThrowawayCA()
        bad, gone = ca.issue_client("bad"), ca.issue_server()
        ca.revoke(bad)
        ca.revoke(gone)
        tls = server_tls(ca.issue_server(), client_ca=ca.ca_pem, client_crls=ca.crl_pem)
        async with served("tcp", EchoImpl(), tls=tls) as way:
            with pytest.raises(TlsError) as caught:
                await way.join(tls=client_tls(bad, ca=ca.ca_pem))
            assert caught.value.reason == "certificate_revoked"
        async with served("tcp", EchoImpl(), tls=server_tls(gone, client_ca=ca.ca_pem)) as way:
            with pytest.raises(TlsError, match="server certificate rejected: revoked"):
                await way.join(tls=client_tls(ca=ca.ca_pem, crls=ca.crl_pem))

    run(main)


def refused_servers() -> dict[str, tuple[ServerTls, str]]:
    """Servers that a client refuses, and the reason."""
    return {
        "another authority": (
            server_tls(ThrowawayCA("Elsewhere").issue_server()),
            "unknown_issuer",
        ),
        "expired": (server_tls(authority().expired_server()), "expired"),
        "another name": (
            server_tls(authority().issue_server("elsewhere.example")),
            "name_mismatch",
        ),
    }


@pytest.mark.parametrize("case", ["another authority", "expired", "another name"])
def test_a_server_that_the_client_refuses(case: str) -> None:
    tls, reason = refused_servers()[case]

    async def main() -> None:
        async with served("tcp", EchoImpl(), tls=tls) as way:
            with pytest.raises(TlsError) as caught:
                await way.join()
            assert caught.value.reason == reason
            await until(lambda: way.server.connections == 0)

    run(main)


def test_no_shared_protocol(tmp_path: Path) -> None:
    async def main() -> None:
        async with under_attack("tcp") as (way, _):
            address = str(way.server.tcp_address.ip), way.server.tcp_address.port
            other = python_tls(tmp_path, "other")
            with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
                await asyncio.open_connection(*address, ssl=other, server_hostname="localhost")
            # TLS lets peers agree on nothing; we do not.
            none = python_tls(tmp_path, None)
            reader, writer = await asyncio.open_connection(
                *address, ssl=none, server_hostname="localhost"
            )
            assert await ended(reader) == b""
            writer.close()

        async with served("tcp", EchoImpl()) as way, Client(client_tls(), alpns=["mine"]) as client:
            with pytest.raises(NoSharedProtocol) as caught:
                await client.session(f"tcp://{way.server.tcp_address}")
            assert caught.value.offered == ("mine",)

    run(main)
