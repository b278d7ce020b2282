"""A small service; what is generated for it is in `golden/`, to be read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import NewType, Protocol

from jetstream import U32, U64, Context, Subscription, method, service

OrderId = NewType("OrderId", int)
"""Counts orders, from 1."""


class State(Enum):
    OPEN = "open"
    """Can be changed."""
    SENT = "sent"


@dataclass(frozen=True)
class Item:
    """Something that can be bought.

    Attributes:
        price: In cents.
    """

    name: str
    price: U32


@dataclass(frozen=True)
class Order:
    """What somebody wants."""

    id: OrderId
    state: State
    items: list[Item]
    notes: dict[str, str]
    parent: Order | None
    """The order that this one continues."""


@dataclass(frozen=True)
class Paid:
    at: datetime


@dataclass(frozen=True)
class Refused:
    reason: str


Payment = Paid | Refused
"""How paying ended."""


@service(version="1.1.0", digest="0a1b2c3d")
class Shop(Protocol):
    """Sells things."""

    @method(idempotent=True)
    async def order(self, number: OrderId) -> Order | None:
        """Looks an order up; ``None`` if there is none."""
        ...

    async def buy(self, items: list[Item], note: str = "", *, gift: bool = False) -> OrderId:
        """Makes an order.

        Args:
            items: At least one.
            note: What the packer should know,
                in a few words.
            gift: Whether it is wrapped.

        Returns:
            Under what it is known.

        Raises:
            JetStreamError: There are no items.
        """
        ...

    async def pay(self, number: OrderId, ctx: Context) -> Payment: ...

    async def stock(self, items: AsyncIterator[Item]) -> U64:
        """Takes what is delivered; how many there are."""
        ...

    def follow(self, state: State = State.OPEN) -> Subscription[Order, U32]:
        """Orders, as they reach a state.

        Yields:
            An order each time.
        """
        ...

    @method(lossy=True)
    def price(self, name: str) -> Subscription[tuple[U32, datetime], None]: ...
