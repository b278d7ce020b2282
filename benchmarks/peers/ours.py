"""This project as a peer of the benchmark.

`python -m benchmarks.peers.ours LOOP HANDLERS server CERTIFICATES`, or
`... client ADDRESS CERTIFICATES LOAD...`; LOOP is asyncio or uvloop, HANDLERS async or plain.
"""

import asyncio
import functools
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import jetstream
from jetstream import (
    U32,
    U64,
    ClientTls,
    Interface,
    Router,
    Server,
    ServerTls,
    Subscription,
    method,
    service,
)

from benchmarks.peers import order as plain_data
from benchmarks.peers.load import Client, Harness, Session, Visit, drive


@dataclass
class Address:
    street: str
    city: str
    postcode: str
    country: str


@dataclass
class Line:
    sku: str
    title: str
    quantity: U32
    price: float
    tags: list[str]


@dataclass
class Order:
    number: U64
    customer: str
    note: str | None
    ship_to: Address
    lines: list[Line]


@service(name="echo", version="16.0.0", digest="00000000")
class Echo(Interface, Protocol):
    """What clients call, whichever of the servers it is."""

    @method(idempotent=True)
    async def ping(self) -> None: ...

    async def echo(self, message: str) -> str: ...

    async def order(self, order: Order) -> Order: ...

    def echoes(self, message: str) -> Subscription[str, None]: ...

    def orders(self, order: Order) -> Subscription[Order, None]: ...


class EchoServer(Echo):
    """Handlers that run in a task each."""

    @method
    async def ping(self) -> None:
        return None

    async def echo(self, message: str) -> str:
        return message

    async def order(self, order: Order) -> Order:
        return order

    @method
    async def echoes(self, message: str) -> AsyncIterator[str]:
        while True:
            yield message

    @method
    async def orders(self, order: Order) -> AsyncIterator[Order]:
        while True:
            yield order


@service(name="echo", version="16.0.0", digest="00000000")
class PlainEcho:
    """The same calls with handlers that run without a task."""

    def ping(self) -> None: ...

    def echo(self, message: str) -> str:
        return message

    def order(self, order: Order) -> Order:
        return order


class PlainEchoServer(PlainEcho):
    """A method without a body counts as declared only, so the server writes it out."""

    def ping(self) -> None:
        return None


def sample_order() -> Order:
    """The common order in this peer's types."""
    order = plain_data.sample_order()
    return Order(
        number=order["number"],
        customer=order["customer"],
        note=order["note"],
        ship_to=Address(**order["ship_to"]),
        lines=[Line(**line) for line in order["lines"]],
    )


async def serve(handlers: str, certificates: Path) -> None:
    """Serves until stdin closes."""
    router = Router(EchoServer() if handlers == "async" else PlainEchoServer())
    tls = ServerTls(
        str(certificates / "server.pem"),
        str(certificates / "server.key"),
        client_ca=str(certificates / "ca.pem"),
    )
    async with Server(router, tls=tls, host="127.0.0.1", port=0) as server:
        harness = await Harness.open()
        harness.say(address=str(server.address))
        await harness.end()


def client(address: str, certificates: Path) -> Client:
    """One client makes all connections, as in the Rust peer; each visit is one of its own."""
    settings = functools.partial(
        ClientTls,
        ca=str(certificates / "ca.pem"),
        certificate=str(certificates / "client.pem"),
        key=str(certificates / "client.key"),
    )
    returning = settings()
    caller = jetstream.Client(returning)

    @asynccontextmanager
    async def session() -> AsyncGenerator[Session]:
        async with await caller.session(address, "localhost") as connected:
            yield calls(connected)

    @asynccontextmanager
    async def visit(kind: Visit) -> AsyncGenerator[Session]:
        # Who was there before is known by its settings, so a first visit has new ones.
        async with jetstream.connect(
            address,
            server_name="localhost",
            tls=settings() if kind == "first" else returning,
            early_data=kind == "early",
        ) as connected:
            yield calls(connected)
            visited(kind, connected)

    known: set[Visit] = set()

    def visited(kind: Visit, session: jetstream.Session) -> None:
        expected = (kind != "first", "accepted" if kind == "early" else "none")
        if kind in known and (session.resumed, session.early_data) != expected:
            raise ValueError(f"not {kind}: {session.resumed}, {session.early_data}")
        known.add(kind)

    return Client(
        connect=session, visit=visit, message=lambda size: "x" * size, order=sample_order()
    )


def calls(session: jetstream.Session) -> Session:
    """What the load may call."""
    echo = session.channel(Echo)
    return Session(
        ping=echo.ping, echo=echo.echo, order=echo.order, echoes=echo.echoes, orders=echo.orders
    )


async def main(handlers: str, words: list[str]) -> None:
    """Runs the server or the client."""
    match words:
        case ["server", certificates]:
            await serve(handlers, Path(certificates))
        case ["client", address, certificates, *load]:
            await drive(client(address, Path(certificates)), load)
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    loop, handlers, *words = sys.argv[1:]
    if loop == "uvloop":
        import uvloop

        uvloop.run(main(handlers, words))
    else:
        asyncio.run(main(handlers, words))
