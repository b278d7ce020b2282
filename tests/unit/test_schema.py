"""What annotations mean, and what is said about those that mean nothing."""

# ruff: noqa: E501 - messages are whole, so that they can be read and searched for

import decimal
import enum
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from datetime import date, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import (
    Annotated,
    Any,
    ClassVar,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    Optional,
    Protocol,
    TypedDict,
    TypeVar,
    Union,
)
from uuid import UUID

import pytest
from jetstream._schema import MAX_CACHED, SchemaError, arguments_plan, canonical, plan_of
from jetstream._types import F32, I64, U8, U32, SocketAddress, Some, Url, Wire

T = TypeVar("T")
UserId = NewType("UserId", int)


@dataclass
class A:
    x: int


@dataclass
class B:
    y: "list[B]"
    counted: ClassVar[int] = 0


@dataclass
class Page(Generic[T]):
    items: list[T]
    next: T | None


@dataclass
class Left:
    right: "Right | None"


@dataclass
class Right:
    left: Left | None


class Pair(NamedTuple):
    a: U8
    b: str


class Color(enum.Enum):
    RED = 1
    GREEN = 2
    ALSO_RED = 1


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "i64"),
        (I64, "i64"),
        (U8, "u8"),
        (float, "f64"),
        (F32, "f32"),
        (None, "unit"),
        (tuple[()], "unit"),
        (Url, "url"),
        (UserId, "i64"),
        (Annotated[int, "a note", {}], "i64"),
        (datetime, "time"),
        (SocketAddress, "sockaddr"),
        (IPv4Address | IPv6Address, "ip"),
        (IPv6Address | IPv4Address | None, "option[ip]"),
        (Optional[int], "option[i64]"),  # noqa: UP045
        (Union[A, None], "option[A{x:i64}]"),  # noqa: UP007
        (typing.List[U8], "list[u8]"),  # noqa: UP006
        (tuple[U8, ...], "list[u8]"),
        (tuple[U8, str], "tuple[u8,str]"),
        (frozenset[str], "set[str]"),
        (dict[str, list[bytes]], "map[str,list[data]]"),
        (Some[int | None] | None, "option[option[i64]]"),
        (A | B, "(A{x:i64}|B{y:list[B]})"),
        (B | A, "(B{y:list[B]}|A{x:i64})"),
        (A | B | None, "option[(A{x:i64}|B{y:list[B]})]"),
        (Pair, "Pair{a:u8,b:str}"),
        (Color, "Color{RED|GREEN}"),
        (Page[U8], "Page{items:list[u8],next:option[u8]}"),
        (
            tuple[Page[U8], Page[A]],
            "tuple[Page{items:list[u8],next:option[u8]},Page#2{items:list[A{x:i64}],next:option[A]}]",
        ),
        (Left, "Left{right:option[Right{left:option[Left]}]}"),
    ],
)
def test_canonical_texts(annotation: object, text: str) -> None:
    assert canonical(annotation) == text


def test_the_order_of_a_union_is_not_lost_in_the_cache() -> None:
    assert plan_of(A | B, "test").encode(A(1))[:1] == b"\0"
    assert plan_of(B | A, "test").encode(A(1))[:1] == b"\1"
    assert plan_of(list[B | A], "test").encode([A(1)])[2:3] == b"\1"
    assert plan_of(list[A | B], "test").encode([A(1)])[2:3] == b"\0"


def test_plans_are_kept_and_the_cache_is_bounded() -> None:
    assert plan_of(A, "here") is plan_of(A, "there")
    first = plan_of(A, "test")
    for count in range(1, MAX_CACHED + 2):
        plan_of(tuple[tuple([U8] * (count % 50 + 1))] | None if count < 50 else made(count), "test")
    assert plan_of(A, "test").encode(A(1)) == first.encode(A(1))


def made(count: int) -> type:
    return dataclass(type(f"Made{count}", (), {"__annotations__": {"a": int}}))


def test_classes_inside_functions_find_themselves() -> None:
    @dataclass
    class Local:
        next: "Local | None"

    assert canonical(Local) == "Local{next:option[Local]}"


class Movie(TypedDict):
    name: str


class Quacks(Protocol):
    def quack(self) -> None: ...


class Flags(enum.Flag):
    A = 1


class NoMembers(enum.Enum):
    pass


@dataclass
class Derived(A):
    extra: int


class Forgot(A):
    extra: int


@dataclass
class Init:
    a: InitVar[int]


@dataclass
class Computed:
    a: int = field(init=False)


@dataclass
class Endless:
    me: "Endless"


@dataclass
class Bad:
    inner: complex


@dataclass
class Outer:
    bad: list[Bad]


@dataclass
class Unknown:
    other: "Nowhere"  # type: ignore[name-defined]  # noqa: F821


