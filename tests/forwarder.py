"""A forwarder of UDP datagrams in the test's own loop: it records, holds back and delays them."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from jetstream import SocketAddress

Address = tuple[str, int]


class _Port(asyncio.DatagramProtocol):
    """A socket whose datagrams go to a function."""

    transport: asyncio.DatagramTransport

    def __init__(self, take: Any) -> None:
        self.take = take

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self.take(data, addr)


async def port(take: Any) -> _Port:
    """A socket on loopback."""
    loop = asyncio.get_running_loop()
    _, made = await loop.create_datagram_endpoint(lambda: _Port(take), ("127.0.0.1", 0))
    return made


class Forwarder:
    """Stands between one client and a server: ``async with Forwarder(server.address) as way``.

    Args:
        target: The server.
        delay: Seconds that every datagram takes, each way.
    """

    def __init__(self, target: SocketAddress, *, delay: float = 0) -> None:
        self.target: Address = (str(target.ip), target.port)
        self.delay = delay
        self.up: list[bytes] = []
        """What the client has sent."""
        self.hold_up = False
        """Whether what the client sends is kept back."""
        self.hold_down = False
        """Whether what the server sends is kept back."""
        self._client: Address | None = None
        self._came = asyncio.Event()
        self._held_up: deque[bytes] = deque()
        self._held_down: deque[bytes] = deque()

    @property
    def address(self) -> Address:
        """Where the client connects to."""
        host, number = self._front.transport.get_extra_info("sockname")
        return str(host), int(number)

    async def until(self, enough: Callable[[], bool]) -> None:
        """Waits for datagrams of the client until there are enough."""
        while not enough():
            self._came.clear()
            await self._came.wait()

    def release_down(self) -> None:
        """Lets what the server has sent go on."""
        self.hold_down = False
        while self._held_down:
            self._send_down(self._held_down.popleft())

    def release_up(self) -> None:
        """Lets what the client has sent go on."""
        self.hold_up = False
        while self._held_up:
            self._send_up(self._held_up.popleft())

    def _from_client(self, data: bytes, addr: Address) -> None:
        self._client = addr
        self.up.append(data)
        self._came.set()
        if self.hold_up:
            self._held_up.append(data)
        else:
            self._later(self._send_up, data)

    def _from_server(self, data: bytes, addr: Address) -> None:
        if self.hold_down:
            self._held_down.append(data)
        else:
            self._later(self._send_down, data)

    def _later(self, send: Any, data: bytes) -> None:
        if self.delay:
            asyncio.get_running_loop().call_later(self.delay, send, data)
        else:
            send(data)

    def _send_up(self, data: bytes) -> None:
        self._back.transport.sendto(data, self.target)

    def _send_down(self, data: bytes) -> None:
        self._front.transport.sendto(data, self._client)

    async def __aenter__(self) -> Forwarder:
        self._front = await port(self._from_client)
        self._back = await port(self._from_server)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._front.transport.close()
        self._back.transport.close()
