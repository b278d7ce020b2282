"""Annotations become plans. What the wire cannot carry is refused here, with what to write instead.

Nothing here knows bytes: a description names layouts, and `jetstream._core.codec` compiles it.
"""

import dataclasses
import enum
import functools
import sys
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any, NamedTuple, TypeVar, Union, get_args, get_origin

from jetstream._core.codec import ArgumentsPlan, Plan
from jetstream._schema_errors import SchemaError, is_bare, is_hashable, refusal, spell
from jetstream._schema_text import Writer
from jetstream._types import SocketAddress, Some, Wire

__all__ = ["SchemaError", "arguments_plan", "canonical", "plan_of"]

Node = tuple[Any, ...]
Description = tuple[Node, ...]

MAX_VARIANTS = 256
"""A variant's index is one byte."""

MAX_CACHED = 1024
"""Plans kept for annotations seen before. Classes made at run time without end must not pile up."""

_LEAVES: dict[object, Node] = {
    None: ("unit",),
    type(None): ("unit",),
    bool: ("bool",),
    int: ("i64",),
    float: ("f64",),
    str: ("str",),
    bytes: ("data",),
    datetime: ("time",),
    IPv4Address: ("ipv4",),
    IPv6Address: ("ipv6",),
    SocketAddress: ("sockaddr", SocketAddress),
}

_WIDTHS: dict[type, frozenset[str]] = {
    int: frozenset(f"{sign}{bits}" for sign in "ui" for bits in (8, 16, 32, 64, 128)),
    float: frozenset({"f32", "f64"}),
    str: frozenset({"url", "str"}),
}

_plans: dict[object, Plan] = {}


def plan_of(annotation: object, where: str) -> Plan:
    """Compiles the plan of one annotation, or finds the one compiled before.

    Args:
        annotation: A type, not a string: resolve it with `typing.get_type_hints` first, with
            `include_extras=True`.
        where: What to call the place in an error, such as `Echo.put -> return`.

    Raises:
        SchemaError: Values of it cannot be put on the wire.
    """
    key = _key(annotation)
    plan = _plans.get(key)
    if plan is None:
        plan = _built(lambda: Plan(describe(annotation, where)), annotation, where)
        if len(_plans) >= MAX_CACHED:
            _plans.clear()
        _plans[key] = plan
    return plan


def arguments_plan(
    names_and_annotations: Iterable[tuple[str, object]], where: str
) -> ArgumentsPlan:
    """Compiles the plan of a method's arguments.

    Args:
        names_and_annotations: Each parameter in order, as for `plan_of`.
        where: What to call the method in an error, such as `Echo.put`.

    Raises:
        SchemaError: A parameter cannot be put on the wire.
    """
    compiler = _Compiler()
    root = compiler.reserve()
    fields = tuple(
        (name, compiler.add(annotation, f"{where}({name})"))
        for name, annotation in names_and_annotations
    )
    compiler.nodes[root] = ("arguments", fields)
    compiler.check_keys()
    return _built(lambda: ArgumentsPlan(tuple(compiler.nodes)), "its parameters", where)


def describe(annotation: object, where: str) -> Description:
    """Returns the nodes of an annotation's plan, the root first.

    Raises:
        SchemaError: Values of it cannot be put on the wire.
    """
    return described(annotation, where).nodes


class Described(NamedTuple):
    """A description, and the annotation that each of its nodes was made from."""

    nodes: Description
    annotations: tuple[object, ...]


def described(annotation: object, where: str) -> Described:
    """As `describe`, and keeps what tells names of types that have the same layout apart.

    Raises:
        SchemaError: Values of it cannot be put on the wire.
    """
    compiler = _Compiler()
    root = compiler.reserve(annotation)
    inner = compiler.add(annotation, where)
    compiler.check_keys()
    # The root comes first; a copy of the node serves, since nodes have no identity.
    compiler.nodes[root] = compiler.nodes[inner]
    return Described(tuple(compiler.nodes), tuple(compiler.annotations))


P = TypeVar("P")


def _built(build: Callable[[], P], annotation: object, where: str) -> P:
    try:
        return build()
    except ValueError as error:
        raise SchemaError(where, spell(annotation), str(error), "") from error


