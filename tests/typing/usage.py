"""What users write, as type checkers see it: neither mypy nor pyright finds anything here.

Only checked, never run.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, assert_type

from jetstream import (
    FOREVER,
    I32,
    INJECTED,
    U8,
    ChannelType,
    Client,
    ClientTls,
    Connection,
    Context,
    Interface,
    JetStreamError,
    Peer,
    ProtocolHandler,
    QuicTransport,
    ReceiveStream,
    Router,
    SendStream,
    Server,
    ServerTls,
    Service,
    ServiceType,
    Session,
    SocketAddress,
    channel_type,
    close_channel,
    connect,
    method,
    service,
    with_options,
)
from jetstream.testing import pair


@dataclass
class Item:
    name: str
    size: U8


# ---- services: a protocol, or anything else that is a class ----


@service
class Echo(Protocol):
    """The spelling to recommend: methods need no bodies, and none can be forgotten."""

    async def ping(self) -> None: ...
    async def echo(self, message: str) -> str: ...
    async def add(self, a: I32, b: I32 = 1) -> I32: ...
    async def items(self, wanted: list[str] | None = None) -> list[Item]: ...
    async def who(self, *, ctx: Context = INJECTED) -> str: ...


@service(name="store", version="2.1.0", digest="0a1b2c3d")
class Store(Interface, Protocol):
    """With `Interface`, checkers know of `Store.Channel` and `Store.Service` too."""

    async def get(self, key: str) -> bytes | None: ...


@service
class Counter:
    """A class that implements itself."""

    def __init__(self) -> None:
        self.count = 0

    async def increase(self) -> int:
        self.count += 1
        return self.count


@service
class Clock(ABC):
    @abstractmethod
    async def now(self) -> float: ...


# ---- implementations ----


class EchoImpl(Echo):
    async def ping(self) -> None:
        return None

    async def echo(self, message: str) -> str:
        return message

    @method
    def add(self, a: I32, b: I32 = 1) -> I32:
        return a + b

    @method(thread=True)
    def items(self, wanted: list[str] | None = None) -> list[Item]:
        return [Item(name, 1) for name in wanted or ()]

    async def who(self, *, ctx: Context = INJECTED) -> str:
        assert_type(ctx.peer, Peer | None)
        assert_type(ctx.remote, SocketAddress | None)
        return str(ctx.peer)


class StoreImpl(Store):
    @method
    async def get(self, key: str) -> bytes | None:
        return key.encode()


class Elsewhere:
    """Implements `Clock` without knowing it."""

    def now(self) -> float:
        return 0.0


class Greeter:
    def alpns(self) -> Sequence[str]:
        return ["greet"]

    async def accept(self, ctx: Context, connection: Connection) -> None:
        send, receive = await connection.accept_bi()
        assert_type(send, SendStream)
        assert_type(receive, ReceiveStream)
        assert_type(await receive.read(), bytes)


# ---- serving ----


async def serve() -> None:
    handler: ProtocolHandler = Greeter()
    router = Router(EchoImpl(), Counter(), handler)
    router.register(Elsewhere(), service=Clock).register(Store.Service(StoreImpl()))
    assert_type(Store.Service, ServiceType[Store])
    assert_type(Store.Service(StoreImpl()), Service[Store])
    async with Server(router, tls=ServerTls("server.pem", "server.key"), port=0) as server:
        assert_type(server, Server)
        assert_type(server.address, SocketAddress)


# ---- calling ----


async def call() -> None:
    async with connect("localhost:4433", tls=ClientTls(ca="ca.pem")) as session:
        assert_type(session, Session)
        echo = session.channel(Echo)
        assert_type(echo, Echo)
        assert_type(await echo.ping(), None)
        assert_type(await echo.echo("hello"), str)
        assert_type(await echo.add(1, 2), int)
        assert_type(await echo.add(a=1), int)
        assert_type(await echo.items(["a"]), list[Item])
        assert_type(await echo.who(), str)
        assert_type(await session.channel(Store).get("a"), bytes | None)
        assert_type(await session.channel(Counter).increase(), int)
        assert_type(await session.channel(Clock, timeout=FOREVER).now(), float)
        assert_type(with_options(echo, timeout=1), Echo)
        assert_type(session.peer, Peer | None)
        assert_type(session.closed, JetStreamError | None)
        close_channel(echo)
    assert_type(await connect(("localhost", 4433)), Session)


async def call_by_hand() -> None:
    async with Client(ClientTls(ca=["a.pem", "b.pem"]), alpns=["jetstream"]) as client:
        connection = await client.connect("localhost:4433", "localhost")
        assert_type(connection, Connection)
        transport = QuicTransport(*await connection.open_bi())
        assert_type(Store.Channel, ChannelType[Store])
        assert_type(Store.Channel(10, transport), Store)
        assert_type(channel_type(Echo), ChannelType[Echo])
        assert_type(channel_type(Echo)(10, transport, timeout=None), Echo)


async def test() -> None:
    async with pair(EchoImpl()) as session:
        assert_type(session, Session)
        assert_type(await session.channel(Echo).add(1, 2), int)


async def without_a_server() -> None:
    """An implementation is an `Echo` just as a channel is."""
    echo: Echo = EchoImpl()
    assert_type(await echo.add(1, 2), int)
    assert_type(await EchoImpl().add(1, 2), int)
