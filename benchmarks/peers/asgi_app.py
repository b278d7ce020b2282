"""The application that every ASGI server of the benchmark serves.

`/hello` and `/mib` are plain ASGI; `/order` takes an order as JSON, through FastAPI, and sends it
back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

HELLO = b"Hello, world!"
MIB = b"x" * (1024 * 1024)


class Address(BaseModel):
    street: str
    city: str
    postcode: str
    country: str


class Line(BaseModel):
    sku: str
    title: str
    quantity: int
    price: float
    tags: list[str]


class Order(BaseModel):
    number: int
    customer: str
    note: str | None
    ship_to: Address
    lines: list[Line]


api = FastAPI(openapi_url=None)


@api.post("/order")
async def same(order: Order) -> Order:
    return order


async def app(scope: Message, receive: Receive, send: Send) -> None:
    path = scope.get("path")
    if path == "/hello":
        await _answer(send, HELLO, b"text/plain; charset=utf-8")
    elif path == "/mib":
        await _answer(send, MIB, b"application/octet-stream")
    else:
        await api(scope, receive, send)


async def _answer(send: Send, body: bytes, kind: bytes) -> None:
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
