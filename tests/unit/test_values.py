"""Values on the wire: the bytes, the limits, and what is said when something does not fit."""

import array
import asyncio
import enum
import gc
import json
import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from jetstream import _types as t
from jetstream._core.codec import ArgumentsPlan, Plan
from jetstream._errors import DecodeError, EncodeError, JetStreamError
from jetstream._schema import arguments_plan, plan_of
from jetstream._types import F32, I8, I16, U8, U16, U32, U64, SocketAddress, Some, Url

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "wire.json").read_text())["values"]


@dataclass(frozen=True)
class Point:
    x: U32
    y: int


@dataclass
class Profile:
    name: str
    tags: list[str]
    nick: str | None
    at: Point


@dataclass
class Empty:
    pass


@dataclass(slots=True)
class Circle:
    radius: float


class Rect(NamedTuple):
    w: U32
    h: U32


@dataclass
class Labeled:
    label: str
    at: Point


Shape = Empty | Circle | Rect | Labeled


def plan(annotation: object) -> Plan:
    return plan_of(annotation, "test")


def refused(annotation: object, value: object, path: str = "v") -> EncodeError:
    with pytest.raises(EncodeError) as caught:
        plan(annotation).encode(value, path)
    return caught.value


def rejected(annotation: object, data: bytes, path: str = "v") -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        plan(annotation).decode(data, path)
    return caught.value


def address(text: str) -> SocketAddress:
    host, _, port = text.rpartition(":")
    return SocketAddress(ip_address(host.strip("[]")), int(port))


def shape(value: Any) -> object:
    match value:
        case {"Circle": [radius]}:
            return Circle(radius)
        case {"Rect": sides}:
            return Rect(**sides)
        case {"Labeled": [label, at]}:
            return Labeled(label, Point(**at))
    return Empty()


def same(value: Any) -> Any:
    return value


TYPES: dict[str, tuple[object, Callable[[Any], object]]] = {
    **{
        name: (getattr(t, name.upper()), int)
        for name in ("u8", "u16", "u32", "u64", "u128", "i16", "i32", "i64", "i128")
    },
    "bool": (bool, same),
    "f32": (F32, float),
    "f64": (float, float),
    "unit": (None, same),
    "str": (str, same),
    "list[u32]": (list[U32], same),
    "list[str]": (list[str], same),
    "list[list[u8]]": (list[list[U8]], same),
    "data": (bytes, bytes.fromhex),
    "option[u32]": (U32 | None, same),
    "option[str]": (str | None, same),
    "option[option[u8]]": (Some[U8 | None] | None, lambda value: Some(value["some"])),
    "map[str,u32]": (dict[str, U32], same),
    "map[u16,bool]": (dict[U16, bool], lambda value: {int(key): on for key, on in value.items()}),
    "set[u16]": (set[U16], set),
    "ipv4": (IPv4Address, IPv4Address),
    "ipv6": (IPv6Address, IPv6Address),
    "ip": (IPv4Address | IPv6Address, ip_address),
    "sockaddr": (SocketAddress, address),
    "url": (Url, same),
    "time": (
        datetime,
        lambda value: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=value),
    ),
    "Point{x:u32,y:i64}": (Point, lambda value: Point(**value)),
    "Profile{name:str,tags:list[str],nick:option[str],at:Point}": (
        Profile,
        lambda value: Profile(**value | {"at": Point(**value["at"])}),
    ),
    "Shape{Empty|Circle(f64)|Rect{w:u32,h:u32}|Labeled(str,Point)}": (Shape, shape),
    "Shape": (Shape, shape),
    "tuple[u8,str]": (tuple[U8, str], tuple),
    "tuple[u8,u16,u32]": (tuple[U8, U16, U32], tuple),
}


def _named(vector: dict[str, Any]) -> Any:
    return pytest.param(vector, id=f"{vector['type']}-{vector['hex'][:16]}")


@pytest.mark.parametrize("vector", VECTORS, ids=[str(n) for n in range(len(VECTORS))])
def test_bytes_of_the_rust_crates_survive_a_round_trip(vector: dict[str, Any]) -> None:
    annotation, _ = TYPES[vector["type"]]
    data = bytes.fromhex(vector["hex"])
    assert plan(annotation).encode(plan(annotation).decode(data)) == data


