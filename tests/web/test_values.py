"""Values cross from Python to TypeScript and back, and what is no value is one for neither."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jetstream._errors import DecodeError
from jetstream._schema import Description, describe, plan_of
from jetstream._types import Some

from tests.model import strategies
from tests.web.node import FOLDER, NODE, needs_node

pytestmark = needs_node

Ask = Callable[[Description, bytes], str]


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    """What Node makes of a value's bytes: the same in hex, or an error behind an exclamation mark."""
    assert NODE is not None
    with subprocess.Popen(
        (NODE, "test/run.mjs", "test/node-values.ts"),
        cwd=FOLDER,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        lines_in, lines_out = process.stdin, process.stdout

        def ask(nodes: Description, data: bytes) -> str:
            question = {"nodes": [_described(node) for node in nodes], "hex": data.hex()}
            lines_in.write(json.dumps(question) + "\n")
            lines_in.flush()
            return lines_out.readline().rstrip("\n")

        yield ask
        lines_in.close()
    assert process.returncode == 0


def _described(node: Any) -> list[Any]:
    match node:
        case ("struct", _, fields, *_):
            return ["struct", fields]
        case ("union", items, classes):
            return ["union", [(cls.__name__, item) for cls, item in zip(classes, items, strict=True)]]
        case ("enum", _, members):
            return ["enum", [member.name for member in members]]
        case ("option", item, some):
            return ["option", item, some is Some]
        case ("map", key, value):
            return ["map", key, value]
        case (kind, *rest):
            return [kind, *(part for part in rest if isinstance(part, int | tuple))]
    raise AssertionError(node)


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_a_value_comes_back_as_it_left(ask: Ask, data: st.DataObject) -> None:
    case = data.draw(strategies.cases)
    encoded = plan_of(case.annotation, "test").encode(data.draw(case.values))
    assert ask(describe(case.annotation, "test"), encoded) == encoded.hex()


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_both_take_or_refuse_the_same_bytes(ask: Ask, data: st.DataObject) -> None:
    case = data.draw(strategies.cases)
    plan = plan_of(case.annotation, "test")
    changed = bytearray(plan.encode(data.draw(case.values)))
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(changed)))
        changed[position : position + data.draw(st.integers(0, 2))] = data.draw(
            st.binary(max_size=2)
        )
    try:
        expected = plan.encode(plan.decode(bytes(changed))).hex()
    except DecodeError as error:
        told = ask(describe(case.annotation, "test"), bytes(changed))
        # Python's times end with the year 9999, and those of JavaScript much later.
        assert told.startswith("!DecodeError") or "time" in str(error)
    else:
        told = ask(describe(case.annotation, "test"), bytes(changed))
        # What a NaN says beside being one is nobody's.
        assert told == expected or "nan" in repr(plan.decode(bytes(changed)))
