"""Frames once more, to be read: `size u32, type u8, tag u16, payload`, all little endian.

The size counts itself. A lane is a run of frames; how the bytes arrive, in how many pieces, says
nothing.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

HEADER = 7

RERROR = 5
TVERSION, RVERSION = 100, 101
NO_TAG = 65_535
"""The tag of version frames, by the custom of 9P."""

FIRST_METHOD = 102
"""The request type of the first method; its reply is one more, the next method two more."""


class Frame(NamedTuple):
    kind: int
    tag: int
    payload: bytes = b""


class BrokenError(Exception):
    """What follows is no frame; a lane never recovers from it."""


def request(method: int) -> int:
    """The type that asks for a method."""
    return FIRST_METHOD + 2 * method


def reply(method: int) -> int:
    """The type that answers it."""
    return request(method) + 1


def write(frame: Frame) -> bytes:
    size = HEADER + len(frame.payload)
    return struct.pack("<IBH", size, frame.kind, frame.tag) + frame.payload


class Splitter:
    """A lane's bytes, in any pieces, to frames of at most `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.rest = b""

    def push(self, piece: bytes) -> list[Frame]:
        """The frames that this piece completes.

        Raises:
            BrokenError: A size is impossible, told by its four bytes alone; the frames before it
                are its argument.
        """
        self.rest += piece
        frames: list[Frame] = []
        while len(self.rest) >= 4:
            size = int.from_bytes(self.rest[:4], "little")
            if not HEADER <= size <= self.limit:
                raise BrokenError(frames)
            if len(self.rest) < size:
                break
            whole, self.rest = self.rest[:size], self.rest[size:]
            _, kind, tag = struct.unpack("<IBH", whole[:HEADER])
            frames.append(Frame(kind, tag, whole[HEADER:]))
        return frames
