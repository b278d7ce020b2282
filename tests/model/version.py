"""Versions once more, to be read: which service a lane is for, and whether two ends may talk.

A version string is `rs.jetstream.proto/<name>/<major.minor.patch>`, then perhaps `-<pre-release>`,
then perhaps `+<build>`. Neither of the last two decides anything.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from typing import NamedTuple

UNKNOWN = "unknown"
MAX_STRING = 1024
MIN_MSIZE = 4096
"""A frame limit under which nothing useful fits; nobody may ask for less."""

NUMBER = r"(0|[1-9][0-9]*)"
FORM = re.compile(rf"rs\.jetstream\.proto/([^/]+)/{NUMBER}\.{NUMBER}\.{NUMBER}([-+][^/]*)?", re.S)


class Version(NamedTuple):
    name: str
    major: int
    minor: int
    patch: int

    def serves(self, client: Version) -> bool:
        """Whether a server of this version can serve that client: it knows all that it asks."""
        same = (self.name, self.major) == (client.name, client.major)
        return same and (self.minor, self.patch) >= (client.minor, client.patch)


def parse(text: str) -> Version | None:
    found = FORM.fullmatch(text)
    if found is None or len(text.encode()) > MAX_STRING:
        return None
    name, *numbers, _ = found.groups()
    if any(int(number) >= 2**64 for number in numbers):
        return None
    return Version(name, *map(int, numbers))


class Offer(NamedTuple):
    """What version frames carry, in both directions."""

    msize: int
    version: str

    def payload(self) -> bytes:
        text = self.version.encode()
        return struct.pack("<IH", self.msize, len(text)) + text


REFUSED = Offer(0, UNKNOWN)


def read(payload: bytes) -> Offer | None:
    """An offer; None if the bytes are none."""
    if len(payload) < 6:
        return None
    msize, length = struct.unpack("<IH", payload[:6])
    text = payload[6:]
    if length != len(text) or length > MAX_STRING:
        return None
    try:
        return Offer(msize, text.decode())
    except UnicodeDecodeError:
        return None


def answer(offer: Offer, served: Iterable[str], msize: int) -> Offer:
    """What a server of these version strings, with frames up to `msize`, says to an offer."""
    client = parse(offer.version)
    if client is not None and min(offer.msize, msize) >= MIN_MSIZE:
        for text in served:
            server = parse(text)
            if server is not None and server.serves(client):
                return Offer(min(offer.msize, msize), text)
    return REFUSED
