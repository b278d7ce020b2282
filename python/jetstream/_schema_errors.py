"""What is said about annotations that cannot be put on the wire, and what to write instead."""

import collections
import collections.abc
import datetime
import decimal
import fractions
import pathlib
import re
import typing
import uuid
from typing import Any, Literal, TypeVar, get_args, get_origin

__all__ = ["SchemaError", "is_bare", "is_hashable", "refusal", "spell"]


class SchemaError(TypeError):
    """An annotation cannot be put on the wire.

    Attributes:
        where: The class, method, parameter or field.
        found: What is written there.
        problem: Why it cannot be sent.
        advice: What to write instead.
    """

    def __init__(self, where: str, found: str, problem: str, advice: str) -> None:
        super().__init__(where, found, problem, advice)
        self.where = where
        self.found = found
        self.problem = problem
        self.advice = advice

    def __str__(self) -> str:
        text = f"{self.where}: {self.found} {self.problem}"
        return f"{text}; {self.advice}" if self.advice else text


_BARE: dict[object, str] = {
    list: "list[X]",
    typing.List: "list[X]",  # noqa: UP006 - the old spelling is what is looked for
    dict: "dict[K, V]",
    typing.Dict: "dict[K, V]",  # noqa: UP006
    set: "set[X]",
    typing.Set: "set[X]",  # noqa: UP006
    frozenset: "frozenset[X]",
    tuple: "tuple[X, Y] or tuple[X, ...]",
    typing.Tuple: "tuple[X, Y] or tuple[X, ...]",  # noqa: UP006
}

_INSTEAD: dict[object, str] = {
    bytearray: "write bytes",
    memoryview: "write bytes",
    complex: "write tuple[float, float]",
    decimal.Decimal: "write str, and convert",
    fractions.Fraction: "write tuple[int, int]",
    datetime.date: "write str in ISO format, or datetime",
    datetime.time: "write str in ISO format",
    datetime.timedelta: "write float, in seconds",
    uuid.UUID: "write bytes (its .bytes) or str",
    pathlib.Path: "write str",
    pathlib.PurePath: "write str",
    collections.deque: "write list[X]",
    collections.OrderedDict: "write dict[K, V]; the wire keeps keys in ascending order",
    collections.defaultdict: "write dict[K, V]",
    collections.abc.Sequence: "write list[X]",
    collections.abc.MutableSequence: "write list[X]",
    collections.abc.Iterable: "write list[X]",
    collections.abc.Iterator: "write list[X]",
    collections.abc.Collection: "write list[X]",
    collections.abc.Set: "write frozenset[X]",
    collections.abc.MutableSet: "write set[X]",
    collections.abc.Mapping: "write dict[K, V]",
    collections.abc.MutableMapping: "write dict[K, V]",
}

# Named through a container, since its own type is only partially known to checkers.
_CALLABLE: tuple[object, ...] = (get_origin(typing.Callable[[], None]),)

_OTHERWISE = "write a dataclass of what is to be sent"


def refusal(annotation: object, where: str) -> SchemaError:
    """The error for an annotation that means nothing on the wire."""
    problem, advice = _judge(annotation)
    return SchemaError(where, spell(annotation), problem, advice)


def _judge(annotation: Any) -> tuple[str, str]:
    origin = get_origin(annotation) or annotation
    if is_bare(annotation):
        return "does not say what is in it", f"write {_BARE[annotation]}"
    if annotation is Any or annotation is object:
        return "could be anything, and the wire has to know", _OTHERWISE
    if isinstance(annotation, str | typing.ForwardRef):
        return "is not resolved", "pass it through typing.get_type_hints first"
    if isinstance(annotation, TypeVar):
        return "is an open type parameter", "say which type it stands for"
    if origin is Literal:
        names = ", ".join(map(repr, get_args(annotation)))
        return "has no layout", f"write an Enum with a member for each of {names}"
    if origin in _CALLABLE:
        return "cannot travel", "offer it as a method of a service"
    if typing.is_typeddict(origin):
        return "is a TypedDict, which says nothing at run time about order", "write a dataclass"
    if getattr(origin, "_is_protocol", False) and origin.__module__ != "collections.abc":
        return "is a Protocol, which no value has for its class", _OTHERWISE
    return "cannot be put on the wire", _INSTEAD.get(origin, _OTHERWISE)


def is_bare(annotation: object) -> bool:
    """Is it a container that does not say what is in it?"""
    return is_hashable(annotation) and annotation in _BARE


def is_hashable(annotation: object) -> bool:
    """Can it be looked up? What somebody puts into `Annotated` may not."""
    try:
        hash(annotation)
    except TypeError:
        return False
    return True


def spell(annotation: object) -> str:
    """An annotation as somebody would write it."""
    if annotation is type(None):
        return "None"
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return annotation.__name__
    if isinstance(annotation, str):
        return annotation
    text = re.sub(r"\b(?:\w+\.|<locals>\.)+(?=\w)", "", repr(annotation))
    return _WIDTH.sub(lambda found: found[1].capitalize(), text)


_WIDTH = re.compile(r"Annotated\[\w+, Wire\(kind='(\w+)'\)\]")