@pytest.mark.parametrize("vector", [_named(vector) for vector in VECTORS])
def test_bytes_are_those_of_the_rust_crates(vector: dict[str, Any]) -> None:
    annotation, make = TYPES[vector["type"]]
    value = make(vector["value"])
    data = bytes.fromhex(vector["hex"])
    assert plan(annotation).encode(value) == data
    arrived = plan(annotation).decode(data)
    assert type(arrived) is type(value)
    assert arrived == value or value != value


class Color(enum.Enum):
    RED = "r"
    GREEN = "g"


class Level(enum.IntEnum):
    LOW = 7
    HIGH = -1


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (Color, Color.GREEN, "01"),
        (Level, Level.LOW, "00"),
        (int, Level.LOW, "0700000000000000"),
        (float, 1, "000000000000f03f"),
        (bytes, bytearray(b"a"), "0100000061"),
        (bytes, memoryview(b"abc")[1:2], "0100000062"),
        (bytes, memoryview(array.array("H", [1])), "0200000001 00"),
        (tuple[U8, ...], (1, 2), "02000102"),
        (frozenset[I8], frozenset({1, -1}), "0200ff01"),
        (tuple[()], (), ""),
        (dict[I16, U8], OrderedDict([(1, 1), (-1, 2)]), "0200ffff0201000 1"),
        (Some[None] | None, Some(None), "01"),
        (set[Color], {Color.GREEN, Color.RED}, "02000001"),
    ],
)
def test_bytes(annotation: object, value: object, expected: str) -> None:
    assert plan(annotation).encode(value).hex() == expected.replace(" ", "")


def test_an_int_is_anything_with_an_index_but_no_bool() -> None:
    class Two:
        def __index__(self) -> int:
            return 2

    assert plan(U8).encode(Two()) == b"\x02"
    assert str(refused(int, True)) == "v: expected int, got bool"
    assert str(refused(bool, 1)) == "v: expected bool, got int"
    assert str(refused(float, True)) == "v: expected float, got bool"
    assert str(refused(int, 1.0)) == "v: expected int, got float"


@pytest.mark.parametrize(
    ("annotation", "low", "high"),
    [
        (getattr(t, f"{sign}{bits}"), low, low + 2**bits - 1)
        for bits in (8, 16, 32, 64, 128)
        for sign, low in (("U", 0), ("I", -(2 ** (bits - 1))))
    ],
)
def test_integers_at_their_edges(annotation: object, low: int, high: int) -> None:
    for value in (low, high, 0):
        assert plan(annotation).decode(plan(annotation).encode(value)) == value
    for value in (low - 1, high + 1):
        assert f"which holds {low} to {high}" in refused(annotation, value).message
    assert "an integer of more than 128 bits" in refused(annotation, 1 << 200).message


def test_messages_say_what_was_wanted_and_what_came() -> None:
    messages = {
        str(refused(str, 1)): "v: expected str, got int",
        str(refused(None, 1)): "v: expected None, got int",
        str(refused(list[int], (1,))): "v: expected list, got tuple",
        str(refused(tuple[int, ...], [1])): "v: expected tuple, got list",
        str(refused(set[int], frozenset())): "v: expected set, got frozenset",
        str(refused(frozenset[int], set())): "v: expected frozenset, got set",
        str(refused(dict[str, int], [])): "v: expected dict, got list",
        str(refused(bytes, "a")): "v: expected bytes, got str",
        str(refused(Color, "r")): "v: expected a member of Color, got str",
        str(refused(Point, (1, 2))): "v: expected Point, got tuple",
        str(refused(Rect, (1, 2))): "v: expected Rect, got tuple",
        str(refused(Shape, 1)): "v: expected Empty or Circle or Rect or Labeled, got int",
        str(refused(Some[None] | None, 1)): "v: expected Some(...) or None, got int",
        str(refused(datetime, 1)): "v: expected datetime, got int",
        str(refused(IPv4Address, IPv6Address("::1"))): "v: expected IPv4Address, got IPv6Address",
        str(refused(SocketAddress, ("::1", 1))): "v: expected SocketAddress, got tuple",
        str(refused(tuple[int, int], (1,))): "v: a tuple of 2 has 1 items",
        str(refused(float, 10**400)): "v: an int that is too large for a float",
        str(refused(str, "\ud800")): "v: a str with a lone surrogate, which UTF-8 does not have",
        str(refused(Url, "x")): "v: not a URL: it does not start with a scheme such as https:",
        str(refused(SocketAddress, SocketAddress(IPv4Address(1), 65_536))): "v: 65536 is no port",
    }
    for said, meant in messages.items():
        assert said == meant
    assert refused(F32, 1e39).message.endswith("is too large for f32")


