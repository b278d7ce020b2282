"""pywebtransport's client against our server: nobody here wrote it.

It has QUIC from aioquic, and its own HTTP/3 and WebTransport (drafts 7 and later). Up to 0.8.1 it
writes its capsules onto the stream as they are and not into DATA frames (RFC 9297, section 3.1): to
a server they are frames that it does not know, so code and reason of its close do not arrive. Nor
does it look for those of a server in DATA frames, so it does not hear a server close a session.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from jetstream import ConnectionLost, JetStreamError, TokenPeer
from jetstream.webtransport import RefuseSession, SessionRequest

from tests.e2e.services import EchoImpl
from tests.helpers import authority, run
from tests.hostile import wire
from tests.webtransport.site import site, url
from tests.webtransport.test_aioquic import ECHO, mirror

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from jetstream import Context
    from jetstream.http import HttpServer
    from jetstream.webtransport import WebTransportSession

pytestmark = pytest.mark.slow

theirs: Any = pytest.importorskip("pywebtransport.client", reason="pywebtransport is not there")
config: Any = pytest.importorskip("pywebtransport.config")
errors: Any = pytest.importorskip("pywebtransport.exceptions")


@asynccontextmanager
async def client(folder: Path) -> AsyncGenerator[Any]:
    """Their client, which trusts our authority."""
    trusted = folder / "ca.pem"
    trusted.write_bytes(authority().ca_pem)
    settings = config.ClientConfig(
        ca_certs=str(trusted), verify_mode=ssl.CERT_REQUIRED, max_retries=0
    )
    # It leaves its socket open where a session is refused.
    loop: Any = asyncio.get_running_loop()
    connect, made = loop.create_datagram_endpoint, []

    async def noted(*args: Any, **options: Any) -> Any:
        pair = await connect(*args, **options)
        made.append(pair[0])
        return pair

    loop.create_datagram_endpoint = noted
    try:
        async with theirs.WebTransportClient(config=settings) as asking:
            yield asking
    finally:
        for transport in made:
            transport.close()


async def call(session: Any, text: str) -> bytes:
    """Makes a call by hand on a stream of its own."""
    stream = await session.create_bidirectional_stream()
    await stream.write(data=wire.frame(wire.request(1), 5, wire.string(text)))
    wanted = len(text) + 9
    answer = b""
    while len(answer) < wanted:
        answer += await stream.read(size=wanted - len(answer))
    return answer


def test_streams_datagrams_and_the_end(tmp_path: Path) -> None:
    over: asyncio.Queue[JetStreamError] = asyncio.Queue()

    async def listen(ctx: Context, session: WebTransportSession) -> None:
        mirroring = asyncio.ensure_future(mirror(ctx, session))
        over.put_nowait(await session.wait_closed())
        await asyncio.gather(mirroring, return_exceptions=True)

    async def main() -> None:
        async with site(handlers={"/m": listen}) as server, client(tmp_path) as asking:
            session = await asking.connect(url=url(server, "/m"))
            stream = await session.create_bidirectional_stream()
            await stream.write_all(data=b"both ways")
            assert await stream.read_all() == b"both ways"
            one_way = await session.create_unidirectional_stream()
            await one_way.write_all(data=b"one way")
            back = await anext(session.incoming_streams())
            assert await back.read_all() == b"one way"
            datagrams = await session.create_datagram_transport()
            await datagrams.send(data=b"datagram")
            assert await datagrams.receive() == b"datagram!"
            await session.close(code=7, reason="bye", close_connection=False)
            assert isinstance(await over.get(), ConnectionLost)

    run(main)


def test_calls_and_identity(tmp_path: Path) -> None:
    def authenticate(request: SessionRequest) -> TokenPeer:
        if request.token != "good":
            raise RefuseSession(401)
        return TokenPeer("ada")

    async def main(server: HttpServer) -> None:
        async with client(tmp_path) as asking:
            session = await asking.connect(url=url(server, ECHO + "?token=good"))
            for text in ("one", "two"):
                answer = wire.frame(wire.reply(1), 5, wire.string(text))
                assert await call(session, text) == answer
            (there,) = server.sessions
            assert there.peer == TokenPeer("ada")

    async def refused(server: HttpServer) -> None:
        async with client(tmp_path) as asking:
            with pytest.raises(errors.WebTransportError):
                await asking.connect(url=url(server, ECHO))

    async def both() -> None:
        async with site(EchoImpl(), authenticate=authenticate) as server:
            await main(server)
            await refused(server)

    run(both)
