"""The encoding of values once more, to be read: no speed, no bounds but those of the wire.

It works on the same descriptions as the core and on the same Python values, and shares no code
with it. The tests hold the two against each other.
"""

import struct
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import Any

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_COUNT = 65_535
MAX_DATA = 32 * 1024 * 1024
MAX_DEPTH = 128


class Refused(Exception):  # noqa: N818 - it is a verdict, not a fault of the model
    """The wire does not allow this."""


def require(condition: bool) -> None:
    if not condition:
        raise Refused


def number(kind: str) -> tuple[int, bool]:
    """Bytes and sign of an integer's layout."""
    return int(kind[1:]) // 8, kind[0] == "i"


def encode(nodes: tuple[Any, ...], value: Any, at: int = 0) -> bytes:
    match nodes[at]:
        case ("unit",):
            return b""
        case ("bool",):
            return bytes([value])
        case ("f32",):
            return struct.pack("<f", value)
        case ("f64",):
            return struct.pack("<d", value)
        case ("str" | "url",):
            return counted(len(value.encode()), value.encode())
        case ("data",):
            require(len(value) <= MAX_DATA)
            return struct.pack("<I", len(value)) + value
        case ("time",):
            milliseconds = (value - EPOCH) // timedelta(milliseconds=1)
            require(milliseconds >= 0)
            return struct.pack("<Q", milliseconds)
        case ("ipv4" | "ipv6",):
            return value.packed
        case ("ip",):
            return bytes([value.version]) + value.packed
        case ("sockaddr", _):
            return bytes([value.ip.version]) + value.ip.packed + struct.pack("<H", value.port)
        case ("list", item, _):
            return counted(len(value), *(encode(nodes, part, item) for part in value))
        case ("tuple", items):
            return b"".join(
                encode(nodes, part, item) for part, item in zip(value, items, strict=True)
            )
        case ("set", item, _):
            ordered = sorted(value, key=lambda part: order(nodes, part, item))
            return counted(len(value), *(encode(nodes, part, item) for part in ordered))
        case ("map", key, item):
            ordered = sorted(value, key=lambda name: order(nodes, name, key))
            entries = (
                encode(nodes, name, key) + encode(nodes, value[name], item) for name in ordered
            )
            return counted(len(value), *entries)
        case ("option", item, wrapper):
            if value is None:
                return b"\0"
            return b"\1" + encode(nodes, value if wrapper is None else value.value, item)
        case ("struct", _, fields, _, _):
            return b"".join(encode(nodes, getattr(value, name), item) for name, item in fields)
        case ("union", items, classes):
            index = classes.index(type(value))
            return bytes([index]) + encode(nodes, value, items[index])
        case ("enum", _, members):
            return bytes([members.index(value)])
        case (kind,):
            size, signed = number(kind)
            try:
                return value.to_bytes(size, "little", signed=signed)
            except OverflowError:
                raise Refused from None
    raise AssertionError(nodes[at])


def counted(count: int, *parts: bytes) -> bytes:
    require(count <= MAX_COUNT)
    return struct.pack("<H", count) + b"".join(parts)


def order(nodes: tuple[Any, ...], value: Any, at: int) -> Any:
    """What keys are sorted by: compares as Rust compares the value."""
    match nodes[at]:
        case ("str" | "url",):
            return value.encode()
        case ("time",):
            return (value - EPOCH) // timedelta(milliseconds=1)
        case ("ipv4" | "ipv6",):
            return value.packed
        case ("ip",):
            return (value.version, value.packed)
        case ("sockaddr", _):
            return (value.ip.version, value.ip.packed, value.port)
        case ("list", item, _):
            return [order(nodes, part, item) for part in value]
        case ("tuple", items):
            return [order(nodes, part, item) for part, item in zip(value, items, strict=True)]
        case ("option", item, wrapper):
            if value is None:
                return (0,)
            return (1, order(nodes, value if wrapper is None else value.value, item))
        case ("struct", _, fields, _, _):
            return [order(nodes, getattr(value, name), item) for name, item in fields]
        case ("union", items, classes):
            index = classes.index(type(value))
            return (index, order(nodes, value, items[index]))
        case ("enum", _, members):
            return members.index(value)
        case ("unit",):
            return 0
    return value


def decode(nodes: tuple[Any, ...], data: bytes) -> Any:
    value, rest = take(nodes, data, 0, MAX_DEPTH)
    require(not rest)
    return value


