"""What type checkers must find: every line marked `# error`, and no other.

Only checked, never run.
"""

from typing import Protocol

from jetstream import (
    I32,
    ClientTls,
    Connection,
    Context,
    Limits,
    Router,
    Server,
    ServerTls,
    Session,
    channel_type,
    connect,
    method,
    service,
    with_options,
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
    Server(Router())  # error
    Server(Router(), tls=ServerTls("a.pem", "a.key"), port="4433")  # error
    ServerTls("a.pem", "a.key", client_auth="always")  # error
    ClientTls("ca.pem", danger_accept_anybody=True)  # error
    Limits(4096)  # error
    Limits(msize="4 MiB")  # error
