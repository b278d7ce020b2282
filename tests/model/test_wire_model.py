"""The core and the model agree: on every value, and on every string of bytes."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jetstream import _schema
from jetstream._errors import DecodeError

from tests.model import strategies, wire


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_both_encode_the_same(data: st.DataObject) -> None:
    case = data.draw(strategies.cases)
    value = data.draw(case.values)
    nodes = _schema.describe(case.annotation, "test")
    assert _schema.plan_of(case.annotation, "test").encode(value) == wire.encode(nodes, value)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_both_decode_or_refuse_the_same(data: st.DataObject) -> None:
    case = data.draw(strategies.cases)
    plan = _schema.plan_of(case.annotation, "test")
    good = bytearray(plan.encode(data.draw(case.values)))
    for _ in range(data.draw(st.integers(0, 3))):
        position = data.draw(st.integers(0, len(good)))
        good[position : position + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    changed = bytes(good)
    nodes = _schema.describe(case.annotation, "test")
    theirs: Any
    try:
        theirs = wire.decode(nodes, changed)
    except wire.Refused:
        with pytest.raises(DecodeError) as caught:
            plan.decode(changed)
        assert 0 <= caught.value.offset <= len(changed)
    else:
        # NaN is not equal to itself, but says the same about itself.
        assert repr(plan.decode(changed)) == repr(theirs) or plan.decode(changed) == theirs


def test_the_model_knows_the_vectors() -> None:
    vectors = json.loads(Path("vectors/wire.json").read_text())["values"]
    kinds = {"u8", "u16", "u32", "u64", "i16", "i32", "i64", "str", "bool"}
    for vector in vectors:
        if vector["type"] in kinds:
            encoded = wire.encode(((vector["type"],),), vector["value"])
            assert encoded.hex() == vector["hex"]
            assert wire.decode(((vector["type"],),), encoded) == vector["value"]
