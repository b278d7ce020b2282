"""Round trips of random values of random annotations."""

from hypothesis import given, settings
from hypothesis import strategies as st
from jetstream import _schema
from jetstream._errors import DecodeError

from tests.model import strategies


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_what_is_sent_arrives(data: st.DataObject) -> None:
    case = data.draw(strategies.cases)
    value = data.draw(case.values)
    plan = _schema.plan_of(case.annotation, "test")
    arrived = plan.decode(plan.encode(value))
    assert arrived == value
    assert type(arrived) is type(value)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_bytes_that_decode_encode_to_what_decodes_to_the_same(data: st.DataObject) -> None:
    case = data.draw(strategies.cases)
    plan = _schema.plan_of(case.annotation, "test")
    try:
        value = plan.decode(data.draw(st.binary(max_size=64)))
    except DecodeError:
        return
    # From here on the bytes are in canonical order.
    once = plan.encode(value)
    assert plan.encode(plan.decode(once)) == once


@given(st.lists(strategies.cases, max_size=5), st.data())
@settings(max_examples=100, deadline=None)
def test_arguments_arrive(cases: list[strategies.Case], data: st.DataObject) -> None:
    names = [(f"a{index}", case.annotation) for index, case in enumerate(cases)]
    plan = _schema.arguments_plan(names, "Test.method")
    values = [data.draw(case.values) for case in cases]
    assert plan.decode(plan.encode(*values)) == tuple(values)
    assert len(plan) == len(values)