class _Key(NamedTuple):
    """An annotation as a key. Python thinks `A | B` and `B | A` equal; their bytes differ."""

    origin: object
    arguments: tuple[object, ...]


def _key(annotation: object) -> object:
    arguments = get_args(annotation)
    if isinstance(annotation, list):
        return tuple(_key(item) for item in typing.cast("list[object]", annotation))
    if not arguments:
        return annotation if is_hashable(annotation) else (type(annotation), repr(annotation))
    return _Key(get_origin(annotation), tuple(_key(argument) for argument in arguments))


def _is_struct(candidate: object) -> bool:
    if not isinstance(candidate, type):
        return False
    return _is_named_tuple(candidate) or _is_dataclass(candidate) or _is_msgspec(candidate)


def _is_named_tuple(cls: Any) -> bool:
    return hasattr(cls, "_fields") and issubclass(cls, tuple)


def _is_dataclass(cls: Any) -> bool:
    # The function's own type would narrow to something that is no longer known to be a class.
    return dataclasses.is_dataclass(cls)


def _is_msgspec(cls: Any) -> bool:
    # Whoever has such a class has imported msgspec; nobody else should have to.
    module = sys.modules.get("msgspec")
    return module is not None and issubclass(cls, module.Struct)


class _Compiler:
    """Collects the nodes of one description.

    Every annotation becomes one node, so that a class may contain itself.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.annotations: list[object] = []
        self._known: dict[object, int] = {}
        self._keys: list[tuple[int, object, str]] = []
        self._classes: dict[str, type] = {}

    def reserve(self, annotation: object = None) -> int:
        self.nodes.append(())
        self.annotations.append(annotation)
        return len(self.nodes) - 1

    def add(self, annotation: object, where: str) -> int:
        """Returns the position of the annotation's node."""
        key = _key(annotation)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self.reserve(annotation)
            self.nodes[known] = self._node(annotation, where)
        return known

    def _node(self, annotation: object, where: str) -> Node:
        if isinstance(annotation, typing.NewType):
            return self._node(annotation.__supertype__, where)
        if type(annotation).__name__ == "TypeAliasType" and not get_args(annotation):
            return self._node(typing.cast(Any, annotation).__value__, where)
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            return self._annotated(arguments, where)
        if origin is Union or origin is types.UnionType:
            return self._union(annotation, arguments, where)
        if annotation is Some or origin is Some:
            raise SchemaError(
                where,
                spell(annotation),
                "only has a meaning inside an option",
                f"write {spell(annotation)} | None",
            )
        if is_bare(annotation):
            raise refusal(annotation, where)
        if origin is not None:
            return self._generic(annotation, origin, arguments, where)
        if annotation is None or isinstance(annotation, type):
            return self._class(annotation, where)
        raise refusal(annotation, where)

    def _annotated(self, arguments: tuple[Any, ...], where: str) -> Node:
        base, *extras = arguments
        for extra in extras:
            if isinstance(extra, Wire):
                if extra.kind not in _WIDTHS.get(base, ()):
                    raise SchemaError(
                        where,
                        spell(base),
                        f"cannot be laid out as {extra.kind}",
                        "use the aliases in jetstream, such as U8",
                    )
                return (extra.kind,)
        return self._node(base, where)

    def _class(self, annotation: Any, where: str) -> Node:
        leaf = _LEAVES.get(annotation)
        if leaf is not None:
            return leaf
        if issubclass(annotation, enum.Enum):
            return _enum(annotation, where)
        if _is_struct(annotation):
            return self._struct(annotation, (), where)
        raise refusal(annotation, where)

    def _generic(
        self, annotation: object, origin: Any, arguments: tuple[Any, ...], where: str
    ) -> Node:
        if origin is list:
            return ("list", self.add(arguments[0], where), False)
        if origin is tuple:
            if len(arguments) == 2 and arguments[1] is Ellipsis:
                return ("list", self.add(arguments[0], where), True)
            return ("tuple", tuple(self.add(item, where) for item in arguments))
        if origin is set or origin is frozenset:
            item = self.add(arguments[0], where)
            self._keys.append((item, arguments[0], where))
            return ("set", item, origin is frozenset)
        if origin is dict:
            key, value = (self.add(argument, where) for argument in arguments)
            self._keys.append((key, arguments[0], where))
            return ("map", key, value)
        if _is_struct(origin):
            return self._struct(origin, arguments, where)
        raise refusal(annotation, where)

    def _union(self, annotation: object, arguments: tuple[Any, ...], where: str) -> Node:
        some = tuple(item for item in arguments if item is not type(None))
        if len(some) < len(arguments):
            return self._option(annotation, some, where)
        if set(some) == {IPv4Address, IPv6Address}:
            return ("ip",)
        classes = tuple(get_origin(item) or item for item in some)
        for item, found in zip(some, classes, strict=True):
            if not _is_struct(found) or found in _LEAVES:
                raise SchemaError(
                    where,
                    spell(annotation),
                    f"cannot be told apart on the wire because of {spell(item)}",
                    "make every variant a dataclass of its own",
                )
        if len(set(classes)) < len(classes):
            raise SchemaError(
                where,
                spell(annotation),
                "has the same class twice, and the class says which variant a value is",
                "make every variant a dataclass of its own",
            )
        if len(classes) > MAX_VARIANTS:
            raise SchemaError(
                where,
                spell(annotation),
                f"has {len(classes)} variants, and {MAX_VARIANTS} fit",
                "group them into unions within dataclasses",
            )
        return ("union", tuple(self.add(item, where) for item in some), classes)

    def _option(self, annotation: object, some: tuple[Any, ...], where: str) -> Node:
        if len(some) == 1 and get_origin(some[0]) is Some:
            return ("option", self.add(get_args(some[0])[0], where), Some)
        inner: Any = some[0] if len(some) == 1 else functools.reduce(_either, some)
        item = self.add(inner, where)
        if self.nodes[item][:1] in (("option",), ("unit",)):
            raise SchemaError(
                where,
                spell(annotation),
                "has two ways to be None",
                f"write Some[{spell(inner)}] | None",
            )
        return ("option", item, None)

    def _struct(self, cls: Any, arguments: tuple[Any, ...], where: str) -> Node:
        if _is_dataclass(cls):
            names, how, post_init = _dataclass(cls, where)
        elif _is_msgspec(cls):
            names, how, post_init = cls.__struct_fields__, "call", False
        else:
            names, how, post_init = _named_tuple(cls, where)
        hints = self._hints(cls, where)
        bound = dict(zip(getattr(cls, "__parameters__", ()), arguments, strict=False))
        fields: list[tuple[str, int]] = []
        for name in names:
            if name not in hints:
                raise SchemaError(
                    where,
                    f"{cls.__name__}.{name}",
                    "has no annotation",
                    f"make {cls.__name__} a typing.NamedTuple or a dataclass",
                )
            hint = _substitute(hints[name], bound)
            fields.append((name, self.add(hint, f"{where}: {cls.__name__}.{name}")))
        return ("struct", cls, tuple(fields), how, post_init)

    def _hints(self, cls: type, where: str) -> dict[str, Any]:
        # Classes that are defined inside functions are in no namespace by which a string could be
        # resolved; those on the way here at least can be found.
        self._classes[cls.__name__] = cls
        try:
            hints = typing.get_type_hints(cls, localns=dict(self._classes), include_extras=True)
        except NameError as error:
            raise SchemaError(
                where,
                cls.__name__,
                f"has an annotation that cannot be resolved ({error})",
                "define the class at module level and import it outside `if TYPE_CHECKING`",
            ) from error
        for name, hint in hints.items():
            if isinstance(hint, dataclasses.InitVar):
                raise SchemaError(
                    where,
                    f"{cls.__name__}.{name}",
                    "is an InitVar, which nobody could send because nobody keeps it",
                    "make it a field",
                )
        return hints

    def check_keys(self) -> None:
        """Refuses keys that have no order on the wire or no hash in Python."""
        for position, annotation, where in self._keys:
            seen: set[int] = set()
            waiting = [position]
            while waiting:
                current = waiting.pop()
                if current not in seen:
                    seen.add(current)
                    self._check_key(self.nodes[current], annotation, where)
                    waiting.extend(_children(self.nodes[current]))

    def _check_key(self, node: Node, annotation: object, where: str) -> None:
        problem, advice = "", ""
        match node:
            case ("f32" | "f64",):
                problem = "cannot be a key: floats have no order that both ends agree on"
                advice = "use int or str"
            case ("map" | "set", *_):
                problem = f"cannot be a key: a {node[0]} has no order"
                advice = "use a tuple"
            case ("list", _, False):
                problem = "cannot be a key: Python's lists have no hash"
                advice = "use tuple[X, ...]"
            case ("struct", cls, *_) if cls.__hash__ is None:
                problem = f"cannot be a key: {cls.__name__} has no hash"
                advice = "make it @dataclass(frozen=True)"
            case _:
                return
        raise SchemaError(where, spell(annotation), problem, advice)


