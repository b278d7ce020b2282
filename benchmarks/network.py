"""Networks that are worse than loopback: one that loses packets, and ways that take their time.

What is lost is lost in the kernel, in a network namespace that lives as long as one measurement.
What is late is held back by the harness.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from functools import partial
from typing import Literal

Carrier = Literal["udp", "tcp"]
Address = tuple[str, int]

_MTU = 1500
"""Loopback's own 64 KiB would put into one packet what takes forty elsewhere."""
_CHUNK = 64 * 1024


class ObstacleError(Exception):
    """What this machine lacks or does not allow; the text says so."""


@contextmanager
def lossy(percent: float) -> Generator[tuple[str, ...]]:
    """The words before a command that runs it where each packet is lost with a probability.

    All that is sent there comes in again through the loopback device, and there the packet filter
    drops it; dropped on its way out, its sender would be told. Both directions pass once, TCP and
    UDP alike. The device takes packets as large as those of Ethernet, and each by itself: bundles
    of segmentation offload would be lost as one.

    Raises:
        ObstacleError: It takes root, `ip`, and `nft` or `iptables`.
    """
    filters = {
        "nft": (
            "add table inet loss; "
            "add chain inet loss input { type filter hook input priority 0; }; "
            f"add rule inet loss input numgen random mod 100000 < {percent * 1000:.0f} drop",
        ),
        "iptables": (
            *("-A", "INPUT", "-m", "statistic", "--mode", "random"),
            *("--probability", str(percent / 100), "-j", "DROP"),
        ),
    }
    tool = next(filter(shutil.which, filters), None)
    if tool is None:
        raise ObstacleError("losing packets takes nft or iptables, and neither is installed")
    with _namespace() as inside:
        link = ("ip", "link", "set", "lo", "mtu", str(_MTU), "gso_max_segs", "1", "up")
        _run(*inside, *link)
        _run(*inside, tool, *filters[tool])
        yield inside


@contextmanager
def _namespace() -> Generator[tuple[str, ...]]:
    """The words before a command that runs it in a network namespace of its own.

    The namespace has no name. It is there for as long as somebody is in it, and a program that
    ends when we do, in whatever way, stays in it.
    """
    stay = ("unshare", "--net", "sh", "-c", "echo && exec cat")
    try:
        program = subprocess.Popen(
            stay,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    except FileNotFoundError:
        raise ObstacleError("losing packets takes unshare, which is not installed") from None
    with program:
        assert program.stdout is not None
        # Before that line it is where we are, and nothing may be changed there.
        if (line := program.stdout.readline()) != "\n":
            raise ObstacleError(f"losing packets takes root: {line.strip()}")
        yield ("nsenter", "--target", str(program.pid), "--net")


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise ObstacleError(f"losing packets takes {command[0]}, which is not installed") from None
    except subprocess.CalledProcessError as error:
        complaint = str(error.stderr).strip() or f"exit status {error.returncode}"
        raise ObstacleError(f"losing packets failed: {complaint}") from None


@asynccontextmanager
async def delayed(target: str, carrier: Carrier, seconds: float) -> AsyncGenerator[str]:
    """An address from which everything takes so long to the target, and back again."""
    host, _, port = target.rpartition(":")
    there = (host, int(port))
    if carrier == "udp":
        with closing(_Datagrams(there, seconds)) as way:
            yield way.address
    else:
        relay = partial(_relay, there, seconds)
        async with await asyncio.start_server(relay, "127.0.0.1", 0) as server:
            yield _spell(server.sockets[0].getsockname())


def _spell(address: Address) -> str:
    return f"{address[0]}:{address[1]}"


class _Datagrams:
    """Stands before a server. Each client has a socket of its own there, as behind a NAT."""

    def __init__(self, target: Address, seconds: float) -> None:
        self._target = target
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._front = socket.socket(type=socket.SOCK_DGRAM)
        self._front.bind(("127.0.0.1", 0))
        self._backs: dict[Address, socket.socket] = {}
        self._loop.add_reader(self._front, self._from_client)

    @property
    def address(self) -> str:
        return _spell(self._front.getsockname())

    def close(self) -> None:
        for end in (self._front, *self._backs.values()):
            self._loop.remove_reader(end)
            end.close()

    def _from_client(self) -> None:
        data, client = self._front.recvfrom(_CHUNK)
        back = self._backs.get(client)
        if back is None:
            back = self._backs[client] = socket.socket(type=socket.SOCK_DGRAM)
            back.connect(self._target)
            self._loop.add_reader(back, self._from_server, back, client)
        self._loop.call_later(self._seconds, self._send, back, data, self._target)

    def _from_server(self, back: socket.socket, client: Address) -> None:
        data = back.recv(_CHUNK)
        self._loop.call_later(self._seconds, self._send, self._front, data, client)

    @staticmethod
    def _send(end: socket.socket, data: bytes, to: Address) -> None:
        # What is late may find nobody any more, and that is no matter.
        with suppress(OSError):
            end.sendto(data, to)


async def _relay(
    target: Address, seconds: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    # TCP's own handshake ends here, at once; on a real way it takes a round trip.
    await asyncio.sleep(2 * seconds)
    back_reader, back_writer = await asyncio.open_connection(*target)
    await asyncio.gather(_late(reader, back_writer, seconds), _late(back_reader, writer, seconds))


async def _late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    with suppress(ConnectionError):
        while chunk := await reader.read(_CHUNK):
            loop.call_later(seconds, writer.write, chunk)
    loop.call_later(seconds, writer.close)