Open = Page


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (
            Any,
            "Any could be anything, and the wire has to know; write a dataclass of what is to be sent",
        ),
        (
            object,
            "object could be anything, and the wire has to know; write a dataclass of what is to be sent",
        ),
        (list, "list does not say what is in it; write list[X]"),
        (dict, "dict does not say what is in it; write dict[K, V]"),
        (tuple, "tuple does not say what is in it; write tuple[X, Y] or tuple[X, ...]"),
        (typing.List, "List does not say what is in it; write list[X]"),  # noqa: UP006
        (
            Literal["a", "b"],
            "Literal['a', 'b'] has no layout; write an Enum with a member for each of 'a', 'b'",
        ),
        (
            Callable[[], None],
            "Callable[[], None] cannot travel; offer it as a method of a service",
        ),
        (
            Movie,
            "Movie is a TypedDict, which says nothing at run time about order; write a dataclass",
        ),
        (
            Quacks,
            "Quacks is a Protocol, which no value has for its class; write a dataclass of what is to be sent",
        ),
        (complex, "complex cannot be put on the wire; write tuple[float, float]"),
        (decimal.Decimal, "Decimal cannot be put on the wire; write str, and convert"),
        (timedelta, "timedelta cannot be put on the wire; write float, in seconds"),
        (date, "date cannot be put on the wire; write str in ISO format, or datetime"),
        (UUID, "UUID cannot be put on the wire; write bytes (its .bytes) or str"),
        (Sequence[int], "Sequence[int] cannot be put on the wire; write list[X]"),
        (
            Mapping[str, int],
            "Mapping[str, int] cannot be put on the wire; write dict[K, V]",
        ),
        ("int", "int is not resolved; pass it through typing.get_type_hints first"),
        (T, "~T is an open type parameter; say which type it stands for"),
        (
            int | str,
            "int | str cannot be told apart on the wire because of int; make every variant a dataclass of its own",
        ),
        (
            A | SocketAddress,
            "A | SocketAddress cannot be told apart on the wire because of SocketAddress; make every variant a dataclass of its own",
        ),
        (
            Page[int] | Page[str],
            "Union[Page[int], Page[str]] has the same class twice, and the class says which variant a value is; make every variant a dataclass of its own",
        ),
        (
            Annotated[int | None, ""] | None,
            "Optional[Annotated[int | None, '']] has two ways to be None; write Some[Annotated[int | None, '']] | None",
        ),
        (Some[int], "Some[int] only has a meaning inside an option; write Some[int] | None"),
        (
            Annotated[str, Wire("u8")],
            "str cannot be laid out as u8; use the aliases in jetstream, such as U8",
        ),
        (
            Flags,
            "Flags is a Flag, whose values combine, and the wire carries one member; send an int, or a set of an Enum",
        ),
        (NoMembers, "NoMembers has 0 members, and between 1 and 256 fit; send an int"),
        (
            set[float],
            "float cannot be a key: floats have no order that both ends agree on; use int or str",
        ),
        (
            dict[tuple[F32, int], int],
            "tuple[F32, int] cannot be a key: floats have no order that both ends agree on; use int or str",
        ),
        (set[frozenset[int]], "frozenset[int] cannot be a key: a set has no order; use a tuple"),
        (
            set[tuple[list[int], int]],
            "tuple[list[int], int] cannot be a key: Python's lists have no hash; use tuple[X, ...]",
        ),
        (dict[A, int], "A cannot be a key: A has no hash; make it @dataclass(frozen=True)"),
        (
            Forgot,
            "Forgot inherits from a dataclass and is none itself, so its own fields would be lost; decorate it with @dataclass",
        ),
        (
            Init,
            "Init.a is an InitVar, which nobody could send because nobody keeps it; make it a field",
        ),
        (
            Computed,
            "Computed.a has init=False, so a receiver could not pass what was sent; make it an ordinary field, or a property",
        ),
        (Endless, "Endless every value of this type contains another one, so none is finite"),
        (
            Unknown,
            "Unknown has an annotation that cannot be resolved (name 'Nowhere' is not defined); define the class at module level and import it outside `if TYPE_CHECKING`",
        ),
    ],
    ids=str,
)
def test_refusals(annotation: object, message: str) -> None:
    with pytest.raises(SchemaError) as caught:
        plan_of(annotation, "Echo.put(x)")
    assert str(caught.value) == f"Echo.put(x): {message}"


def test_refusals_name_the_way_to_the_field() -> None:
    with pytest.raises(SchemaError) as caught:
        arguments_plan([("a", int), ("b", Outer)], "Echo.put")
    assert str(caught.value) == (
        "Echo.put(b): Outer.bad: Bad.inner: complex cannot be put on the wire; "
        "write tuple[float, float]"
    )
    assert caught.value.where == "Echo.put(b): Outer.bad: Bad.inner"


def test_open_parameters_are_found_in_fields() -> None:
    with pytest.raises(SchemaError, match=r"Page\.items: ~T is an open type parameter"):
        plan_of(Open, "test")


def test_a_derived_dataclass_has_all_fields() -> None:
    assert canonical(Derived) == "Derived{x:i64,extra:i64}"


def test_too_many_variants() -> None:
    members = enum.Enum("Many", [f"m{number}" for number in range(257)])  # type: ignore[misc]
    with pytest.raises(SchemaError, match="has 257 members"):
        plan_of(members, "test")
    most = enum.Enum("Most", [f"m{number}" for number in range(256)])  # type: ignore[misc]
    last = list(most)[-1]
    assert plan_of(most, "test").encode(last) == b"\xff"
    assert plan_of(most, "test").decode(b"\xff") is last
    union = made(0)
    for number in range(1, 257):
        union = union | made(number)  # type: ignore[assignment]
    with pytest.raises(SchemaError, match="has 257 variants, and 256 fit"):
        plan_of(union, "test")


def test_widths_are_ints_for_whoever_reads_them() -> None:
    assert typing.get_args(U32)[0] is int