def _either(left: Any, right: Any) -> Any:
    return left | right


def _children(node: Node) -> Sequence[int]:
    match node:
        case ("list" | "set" | "option", item, _):
            return (item,)
        case ("map", key, value):
            return (key, value)
        case ("tuple", items) | ("union", items, _):
            return typing.cast("tuple[int, ...]", items)
        case ("struct", _, fields, _, _) | ("arguments", fields):
            return [position for _, position in fields]
        case _:
            return ()


def _substitute(hint: Any, bound: dict[Any, Any]) -> Any:
    """Puts the arguments of a generic class in the place of its parameters."""
    if not bound:
        return hint
    if isinstance(hint, TypeVar):
        return bound.get(hint, hint)
    parameters = getattr(hint, "__parameters__", ())
    if isinstance(hint, type) or not parameters:
        return hint
    return hint[tuple(bound.get(parameter, parameter) for parameter in parameters)]


def _enum(cls: type[enum.Enum], where: str) -> Node:
    if issubclass(cls, enum.Flag):
        raise SchemaError(
            where,
            cls.__name__,
            "is a Flag, whose values combine, and the wire carries one member",
            "send an int, or a set of an Enum",
        )
    members = tuple(cls)
    if not 1 <= len(members) <= MAX_VARIANTS:
        raise SchemaError(
            where,
            cls.__name__,
            f"has {len(members)} members, and between 1 and {MAX_VARIANTS} fit",
            "send an int",
        )
    return ("enum", cls, members)


