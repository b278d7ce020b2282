"""Values as JSON and back, by the same descriptions that the wire's plans are made of.

Numbers, strings and booleans are themselves; bytes are base64, times RFC 3339, addresses and URLs
strings. Lists, tuples and sets are arrays, structs are objects by field; a map is an object if its
keys are strings, else an array of pairs. A member of an enum is its name, a value of a union an
object with the class's name for its only key, and None is null.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import math
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any

from jetstream._addresses import parse_address
from jetstream._types import SocketAddress, Some

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jetstream._schema import Description

_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

_INTEGERS = frozenset(f"{sign}{bits}" for sign in "ui" for bits in (8, 16, 32, 64, 128))


class NotOfType(ValueError):  # noqa: N818  it is said of the value
    """A piece of JSON that is no value of its type; says where."""

    def __init__(self, path: str, wanted: str, found: object) -> None:
        super().__init__(f"{path or 'the value'} must be {wanted}, not {_shown(found)}")


def _shown(found: object) -> str:
    text = repr(found)
    return text if len(text) <= 60 else f"{text[:57]}..."


def to_json(nodes: Description, value: Any, at: int = 0) -> Any:
    """A value of a type, which has been checked, as `json` writes it."""
    node = nodes[at]
    match node[0]:
        case "f32" | "f64":
            return (
                value
                if math.isfinite(value)
                else str(value).replace("inf", "Infinity").replace("nan", "NaN")
            )
        case "data":
            return base64.b64encode(value).decode()
        case "time":
            moment: datetime = value if value.tzinfo else value.replace(tzinfo=UTC)
            return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case "ip" | "ipv4" | "ipv6" | "sockaddr":
            return str(value)
        case "list" | "set":
            return [to_json(nodes, item, node[1]) for item in value]
        case "tuple":
            return [to_json(nodes, item, each) for item, each in zip(value, node[1], strict=True)]
        case "map":
            pairs = [
                (to_json(nodes, key, node[1]), to_json(nodes, item, node[2]))
                for key, item in value.items()
            ]
            return dict(pairs) if _has_string_keys(nodes, node) else [list(pair) for pair in pairs]
        case "option":
            if value is None:
                return None
            if node[2] is Some:
                return {"some": to_json(nodes, value.value, node[1])}
            return to_json(nodes, value, node[1])
        case "struct":
            return {name: to_json(nodes, getattr(value, name), each) for name, each in node[2]}
        case "enum":
            return value.name
        case "union":
            for each, cls in zip(node[1], node[2], strict=True):
                if type(value) is cls:
                    return {cls.__name__: to_json(nodes, value, each)}
            return None
        case _:
            return value


def _has_string_keys(nodes: Description, node: Sequence[Any]) -> bool:
    return nodes[node[1]][0] in ("str", "url")


def from_json(nodes: Description, found: Any, path: str = "", at: int = 0) -> Any:
    """The value that a piece of JSON stands for. What only the wire bounds is not looked at.

    Raises:
        NotOfType: It is none of the type.
    """
    node = nodes[at]
    kind: str = node[0]
    if kind in _INTEGERS:
        return _integer(found, path)
    leaf = _LEAVES.get(kind)
    if leaf is not None:
        return leaf(found, path)
    return _COMPOUND[kind](nodes, node, found, path)


def _integer(found: Any, path: str) -> int:
    if isinstance(found, int) and not isinstance(found, bool):
        return found
    # What JavaScript cannot count to comes as a string.
    if isinstance(found, str) and found.removeprefix("-").isdecimal() and len(found) <= 40:
        return int(found)
    raise NotOfType(path, "a whole number", found)


def _unit(found: Any, path: str) -> None:
    if found is not None:
        raise NotOfType(path, "null", found)


def _bool(found: Any, path: str) -> bool:
    if not isinstance(found, bool):
        raise NotOfType(path, "true or false", found)
    return found


def _float(found: Any, path: str) -> float:
    if isinstance(found, int | float) and not isinstance(found, bool):
        return float(found)
    if isinstance(found, str) and found in _NOT_FINITE:
        return _NOT_FINITE[found]
    raise NotOfType(path, "a number", found)


def _text(found: Any, path: str) -> str:
    if not isinstance(found, str):
        raise NotOfType(path, "a string", found)
    return found


def _data(found: Any, path: str) -> bytes:
    try:
        return base64.b64decode(_text(found, path), validate=True)
    except binascii.Error:
        raise NotOfType(path, "bytes in base64", found) from None


def _time(found: Any, path: str) -> datetime:
    try:
        moment = datetime.fromisoformat(_text(found, path))
    except ValueError:
        raise NotOfType(path, "a time such as 2026-01-31T12:00:00Z", found) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _ip(*classes: type) -> Callable[[Any, str], IPv4Address | IPv6Address]:
    def read(found: Any, path: str) -> IPv4Address | IPv6Address:
        try:
            address = ip_address(_text(found, path))
        except ValueError:
            raise NotOfType(path, "an IP address", found) from None
        if not isinstance(address, classes):
            raise NotOfType(path, "an IP address of the other version", found)
        return address

    return read


def _socket(found: Any, path: str) -> SocketAddress:
    try:
        host, port = parse_address(_text(found, path))
        return SocketAddress(ip_address(host), port)
    except ValueError:
        raise NotOfType(path, "an address such as 127.0.0.1:80", found) from None


_LEAVES: Mapping[str, Callable[[Any, str], Any]] = {
    "unit": _unit,
    "bool": _bool,
    "f32": _float,
    "f64": _float,
    "str": _text,
    "url": _text,
    "data": _data,
    "time": _time,
    "ip": _ip(IPv4Address, IPv6Address),
    "ipv4": _ip(IPv4Address),
    "ipv6": _ip(IPv6Address),
    "sockaddr": _socket,
}


def _array(found: Any, path: str) -> list[Any]:
    if not isinstance(found, list):
        raise NotOfType(path, "an array", found)
    return found  # pyright: ignore[reportUnknownVariableType]  of anything


def _object(found: Any, path: str) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise NotOfType(path, "an object", found)
    return found  # pyright: ignore[reportUnknownVariableType]  of anything


def _list(nodes: Description, node: Any, found: Any, path: str) -> Any:
    each = [from_json(nodes, x, f"{path}[{i}]", node[1]) for i, x in enumerate(_array(found, path))]
    return tuple(each) if node[2] else each


def _set(nodes: Description, node: Any, found: Any, path: str) -> Any:
    each = [from_json(nodes, x, f"{path}[{i}]", node[1]) for i, x in enumerate(_array(found, path))]
    made = frozenset(each) if node[2] else set(each)
    if len(made) != len(each):
        raise NotOfType(path, "an array without repetitions", found)
    return made


def _tuple(nodes: Description, node: Any, found: Any, path: str) -> Any:
    items = _array(found, path)
    if len(items) != len(node[1]):
        raise NotOfType(path, f"an array of {len(node[1])}", found)
    return tuple(
        from_json(nodes, item, f"{path}[{i}]", each)
        for i, (item, each) in enumerate(zip(items, node[1], strict=True))
    )


def _map(nodes: Description, node: Any, found: Any, path: str) -> Any:
    pairs: list[Any]
    if _has_string_keys(nodes, node):
        pairs = list(_object(found, path).items())
    else:
        pairs = [_array(pair, path) for pair in _array(found, path)]
    made: dict[Any, Any] = {}
    for pair in pairs:
        if len(pair) != 2:
            raise NotOfType(path, "an array of pairs", found)
        key = from_json(nodes, pair[0], f"{path}.key", node[1])
        if key in made:
            raise NotOfType(path, "a map with each key once", found)
        made[key] = from_json(nodes, pair[1], f"{path}[{pair[0]!r}]", node[2])
    return made


def _option(nodes: Description, node: Any, found: Any, path: str) -> Any:
    if found is None:
        return None
    if node[2] is Some:
        inner = _object(found, path)
        if set(inner) != {"some"}:
            raise NotOfType(path, 'null or {"some": ...}', found)
        return Some(from_json(nodes, inner["some"], path, node[1]))
    return from_json(nodes, found, path, node[1])


def _struct(nodes: Description, node: Any, found: Any, path: str) -> Any:
    cls: Any = node[1]
    given = dict(_object(found, path))
    fields: dict[str, Any] = {}
    for name, each in node[2]:
        where = f"{path}.{name}" if path else name
        if name in given:
            fields[name] = from_json(nodes, given.pop(name), where, each)
        elif nodes[each][0] == "option" and not _has_default(cls, name):
            fields[name] = None
        elif not _has_default(cls, name):
            raise NotOfType(where, "there", None)
    if given:
        raise NotOfType(path, f"without {', '.join(map(repr, given))}", found)
    return cls(**fields)


def _has_default(cls: Any, name: str) -> bool:
    if dataclasses.is_dataclass(cls):
        for field in dataclasses.fields(cls):
            if field.name == name:
                missing = dataclasses.MISSING
                return field.default is not missing or field.default_factory is not missing
    return name in getattr(cls, "_field_defaults", ())


def _enum(nodes: Description, node: Any, found: Any, path: str) -> Any:
    for member in node[2]:
        if member.name == found:
            return member
    raise NotOfType(path, f"one of {', '.join(member.name for member in node[2])}", found)


def _union(nodes: Description, node: Any, found: Any, path: str) -> Any:
    names = [cls.__name__ for cls in node[2]]
    given = _object(found, path)
    if len(given) != 1 or next(iter(given)) not in names:
        wanted = " or ".join(f'{{"{name}": ...}}' for name in names)
        raise NotOfType(path, wanted, found)
    ((name, inner),) = given.items()
    return from_json(nodes, inner, f"{path}.{name}", node[1][names.index(name)])


_COMPOUND: Mapping[str, Callable[[Description, Any, Any, str], Any]] = {
    "list": _list,
    "set": _set,
    "tuple": _tuple,
    "map": _map,
    "option": _option,
    "struct": _struct,
    "enum": _enum,
    "union": _union,
}
