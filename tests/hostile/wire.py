"""The wire by hand, for peers that break its rules. Nothing here uses the code under test."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from jetstream import ReceiveStream

RERROR = 5
TVERSION = 100
RVERSION = 101
NO_TAG = 0xFFFF


class Frame(NamedTuple):
    """One frame as it came."""

    kind: int
    tag: int
    payload: bytes


def request(method: int) -> int:
    """The type of a method's request."""
    return 102 + 2 * method


def reply(method: int) -> int:
    """The type of a method's reply."""
    return 103 + 2 * method


def frame(kind: int, tag: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return struct.pack("<IBH", 7 + len(payload), kind, tag) + payload


def string(text: str | bytes) -> bytes:
    """A string value."""
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<H", len(data)) + data


def version(kind: int, text: str, msize: int = 1 << 20, tag: int = NO_TAG) -> bytes:
    """A Tversion or an Rversion."""
    return frame(kind, tag, struct.pack("<I", msize) + string(text))


def tversion(text: str, msize: int = 1 << 20) -> bytes:
    """The first frame of a caller."""
    return version(TVERSION, text, msize)


def rversion(text: str, msize: int = 1 << 20) -> bytes:
    """The answer to it."""
    return version(RVERSION, text, msize)


def fault(message: str) -> bytes:
    """The payload of an Rerror with nothing but a message."""
    return string(message) + b"\0\0\0" + b"\0\0" + b"\0\0"


async def read_frame(stream: ReceiveStream) -> Frame:
    """The next frame of a stream."""
    size, kind, tag = struct.unpack("<IBH", await stream.read_exactly(7))
    return Frame(kind, tag, await stream.read_exactly(size - 7))


class Fault(NamedTuple):
    """The readable part of an Rerror."""

    message: str
    code: str | None


def read_fault(payload: bytes) -> Fault:
    """Reads message and code of an Rerror."""
    (size,) = struct.unpack_from("<H", payload)
    message = payload[2 : 2 + size].decode()
    rest = payload[2 + size :]
    if rest[0] == 0:
        return Fault(message, None)
    (size,) = struct.unpack_from("<H", rest, 1)
    return Fault(message, rest[3 : 3 + size].decode())