def test_a_path_leads_to_the_part_at_fault() -> None:
    profile = Profile("a", ["x", 2], None, Point(1, 2))  # type: ignore[list-item]
    assert refused(list[Profile], [profile], "Echo.put").path == "Echo.put[0].tags[1]"
    assert refused(dict[str, dict[int, U8]], {"a": {3: 256}}).path == "v['a'][3]"
    assert refused(dict[str, int], {"a" * 99: ""}).path == f"v['{'a' * 39}…]"
    assert refused(dict[U8, int], {300: 1}).path == "v{key 0}"
    assert refused(tuple[int, str], (1, 2)).path == "v[1]"
    assert refused(Shape, Circle("x")).path == "v.radius"  # type: ignore[arg-type]
    assert refused(Point | None, Point(-1, 0)).path == "v.x"
    error = rejected(dict[str, list[bool]], bytes.fromhex("010001006102000102"))
    assert (error.path, error.offset) == ("v['a'][1]", 8)
    assert str(error) == "v['a'][1]: a bool is 0 or 1, not 2 (byte 8)"
    assert isinstance(error, JetStreamError)


def test_arguments_are_named_in_paths() -> None:
    arguments = arguments_plan([("a", int), ("b", list[Point])], "Echo.put")
    assert arguments.decode(arguments.encode(1, [Point(1, 2)])) == (1, [Point(1, 2)])
    with pytest.raises(EncodeError, match=r"^Echo\.put\.b\[0\]\.x: -1 does not fit u32"):
        arguments.encode(1, [Point(-1, 2)], path="Echo.put")
    with pytest.raises(EncodeError, match="1 arguments given, 2 wanted"):
        arguments.encode(1)
    with pytest.raises(DecodeError, match=r"^Echo\.put\.b: 2 bytes needed, 0 left \(byte 8\)$"):
        arguments.decode(bytes(8), path="Echo.put")
    assert arguments_plan([], "Echo.ping").encode() == b""
    with pytest.raises(ValueError, match="arguments wanted, not bool"):
        ArgumentsPlan((("bool",),))


def test_limits_of_what_is_sent() -> None:
    assert len(plan(str).encode("x" * 65_535)) == 65_537
    assert "65536 bytes in UTF-8; at most 65535" in refused(str, "x" * 65_536).message
    assert "65536 bytes in UTF-8" in refused(str, "é" * 32_768).message
    assert plan(list[U8]).decode(plan(list[U8]).encode([1] * 65_535)) == [1] * 65_535
    assert refused(list[U8], [1] * 65_536).message == "more than 65535 items; no more fit"
    assert "more than 65535 members" in refused(set[int], set(range(65_536))).message
    assert (
        "more than 65535 entries"
        in refused(dict[int, int], dict.fromkeys(range(70_000), 0)).message
    )
    assert len(plan(bytes).encode(bytes(32 << 20))) == (32 << 20) + 4
    assert "at most 33554432 fit" in refused(bytes, bytes((32 << 20) + 1)).message


@pytest.mark.parametrize(
    ("annotation", "data", "offset", "message"),
    [
        (U32, "0102", 0, "4 bytes needed, 2 left"),
        (bool, "02", 0, "a bool is 0 or 1, not 2"),
        (bool, "0100", 1, "1 bytes left over after the value"),
        (int | None, "02", 0, "an option starts with 0 or 1, not 2"),
        (str, "0100ff", 2, "a string that is not UTF-8"),
        (str, "ffff61", 2, "65535 bytes needed, 1 left"),
        (bytes, "ffffffff", 0, "4294967295 bytes of data announced, at most 33554432 are allowed"),
        (list[U64], "ffff00", 0, "65535 items of at least 8 bytes announced, 1 bytes left"),
        (dict[U8, U8], "020001010102", 4, "the same key twice"),
        (set[U8], "0300020102", 4, "the same key twice"),
        (Shape, "04", 0, "variant 4, but there are only 4"),
        (Color, "02", 0, "variant 2, but there are only 2"),
        (Url, "010061", 0, "a URL that does not start with a scheme"),
        (SocketAddress, "05", 0, "an address starts with 4 or 6, not 5"),
        (datetime, "ff" * 8, 0, "a time that cannot be represented here: 18446744073709551615 ms"),
    ],
)
def test_limits_of_what_is_received(
    annotation: object, data: str, offset: int, message: str
) -> None:
    error = rejected(annotation, bytes.fromhex(data))
    assert error.offset == offset
    assert error.message.startswith(message)


