"""From service classes to a model: finds every type that they mention, and names it once."""

from __future__ import annotations

import inspect
import sys
import types
import typing
from enum import Enum
from typing import TYPE_CHECKING, Any, get_args, get_origin

from jetstream._definition import Method, ServiceDefinition, definition_of
from jetstream._schema import described, plan_of
from jetstream._schema_errors import spell
from jetstream._types import Some
from jetstream.codegen import _names
from jetstream.codegen._docs import attribute_docs, class_doc, module_attribute_docs, parse
from jetstream.codegen._errors import GenerationError
from jetstream.codegen._model import (
    Alias,
    Declaration,
    Enumeration,
    Field,
    Fixed,
    Leaf,
    Many,
    Mapped,
    Maybe,
    Member,
    MethodModel,
    Model,
    Named,
    Parameter,
    ServiceModel,
    Struct,
    Type,
    Union,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from jetstream._schema import Described

_SAFE = 2**53
"""Up to here a JavaScript number is every integer (ECMA-262, `Number.MAX_SAFE_INTEGER`)."""


def collect(services: Iterable[type], renames: Mapping[str, str]) -> Model:
    """The model of some services.

    Args:
        services: Service classes; their order does not matter.
        renames: Names for classes, by module and qualified name: ``{"shop.Map": "Plan"}``.

    Raises:
        GenerationError: Something has no name in TypeScript, or two things have the same.
    """
    unique = {definition.cls: definition for definition in map(definition_of, services)}
    collector = _Collector(renames)
    found = [
        collector.service(unique[cls])
        for cls in sorted(unique, key=lambda cls: (cls.__name__, cls.__module__, cls.__qualname__))
    ]
    collector.check_renames()
    return Model(tuple(found), collector.declarations)


class _Collector:
    def __init__(self, renames: Mapping[str, str]) -> None:
        self.declarations: dict[str, Declaration] = {}
        self._renames = {key: _names.checked_rename(name) for key, name in renames.items()}
        self._renamed: set[str] = set()
        self._owners: dict[str, str] = {}
        self._known: dict[object, Named] = {}

    def service(self, definition: ServiceDefinition) -> ServiceModel:
        cls = definition.cls
        name = self._name(cls.__name__, _full_name(cls))
        # All three are exported side by side.
        for each in (name, f"{name.rstrip('_')}Handler", f"{name.rstrip('_')}Channel"):
            self._claim(each, f"the service {_full_name(cls)}", _full_name(cls))
        return ServiceModel(
            name,
            cls.__name__,
            definition.name,
            definition.version,
            definition.digest,
            tuple(self._method(definition, method) for method in definition.methods),
            class_doc(cls).text,
        )

    def _method(self, definition: ServiceDefinition, method: Method) -> MethodModel:
        _names.checked_method(method.what, method.name)
        module = definition.cls.__module__
        parameters: list[Parameter] = []
        for at, each in enumerate(method.parameters):
            where = f"{method.what}({each.name})"
            is_stream = at == method.inbound_at and method.inbound is not None
            annotation = each.annotation
            if method.inbound is not None and is_stream:
                annotation = method.inbound.items
            has_default, default = _sent(each.annotation, each.default, where, is_stream=is_stream)
            parameters.append(
                Parameter(
                    each.name,
                    self._type(annotation, where, module),
                    is_stream,
                    default,
                    has_default,
                )
            )
        where = f"{method.what} -> return"
        items = method.outbound
        return MethodModel(
            method,
            tuple(parameters),
            self._type(method.returns, where, module),
            None if items is None else self._type(items.items, where, module),
            parse(method.doc),
        )

    def _type(self, annotation: object, where: str, module: str) -> Type:
        return _Walk(self, described(annotation, where), module).at(0)

    # What follows is for `_Walk`.

    def struct(self, walk: _Walk, annotation: object, node: Any) -> Named:
        _, cls, fields, *_ = node
        arguments = [self._type(each, cls.__name__, walk.module) for each in get_args(annotation)]
        key = (cls, tuple(arguments))
        if key in self._known:
            return self._known[key]
        suffix = f"Of{'And'.join(map(_label, arguments))}" if arguments else ""
        full = _full_name(cls)
        name = self._name(f"{cls.__name__}{suffix}", full, suffix)
        self._claim(name, f"the class {full}{suffix and f' ({spell(annotation)})'}", full)
        self._known[key] = found = Named(name)
        inner = _Walk(self, walk.description, cls.__module__)
        docs = attribute_docs(cls)
        self.declarations[name] = Struct(
            name,
            cls.__name__,
            tuple(
                Field(
                    _names.checked_field(f"{cls.__name__}.{each}", each),
                    inner.at(position),
                    docs.get(each, ""),
                )
                for each, position in fields
            ),
            class_doc(cls).text,
        )
        return found

    def enumeration(self, node: Any) -> Named:
        cls: type[Enum] = node[1]
        if cls in self._known:
            return self._known[cls]
        full = _full_name(cls)
        name = self._name(cls.__name__, full)
        self._claim(name, f"the class {full}", full)
        docs = attribute_docs(cls)
        _names.checked_members(cls.__name__, [each.name for each in node[2]])
        values = _values(node[2])
        self.declarations[name] = Enumeration(
            name,
            cls.__name__,
            {each: Member(each.name, values[each], docs.get(each.name, "")) for each in node[2]},
            class_doc(cls).text,
        )
        self._known[cls] = found = Named(name)
        return found

    def union(self, walk: _Walk, annotation: object, node: Any) -> Named:
        _, items, classes = node
        variants = [walk.at(item) for item in items]
        key = ("union", tuple(variants))
        if key in self._known:
            return self._known[key]
        titles = [cls.__name__ for cls in classes]
        for title in titles:
            if titles.count(title) > 1:
                raise GenerationError(
                    f"the union {spell(annotation)}",
                    f"two classes called {title}",
                    "cannot be told apart by their names, which is how JSON and TypeScript do it",
                    "rename one of them",
                )
        modules = [*(cls.__module__ for cls in classes), walk.module]
        module, title = _name_of_union(annotation, modules)
        doc = module_attribute_docs(module).get(title, "") if module else ""
        title = title or "Or".join(_label(each) for each in variants)
        full = f"{module}.{title}" if module else spell(annotation)
        name = self._name(title, full)
        self._claim(name, f"the union {full}", full)
        self._known[key] = found = Named(name)
        self.declarations[name] = Union(name, title, tuple(map(Field, titles, variants)), doc)
        return found

    def alias(self, annotation: Any, target: Callable[[], Type]) -> Named:
        if annotation in self._known:
            return self._known[annotation]
        full = f"{annotation.__module__}.{annotation.__name__}"
        name = self._name(annotation.__name__, full)
        self._claim(name, f"the type {full}", full)
        self._known[annotation] = found = Named(name)
        doc = module_attribute_docs(annotation.__module__).get(annotation.__name__, "")
        self.declarations[name] = Alias(name, target(), doc)
        return found

    def _name(self, name: str, full: str, suffix: str = "") -> str:
        given = self._renames.get(full)
        if given is None:
            return _names.type_name(name)
        self._renamed.add(full)
        return f"{given}{suffix}"

    def _claim(self, name: str, owner: str, full: str) -> None:
        other = self._owners.setdefault(name, owner)
        if other != owner:
            raise GenerationError(
                owner,
                f"the name {name!r}",
                f"is taken by {other}",
                f"rename one of them in Python, or here: --rename {full}={name.rstrip('_')}2",
            )

    def check_renames(self) -> None:
        for full in self._renames:
            if full not in self._renamed:
                raise GenerationError(
                    f"--rename {full}=...",
                    "the class",
                    "is none that is written",
                    "write its module and its name, such as shop.models.Map=ShopMap",
                )


class _Walk:
    """Reads one description. `module` is where a union's name is looked for last."""

    def __init__(self, collector: _Collector, description: Described, module: str) -> None:
        self.description = description
        self.module = module
        self._collector = collector

    def at(self, position: int) -> Type:
        return self._named(position, self.description.annotations[position])

    def _named(self, position: int, annotation: Any) -> Type:
        """The type of a node, by a name that Python gave it in one of the places on the way."""
        if isinstance(annotation, typing.NewType):
            return self._collector.alias(
                annotation, lambda: self._named(position, annotation.__supertype__)
            )
        if _is_alias(annotation):
            value = annotation.__value__
            if self.description.nodes[position][0] == "union":
                return self._named(position, value)  # which finds the name by itself
            return self._collector.alias(annotation, lambda: self._named(position, value))
        if get_origin(annotation) is typing.Annotated:
            return self._named(position, get_args(annotation)[0])
        return self._plain(self.description.nodes[position], annotation)

    def _plain(self, node: Any, annotation: object) -> Type:
        match node:
            case ("list" | "set" as kind, item, _):
                return Many(kind, self.at(item))
            case ("map", key, value):
                return Mapped(self.at(key), self.at(value))
            case ("tuple", items):
                return Fixed(tuple(self.at(item) for item in items))
            case ("option", item, wrapper):
                return Maybe(self.at(item), wrapper is Some)
            case ("struct", *_):
                return self._collector.struct(self, annotation, node)
            case ("enum", *_):
                return self._collector.enumeration(node)
            case ("union", *_):
                return self._collector.union(self, annotation, node)
            case _:
                return Leaf(str(node[0]))


def _full_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _label(type_: Type) -> str:
    """What a type is called as a part of a name."""
    match type_:
        case Leaf("str"):
            return "String"
        case Leaf("data"):
            return "Bytes"
        case Leaf(kind):
            return kind.capitalize()
        case Many(kind, item):
            return f"{kind.capitalize()}Of{_label(item)}"
        case Mapped(key, value):
            return f"MapOf{_label(key)}To{_label(value)}"
        case Fixed(items):
            return f"TupleOf{'And'.join(map(_label, items))}"
        case Maybe(item, _):
            return f"Optional{_label(item)}"
        case Named(name):
            return name.rstrip("_")


def _is_alias(value: object) -> bool:
    """Whether it was made by a `type` statement, or by what does the same before Python 3.12."""
    return type(value).__name__ == "TypeAliasType" and not get_args(value)


def _name_of_union(annotation: object, modules: list[str]) -> tuple[str, str]:
    """Where a union has a name, and which: a union itself does not know it."""
    wanted = get_args(annotation)
    for module in modules:
        for name, value in vars(sys.modules.get(module, types.ModuleType(module))).items():
            if not name.startswith("_") and _variants(value) == wanted:
                return module, name
    return "", ""


def _variants(value: Any) -> tuple[object, ...] | None:
    """What a union is made of; `None` for anything else."""
    if _is_alias(value):
        try:
            value = value.__value__
        except NameError:  # it is for type checkers only
            return None
    return get_args(value) if get_origin(value) in (typing.Union, types.UnionType) else None


def _values(members: tuple[Enum, ...]) -> dict[Enum, str | int | float]:
    """What stands for each member: its value if JavaScript has it, else its name."""
    found: dict[Enum, str | int | float] = {}
    for member in members:
        value: object = member.value
        if (
            isinstance(value, bool)
            or not isinstance(value, str | int | float)
            or (isinstance(value, int) and abs(value) >= _SAFE)
        ):
            value = member.name
        # An IntEnum's value is plain; one of `class Weekday(str, Enum)` may be of a subclass.
        found[member] = value
    if len(set(found.values())) < len(found) or any(each != each for each in found.values()):
        return {member: member.name for member in members}
    return found


def _sent(annotation: Any, default: Any, where: str, *, is_stream: bool) -> tuple[bool, Any]:
    """What Python sends where a caller leaves a parameter out, if that can be sent at all.

    The value is what a peer would read, so a time has lost its microseconds.
    """
    if default is inspect.Parameter.empty:
        return False, None
    if is_stream:
        return default == (), ()
    plan = plan_of(annotation, where)
    try:
        return True, plan.decode(plan.encode(default))
    except Exception:
        return False, None
