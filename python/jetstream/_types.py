"""The types that Python lacks and the wire has: widths, URLs, socket addresses, nested options.

Type checkers see the fixed widths as `int` and `float`. A bare `int` is an `I64`, a bare `float` an
`F64`.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Generic, NamedTuple, TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Wire:
    """Says which of several layouts an annotation means.

    Attributes:
        kind: The name of the layout, such as `u8`.
    """

    kind: str


U8: TypeAlias = Annotated[int, Wire("u8")]
U16: TypeAlias = Annotated[int, Wire("u16")]
U32: TypeAlias = Annotated[int, Wire("u32")]
U64: TypeAlias = Annotated[int, Wire("u64")]
U128: TypeAlias = Annotated[int, Wire("u128")]
I8: TypeAlias = Annotated[int, Wire("i8")]
I16: TypeAlias = Annotated[int, Wire("i16")]
I32: TypeAlias = Annotated[int, Wire("i32")]
I64: TypeAlias = Annotated[int, Wire("i64")]
I128: TypeAlias = Annotated[int, Wire("i128")]
F32: TypeAlias = Annotated[float, Wire("f32")]
F64: TypeAlias = Annotated[float, Wire("f64")]

Url: TypeAlias = Annotated[str, Wire("url")]
"""A string that starts with a scheme, such as `https:`. The Rust crates parse it as a URL."""


class SocketAddress(NamedTuple):
    """An IP address and a port.

    Attributes:
        ip: The address, of either version.
        port: 0 to 65,535.
    """

    ip: IPv4Address | IPv6Address
    port: int

    def __str__(self) -> str:
        host = f"[{self.ip}]" if self.ip.version == 6 else str(self.ip)
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Some(Generic[T]):
    """Tells "there is a value, and it is None" from "there is no value".

    Only needed where an option holds an option: `Some[int | None] | None` is `None`, `Some(None)`
    or `Some(3)`.

    Attributes:
        value: What is there.
    """

    value: T
