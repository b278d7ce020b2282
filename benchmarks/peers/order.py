"""The nested struct of about 1 KiB, as plain data; each peer makes its own type of it."""

from __future__ import annotations

from typing import TypedDict


class Address(TypedDict):
    street: str
    city: str
    postcode: str
    country: str


class Line(TypedDict):
    sku: str
    title: str
    quantity: int
    price: float
    tags: list[str]


class Order(TypedDict):
    number: int
    customer: str
    note: str
    ship_to: Address
    lines: list[Line]


def sample_order() -> Order:
    """The same order as in `rust16/src/service.rs`."""
    return {
        "number": 1_234_567_890,
        "customer": "Ada Lovelace",
        "note": "Please ring twice",
        "ship_to": {
            "street": "12 St James's Square",
            "city": "London",
            "postcode": "SW1Y 4JH",
            "country": "United Kingdom",
        },
        "lines": [
            {
                "sku": f"SKU-{i:04}",
                "title": f"Widget number {i} in blue, boxed",
                "quantity": i + 1,
                "price": 9.75 + i,
                "tags": ["fragile", "gift"],
            }
            for i in range(13)
        ],
    }
