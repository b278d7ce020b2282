"""Frames of streams, cancellation and the extension `.x1`, to be read and written."""

from __future__ import annotations

import struct

from tests.model.frame import Frame

RDONE, TCANCEL, RCANCEL = 8, 9, 10
TMETA, RMETA, TITEM, TEND, CREDIT, GOAWAY, TIME = range(11, 18)

INITIAL_WINDOW = 64 << 10
"""Bytes of a stream that may be sent before any are granted."""

FOREVER = 2**64 - 1


def metadata(entries: dict[str, bytes]) -> bytes:
    parts = [struct.pack("<H", len(entries))]
    for key, value in entries.items():
        name = key.encode()
        parts.append(struct.pack("<H", len(name)) + name + struct.pack("<I", len(value)) + value)
    return b"".join(parts)


def tmeta(tag: int, time_left: int = FOREVER, entries: dict[str, bytes] | None = None) -> Frame:
    """What goes before the request of this tag; the time is in microseconds."""
    return Frame(TMETA, tag, struct.pack("<Q", time_left) + metadata(entries or {}))


def time(microseconds: int) -> Frame:
    return Frame(TIME, 65_535, struct.pack("<Q", microseconds))


def cancel(tag: int, target: int, binding: int = 0) -> Frame:
    return Frame(TCANCEL, tag, struct.pack("<HQ", target, binding))


def cancelled(tag: int, target: int) -> Frame:
    """The answer to it."""
    return Frame(RCANCEL, tag, struct.pack("<H", target))


def ended(tag: int) -> Frame:
    """The end of a request that was given up."""
    return Frame(RDONE, tag, b"\0")


def credit(tag: int, granted: int) -> Frame:
    return Frame(CREDIT, tag, struct.pack("<I", granted))
