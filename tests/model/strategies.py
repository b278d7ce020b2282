"""Random annotations with values of theirs."""

import dataclasses
import enum
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import Any, NamedTuple

from hypothesis import strategies as st
from jetstream import _types as wire_types
from jetstream._types import F32, SocketAddress, Some, Url


class Color(enum.Enum):
    RED = "r"
    GREEN = "g"


class Level(enum.IntEnum):
    LOW = 7
    HIGH = -1


@dataclass(frozen=True)
class Empty:
    pass


class Case(NamedTuple):
    """An annotation, its values, and whether it can be a key and whether it holds None."""

    annotation: Any
    values: st.SearchStrategy[Any]
    key: bool = True
    optional: bool = False

    def __repr__(self) -> str:
        return repr(self.annotation)


def integers(kind: str) -> Case:
    bits = int(kind[1:])
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if kind[0] == "I" else (0, 2**bits - 1)
    return Case(getattr(wire_types, kind), st.integers(low, high))


IPV4 = st.integers(0, 2**32 - 1).map(IPv4Address)
IPV6 = st.integers(0, 2**128 - 1).map(IPv6Address)
ADDRESSES = st.builds(SocketAddress, IPV4 | IPV6, st.integers(0, 65_535))
TIMES = st.integers(0, 253_402_300_799_999).map(
    lambda ms: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
)

LEAVES = [
    *(integers(f"{sign}{bits}") for sign in "UI" for bits in (8, 16, 32, 64, 128)),
    Case(int, st.integers(-(2**63), 2**63 - 1)),
    Case(bool, st.booleans()),
    Case(float, st.floats(allow_nan=False), key=False),
    Case(F32, st.floats(allow_nan=False, width=32), key=False),
    Case(str, st.text(max_size=20)),
    Case(bytes, st.binary(max_size=20)),
    Case(Url, st.text(max_size=9).map(lambda path: f"https://example.com/{path}")),
    Case(IPv4Address, IPV4),
    Case(IPv6Address, IPV6),
    Case(IPv4Address | IPv6Address, IPV4 | IPV6),
    Case(SocketAddress, ADDRESSES),
    Case(datetime, TIMES),
    Case(Color, st.sampled_from(Color)),
    Case(Level, st.sampled_from(Level)),
    Case(tuple[()], st.just(())),
    Case(Empty, st.builds(Empty)),
]

_numbers = itertools.count()


def record(cases: list[Case], slots: bool, named_tuple: bool) -> Case:
    fields = [(f"f{index}", case.annotation) for index, case in enumerate(cases)]
    name = f"Record{next(_numbers)}"
    make: Callable[..., Any]
    if named_tuple:
        make = NamedTuple(name, fields)  # type: ignore[misc]
    else:
        make = dataclasses.make_dataclass(name, fields, frozen=True, slots=slots)
    values = st.builds(make, *(case.values for case in cases))
    return Case(make, values, all(case.key for case in cases))


def option(inner: Case) -> Case:
    if inner.optional:
        return Case(
            Some[inner.annotation] | None, st.none() | inner.values.map(Some), inner.key, True
        )
    return Case(inner.annotation | None, st.none() | inner.values, inner.key, True)


def union(cases: list[Case]) -> Case:
    # NamedTuples of two classes are equal where their items are, which no set would tell apart.
    variants = [record([case], False, False) for case in cases]
    annotation = variants[0].annotation
    for variant in variants[1:]:
        annotation = annotation | variant.annotation
    values = st.one_of(*(variant.values for variant in variants))
    return Case(annotation, values, all(variant.key for variant in variants))


def extend(inner: st.SearchStrategy[Case]) -> st.SearchStrategy[Case]:
    keys = inner.filter(lambda case: case.key)
    few = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        inner.map(
            lambda case: Case(list[case.annotation], st.lists(case.values, max_size=4), False)
        ),
        inner.map(
            lambda case: Case(
                tuple[case.annotation, ...],
                st.lists(case.values, max_size=4).map(tuple),
                case.key,
            )
        ),
        few.map(
            lambda cases: Case(
                tuple[tuple(case.annotation for case in cases)],
                st.tuples(*(case.values for case in cases)),
                all(case.key for case in cases),
            )
        ),
        keys.map(lambda case: Case(set[case.annotation], st.sets(case.values, max_size=4), False)),
        keys.map(
            lambda case: Case(
                frozenset[case.annotation], st.frozensets(case.values, max_size=4), False
            )
        ),
        st.tuples(keys, inner).map(
            lambda pair: Case(
                dict[pair[0].annotation, pair[1].annotation],
                st.dictionaries(pair[0].values, pair[1].values, max_size=4),
                False,
            )
        ),
        inner.map(option),
        st.builds(record, few, st.booleans(), st.booleans()),
        st.lists(inner, min_size=2, max_size=3).map(union),
    )


cases = st.recursive(st.sampled_from(LEAVES), extend, max_leaves=8)
