"""A server of HTTP under attack, and a bystander that must not notice."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from tests.helpers import PATIENCE, resident
from tests.http.raw_h3 import Closed, attached
from tests.http.serving import client, server, tls

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

    import httpx
    from jetstream.http import HttpServer

    from tests.http.raw_h3 import Peer

T = TypeVar("T")


@dataclass
class Site:
    """An application whose paths say how it answers, and what it was asked."""

    whole: list[str] = field(default_factory=list)
    """Paths of the requests that it saw to their end."""
    running: int = 0
    most: int = 0
    """Requests that it was ever at at once."""
    given: int = 0
    """Bytes of answers that `send` has taken."""
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if scope["type"] == "websocket":
                await self._talk(receive, send)
            else:
                await self._answer(scope["path"], receive, send)
        finally:
            self.running -= 1

    async def _talk(self, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] != "websocket.disconnect":
            await send({**message, "type": "websocket.send"})

    async def _answer(self, path: str, receive: Any, send: Any) -> None:
        if path == "/late":
            # Nor does it notice that nobody waits any more.
            await self.go.wait()
        if path == "/unread":
            # Whoever asks for this is not listened to, and not answered.
            await asyncio.get_running_loop().create_future()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            more = message.get("more_body", False)
        self.whole.append(path)
        if path == "/wait":
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        await send({"type": "http.response.start", "status": 200})
        if path == "/endless":
            with contextlib.suppress(OSError):
                while True:
                    await send(
                        {"type": "http.response.body", "body": bytes(64 << 10), "more_body": True}
                    )
                    self.given += 64 << 10
        await send({"type": "http.response.body", "body": path.encode()})


@dataclass
class Attacked:
    """Who takes part."""

    server: HttpServer
    site: Site
    bystander: Peer
    others: AsyncExitStack

    async def unharmed(self) -> None:
        """The bystander is answered."""
        assert (await self.bystander.get(b"/well")).body == b"/well"

    async def renew(self) -> None:
        """Another bystander, where the first has been silent for too long."""
        self.bystander = await self.others.enter_async_context(attached(self.server))
        await self.unharmed()

    async def meanwhile(self, waiting: Coroutine[Any, Any, T]) -> T:
        """Waits, and the bystander is answered all the while."""
        task = asyncio.ensure_future(waiting)
        while not task.done():
            await self.unharmed()
        return await task

    async def flood(self, peer: Peer, more: Callable[[int], object], rounds: int = 1000) -> int:
        """Does it again and again until the server has had enough: why.

        Args:
            peer: Who does it.
            more: One round of it.
            rounds: After which it goes on for ever.
        """
        with contextlib.suppress(Closed):
            for number in range(rounds):
                more(number)
                await peer.turn()
                if peer.closed is not None:
                    break
                if number % 10 == 0:
                    await self.unharmed()
        assert peer.closed is not None, "it goes on for ever"
        return await peer.close_code()

    async def settled(self) -> None:
        """Waits until nothing runs any more."""
        async with asyncio.timeout(PATIENCE):
            while self.site.running:
                await self.unharmed()


@asynccontextmanager
async def under_attack(slack: int = 32 << 20, **options: Any) -> AsyncGenerator[Attacked]:
    """A server and its bystander, who is answered before and after, as is a newcomer.

    Args:
        slack: Bytes by which this process may grow meanwhile.
        **options: For the server.
    """
    site = Site()
    options = {"lifespan": "off", "graceful_timeout": 0, **options}
    async with (
        server(site, tls=tls(), **options) as running,
        attached(running) as bystander,
        AsyncExitStack() as others,
    ):
        bystander.begin()
        attacked = Attacked(running, site, bystander, others)
        await attacked.unharmed()
        before = resident()
        yield attacked
        assert resident() - before < slack
        await asyncio.gather(*[attacked.unharmed() for _ in range(20)])
        async with attached(running) as newcomer:
            assert (await newcomer.get(b"/new")).body == b"/new"


@asynccontextmanager
async def over_tcp(version: str, attacked: Attacked) -> AsyncGenerator[httpx.AsyncClient]:
    """A bystander of HTTP/1.1 or HTTP/2, who is answered before and after."""
    async with client(version, attacked.server) as bystander:
        assert (await bystander.get("/before")).text == "/before"
        yield bystander
        assert (await bystander.get("/after")).text == "/after"
