"""All of it in a few seconds: certificates, a server in a process of its own, a client, its calls.

`make demo` runs it; `python examples/demo.py` does too where the package is installed.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import cast

from jetstream import (
    I32,
    INJECTED,
    Certificate,
    ClientTls,
    ConnectError,
    Context,
    JetStreamError,
    Peer,
    Server,
    ServerTls,
    Session,
    TlsPeer,
    connect,
    method,
    service,
)
from jetstream.testing import ThrowawayCA

CALLS = 10_000
START_TIMEOUT = 20.0
STOP_TIMEOUT = 10.0
DELAY = 0.05
"""Seconds that the long way takes in each direction."""


@service
class Echo:
    """What is served and called."""

    async def ping(self, ctx: Context = INJECTED) -> None:
        """Says on the server's side who called."""
        tell_peer("the server sees", ctx.peer)
        print(flush=True)

    @method(idempotent=True)
    async def echo(self, message: str) -> str:
        # It may run twice, so a client that comes back may ask it ahead of the handshake.
        return message

    @method
    def add(self, a: I32, b: I32) -> I32:
        # A plain `def` is called in the event loop itself: the fast path for quick answers.
        return a + b


class DemoError(Exception):
    """Something that the demonstration relies on did not happen."""


def say(label: str, text: object) -> None:
    print(f"  {label:<16}  {text}")


def tell_peer(label: str, peer: Peer | None) -> None:
    if not isinstance(peer, TlsPeer):
        raise DemoError(f"{label} nobody, and there should be a certificate")
    leaf = peer.leaf
    say(label, f"CN={leaf.common_name}")
    say("", f"SHA-256 {leaf.fingerprint}")
    say("", f"DNS names {', '.join(leaf.dns_names) or 'none'}")


# ---- the server's process ----


async def serve(certificates: Path) -> None:
    """Serves until standard input ends, so that the server cannot outlive who started it."""
    tls = ServerTls(
        certificates / "server.pem", certificates / "server.key", client_ca=certificates / "ca.pem"
    )
    async with Server(Echo(), tls=tls, port=0) as server:
        print(server.address, flush=True)
        await asyncio.to_thread(sys.stdin.read)


@asynccontextmanager
async def server_process(certificates: Path) -> AsyncGenerator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        __file__,
        "--serve",
        certificates,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    try:
        yield process
        process.stdin.close()
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                status = await process.wait()
        except TimeoutError:
            raise DemoError(f"the server did not end within {STOP_TIMEOUT:g} s") from None
        if status != 0:
            raise DemoError(f"the server ended with status {status}")
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def line_of(process: asyncio.subprocess.Process) -> str:
    """The next line that the server printed, without its end."""
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_TIMEOUT):
            line = await process.stdout.readline()
    except TimeoutError:
        raise DemoError(f"the server said nothing for {START_TIMEOUT:g} s") from None
    if not line:
        raise DemoError(f"the server ended too early, with status {await process.wait()}")
    return line.decode().rstrip()


# ---- the client's ----


def certificates_in(folder: Path) -> None:
    """Makes development certificates on first use, and new ones when they have expired."""
    made = folder / "server.crt"
    command = [sys.executable, "-m", "jetstream", "certs", "init", str(folder)]
    what = "made"
    if made.exists():
        until = Certificate.from_der(made.read_bytes()).not_after
        if until > datetime.now(UTC) + timedelta(hours=1):
            say("certificates", f"{folder}, from before, valid until {until:%Y-%m-%d}")
            return
        command.append("--renew")
        what = "renewed"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DemoError(f"'jetstream certs init {folder}' failed:\n{done.stderr}")
    until = Certificate.from_der(made.read_bytes()).not_after
    say("certificates", f"{folder}, {what} now, valid until {until:%Y-%m-%d}")


async def some_calls(session: Session) -> None:
    echo = session.channel(Echo)
    for label, call, wanted in (
        ("ping()", echo.ping(), None),
        ('echo("hello")', echo.echo("hello"), "hello"),
        ("add(2, 40)", echo.add(2, 40), 42),
    ):
        began = time.perf_counter()
        answer = await call
        seconds = time.perf_counter() - began
        if answer != wanted:
            raise DemoError(f"{label} answered {answer!r}")
        say(label, f"{answer!r:<8} after {seconds * 1e3:.2f} ms")


async def who_is_who(session: Session, server: asyncio.subprocess.Process) -> None:
    tell_peer("the client sees", session.peer)
    # What it printed when it was pinged.
    while line := await line_of(server):
        print(line)


