"""The services of `rust16/src/values.rs` in Python: same methods, same order.

The order numbers the frames, so it is the contract; names of methods do not travel.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
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
    TlsPeer,
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


def crate_fingerprint(der: bytes) -> str:
    """The fingerprint that the crate gives a certificate that was signed with ECDSA and SHA-256.

    It hashes what it has parsed and written again. That is not what was signed: the signature's
    algorithm has got parameters, NULL, which RFC 5758, section 3.2, says are absent. Both places
    grow by the two bytes of a NULL, and with them the lengths around them.
    """
    algorithm = bytes.fromhex("300a 06082a8648ce3d040302")
    with_null = bytes.fromhex("300c 06082a8648ce3d040302 0500")
    assert der.count(algorithm) == 2
    assert der[:2] == der[4:6] == b"\x30\x82", "two lengths of two bytes each"
    whole = int.from_bytes(der[2:4]) + 4
    signed = int.from_bytes(der[6:8]) + 2
    header = b"\x30\x82" + whole.to_bytes(2) + b"\x30\x82" + signed.to_bytes(2)
    return sha256(header + der[8:].replace(algorithm, with_null)).hexdigest()


@service(name="values", version=VERSION, digest="00000000")
class Values:
    """Every type of value that both sides have, there and back."""

    async def ping(self) -> None: ...

    async def add(self, a: I32, b: I32) -> I32:
        return a + b

    async def fail(
        self, message: str, code: str | None, advice: str | None, url: str | None
    ) -> None:
        raise JetStreamError(message, code=code, help=advice, url=url)

    async def whoami(self, ctx: Context = INJECTED) -> str:
        assert isinstance(ctx.peer, TlsPeer)
        leaf = ctx.peer.leaf
        return f"{leaf.common_name or '-'} {crate_fingerprint(leaf.der)}"

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

    async def ping(self) -> None: ...

    async def echo(self, message: str) -> str:
        return message

    async def add(self, a: I32, b: I32) -> I32:
        return a + b


class ValuesServer(Values):
    """`Values` as served: a method without a body counts as declared only."""

    async def ping(self) -> None:
        return None


class EchoServer(Echo):
    """`Echo` as served."""

    async def ping(self) -> None:
        return None


@service(name="nosuch", version=VERSION, digest="00000000")
class NoSuch:
    """A service that no server here offers."""

    async def ping(self) -> None: ...


@service(name="echo", version="17.0.0", digest="00000000")
class NextEcho:
    """Another major version."""

    async def ping(self) -> None: ...


DIGESTS = {"values": "05531f9d", "echo": "3816ce98"}
"""Of the traits in `rust16/src/values.rs`, as the programs announce them. Every change of a trait's
text changes its digest, whatever version of the crate it is built with."""


@service(name="values", version="15.2.0", digest=DIGESTS["values"])
class Values15(Values):
    """`Values` as it is found by peers of 15.2.0."""


@service(name="echo", version="15.2.0", digest=DIGESTS["echo"])
class Echo15(Echo):
    """`Echo` as it is found by peers of 15.2.0."""


@service(name="values", version="15.1.0", digest=DIGESTS["values"])
class Values151(Values):
    """`Values` as it is found by peers of 15.1.0."""


@service(name="echo", version="15.1.0", digest=DIGESTS["echo"])
class Echo151(Echo):
    """`Echo` as it is found by peers of 15.1.0."""
