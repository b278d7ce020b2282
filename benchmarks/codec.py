"""Encodes and decodes one nested dataclass of about 1 KiB, beside msgspec and protobuf.

    python benchmarks/codec.py

Build with `maturin develop --release` first. The peers run in turns within each round, and each
number is the best round: what else the machine does slows everybody down, and only ever down.
"""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from jetstream import _schema
from jetstream._types import U32

ROUNDS = 25
SECONDS_PER_MEASUREMENT = 0.01


@dataclass
class Point:
    x: float
    y: float


@dataclass
class Tag:
    name: str
    weight: U32
    active: bool


@dataclass
class Person:
    id: int
    name: str
    email: str | None
    home: Point
    tags: list[Tag]


@dataclass
class Team:
    title: str
    revision: int
    members: list[Person]
    scores: list[float]
    labels: dict[str, str]


def _team(tag: Any = Tag, point: Any = Point, person: Any = Person, team: Any = Team) -> Any:
    return team(
        title="Platform engineering",
        revision=1_700_000_123,
        members=[
            person(
                id=1000 + number,
                name=f"Member number {number}",
                email=f"member{number}@example.com" if number % 2 else None,
                home=point(x=48.2 + number, y=11.5 - number),
                tags=[
                    tag(name=f"skill-{number}-{index}", weight=number * index, active=index == 1)
                    for index in range(3)
                ],
            )
            for number in range(8)
        ],
        scores=[number / 7 for number in range(16)],
        labels={f"key-{number}": f"value {number}" for number in range(6)},
    )


@dataclass(slots=True)
class SlotPoint:
    x: float
    y: float


@dataclass(slots=True)
class SlotTag:
    name: str
    weight: U32
    active: bool


@dataclass(slots=True)
class SlotPerson:
    id: int
    name: str
    email: str | None
    home: SlotPoint
    tags: list[SlotTag]


@dataclass(slots=True)
class SlotTeam:
    title: str
    revision: int
    members: list[SlotPerson]
    scores: list[float]
    labels: dict[str, str]


def _protobuf_classes() -> dict[str, Any]:
    """The same messages, described at run time so that no compiler is needed."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="bench.proto", package="bench", syntax="proto3")

    def message(name: str, fields: list[tuple[str, int, str, bool]]) -> Any:
        made = file.message_type.add(name=name)
        for number, (field, kind, of, many) in enumerate(fields, 1):
            label = kinds.LABEL_REPEATED if many else kinds.LABEL_OPTIONAL
            made.field.add(name=field, number=number, type=kind, type_name=of or None, label=label)
        return made

    nested, text = kinds.TYPE_MESSAGE, kinds.TYPE_STRING
    message("Point", [("x", kinds.TYPE_DOUBLE, "", False), ("y", kinds.TYPE_DOUBLE, "", False)])
    message(
        "Tag",
        [
            ("name", text, "", False),
            ("weight", kinds.TYPE_UINT32, "", False),
            ("active", kinds.TYPE_BOOL, "", False),
        ],
    )
    message(
        "Person",
        [
            ("id", kinds.TYPE_INT64, "", False),
            ("name", text, "", False),
            ("email", text, "", False),
            ("home", nested, ".bench.Point", False),
            ("tags", nested, ".bench.Tag", True),
        ],
    )
    team = message(
        "Team",
        [
            ("title", text, "", False),
            ("revision", kinds.TYPE_INT64, "", False),
            ("members", nested, ".bench.Person", True),
            ("scores", kinds.TYPE_DOUBLE, "", True),
            ("labels", nested, ".bench.Team.LabelsEntry", True),
        ],
    )
    entry = team.nested_type.add(name="LabelsEntry")
    entry.options.map_entry = True
    for number, field in enumerate(("key", "value"), 1):
        entry.field.add(name=field, number=number, type=text, label=kinds.LABEL_OPTIONAL)

    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"bench.{name}"))
        for name in ("Point", "Tag", "Person", "Team")
    }


def _read_protobuf(cls: Any, data: bytes) -> Any:
    """Parses and reads every field once, which protobuf puts off until somebody asks."""
    team = cls.FromString(data)
    for person in team.members:
        _ = person.id, person.name, person.email, person.home.x, person.home.y
        for tag in person.tags:
            _ = tag.name, tag.weight, tag.active
    _ = team.title, team.revision, list(team.scores), dict(team.labels)
    return team


def _time_once(run: Callable[[], object]) -> float:
    """Nanoseconds per run."""
    clock, calls, spent = time.perf_counter_ns, 0, 0
    goal = int(SECONDS_PER_MEASUREMENT * 1e9)
    started = clock()
    while spent < goal:
        for _ in range(50):
            run()
        calls += 50
        spent = clock() - started
    return spent / calls


def run() -> list[dict[str, Any]]:
    """Measures everything and returns one row per scenario and peer."""
    rows: list[dict[str, Any]] = []
    measured: dict[tuple[str, str], Callable[[], object]] = {}
    sizes: dict[tuple[str, str], int] = {}
    proto = _protobuf_classes()
    message = _team(proto["Tag"], proto["Point"], proto["Person"], proto["Team"])
    packed = message.SerializeToString()
    kinds = {
        "dataclass": (Team, _team()),
        "slots dataclass": (SlotTeam, _team(SlotTag, SlotPoint, SlotPerson, SlotTeam)),
    }
    for scenario, (cls, value) in kinds.items():
        plan = _schema.plan_of(cls, "benchmark")
        ours = plan.encode(value)
        encoder, decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(cls)
        theirs = encoder.encode(value)
        if plan.decode(ours) != value or decoder.decode(theirs) != value:
            raise AssertionError("a round trip changed the value")
        sizes[f"{scenario}, encode", "jetstream"] = len(ours)
        sizes[f"{scenario}, encode", "msgspec"] = len(theirs)
        sizes[f"{scenario}, encode", "protobuf"] = len(packed)
        measured |= {
            (f"{scenario}, encode", "jetstream"): functools.partial(plan.encode, value),
            (f"{scenario}, encode", "msgspec"): functools.partial(encoder.encode, value),
            (f"{scenario}, encode", "protobuf"): message.SerializeToString,
            (f"{scenario}, decode", "jetstream"): functools.partial(plan.decode, ours),
            (f"{scenario}, decode", "msgspec"): functools.partial(decoder.decode, theirs),
            (f"{scenario}, decode", "protobuf"): functools.partial(
                _read_protobuf, proto["Team"], packed
            ),
        }
    best = dict.fromkeys(measured, float("inf"))
    for _ in range(ROUNDS):
        for key, call in measured.items():
            best[key] = min(best[key], _time_once(call))
    for (scenario, peer), nanoseconds in best.items():
        rows.append(
            {
                "scenario": scenario,
                "peer": peer,
                "metric": "time",
                "value": round(nanoseconds),
                "unit": "ns",
            }
        )
    for (scenario, peer), size in sizes.items():
        rows.append(
            {"scenario": scenario, "peer": peer, "metric": "size", "value": size, "unit": "bytes"}
        )
    return rows


def main() -> None:
    """Prints the measurements and how they compare."""
    rows = run()
    ours = {
        (row["scenario"], row["metric"]): row["value"] for row in rows if row["peer"] == "jetstream"
    }
    for row in rows:
        ratio = row["value"] / ours[row["scenario"], row["metric"]]
        print(
            f"{row['scenario']:24} {row['peer']:10} {row['value']:7} {row['unit']:5} x{ratio:.2f}"
        )


if __name__ == "__main__":
    main()
