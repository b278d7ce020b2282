"""The model of frames and versions by itself: the crate's vectors, and any cut of a stream."""

from __future__ import annotations

import itertools
import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.model import frame, version

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "wire.json").read_text())

FRAMES = st.builds(frame.Frame, st.integers(0, 255), st.integers(0, 65_535), st.binary(max_size=40))


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@given(st.lists(FRAMES), st.lists(st.integers(min_value=0)))
def test_any_cut_gives_the_same_frames(frames: list[frame.Frame], cuts: list[int]) -> None:
    splitter = frame.Splitter(47)
    data = b"".join(map(frame.write, frames))
    seen = [found for piece in pieces(data, cuts) for found in splitter.push(piece)]
    assert (seen, splitter.rest) == (frames, b"")


@pytest.mark.parametrize("size", [0, 6, 48, 2**32 - 1])
def test_an_impossible_size_is_told_by_itself(size: int) -> None:
    good = frame.Frame(103, 1, b"x")
    with pytest.raises(frame.BrokenError) as caught:
        frame.Splitter(47).push(frame.write(good) + struct.pack("<I", size))
    assert caught.value.args == ([good],)


def test_the_model_knows_the_vectors() -> None:
    splitter = frame.Splitter(1 << 20)
    found = splitter.push(b"".join(bytes.fromhex(each["hex"]) for each in VECTORS["frames"]))
    assert len(found) == len(VECTORS["frames"])
    offer, refusal, ping, pong, echo, *_ = found
    asked = version.Offer(2**32 - 1, "rs.jetstream.proto/vectors/0.1.0+deadbeef")
    assert version.read(offer.payload) == asked
    assert offer == frame.Frame(frame.TVERSION, frame.NO_TAG, asked.payload())
    assert version.parse(asked.version) == ("vectors", 0, 1, 0)
    # The vector has a size beside the refusal, which nobody looks at.
    assert refusal.kind == frame.RVERSION
    assert version.read(refusal.payload) == (65_536, version.UNKNOWN)
    assert ping == (frame.request(0), 1, b"")
    assert pong == (frame.reply(0), 1, b"")
    assert echo == (frame.request(1), 2, b"\x05\x00hello")
