"""A lane spoken by hand, frame by frame, over a real connection."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

from jetstream import Connection, Context, ReceiveStream, SendStream, StreamClosed

from tests.model.frame import Frame, Splitter, write

LARGEST = 1 << 24

SOON = 5.0
"""Seconds after which a lane that ought to be given up is not going to be."""


class RawLane:
    """One end of a lane; the other end is what is tested."""

    def __init__(self, send: SendStream, receive: ReceiveStream) -> None:
        self.send = send
        self.receive = receive
        self._splitter = Splitter(LARGEST)
        self._frames: list[Frame] = []

    async def write(self, *frames: Frame, cuts: Sequence[int] = ()) -> None:
        await self.write_bytes(b"".join(map(write, frames)), cuts)

    async def write_bytes(self, data: bytes, cuts: Sequence[int] = ()) -> None:
        """Sends bytes, each piece in a packet of its own as far as the loop's turns go."""
        edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
        for start, end in itertools.pairwise(edges):
            await self.send.write(data[start:end])
            # Not to wait for anything: what was written leaves at the end of the loop's turn.
            await asyncio.sleep(0)

    async def read(self) -> Frame | None:
        """The next frame; None at the end of the lane."""
        while not self._frames:
            piece = await self.receive.read()
            if not piece:
                assert not self._splitter.rest, "the lane ends inside a frame"
                return None
            self._frames += self._splitter.push(piece)
        return self._frames.pop(0)

    async def read_to_failure(self) -> tuple[list[Frame], int]:
        """All frames that still come, and the code with which the lane is then given up."""
        frames: list[Frame] = []
        try:
            async with asyncio.timeout(SOON):
                while (found := await self.read()) is not None:
                    frames.append(found)
        except StreamClosed as error:
            return frames, error.close_code
        raise AssertionError(f"the lane ended well, after {frames}")

    def unread(self) -> list[Frame]:
        """Frames that have arrived beside those that were read."""
        return self._frames


class ByHand:
    """A protocol handler that gives its connections away, to be served by a test."""

    def __init__(self) -> None:
        self.connections: asyncio.Queue[Connection] = asyncio.Queue()

    def alpns(self) -> list[str]:
        return ["jetstream"]

    async def accept(self, ctx: Context, connection: Connection) -> None:
        await self.connections.put(connection)
        await connection.wait_closed()
