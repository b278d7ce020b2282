"""A service that must not be asked twice, and what must hold for whoever called it."""

# A service class only declares.
# mypy: disable-error-code="empty-body"

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from jetstream import U64, Interface, method, service

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@service
class Ledger(Interface):
    """Enters numbers; entering one twice is a mistake that it keeps."""

    async def enter(self, number: U64) -> U64:
        """Enters a number; answers what only this number is answered."""
        ...

    async def attach(self, number: U64, data: bytes) -> bytes:
        """Enters a number with many bytes; answers them backwards."""
        ...

    @method(idempotent=True)
    async def has(self, number: U64) -> bool:
        """Whether a number has been entered; may be asked again."""
        ...


def answer_to(number: int) -> int:
    """What `enter` answers."""
    return number * 0x9E37_79B9_7F4A_7C15 % 2**64


def data_for(number: int) -> bytes:
    """Bytes that no other number has: a hundred to some thousand."""
    return number.to_bytes(8, "big") * (10 + number % 300)


class LedgerImpl(Ledger):
    """Keeps what was entered; `note` is told of each entry before it is answered."""

    def __init__(self, note: Callable[[int], object] | None = None) -> None:
        self.entries: Counter[int] = Counter()
        self._note = note

    def _enter(self, number: int) -> None:
        self.entries[number] += 1
        if self._note is not None:
            self._note(number)

    @method
    def enter(self, number: U64) -> U64:
        self._enter(number)
        return answer_to(number)

    async def attach(self, number: U64, data: bytes) -> bytes:
        self._enter(number)
        # Some handlers wait, so that answers leave in another order than questions came.
        if number % 3 == 0:
            await asyncio.sleep(0)
        return data[::-1]

    async def has(self, number: U64) -> bool:
        return self.entries[number] > 0


async def ask(ledger: Ledger, number: int) -> None:
    """One call, whose answer must be right; every eighth has many bytes both ways."""
    if number % 8 == 7:
        data = data_for(number)
        assert await ledger.attach(number, data) == data[::-1], f"a wrong answer to {number}"
    else:
        assert await ledger.enter(number) == answer_to(number), f"a wrong answer to {number}"


async def ask_all(ledgers: Sequence[Ledger], numbers: Sequence[int], *, at_once: int) -> None:
    """Calls with each number once, `at_once` of them in flight; every answer must come."""
    todo = iter(numbers)

    async def ask_some(ledger: Ledger) -> None:
        for number in todo:
            await ask(ledger, number)

    async with asyncio.TaskGroup() as group:
        for index in range(at_once):
            group.create_task(ask_some(ledgers[index % len(ledgers)]))


def check_entries(entries: Counter[int], numbers: Sequence[int]) -> None:
    """Each of the numbers was entered exactly once, and nothing else was."""
    twice = [number for number, count in entries.items() if count > 1]
    assert not twice, f"entered twice: {twice[:10]}"
    assert set(entries) == set(numbers)
