"""What users write, as type checkers see it: neither mypy nor pyright finds anything here.

Only checked, never run.
"""

from abc import ABC, abstractmethod
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, assert_type

from jetstream import (
    FOREVER,
    I32,
    INJECTED,
    U8,
    U64,
    Backoff,
    ChannelType,
    Client,
    ClientTls,
    Connection,
    Context,
    Feed,
    Gap,
    Interface,
    JetStreamError,
    Peer,
    ProtocolHandler,
    QuicTransport,
    ReceiveStream,
    Resumed,
    Router,
    SendStream,
    Server,
    ServerTls,
    Service,
    ServiceType,
    Session,
    SocketAddress,
    Subscription,
    channel_type,
    close_channel,
    connect,
    method,
    resume,
    service,
    with_options,
)
from jetstream.interceptors import (
    Authorize,
    Call,
    ClientCall,
    ClientInterceptor,
    Logging,
    MethodInfo,
    Metrics,
    Retry,
    RetryBudget,
    ServerCall,
    ServerInterceptor,
    Trace,
    TraceContext,
    current_trace,
    names_of,
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


# ---- interceptors ----

C = TypeVar("C", bound=Call)


class OnlyCalls(ServerInterceptor):
    async def intercept_call(
        self, call: ServerCall, proceed: Callable[[ServerCall], Awaitable[Any]], /
    ) -> Any:
        assert_type(call.method, MethodInfo)
        assert_type(call.arguments, Mapping[str, Any])
        assert_type(call.context, Context)
        assert_type(call.metadata, Mapping[str, bytes])
        call.reply_metadata["seen"] = b"yes"
        return await proceed(call)


class OnlyStreams(ClientInterceptor):
    async def intercept_stream(
        self, call: ClientCall, proceed: Callable[[ClientCall], AsyncIterator[Any]], /
    ) -> AsyncGenerator[Any, None]:
        assert_type(call.timeout, float | None)
        call.metadata["tenant"] = b"a"
        async for item in proceed(call):
            yield item


class Either:
    """For both ends, and derived from nothing."""

    async def intercept_call(self, call: C, proceed: Callable[[C], Awaitable[Any]], /) -> Any:
        return await proceed(call)

    def intercept_stream(
        self, call: C, proceed: Callable[[C], AsyncIterator[Any]], /
    ) -> AsyncIterator[Any]:
        return proceed(call)


async def knows(context: Context, info: MethodInfo) -> bool:
    assert_type(names_of(context.peer), frozenset[str])
    return info.idempotent


async def intercept() -> None:
    tls = ServerTls("server.pem", "server.key")
    rules = Authorize({"Echo.*": ["dns:ada.example"], "*": {"authenticated"}})
    serving: list[ServerInterceptor] = [OnlyCalls(), Either(), Logging(), Metrics(), rules]
    router = Router(EchoImpl(), interceptors=[Authorize(knows), TraceContext()])
    Server(router, tls=tls, interceptors=serving)
    retry = Retry(attempts=3, backoff=Backoff(first=0.01), budget=RetryBudget(tokens=20))
    calling: list[ClientInterceptor] = [retry, Either(), Logging(), Metrics(), TraceContext()]
    async with connect("localhost:4433", interceptors=calling) as session:
        echo = session.channel(Echo, interceptors=[OnlyStreams()])
        assert_type(echo, Echo)
        assert_type(with_options(echo, interceptors=[TraceContext(sampled=True)]), Echo)
    async with pair(EchoImpl(), interceptors=[OnlyCalls()]) as session:
        assert_type(session, Session)
    assert_type(current_trace(), Trace | None)
    print(Metrics().snapshot()["Echo.echo"]["seconds"]["buckets"]["+Inf"])


# ---- feeds ----


@service
class Ticker(Protocol):
    def ticks(self, since: U64) -> Subscription[tuple[U64, str], float]: ...


async def follow(session: Session) -> None:
    feed = Feed[str](max_items=10)
    assert_type(feed.publish("a"), int)
    async for entry in feed.subscribe(feed.oldest):
        assert_type(entry, tuple[int, str])
    ticker = session.channel(Ticker)
    items = resume(ticker.ticks, 0, position=lambda entry: entry[0])
    assert_type(items, Resumed[tuple[int, str], float, int])
    try:
        async for position, text in items:
            assert_type(position, int)
            assert_type(text, str)
    except Gap as gap:
        assert_type(gap.oldest, int)
    assert_type(items.result, float)
    assert_type(items.position, int)

    async def again(since: str) -> AsyncGenerator[Item, None]:
        yield Item(since, 1)

    named = resume(again, "a", position=lambda item: item.name, backoff=Backoff(), attempts=None)
    assert_type(named, Resumed[Item, None, str])
