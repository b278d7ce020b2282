"""A service whose methods must not run twice, with what was run, and handlers that can be held."""

# A service class only declares.
# mypy: disable-error-code="empty-body"

from __future__ import annotations

import asyncio
from collections import Counter

from jetstream import U64, Done, Interface, Subscription, method, service


@service
class Tally(Interface):
    """Counts."""

    async def add(self, number: U64) -> U64:
        """Counts a number, once."""
        ...

    @method(idempotent=True)
    async def put(self, number: U64) -> U64:
        """Notes a number, as often as you like."""
        ...

    async def hold(self, number: U64) -> U64:
        """Counts a number, and answers when the gate opens."""
        ...

    @method(idempotent=True)
    async def hold_again(self, number: U64) -> U64:
        """Notes a number, and answers when the gate opens."""
        ...

    def count(self, to: U64) -> Subscription[U64, str]:
        """Numbers from 0, and the server's name."""
        ...

    async def whose(self) -> str:
        """The server's name."""
        ...


class TallyImpl(Tally):
    """Counts in a counter that several servers may share."""

    def __init__(self, counts: Counter[int] | None = None, name: str = "") -> None:
        self.counts: Counter[int] = Counter() if counts is None else counts
        self.name = name
        self.gate = asyncio.Event()
        self.arrived: asyncio.Queue[int] = asyncio.Queue()

    @method
    def add(self, number: U64) -> U64:
        self.counts[number] += 1
        return number

    async def put(self, number: U64) -> U64:
        self.counts[number] += 1
        return number

    async def hold(self, number: U64) -> U64:
        self.counts[number] += 1
        self.arrived.put_nowait(number)
        await self.gate.wait()
        return number

    async def hold_again(self, number: U64) -> U64:
        return await self.hold(number)

    async def count(self, to: U64) -> Subscription[U64, str]:
        for number in range(to):
            yield number
        yield Done(self.name)

    async def whose(self) -> str:
        return self.name
