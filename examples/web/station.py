"""What the page and its server say: the page calls `Station`, the server calls `Page`.

`jetstream gen ts` makes `src/api` of the two classes. The wind is made up; everything else is not.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from jetstream import (
    F64,
    I32,
    INJECTED,
    U16,
    U32,
    Context,
    Feed,
    Interface,
    JetStreamError,
    Session,
    Subscription,
    TokenPeer,
    method,
    service,
)

EVERY = 0.25
"""Seconds between two readings of the wind."""

KEPT = 240
"""How many of them who comes new is told first: those of the last minute."""

PATIENCE = 5.0
"""Seconds that a page gets to answer when it is called."""

log = logging.getLogger("example")


@dataclass(frozen=True)
class Reading:
    """The wind at one moment."""

    at: datetime
    speed: F64
    """Metres per second."""
    direction: U16
    """Where it comes from, in degrees: 270 is west."""


@dataclass(frozen=True)
class Visit:
    """What the server knows of who calls."""

    name: str | None
    """The name in the token; none for somebody who showed none, over QUIC itself."""
    expires: datetime | None
    """When the token ends, and the session with it."""
    remote: str
    """From which address the page came."""
    protocol: str
    """The protocol of the connection."""


@service
class Station(Interface, Protocol):
    """A place where the wind is measured, high above."""

    @method(idempotent=True)
    async def ping(self) -> None:
        """Does nothing, there and back."""

    @method(idempotent=True)
    async def add(self, a: I32, b: I32) -> I32:
        """Adds two numbers; the sum must fit into 32 bits, too."""
        ...

    @method(idempotent=True)
    async def who_am_i(self) -> Visit:
        """Who the server takes the caller for."""
        ...

    @method(idempotent=True)
    def wind(self, after: datetime | None = None) -> Subscription[Reading, None]:
        """The readings of the last minute, or those after a moment, then each as it comes."""
        ...

    @method(idempotent=True)
    async def watch(self, above: F64) -> None:
        """Has the server call `Page.gust` whenever the wind rises over so many m/s."""

    async def wave(self) -> U32:
        """Has the server call `Page.waved` on every page that is open; how many answered."""
        ...

    async def hang_up(self) -> None:
        """Has the server end the session, for whoever wants to see that pages come again."""


@service
class Page(Interface, Protocol):
    """What a page serves: the server calls it on the session that the page opened."""

    async def gust(self, reading: Reading) -> None:
        """The wind rose over what the page watches for."""

    async def waved(self, by: str) -> None:
        """Somebody waved to everybody."""


class Weather:
    """A jet stream that wanders about 52 m/s, and gusts now and then."""

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed)
        self._steps = 0
        self._drift = 0.0
        self._gust = 0.0
        self._turn = 0.0

    def next(self, at: datetime) -> Reading:
        """The wind a step later."""
        draw = self._random.gauss
        self._steps += 1
        self._drift += -0.02 * self._drift + draw(0, 0.55)
        self._gust = 0.9 * self._gust + (self._random.uniform(4, 9) if draw(0, 1) > 2.4 else 0)
        self._turn += -0.01 * self._turn + draw(0, 0.9)
        swell = 5 * math.sin(self._steps / 47) + 2.5 * math.sin(self._steps / 13)
        speed = 52 + swell + self._drift + self._gust + draw(0, 0.5)
        direction = 262 + 14 * math.sin(self._steps / 150) + self._turn
        return Reading(at, round(max(0.0, speed), 2), round(direction) % 360)


class StationImpl(Station):
    """Measures, and calls the pages that want to know."""

    def __init__(self, weather: Weather | None = None) -> None:
        self._weather = weather or Weather()
        self._feed: Feed[Reading] = Feed(max_items=KEPT)
        self._pages: dict[Session, float] = {}
        self._endings: set[asyncio.Task[None]] = set()
        self._speed = 0.0

    async def blow(self) -> None:
        """Measures until it is cancelled."""
        try:
            async with asyncio.TaskGroup() as warnings:
                while True:
                    self.measure(datetime.now(UTC), warnings)
                    await asyncio.sleep(EVERY)
        finally:
            self._feed.close()

    def measure(self, at: datetime, warnings: asyncio.TaskGroup) -> None:
        """Takes one reading, and warns the pages that it concerns."""
        # As exact as times are on the wire, so that they can be compared when they come back.
        reading = self._weather.next(at.replace(microsecond=at.microsecond // 1000 * 1000))
        before, self._speed = self._speed, reading.speed
        self._feed.publish(reading)
        for session, above in self._open_pages():
            if before <= above < reading.speed:
                page = session.channel(Page, timeout=PATIENCE)
                warnings.create_task(answered(page.gust(reading)))

    def _open_pages(self) -> list[tuple[Session, float]]:
        for session in [each for each in self._pages if each.closed is not None]:
            del self._pages[session]
        return list(self._pages.items())

    @method
    async def ping(self) -> None: ...

    @method
    async def add(self, a: I32, b: I32) -> I32:
        total = a + b
        if not -(2**31) <= total < 2**31:
            raise JetStreamError(
                f"{total:,} does not fit into 32 bits",
                code="station::too_large",
                help="add smaller numbers",
            )
        return total

    @method
    async def who_am_i(self, ctx: Context = INJECTED) -> Visit:
        shown = ctx.peer if isinstance(ctx.peer, TokenPeer) else None
        return Visit(
            name=shown.subject if shown else None,
            expires=shown.expires if shown else None,
            remote=str(ctx.remote),
            protocol=ctx.protocol or "none",
        )

    @method
    async def wind(self, after: datetime | None = None) -> AsyncIterator[Reading]:
        async for _, reading in self._feed.subscribe(self._feed.oldest):
            if after is None or reading.at > after:
                yield reading

    @method
    async def watch(self, above: F64, ctx: Context = INJECTED) -> None:
        self._pages[ctx.session] = above

    @method
    async def wave(self, ctx: Context = INJECTED) -> U32:
        name = ctx.peer.subject if isinstance(ctx.peer, TokenPeer) else "somebody"
        pages = [session.channel(Page, timeout=PATIENCE) for session, _ in self._open_pages()]
        calls = [answered(page.waved(name)) for page in pages]
        return sum(await asyncio.gather(*calls))

    @method
    async def hang_up(self, ctx: Context = INJECTED) -> None:
        # Not before the answer has left.
        ending = asyncio.create_task(ctx.session.close(reason="asked for"))
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)


async def answered(call: Awaitable[None]) -> bool:
    """Whether a page answered: it may be gone, and nobody else is to suffer from that."""
    try:
        await call
    except JetStreamError as error:
        log.info("a page did not answer: %s", error)
        return False
    return True
