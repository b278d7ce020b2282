"""Values: what Python types can travel, and what comes out at the other end."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum, IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from jetstream import U16, U64, EncodeError, service
from jetstream.testing import pair


class Priority(IntEnum):
    LOW = 0
    HIGH = 10


class Carrier(Enum):
    POST = "post"
    BIKE = "bike"


class Size(NamedTuple):
    width: U16
    height: U16


@dataclass(frozen=True)
class Letter:
    pages: int


@dataclass(frozen=True)
class Parcel:
    size: Size
    fragile: bool = False


# A tagged union: on the wire, which of the classes it is, then its fields.
Content = Letter | Parcel


@dataclass(frozen=True)
class Shipment:
    id: U64
    content: Content
    to: str
    carrier: Carrier
    priority: Priority
    posted: datetime
    seen_at: IPv4Address | IPv6Address | None = None
    weights: dict[str, float] = field(default_factory=dict[str, float])
    tags: frozenset[str] = frozenset()
    # A type may contain itself.
    together_with: "list[Shipment]" = field(default_factory=list["Shipment"])


@service
class Depot:
    async def relabel(self, shipment: Shipment, to: str) -> Shipment:
        return replace(shipment, to=to)

    async def describe(self, content: Content) -> str:
        match content:
            case Letter(pages):
                return f"a letter of {pages} pages"
            case Parcel(Size(width, height), fragile):
                return f"a {'fragile ' if fragile else ''}parcel, {width} by {height}"


async def main() -> None:
    shipment = Shipment(
        id=7,
        content=Parcel(Size(30, 40), fragile=True),
        to="Ada",
        carrier=Carrier.BIKE,
        priority=Priority.HIGH,
        posted=datetime(2026, 11, 22, 9, 30, tzinfo=UTC),
        seen_at=IPv4Address("192.0.2.7"),
        weights={"box": 0.25, "content": 1.5},
        tags=frozenset({"glass", "blue"}),
        together_with=[
            Shipment(
                8, Letter(2), "Ada", Carrier.POST, Priority.LOW, datetime(2026, 11, 23, tzinfo=UTC)
            ),
        ],
    )
    async with pair(Depot()) as session:
        depot = session.channel(Depot)
        relabelled = await depot.relabel(shipment, "Grace")
        print(relabelled == replace(shipment, to="Grace"), relabelled.priority, relabelled.posted)
        print(await depot.describe(relabelled.content))
        print(await depot.describe(Letter(pages=2)))
        try:
            await depot.describe(Parcel(Size(30, 70_000)))
        except EncodeError as error:
            print("nothing was sent:", error)


if __name__ == "__main__":
    asyncio.run(main())
