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
    """What Node makes of a value's bytes: the same in hex, or `!` and an error."""
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
    """A node without the classes that Python makes of it."""
    match node:
        case ("struct", _, fields, *_):
            return ["struct", fields]
        case ("union", items, classes):
            names = [cls.__name__ for cls in classes]
            return ["union", list(zip(names, items, strict=True))]
        case ("enum", _, members):
            return ["enum", [member.name for member in members]]
        case ("option", item, some):
            return ["option", item, some is Some]
        case _:
            return [part for part in node if isinstance(part, str | int | tuple)]


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_a_value_comes_back_as_it_left(ask: Ask, data: st.DataObject) -> None:
    case = data.draw(strategies.cases)
    encoded = plan_of(case.annotation, "test").encode(data.draw(case.values))
    assert ask(describe(case.annotation, "test"), encoded) == encoded.hex()


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_both_take_or_refuse_the_same_bytes(ask: Ask, data: st.DataObject) -> None:
    case = data.draw(strategies.cases)
    plan = plan_of(case.annotation, "test")
    changed = bytearray(plan.encode(data.draw(case.values)))
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(changed)))
        changed[position : position + data.draw(st.integers(0, 2))] = data.draw(
            st.binary(max_size=2)
        )
    told = ask(describe(case.annotation, "test"), bytes(changed))
    expected, why, shown = "", "", ""
    try:
        value = plan.decode(bytes(changed))
        expected, shown = plan.encode(value).hex(), repr(value)
    except DecodeError as error:
        why = str(error)
    # Python's times end with the year 9999, and those of JavaScript much later; and what a NaN says
    # beside being one is nobody's.
    if "time" not in why and "nan" not in shown:
        assert told.startswith("!DecodeError") if why else told == expected
