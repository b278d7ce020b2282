"""What is to be written: types by name, services, methods. No TypeScript here beyond names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from jetstream.codegen._docs import Doc

if TYPE_CHECKING:
    from jetstream._definition import Method


@dataclass(frozen=True, slots=True)
class Leaf:
    """A type without parts, by the name of its layout, such as `i64`."""

    kind: str


@dataclass(frozen=True, slots=True)
class Many:
    """A list or a set."""

    kind: str
    item: Type


@dataclass(frozen=True, slots=True)
class Mapped:
    """A map."""

    key: Type
    value: Type


@dataclass(frozen=True, slots=True)
class Fixed:
    """A tuple."""

    items: tuple[Type, ...]


@dataclass(frozen=True, slots=True)
class Maybe:
    """An option; `wrapped` is one whose value may be an empty option itself."""

    item: Type
    wrapped: bool


@dataclass(frozen=True, slots=True)
class Named:
    """A type that is declared, by its name in TypeScript."""

    name: str


Type: TypeAlias = Leaf | Many | Mapped | Fixed | Maybe | Named


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a struct, or a variant of a union with the class for its name."""

    name: str
    type: Type
    doc: str = ""


@dataclass(frozen=True, slots=True)
class Struct:
    """A class with fields. `title` is what Python calls it."""

    name: str
    title: str
    fields: tuple[Field, ...]
    doc: str


@dataclass(frozen=True, slots=True)
class Union:
    """One of several structs."""

    name: str
    title: str
    variants: tuple[Field, ...]
    doc: str


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an enum; its value is what stands for it in TypeScript."""

    name: str
    value: str | int | float
    doc: str


@dataclass(frozen=True, slots=True)
class Enumeration:
    """An enum. `members` are by Python's own."""

    name: str
    title: str
    members: dict[Any, Member] = field(hash=False)
    doc: str


@dataclass(frozen=True, slots=True)
class Alias:
    """Another name for a type: a `NewType`, or a `type` statement."""

    name: str
    type: Type
    doc: str


Declaration: TypeAlias = Struct | Union | Enumeration | Alias


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter. `name` is Python's own, `default` what Python would fill in."""

    name: str
    type: Type
    is_stream: bool
    default: Any
    has_default: bool


@dataclass(frozen=True, slots=True)
class MethodModel:
    """A method: `items` of a subscription, `result` of either kind."""

    method: Method
    parameters: tuple[Parameter, ...]
    result: Type
    items: Type | None
    doc: Doc


@dataclass(frozen=True, slots=True)
class ServiceModel:
    """A service. `name` is the class's in TypeScript, `wire_name` that of frames."""

    name: str
    title: str
    wire_name: str
    version: str
    digest: str
    methods: tuple[MethodModel, ...]
    doc: str


@dataclass(frozen=True, slots=True)
class Model:
    """All that is written at once; declarations by their names."""

    services: tuple[ServiceModel, ...]
    declarations: dict[str, Declaration] = field(hash=False)


def parts_of(type_: Type) -> tuple[Type, ...]:
    """What a type is directly made of."""
    match type_:
        case Many(_, item) | Maybe(item, _):
            return (item,)
        case Mapped(key, value):
            return (key, value)
        case Fixed(items):
            return items
        case Leaf() | Named():
            return ()


def names_in(type_: Type) -> set[str]:
    """The declared types that a type mentions."""
    if isinstance(type_, Named):
        return {type_.name}
    return {name for part in parts_of(type_) for name in names_in(part)}


def types_of(declaration: Declaration) -> tuple[Type, ...]:
    """The types that a declaration mentions, in its order."""
    match declaration:
        case Struct(fields=fields) | Union(variants=fields):
            return tuple(each.type for each in fields)
        case Alias(type=type_):
            return (type_,)
        case Enumeration():
            return ()


def ordered(declarations: dict[str, Declaration]) -> list[Declaration]:
    """Declarations by name, each after those that it mentions, as far as that is possible."""
    found: dict[str, Declaration] = {}

    def visit(name: str, above: frozenset[str]) -> None:
        if name in found or name in above:
            return
        declaration = declarations[name]
        for type_ in types_of(declaration):
            for other in sorted(names_in(type_)):
                visit(other, above | {name})
        found[name] = declaration

    for name in sorted(declarations):
        visit(name, frozenset())
    return list(found.values())
