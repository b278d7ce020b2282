"""The services of `rust16/src/values.rs` in Python: same methods, same order.

The order numbers the frames, so it is the contract; names of methods do not travel.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address

from jetstream import (
    F32,
    F64,
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
    JetStreamError,
    SocketAddress,
    Some,
    Url,
    service,
)

VERSION = "16.0.0"
"""The crate takes it from the package that declares the trait."""


@dataclass(frozen=True)
class Point:
    x: U32
    y: I64


@dataclass(frozen=True)
class Profile:
    name: str
    tags: list[str]
    nick: str | None
    at: Point


@dataclass(frozen=True)
class Empty:
    pass


@dataclass(frozen=True)
class Circle:
    radius: F64


@dataclass(frozen=True)
class Rect:
    w: U32
    h: U32


@dataclass(frozen=True)
class Labeled:
    label: str
    at: Point


Shape = Empty | Circle | Rect | Labeled


@service(name="values", version=VERSION, digest="00000000")
class Values:
    """Every type of value that both sides have, there and back."""

    async def ping(self) -> None:
        return None

    async def add(self, a: I32, b: I32) -> I32:
        return a + b

    async def fail(
        self, message: str, code: str | None, advice: str | None, url: str | None
    ) -> None:
        raise JetStreamError(message, code=code, help=advice, url=url)

    async def whoami(self, ctx: Context = INJECTED) -> str:
        assert ctx.peer is not None
        leaf = ctx.peer.leaf
        return f"{leaf.common_name or '-'} {leaf.fingerprint}"

    async def sleep_ms(self, milliseconds: U32) -> U32:
        await asyncio.sleep(milliseconds / 1000)
        return milliseconds

    async def echo_bool(self, value: bool) -> bool:
        return value

    async def echo_u8(self, value: U8) -> U8:
        return value

    async def echo_u16(self, value: U16) -> U16:
        return value

    async def echo_u32(self, value: U32) -> U32:
        return value

    async def echo_u64(self, value: U64) -> U64:
        return value

    async def echo_u128(self, value: U128) -> U128:
        return value

    async def echo_i16(self, value: I16) -> I16:
        return value

    async def echo_i32(self, value: I32) -> I32:
        return value

    async def echo_i64(self, value: I64) -> I64:
        return value

    async def echo_i128(self, value: I128) -> I128:
        return value

    async def echo_f32(self, value: F32) -> F32:
        return value

    async def echo_f64(self, value: F64) -> F64:
        return value

    async def echo_str(self, value: str) -> str:
        return value

    async def echo_list_u32(self, value: list[U32]) -> list[U32]:
        return value

    async def echo_list_str(self, value: list[str]) -> list[str]:
        return value

    async def echo_list_list_u8(self, value: list[list[U8]]) -> list[list[U8]]:
        return value

    async def echo_bytes(self, value: bytes) -> bytes:
        return value

    async def echo_option(self, value: U32 | None) -> U32 | None:
        return value

    async def echo_nested_option(self, value: Some[U8 | None] | None) -> Some[U8 | None] | None:
        return value

    async def echo_map_str_u32(self, value: dict[str, U32]) -> dict[str, U32]:
        return value

    async def echo_map_u16_bool(self, value: dict[U16, bool]) -> dict[U16, bool]:
        return value

    async def echo_set_u16(self, value: set[U16]) -> set[U16]:
        return value

    async def echo_ipv4(self, value: IPv4Address) -> IPv4Address:
        return value

    async def echo_ipv6(self, value: IPv6Address) -> IPv6Address:
        return value

    async def echo_ip(self, value: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
        return value

    async def echo_socket_address(self, value: SocketAddress) -> SocketAddress:
        return value

    async def echo_url(self, value: Url) -> Url:
        return value

    async def echo_time(self, value: datetime) -> datetime:
        return value

    async def echo_point(self, value: Point) -> Point:
        return value

    async def echo_profile(self, value: Profile) -> Profile:
        return value

    async def echo_shape(self, value: Shape) -> Shape:
        return value


@service(name="echo", version=VERSION, digest="00000000")
class Echo:
    """The second service of the same server."""

    async def ping(self) -> None:
        return None

    async def echo(self, message: str) -> str:
        return message

    async def add(self, a: I32, b: I32) -> I32:
        return a + b


@service(name="nosuch", version=VERSION, digest="00000000")
class NoSuch:
    """A service that no server here offers."""

    async def ping(self) -> None:
        return None


@service(name="echo", version="17.0.0", digest="00000000")
class NextEcho:
    """Another major version."""

    async def ping(self) -> None:
        return None