@dataclass
class Chain:
    next: "Chain | None" = None


def test_depth_is_bounded_both_ways() -> None:
    chain = None
    for _ in range(64):
        chain = Chain(chain)
    assert plan(Chain).decode(plan(Chain).encode(chain)) == chain
    assert "nested deeper than 128 levels" in refused(Chain, Chain(chain)).message
    assert "nested deeper than 128 levels" in rejected(Chain, b"\1" * 100_000).message


def test_times() -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    noon = datetime(2024, 2, 29, 12, 0, 0, 123_999, tzinfo=east)
    arrived = plan(datetime).decode(plan(datetime).encode(noon))
    assert arrived == datetime(2024, 2, 29, 6, 30, 0, 123_000, tzinfo=UTC)
    assert arrived.tzinfo is UTC
    for moment in (datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, tzinfo=UTC)):
        assert plan(datetime).decode(plan(datetime).encode(moment)) == moment
    assert "datetime.now(timezone.utc)" in refused(datetime, datetime(2024, 1, 1)).message
    assert refused(datetime, datetime(1969, 12, 31, tzinfo=UTC)).message == "a time before 1970"


def test_a_scoped_address_is_refused() -> None:
    assert "with a scope" in refused(IPv6Address, IPv6Address("fe80::1%eth0")).message


def test_socket_addresses_print_as_usual() -> None:
    assert str(SocketAddress(IPv6Address("::1"), 443)) == "[::1]:443"
    assert str(SocketAddress(IPv4Address("127.0.0.1"), 80)) == "127.0.0.1:80"


def test_a_dataclass_that_objects_makes_the_value_one_that_cannot_be_decoded() -> None:
    @dataclass(frozen=True)
    class Even:
        number: U8

        def __post_init__(self) -> None:
            if self.number % 2:
                raise ValueError("odd")

    assert plan(Even).decode(b"\2") == Even(2)
    error = rejected(list[Even], b"\2\0\2\3")
    assert (error.path, error.offset, error.message) == ("v[1]", 3, "ValueError: odd")
    assert isinstance(error.__cause__, ValueError)


@pytest.mark.parametrize("error", [KeyboardInterrupt, asyncio.CancelledError, SystemExit])
def test_what_is_no_ordinary_exception_passes_through(error: type[BaseException]) -> None:
    class Bad:
        def __index__(self) -> int:
            raise error

    with pytest.raises(error):
        plan(int).encode(Bad())


def test_constructors_of_ones_own_are_called() -> None:
    @dataclass(init=False)
    class Own:
        a: U8

        def __init__(self, *, a: int) -> None:
            self.a = a
            self.made = True

    @dataclass
    class New:
        a: U8

        def __new__(cls, *args: object, **kwargs: object) -> "New":
            made = super().__new__(cls)
            made.__dict__["new"] = True
            return made

    class Base(NamedTuple):
        a: U8

    class Derived(Base):
        def __new__(cls, a: int) -> "Derived":
            return super().__new__(cls, a + 1)

    assert plan(Own).decode(b"\1").made
    assert plan(New).decode(b"\1").__dict__ == {"new": True, "a": 1}
    assert plan(Derived).decode(b"\1") == Derived(1)


def test_msgspec_structs_where_somebody_has_them() -> None:
    msgspec = pytest.importorskip("msgspec")

    class Item(msgspec.Struct, frozen=True, kw_only=True):  # type: ignore[misc, name-defined]
        id: U32
        tags: list[str]

    value = Item(id=1, tags=["a"])
    assert plan(Item).encode(value).hex() == "010000000100010061"
    assert plan(Item).decode(plan(Item).encode(value)) == value


def test_unset_slots_are_refused() -> None:
    circle = Circle(1.0)
    del circle.radius
    assert refused(Circle, circle).message == "attribute radius is not set"


