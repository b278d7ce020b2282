"""A bridge between a client and a server that hands every frame on and writes it down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from jetstream import (
    Client,
    Connection,
    Context,
    JetStreamError,
    ReceiveStream,
    SendStream,
    Server,
    StreamClosed,
)

from tests.model.frame import Frame, Splitter

from .cases import client_tls, server_tls

LARGEST = 1 << 25


class Bridge:
    """A protocol handler that calls the server behind it in its own name."""

    def __init__(self, client: Client, address: str, alpn: str) -> None:
        self._client = client
        self._address = address
        self._alpn = alpn
        self.asked: list[Frame] = []
        """Frames from the client, in the order in which they came."""
        self.answered: list[Frame] = []
        """Frames from the server."""

    def alpns(self) -> list[str]:
        return [self._alpn]

    async def accept(self, ctx: Context, connection: Connection) -> None:
        behind = await self._client.connect(self._address, "localhost")
        async with asyncio.TaskGroup() as group:
            with suppress(JetStreamError):
                while True:
                    near = await connection.accept_bi()
                    far = await behind.open_bi()
                    group.create_task(self._carry(near[1], far[0], self.asked))
                    group.create_task(self._carry(far[1], near[0], self.answered))
            behind.close()

    async def _carry(self, source: ReceiveStream, sink: SendStream, into: list[Frame]) -> None:
        splitter = Splitter(LARGEST)
        try:
            while data := await source.read():
                into += splitter.push(data)
                await sink.write(data)
            sink.finish()
        except StreamClosed as error:
            # Whichever half it was: the other end is told of it on the other one.
            code = error.close_code or 0
            with suppress(JetStreamError):
                sink.reset(code)
            with suppress(JetStreamError):
                source.stop(code)
        except JetStreamError:
            pass  # the connection has gone, and its streams with it


@asynccontextmanager
async def bridged(
    certificates: Path, address: str, alpn: str = "jetstream"
) -> AsyncGenerator[tuple[Server, Bridge]]:
    """A bridge to the server at that address."""
    async with Client(client_tls(certificates), alpns=[alpn]) as client:
        bridge = Bridge(client, address, alpn)
        async with Server(bridge, tls=server_tls(certificates), port=0) as server:
            yield server, bridge


def kinds(frames: Iterable[Frame]) -> set[int]:
    return {frame.kind for frame in frames}