def _named_tuple(cls: type, where: str) -> tuple[tuple[str, ...], str, bool]:
    names = typing.cast("tuple[str, ...]", typing.cast(Any, cls)._fields)
    # The direct bases are these where the class statement made it; `__new__` is then Python's.
    plain = cls.__bases__ == (tuple,) or cls.__bases__ == (tuple, typing.Generic)
    return names, "tuple" if plain else "call", False


def _dataclass(cls: type, where: str) -> tuple[tuple[str, ...], str, bool]:
    if "__dataclass_fields__" not in cls.__dict__:
        raise SchemaError(
            where,
            cls.__name__,
            "inherits from a dataclass and is none itself, so its own fields would be lost",
            "decorate it with @dataclass",
        )
    fields = dataclasses.fields(cls)
    for field in fields:
        if not field.init:
            raise SchemaError(
                where,
                f"{cls.__name__}.{field.name}",
                "has init=False, so a receiver could not pass what was sent",
                "make it an ordinary field, or a property",
            )
    names = tuple(field.name for field in fields)
    if _has_generated_init(cls, names):
        return names, "new", hasattr(cls, "__post_init__")
    return names, "call", False


def _has_generated_init(cls: type, names: tuple[str, ...]) -> bool:
    """Is `__init__` the decorator's, so that it can be skipped? If in doubt, it is called."""
    code = getattr(cls.__dict__.get("__init__"), "__code__", None)
    if code is None or code.co_filename != "<string>":
        return False
    return set(code.co_varnames[1 : 1 + len(names)]) == set(names)


def canonical(annotation: object, where: str = "annotation") -> str:
    """Writes an annotation as a stable text that says everything about its bytes.

    The same for every spelling of a layout: `Optional[int]` and `I64 | None`, list and
    `tuple[X, ...]`. A class is written out where it comes first and by name after that.

    Raises:
        SchemaError: Values of it cannot be put on the wire.
    """
    return Writer(describe(annotation, where)).write(0)
