"""Limits: finite defaults, and what cannot be."""

import dataclasses
import math

import pytest
from jetstream import Limits
from jetstream._limits import CONNECT_TIMEOUT, DEFAULT_TIMEOUT, GRACEFUL_TIMEOUT

MAY_BE_NONE = ("keep_alive", "websocket_ping")
NAMES = [field.name for field in dataclasses.fields(Limits)]


@pytest.mark.parametrize("name", NAMES)
def test_every_default_is_finite(name):
    assert 0 < getattr(Limits(), name) < math.inf


def test_timeouts_are_finite():
    assert all(0 < seconds < 60 for seconds in (CONNECT_TIMEOUT, DEFAULT_TIMEOUT, GRACEFUL_TIMEOUT))


@pytest.mark.parametrize("value", [0, -1, True, "8", math.nan, math.inf])
@pytest.mark.parametrize("name", NAMES)
def test_a_limit_is_a_number_above_0(name, value):
    with pytest.raises(ValueError, match=rf"^Limits\({name}={value!r}\): it must be a "):
        Limits(**{name: value})


@pytest.mark.parametrize("name", [name for name in NAMES if name not in MAY_BE_NONE])
def test_a_limit_is_not_none(name):
    with pytest.raises(ValueError, match=rf"Limits\({name}=None\)"):
        Limits(**{name: None})


def test_no_keep_alive():
    assert Limits(keep_alive=None).keep_alive is None


def test_counts_are_whole():
    with pytest.raises(ValueError, match=r"Limits\(max_streams_bidi=1\.5\): it must be a whole"):
        Limits(max_streams_bidi=1.5)
    assert Limits(idle_timeout=1.5).idle_timeout == 1.5


def test_counts_fit_where_they_are_kept():
    with pytest.raises(ValueError, match=r"Limits\(send_window=4294967296\): it must be at most"):
        Limits(send_window=1 << 32)


@pytest.mark.parametrize("msize", [4096, 0xFFFFFFFF])
def test_msize_at_its_bounds(msize):
    assert Limits(msize=msize).msize == msize


@pytest.mark.parametrize("msize", [4095, 0x100000000])
def test_msize_beyond_its_bounds(msize):
    with pytest.raises(
        ValueError, match=rf"msize={msize}\): it must be at (least 4096|most 4294967295)"
    ):
        Limits(msize=msize)


def test_streams_from_the_caller_have_room_for_a_whole_window():
    assert Limits(stream_window=1 << 20, inbound_window=2 << 20).inbound_window == 2 << 20
    with pytest.raises(ValueError, match=r"inbound_window=2097151\): it must be at least twice"):
        Limits(stream_window=1 << 20, inbound_window=(2 << 20) - 1)


def test_what_is_unsent_has_room_for_what_leaves_in_a_turn():
    assert Limits(max_unsent=65_536).max_unsent == 65_536
    with pytest.raises(ValueError, match=r"max_unsent=65535\): it must be at least 65536"):
        Limits(max_unsent=65_535)


def test_a_chain_is_no_larger_than_tls_takes():
    assert Limits(max_chain=65_536).max_chain == 65_536
    with pytest.raises(ValueError, match=r"max_chain=65537\): TLS takes at most 65536 bytes"):
        Limits(max_chain=65_537)


def test_max_concurrent_is_how_many_tags_there_are():
    assert Limits(max_concurrent=65_535).max_concurrent == 65_535
    with pytest.raises(ValueError, match=r"max_concurrent=65536\): there are 65535 tags"):
        Limits(max_concurrent=65_536)


def test_limits_do_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Limits().msize = 3