async def a_stranger(address: str, certificates: Path) -> None:
    """Connects with a certificate that another authority issued."""
    mallory = ThrowawayCA("Some Other Authority").issue_client("mallory")
    tls = ClientTls(ca=certificates / "ca.pem", certificate=mallory.chain_pem, key=mallory.key_pem)
    try:
        async with connect(address, server_name="localhost", tls=tls):
            pass
    except ConnectError as error:
        print(f"  {type(error).__name__}: " + str(error).replace("\n", "\n  "))
    else:
        raise DemoError("a certificate of another authority was accepted")


class End(asyncio.DatagramProtocol):
    """One end of a way that takes a while; what comes in leaves at the other."""

    other: End
    transport: asyncio.DatagramTransport

    def __init__(self, peer: tuple[str, int] | None = None) -> None:
        self.peer = peer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        # One client after the other; the server stays where it is.
        self.peer = addr
        asyncio.get_running_loop().call_later(DELAY, self.other.send, data)

    def send(self, data: bytes) -> None:
        self.transport.sendto(data, self.peer)


@asynccontextmanager
async def long_way(address: str) -> AsyncGenerator[str]:
    """Stands before the server, far away; gives its own address."""
    loop = asyncio.get_running_loop()
    host, _, port = address.rpartition(":")
    here, there = End(), End((host, int(port)))
    here.other, there.other = there, here
    try:
        await loop.create_datagram_endpoint(lambda: here, ("127.0.0.1", 0))
        await loop.create_datagram_endpoint(lambda: there, ("127.0.0.1", 0))
        own_host, own_port = here.transport.get_extra_info("sockname")
        yield f"{own_host}:{own_port}"
    finally:
        here.transport.close()
        there.transport.close()


async def visits(address: str, tls: ClientTls) -> None:
    """How long it takes from nothing to the first answer."""
    async with long_way(address) as way:
        for label, early_data in (("first visit", False), ("again", False), ("with 0-RTT", True)):
            began = time.perf_counter()
            async with connect(
                way, server_name="localhost", tls=tls, early_data=early_data
            ) as session:
                await session.channel(Echo).echo("hello")
                seconds = time.perf_counter() - began
                if early_data and session.early_data != "accepted":
                    raise DemoError(f"the server took no early data: {session.early_data}")
            trips = round(seconds / (2 * DELAY))
            say(label, f"{trips} round trip{'s' if trips > 1 else ''}, {seconds * 1e3:.0f} ms")


async def many_calls(session: Session) -> None:
    echo = session.channel(Echo)
    messages = [f"message {number}" for number in range(CALLS)]
    began = time.perf_counter()
    answers = await asyncio.gather(*(echo.echo(message) for message in messages))
    seconds = time.perf_counter() - began
    if answers != messages:
        raise DemoError("not every call got its own answer")
    say("echo(...)", f"{seconds:.2f} s, {CALLS / seconds:,.0f} calls per second")


async def run(certificates: Path, loop: str) -> None:
    print(f"JetStream on Python {platform.python_version()}, {loop}\n")
    certificates_in(certificates)
    async with server_process(certificates) as server:
        address = await line_of(server)
        say("server", f"process {server.pid}, listening on UDP {address}")
        tls = ClientTls(
            ca=certificates / "ca.pem",
            certificate=certificates / "client.pem",
            key=certificates / "client.key",
        )
        async with connect(address, server_name="localhost", tls=tls) as session:
            say("client", "connected, both sides have shown a certificate (mutual TLS 1.3)")
            print("\ncalls")
            await some_calls(session)
            print("\nwho is who")
            await who_is_who(session, server)
            print(f"\nfrom nothing to the first answer, {DELAY * 1e3:.0f} ms away")
            await visits(address, tls)
            print("\na client whose certificate another authority issued")
            await a_stranger(address, certificates)
            print(f"\n{CALLS:,} calls at once")
            await many_calls(session)


# ---- both ----


def loop_factory() -> tuple[Callable[[], asyncio.AbstractEventLoop] | None, str]:
    """uvloop's where it is installed, and what to call it."""
    try:
        import uvloop
    except ImportError:
        return None, "asyncio's own event loop (uvloop is faster: pip install uvloop)"
    return uvloop.new_event_loop, f"uvloop {version('uvloop')}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--certificates", type=Path, default=Path(".demo/certs"))
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    factory, loop = loop_factory()
    serving: Path | None = arguments.serve
    work = run(arguments.certificates, loop) if serving is None else serve(serving)
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(work)
    except (DemoError, JetStreamError, OSError) as error:
        print(f"\nthe demonstration failed: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
