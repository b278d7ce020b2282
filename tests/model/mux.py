"""Calls on a lane once more, to be read: which tag is whose, who waits, what a reply means.

Neither end knows time or bytes here. `Caller` does not say which free tag a call takes, only that
it is one of `free_tags`: the caller under test chooses, and tells with `took`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from tests.model.frame import RERROR, TVERSION


class BrokenError(Exception):
    """The peer broke the rules of calls; the lane is over, and every call with it."""


@dataclass
class Call:
    """One call, known by its number."""

    number: int
    reply: int
    """The type that its result must have."""
    abandoned: bool = False
    """Nobody waits for it any more; its tag stays taken until the reply has come."""


@dataclass
class Caller:
    """The end that asks."""

    most: int
    """Tags that may be taken at once."""
    open: bool = False
    """Whether the version is agreed; until then everybody waits."""
    held: dict[int, Call] = field(default_factory=dict[int, Call])
    """Who has which tag, those in quarantine included."""
    waiting: deque[Call] = field(default_factory=deque[Call])
    """Who has none yet, first come, first served."""

    def free_tags(self) -> set[int]:
        return set(range(self.most)) - self.held.keys()

    def next_to_send(self) -> Call | None:
        """The call that is given a tag now, if anybody is."""
        return self.waiting[0] if self.open and self.waiting and self.free_tags() else None

    def call(self, number: int, reply: int) -> None:
        self.waiting.append(Call(number, reply))

    def took(self, tag: int) -> Call:
        """The first that waits was given this tag."""
        assert tag in self.free_tags(), f"tag {tag} is taken, or none of {self.most}"
        call = self.waiting.popleft()
        self.held[tag] = call
        return call

    def abandon(self, number: int) -> None:
        for call in list(self.waiting):
            if call.number == number:
                self.waiting.remove(call)
        for call in self.held.values():
            call.abandoned |= call.number == number

    def reply(self, kind: int, tag: int) -> Call:
        """The call that this reply ends; its tag is free again.

        Raises:
            BrokenError: Nobody asked for it.
        """
        call = self.held.get(tag)
        if call is None or kind not in (call.reply, RERROR):
            raise BrokenError
        return self.held.pop(tag)

    def live(self) -> list[int]:
        """Calls that somebody waits for: the ones that fail when the lane goes."""
        calls = [*self.held.values(), *self.waiting]
        return sorted(call.number for call in calls if not call.abandoned)


@dataclass
class Callee:
    """The end that answers."""

    methods: int
    running: set[int] = field(default_factory=set[int])
    """Tags of requests that have not been answered."""

    def request(self, kind: int, tag: int) -> int | Literal["unknown"]:
        """The method that this frame asks for; one that does not exist is answered with a fault.

        Raises:
            BrokenError: The frame is no request, or its tag is taken.
        """
        method, is_reply = divmod(kind - TVERSION - 2, 2)
        if method < 0 or is_reply or tag in self.running:
            raise BrokenError
        if method >= self.methods:
            return "unknown"
        self.running.add(tag)
        return method

    def answered(self, tag: int) -> None:
        self.running.remove(tag)