def test_keys_that_are_one_on_the_wire_are_refused() -> None:
    first = datetime(2024, 1, 1, microsecond=1, tzinfo=UTC)
    second = datetime(2024, 1, 1, microsecond=2, tzinfo=UTC)
    assert (
        refused(set[datetime], {first, second}).message == "two keys that are the same on the wire"
    )


def test_keys_that_are_one_in_python_are_refused() -> None:
    @dataclass(frozen=True)
    class Loose:
        a: U8

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Loose)

        def __hash__(self) -> int:
            return 0

    assert "are equal in Python" in rejected(set[Loose], b"\2\0\1\2").message


def test_containers_may_change_while_they_are_encoded() -> None:
    values: list[Any] = []
    mapping: dict[int, Any] = {}
    members: list[object] = []

    class Clear:
        def __index__(self) -> int:
            values.clear()
            mapping.clear()
            gc.collect()
            return 1

    class Grow:
        def __index__(self) -> int:
            values.append(Grow())
            mapping[len(mapping)] = Grow()
            return 1

    class Drop:
        """Removes the object whose attribute is being read."""

        def __index__(self) -> int:
            members.clear()
            holder.at = None
            gc.collect()
            return 1

    values += [Clear(), 2, 3]
    assert plan(list[U8]).encode(values) == b"\1\0\1"
    values += [Grow()]
    assert "more than 65535 items" in refused(list[U8], values).message
    mapping[0] = Clear()
    assert "changed its size" in refused(dict[U8, U8], mapping).message
    mapping[0] = Grow()
    assert "changed its size" in refused(dict[U8, U8], mapping).message

    @dataclass
    class Holder:
        at: Any
        rest: U8

    @dataclass
    class Held:
        a: U8
        b: U8

    Holder.__annotations__["at"] = Held
    holder = Holder(Held(Drop(), 2), 3)  # type: ignore[arg-type]
    assert plan(Holder).encode(holder) == b"\1\2\3"


def test_half_filled_lists_are_hidden_from_the_collector() -> None:
    seen: list[int] = []

    @dataclass
    class Spy:
        a: U8

        def __post_init__(self) -> None:
            for found in gc.get_objects():
                if type(found) in (list, tuple) and len(found) == 23:
                    seen.extend(1 for item in found if type(item) is Spy)

    count = (23).to_bytes(2, "little")
    assert len(plan(list[Spy]).decode(count + bytes(23))) == 23
    assert len(plan(tuple[Spy, ...]).decode(count + bytes(23))) == 23
    assert not seen


def test_what_arrives_is_tracked_once_it_is_full() -> None:
    assert gc.is_tracked(plan(list[list[int]]).decode(b"\1\0\0\0"))
    assert gc.is_tracked(plan(tuple[list[int], ...]).decode(b"\1\0\0\0"))
    assert gc.is_tracked(plan(Rect).decode(bytes(8)))


def test_nothing_leaks() -> None:
    plans = [
        (Profile, Profile("a" * 50, ["b" * 50], "c" * 50, Point(1, 2))),
        (Shape, Labeled("p" * 50, Point(1, 2))),
        (dict[str, Rect], {"key" * 9: Rect(70_000, 70_000)}),
        (Circle | Rect, Circle(2.5)),
        (set[int], {10**6, 10**7}),
    ]

    def rounds(count: int) -> None:
        for _ in range(count):
            for annotation, value in plans:
                compiled = plan(annotation)
                data = compiled.encode(value)
                compiled.decode(data)
                for end in range(len(data)):
                    with pytest.raises(DecodeError):
                        compiled.decode(data[:end])

    rounds(2)
    gc.collect()
    before = sys.getallocatedblocks()
    rounds(20)
    gc.collect()
    assert sys.getallocatedblocks() - before < 500


def test_a_class_that_holds_its_plan_can_be_collected() -> None:
    import weakref

    @dataclass
    class Cyclic:
        a: U8

    Cyclic.plan = Plan(  # type: ignore[attr-defined]
        (("struct", Cyclic, (("a", 1),), "new", False), ("u8",))
    )
    gone = weakref.ref(Cyclic)
    del Cyclic
    gc.collect()
    assert gone() is None


def test_init_only_fields_have_no_place() -> None:
    @dataclass
    class Odd:
        a: InitVar[int]
        b: int = field(default=0)

    with pytest.raises(TypeError, match="InitVar"):
        plan(Odd)
