"""TypeScript: types, plans, values and comments of a model, as documents for `_layout`."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from jetstream.codegen import _names
from jetstream.codegen._layout import (
    WIDTH,
    Break,
    Doc,
    Group,
    IfBroken,
    Indent,
    enclosed,
    flat,
    render,
    sequel,
)
from jetstream.codegen._model import (
    Alias,
    Enumeration,
    Fixed,
    Leaf,
    Many,
    Mapped,
    Maybe,
    Named,
    Struct,
    Type,
    Union,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jetstream.codegen._model import Declaration, Member

_BIG = frozenset({"i64", "u64", "i128", "u128"})

_LEAF_TYPES = {
    "unit": "void",
    "bool": "boolean",
    "str": "string",
    "url": "string",
    "data": "Uint8Array",
    "time": "Date",
    "ip": "string",
    "ipv4": "string",
    "ipv6": "string",
    "sockaddr": "SocketAddress",
}

_LEAF_PLANS = {
    "str": "string",
    "data": "bytes",
    "ipv4": "ip4",
    "ipv6": "ip6",
    "sockaddr": "socketAddress",
}

_FENCE = re.compile(r"(?<!`)``(?!`)([^`\n]+)``(?!`)")


class Mentioned:
    """Which names one file says, so that it imports these and no others."""

    def __init__(self) -> None:
        self.values: set[str] = set()
        """Of the runtime."""
        self.types: set[str] = set()
        """Of the runtime, only as types."""
        self.declared: set[str] = set()
        """Of the types that are declared with the services."""
        self.has_big = False
        """Whether there is a bigint."""

    def value(self, name: str) -> str:
        """Notes a value of the runtime."""
        self.values.add(name)
        return name

    def type(self, name: str) -> str:
        """Notes a type of the runtime."""
        self.types.add(name)
        return name


def type_of(type_: Type, said: Mentioned, *, given: bool) -> Doc:
    """How TypeScript writes a type.

    Args:
        type_: The type.
        said: Notes what is mentioned.
        given: Whether values are only read, such as those that somebody passes; lists that come
            out of a call are their taker's own.
    """

    def inner(part: Type) -> Doc:
        return type_of(part, said, given=given)

    match type_:
        case Leaf(kind):
            if kind in _BIG:
                said.has_big = True
                return "bigint"
            name = _LEAF_TYPES.get(kind, "number")
            return said.type(name) if kind == "sockaddr" else name
        case Many("list", item):
            text = inner(item)
            is_long = isinstance(item, Maybe) or (given and _is_readonly(item))
            text = sequel("(", text, ")") if is_long else text
            return sequel("readonly " if given else "", text, "[]")
        case Many(_, item):
            return enclosed(f"{'Readonly' * given}Set<", [inner(item)], ">", last_comma=False)
        case Mapped(key, value):
            opening = f"{'Readonly' * given}Map<"
            return enclosed(opening, [inner(key), inner(value)], ">", last_comma=False)
        case Fixed(items):
            return enclosed("readonly [" if given else "[", list(map(inner, items)), "]")
        case Maybe(item, True):
            return sequel("{ readonly some: ", inner(item), " } | null")
        case Maybe(item, _):
            return sequel(inner(item), " | null")
        case Named(name):
            said.declared.add(name)
            return name


def _is_readonly(type_: Type) -> bool:
    """Whether its text begins with `readonly`."""
    return isinstance(type_, Fixed) or (isinstance(type_, Many) and type_.kind == "list")


def plan_of(type_: Type, said: Mentioned, is_declared: Callable[[str], bool]) -> Doc:
    """The plan of a type.

    Args:
        type_: The type.
        said: Notes what is mentioned.
        is_declared: Whether the plan of that name exists already where this one is made.
    """

    def inner(part: Type) -> Doc:
        return plan_of(part, said, is_declared)

    match type_:
        case Leaf(kind):
            return said.value(_LEAF_PLANS.get(kind, kind))
        case Many(kind, item):
            return _call(said.value(kind), [inner(item)])
        case Mapped(key, value):
            return _call(said.value("map"), [inner(key), inner(value)])
        case Fixed(items):
            return _call(said.value("tuple"), list(map(inner, items)))
        case Maybe(item, wrapped):
            return _call(said.value("some" if wrapped else "option"), [inner(item)])
        case Named(name):
            said.declared.add(name)
            return name if is_declared(name) else f"{said.value('lazy')}(() => {name})"


def _call(function: str, arguments: Sequence[Doc]) -> Doc:
    # Prettier takes arrow functions beside other arguments for a composition, and breaks it.
    composed = len(arguments) > 1 and any(
        isinstance(each, str) and each.startswith("lazy(") for each in arguments
    )
    return enclosed(f"{function}(", arguments, ")", must_break=composed)


def declaration(each: Declaration, said: Mentioned, is_declared: Callable[[str], bool]) -> str:
    """The type and the plan of one declaration, with its comment."""
    name = each.name

    def plan(part: Type) -> Doc:
        return plan_of(part, said, is_declared)

    match each:
        case Struct(fields=()):
            head = f"export type {name} = Record<string, never>;"
            body: Doc = _plan_call("struct", name, each.title, [], said)
        case Struct(fields=fields):
            lines = [f"export interface {name} {{"]
            for field in fields:
                lines += comment(prose(field.doc), depth=1)
                text = sequel(
                    f"readonly {field.name}: ", type_of(field.type, said, given=True), ";"
                )
                lines.append(f"  {render(text, depth=1)}")
            head = "\n".join([*lines, "}"])
            entries = [_entry(field.name, plan(field.type)) for field in fields]
            body = _plan_call("struct", name, each.title, entries, said)
        case Union(variants=variants):
            cases = [
                sequel(f"{{ readonly {field.name}: ", type_of(field.type, said, given=True), " }")
                for field in variants
            ]
            head = render(_alternatives(f"export type {name} =", cases))
            entries = [_entry(field.name, plan(field.type)) for field in variants]
            body = _plan_call("union", name, each.title, entries, said)
        case Enumeration(members=members):
            said.type("ValueOf")
            body = object_call(
                f"export const {name} = {said.value('enumeration')}(",
                [quoted(each.title)],
                list(map(_member, members.values())),
                must_break=any(member.doc for member in members.values()),
            )
            kind = f"export type {name} = ValueOf<typeof {name}>;"
            return "\n".join([*comment(prose(each.doc)), render(body), kind])
        case Alias(type=type_):
            said.type("Plan")
            head = render(sequel(f"export type {name} = ", type_of(type_, said, given=True), ";"))
            body = sequel(f"export const {name}: Plan<{name}> = ", plan(type_), ";")
    return "\n".join([*comment(prose(each.doc)), head, render(body)])


def _plan_call(
    function: str, name: str, title: str, entries: Sequence[Doc], said: Mentioned
) -> Doc:
    said.type("Plan")
    made = f"{said.value(function)}<{name}>("
    return object_call(f"export const {name}: Plan<{name}> = {made}", [quoted(title)], entries)


def object_call(
    head: str, arguments: Sequence[str], entries: Sequence[Doc], *, must_break: bool = False
) -> Doc:
    """A call whose last argument is an object, which is broken before the others are.

    Args:
        head: What stands before the arguments.
        arguments: Those before the object.
        entries: The object's.
        must_break: Whether each entry has a line of its own in any case.
    """
    hugging = f"{head}{', '.join(arguments)}, {{"
    if len(hugging) <= WIDTH:
        return enclosed(hugging, entries, "});", space=" ", must_break=must_break)
    last = enclosed("{", entries, "}", space=" ", must_break=must_break)
    return enclosed(head, [*arguments, last], ");")


def _member(member: Member) -> Doc:
    above = [part for line in comment(prose(member.doc)) for part in (line, Break(""))]
    key = member.name if _names.is_plain(member.name) else quoted(member.name)
    return sequel(*above, f"{key}: {_literal(member.value)}")


def _entry(name: str, plan: Doc) -> Doc:
    return name if plan == name else sequel(f"{name}: ", plan)


def _alternatives(head: str, cases: Sequence[Doc]) -> Doc:
    if len(cases) == 1:
        return sequel(f"{head} ", cases[0], ";")
    # On the next line if they fit there, else each has its own.
    return Group((head, Indent((Break(" "), _bars(cases))), ";"))


def _bars(cases: Sequence[Doc]) -> Doc:
    parts: list[Doc] = [IfBroken("| ")]
    for each in cases:
        parts += [Break(" | ", "| "), each] if len(parts) > 1 else [each]
    return Group(tuple(parts))


def signature(name: str, parameters: Sequence[Doc], results: Sequence[Doc], end: str) -> Doc:
    """A method's head: its parameters have a line each before the result is broken.

    Args:
        name: The method.
        parameters: At least one.
        results: The type of what it returns, or several to choose from.
        end: What follows.
    """
    brackets = enclosed(f"{name}(", parameters, ")")
    inner = brackets.parts if isinstance(brackets, Group) else (brackets,)
    if len(results) == 1:
        return Group((*inner, ": ", *results, end))
    cases: list[Doc] = [Break(" ", "| "), results[0]]
    for each in results[1:]:
        cases += [Break(" | ", "| "), each]
    return Group((*inner, ":", Group((Indent(tuple(cases)),)), end))


def value_of(
    type_: Type, value: Any, said: Mentioned, declarations: Mapping[str, Declaration]
) -> Doc:
    """The expression that makes a value of a type; the value is one that was decoded."""
    return _value(type_, value, said, declarations)[0]


def _value(
    type_: Type, value: Any, said: Mentioned, declarations: Mapping[str, Declaration]
) -> tuple[Doc, int]:
    """An expression, and of how many items it is if it is an array or an object."""

    def inner(part: Type, item: Any) -> tuple[Doc, int]:
        return _value(part, item, said, declarations)

    match type_:
        case Leaf(kind):
            return _leaf(kind, value), 0
        case Many("list", item):
            return _array([inner(item, each) for each in value])
        case Many(_, item):
            # In the order of the wire's: a set of Python's has none that lasts.
            texts = sorted((inner(item, each) for each in value), key=lambda it: flat(it[0]))
            return _made("Set", texts), 0
        case Mapped(key, item):
            pairs = [_array([inner(key, each), inner(item, value[each])]) for each in value]
            return _made("Map", sorted(pairs, key=lambda it: flat(it[0]))), 0
        case Fixed(items):
            return _array([inner(*each) for each in zip(items, value, strict=True)])
        case Maybe(item, wrapped):
            if value is None:
                return "null", 0
            return _object([("some", inner(item, value.value))]) if wrapped else inner(item, value)
        case Named(name):
            return _declared(declarations[name], value, inner, said)


def _declared(
    declaration: Declaration,
    value: Any,
    inner: Callable[[Type, Any], tuple[Doc, int]],
    said: Mentioned,
) -> tuple[Doc, int]:
    match declaration:
        case Struct(fields=fields):
            return _object([(it.name, inner(it.type, getattr(value, it.name))) for it in fields])
        case Union(variants=variants):
            (found,) = (it for it in variants if it.name == type(value).__name__)
            return _object([(found.name, inner(found.type, value))])
        case Enumeration(name=name, members=members):
            said.declared.add(name)
            member = members[value].name
            plain = _names.is_plain(member)
            return f"{name}.{member}" if plain else f"{name}[{quoted(member)}]", 0
        case Alias(type=type_):
            return inner(type_, value)


def _leaf(kind: str, value: Any) -> Doc:
    match kind:
        case "unit":
            return "undefined"
        case "bool":
            return "true" if value else "false"
        case "data":
            return sequel("new Uint8Array(", _array([(str(byte), 0) for byte in value])[0], ")")
        case "time":
            moment: datetime = value.astimezone(UTC)
            text = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            return f'new Date("{text}")'
        case "sockaddr":
            return _object([("ip", (quoted(str(value.ip)), 0)), ("port", (str(value.port), 0))])[0]
        case "f32" | "f64":
            return _literal(float(value))
        case _ if kind in _BIG:
            return f"{value}n"
        case _ if isinstance(value, int):
            return str(value)
        case _:
            return quoted(str(value))


def _array(items: Sequence[tuple[Doc, int]]) -> tuple[Doc, int]:
    # As prettier: arrays of arrays are tables.
    is_table = len(items) > 1 and all(size > 1 for _, size in items)
    return enclosed("[", [text for text, _ in items], "]", must_break=is_table), len(items)


def _object(entries: Sequence[tuple[str, tuple[Doc, int]]]) -> tuple[Doc, int]:
    texts = [sequel(f"{name}: ", text) for name, (text, _) in entries]
    return enclosed("{", texts, "}", space=" "), len(entries)


def _made(cls: str, items: Sequence[tuple[Doc, int]]) -> Doc:
    return sequel(f"new {cls}(", _array(items)[0], ")") if items else f"new {cls}()"


def _literal(value: str | int | float) -> str:
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, int):
        return str(int(value))
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    # JavaScript has no `1.0`, and writes exponents without plus and zeros.
    text = re.sub(r"\.0$", "", repr(float(value)))
    return re.sub(r"e([+-])0*", lambda found: f"e{found[1].strip('+')}", text)


def quoted(text: str) -> str:
    """A string as JavaScript writes it, in the quotes that need fewer backslashes."""
    quote = "'" if text.count('"') > text.count("'") else '"'
    escaped = "".join(_escaped(each, quote) for each in text)
    return f"{quote}{escaped}{quote}"


_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}


def _escaped(each: str, quote: str) -> str:
    if each == quote:
        return f"\\{each}"
    if each in _SHORT:
        return _SHORT[each]
    if each.isprintable():
        return each
    # Outside of the first plane: two units of UTF-16, which is what \\u counts.
    units = each.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def comment(text: str, *, depth: int = 0) -> list[str]:
    """A comment's lines; none for no text."""
    lines = [line.rstrip() for line in _said_in_a_comment(text).splitlines()]
    indent = "  " * depth
    if not lines:
        return []
    if len(lines) == 1:
        return [f"{indent}/** {lines[0]} */"]
    return [f"{indent}/**", *(f"{indent} * {line}".rstrip() for line in lines), f"{indent} */"]


def _said_in_a_comment(text: str) -> str:
    """Text that cannot end the comment; code in backticks as Markdown has it."""
    return _FENCE.sub(r"`\1`", text).replace("*/", "*\\/")


def prose(text: str) -> str:
    """Text of a docstring, of which no line is taken for a tag such as `@param`."""
    return re.sub(r"^(\s*)@", r"\1\\@", text, flags=re.MULTILINE)