def split(data: bytes, count: int) -> tuple[bytes, bytes]:
    require(len(data) >= count)
    return data[:count], data[count:]


def unpack(layout: str, data: bytes) -> tuple[Any, bytes]:
    head, rest = split(data, struct.calcsize(layout))
    return struct.unpack(layout, head)[0], rest


def take(nodes: tuple[Any, ...], data: bytes, at: int, depth: int) -> tuple[Any, bytes]:
    """One value off the front."""
    match nodes[at]:
        case ("unit",):
            return None, data
        case ("bool",):
            flag, data = unpack("B", data)
            require(flag < 2)
            return flag == 1, data
        case ("f32",):
            return unpack("<f", data)
        case ("f64",):
            return unpack("<d", data)
        case ("str" | "url",):
            count, data = unpack("<H", data)
            head, data = split(data, count)
            try:
                text = head.decode()
            except UnicodeDecodeError:
                raise Refused from None
            require(nodes[at][0] == "str" or is_url(text))
            return text, data
        case ("data",):
            count, data = unpack("<I", data)
            require(count <= MAX_DATA)
            return split(data, count)
        case ("time",):
            milliseconds, data = unpack("<Q", data)
            try:
                return EPOCH + timedelta(milliseconds=milliseconds), data
            except OverflowError:
                raise Refused from None
        case ("ipv4",):
            head, data = split(data, 4)
            return IPv4Address(head), data
        case ("ipv6",):
            head, data = split(data, 16)
            return IPv6Address(head), data
        case ("ip",):
            return take_ip(data)
        case ("sockaddr", cls):
            ip, data = take_ip(data)
            port, data = unpack("<H", data)
            return cls(ip, port), data
        case ("enum", _, members):
            index, data = unpack("B", data)
            require(index < len(members))
            return members[index], data
        case ("option", item, wrapper):
            flag, data = unpack("B", data)
            require(flag < 2)
            if not flag:
                return None, data
            require(depth > 0)
            value, data = take(nodes, data, item, depth - 1)
            return (value if wrapper is None else wrapper(value)), data
        case ("list", _, _) | ("tuple", _) | ("set", _, _) | ("map", _, _) | ("struct", *_):
            require(depth > 0)
            return take_parts(nodes, data, at, depth - 1)
        case ("union", items, _):
            index, data = unpack("B", data)
            require(index < len(items) and depth > 0)
            return take(nodes, data, items[index], depth - 1)
        case (kind,):
            size, signed = number(kind)
            head, data = split(data, size)
            return int.from_bytes(head, "little", signed=signed), data
    raise AssertionError(nodes[at])


def take_ip(data: bytes) -> tuple[Any, bytes]:
    version, data = unpack("B", data)
    require(version in (4, 6))
    head, data = split(data, 4 if version == 4 else 16)
    return (IPv4Address(head) if version == 4 else IPv6Address(head)), data


def take_parts(nodes: tuple[Any, ...], data: bytes, at: int, depth: int) -> tuple[Any, bytes]:
    parts = []
    match nodes[at]:
        case ("tuple", items):
            for item in items:
                part, data = take(nodes, data, item, depth)
                parts.append(part)
            return tuple(parts), data
        case ("struct", cls, fields, _, _):
            for _, item in fields:
                part, data = take(nodes, data, item, depth)
                parts.append(part)
            names = (name for name, _ in fields)
            return cls(**dict(zip(names, parts, strict=True))), data
        case ("list" | "set", item, frozen):
            count, data = unpack("<H", data)
            for _ in range(count):
                part, data = take(nodes, data, item, depth)
                parts.append(part)
            if nodes[at][0] == "list":
                return (tuple(parts) if frozen else parts), data
            require(len(set(parts)) == count)
            return (frozenset(parts) if frozen else set(parts)), data
        case ("map", key, item):
            count, data = unpack("<H", data)
            for _ in range(count):
                name, data = take(nodes, data, key, depth)
                part, data = take(nodes, data, item, depth)
                parts.append((name, part))
            require(len(dict(parts)) == count)
            return dict(parts), data
    raise AssertionError(nodes[at])


def is_url(text: str) -> bool:
    scheme, colon, _ = text.partition(":")
    allowed = all(char.isascii() and (char.isalnum() or char in "+-.") for char in scheme)
    return bool(colon) and allowed and scheme[:1].isalpha()
