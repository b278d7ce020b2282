"""A service with everything that a service can have. TypeScript compiles, calls and serves it."""

# ruff: noqa: B008  defaults of every kind are what is tested

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, IntEnum, auto
from ipaddress import IPv4Address, IPv6Address
from typing import Generic, NamedTuple, NewType, Protocol, TypeVar

import msgspec
from jetstream import (
    F32,
    I8,
    I16,
    I32,
    I64,
    I128,
    INJECTED,
    U8,
    U16,
    U32,
    U64,
    U128,
    Context,
    SocketAddress,
    Some,
    Subscription,
    Url,
    method,
    service,
)
from typing_extensions import TypeAliasType

T = TypeVar("T")

Serial = NewType("Serial", int)
"""Counts."""


class Colour(IntEnum):
    """Of paint.

    Not of light.
    """

    RED = 1
    """Warm."""
    GREEN = 5
    BLUE = 3


class Weekday(Enum):
    MONDAY = "mon"
    FRIDAY = 'fri "day"'


class Thing(Enum):
    """Whose values JavaScript does not have."""

    NOTHING = None
    TWO = (1, 2)
    HUGE = 2**53


class Step(Enum):
    FIRST = auto()
    SECOND = auto()


@dataclass(frozen=True)
class Circle:
    """Round.

    Attributes:
        radius: In metres; at least 0,
            at most 10.
    """

    radius: float


@dataclass(frozen=True)
class Square:
    side: float
    """In metres: ``side * side`` is the area. Not */ the end."""


class Point(NamedTuple):
    x: I32
    y: I32 = 0


class Packed(msgspec.Struct, frozen=True):
    """From elsewhere."""

    data: bytes


@dataclass(frozen=True)
class Empty:
    pass


Shape = Circle | Square | Empty
"""What can be drawn."""


@dataclass(frozen=True)
class Labelled:
    """@alias is no tag."""

    label: str


@dataclass(frozen=True)
class LabelledCircle(Labelled):
    circle: Circle


@dataclass(frozen=True)
class Drawing:
    """Contains itself."""

    name: str
    shapes: list[Shape]
    tags: frozenset[str]
    parts: dict[str, Drawing]
    origin: tuple[float, float]
    layer: Some[int | None] | None
    note: str | None
    path: tuple[Point, ...]
    grid: list[list[U8]]
    holes: list[Point | None]


@dataclass(frozen=True)
class Number:
    value: float


@dataclass(frozen=True)
class Sum:
    left: Term
    right: Term


Term = Number | Sum


Figure = TypeAliasType("Figure", Point | Circle)
"""As a `type` statement makes it."""


@dataclass(frozen=True)
class Page(Generic[T]):
    items: list[T]
    next: U64 | None


@dataclass(frozen=True)
class Map:
    """Is called something that TypeScript means otherwise."""

    default: str


@dataclass(frozen=True)
class Widths:
    """Every width."""

    a: U8
    b: U16
    c: U32
    d: U64
    e: U128
    f: I8
    g: I16
    h: I32
    i: I64
    j: I128
    k: F32
    l: float  # noqa: E741
    m: bool
    n: None


@service(name="every-thing", version="1.2.3", digest="0a1b2c3d")
class Everything(Protocol):
    """Has everything.

    Over several lines.
    """

    async def ping(self) -> None:
        """Answers."""

    @method(idempotent=True)
    async def widths(self, widths: Widths) -> Widths: ...

    async def add(self, a: I32, b: I32 = 0) -> I32:
        """Adds.

        Args:
            a: One.
            b (int): The other,
                on two lines.

        Returns:
            The sum.

        Raises:
            OverflowError: It does not fit.
            JetStreamError: Anything else.
        """
        ...

    async def addresses(
        self, four: IPv4Address, six: IPv6Address, either: IPv4Address | IPv6Address
    ) -> SocketAddress: ...

    async def visit(self, home: Url, when: datetime, raw: bytes) -> datetime: ...

    async def draw(self, drawing: Drawing, ctx: Context = INJECTED) -> Drawing | None: ...

    async def shape(self, shape: Circle | Square | Empty) -> list[Shape]: ...

    async def evaluate(self, term: Term) -> float: ...

    async def unnamed(self, either: Circle | Point) -> Point | None: ...

    async def named(self, figure: Figure) -> tuple[Point | Circle | None, int]: ...

    async def paint(self, colour: Colour, day: Weekday, thing: Thing, step: Step) -> Map: ...

    async def page(self, orders: Page[Serial]) -> Page[str]: ...

    async def nested(
        self, values: dict[tuple[I32, str], list[set[str] | None]]
    ) -> dict[Colour, dict[str, tuple[U64, ...]]]: ...

    async def defaults(
        self,
        count: int = 5,
        ratio: float = 1e-7,
        text: str = 'say "hi"',
        raw: bytes = b"\x00\xff",
        nothing: str | None = None,
        colour: Colour = Colour.GREEN,
        point: Point = Point(1, -2),
        shape: Circle | Square | Empty = Square(2.0),
        some: Some[int | None] | None = Some(None),
        corners: tuple[tuple[I32, I32], ...] = ((0, 0), (1, 1)),
        tags: frozenset[str] = frozenset({"b", "a"}),
        since: datetime = datetime(2026, 1, 31, 12, 0, 0, 1500, tzinfo=UTC),
        host: IPv4Address = IPv4Address("127.0.0.1"),
        at: SocketAddress = SocketAddress(IPv6Address("::1"), 80),
        order: Serial = Serial(-1),
        wrong: U8 = 300,
        last: bool = False,
    ) -> list[str]:
        """Says which of the arguments are not the defaults."""
        ...

    async def words(self, default: str, options: str, ctx: U8, ctx_: U8, function: str) -> str:
        """Takes names that mean something.

        Args:
            default: A word of JavaScript's.
            options: A word of ours.
        """
        ...

    async def new(self, *, delete: bool = True, of: str) -> str: ...

    async def packed(self, packed: Packed, labelled: LabelledCircle, empty: Empty) -> Packed: ...

    def ticks(self, every: float = 1.0) -> Subscription[Point, Drawing]:
        """Ticks.

        Yields:
            Where it is.
        """
        ...

    @method(lossy=True)
    def position(self) -> Subscription[tuple[float, float], None]: ...

    async def total(self, numbers: AsyncIterator[U16], scale: U16 = 1) -> U64: ...

    def doubled(self, numbers: AsyncIterator[U16] = ()) -> Subscription[U32, None]: ...
