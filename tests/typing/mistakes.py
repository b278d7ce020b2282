"""What type checkers must find: every line marked `# error`, and no other.

Only checked, never run.
"""

from collections.abc import AsyncIterator
from typing import Any, Protocol

from jetstream import (
    I32,
    ClientTls,
    Connection,
    Context,
    Feed,
    Limits,
    Router,
    Server,
    ServerTls,
    Session,
    channel_type,
    connect,
    method,
    resume,
    service,
    with_options,
)
from jetstream.interceptors import (
    Authorize,
    ClientCall,
    Logging,
    Retry,
    ServerCall,
    ServerInterceptor,
)


@service
class Echo(Protocol):
    async def echo(self, message: str) -> str: ...
    async def add(self, a: I32, b: I32) -> I32: ...


class Half(Echo):
    async def echo(self, message: str) -> str:
        return message


class Other(Echo):
    async def echo(self, message: bytes) -> str:  # error
        return message.decode()

    @method
    def add(self, a: I32, b: I32) -> str:  # error
        return str(a + b)


class Sync(Echo):
    async def echo(self, message: str) -> str:
        return message

    def add(self, a: I32, b: I32) -> I32:  # error
        return a + b


@service(version=1)  # error
class Versioned(Protocol):
    async def ping(self) -> None: ...


@method(threads=True)  # error
def run() -> None: ...


async def calls(session: Session, connection: Connection, ctx: Context) -> None:
    echo = session.channel(Echo)
    await echo.echo(1)  # error
    await echo.echo()  # error
    await echo.add(1, "2")  # error
    await echo.subtract(1, 2)  # error
    number: int = await echo.echo("a")  # error
    text: str = echo.echo("a")  # error
    session.channel("Echo")  # error
    session.channel(Echo, timeout="1")  # error
    with_options(echo, retries=1)  # error
    channel_type(Echo)("10", session)  # error
    channel_type(Echo)(10, connection)  # error
    print(ctx.peer.leaf)  # error
    await connect("localhost:4433", tls=ServerTls("a.pem"))  # error
    print(number, text)


def settings() -> None:
    Half()  # error
    Server(Router(), tls=ServerTls("a.pem", "a.key"), port="4433")  # error
    ServerTls("a.pem", "a.key", client_auth="always")  # error
    ClientTls("ca.pem", danger_accept_anybody=True)  # error
    Limits(4096)  # error
    Limits(msize="4 MiB")  # error


class Plain(ServerInterceptor):
    def intercept_call(self, call: ServerCall, proceed: Any, /) -> str:  # error
        return call.method.name


class Wrong(ServerInterceptor):
    async def intercept_call(self, call: ClientCall, proceed: Any, /) -> Any:  # error
        return await proceed(call)


def interceptors(session: Session, call: ServerCall, sent: ClientCall) -> None:
    Router(interceptors=[Retry()])  # error
    Router(interceptors=[Logging])  # error
    Router(interceptors=Logging())  # error
    session.channel(Echo, interceptors=[Authorize({})])  # error
    Authorize({"*": [1]})  # error
    Authorize(lambda context: True)  # error
    call.metadata["a"] = b"b"  # error
    call.arguments["a"] = 1  # error
    sent.metadata["a"] = "b"  # error
    sent.timeout = "1"  # error


async def feeds(feed: Feed[int]) -> None:
    feed.publish("1")  # error
    async for position, item in feed.subscribe("0"):  # error
        text: str = item  # error
        print(position, text)

    async def again(since: int) -> AsyncIterator[str]:
        yield str(since)

    resume(again, "0", position=len)  # error
    resume(again, 0)  # error
