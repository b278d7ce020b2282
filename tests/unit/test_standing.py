"""Which address a session tries next."""

from __future__ import annotations

from typing import Any

from jetstream._standing import Address, Standing

A, B, C = (("quic", (name, 1)) for name in "abc")
ALL: list[Address] = [A, B, C]


class Clock:
    """The time that a test says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Core:
    """A connection."""

    def __init__(self) -> None:
        self.lost: Exception | None = None
        self.going_away = False


def core() -> Any:
    """A connection that has come about."""
    return Core()


def test_the_first_address_is_the_best_and_one_that_was_tried_comes_last() -> None:
    standing = Standing(Clock())
    assert standing.next_of(ALL) == A
    standing.tried(A)
    assert standing.next_of(ALL) == B
    standing.tried(B)
    standing.tried(C)
    assert standing.next_of(ALL) == A, "that was the longest ago"
    standing.tried(A)
    assert standing.next_of(ALL) == B
    assert standing.next_of([]) is None


def test_one_that_answers_is_as_good_as_ever() -> None:
    standing = Standing(Clock())
    for each in ALL:
        standing.tried(each)
    standing.reached(C, core())
    assert standing.next_of(ALL) == C


def test_one_whose_connection_is_gone_comes_last() -> None:
    standing, first = Standing(Clock()), core()
    standing.tried(A)
    standing.reached(A, first)
    standing.doubted(first)
    assert standing.next_of(ALL) == B
    standing.doubted(core())
    assert standing.next_of(ALL) == B, "nobody knows where that was"


def test_it_counts_for_a_minute() -> None:
    clock = Clock()
    standing = Standing(clock)
    standing.tried(A)
    clock.now += 59
    assert standing.next_of(ALL) == B
    clock.now += 2
    assert standing.next_of(ALL) == A
    assert not standing._tried


def test_connections_that_are_gone_are_not_kept() -> None:
    standing, gone = Standing(Clock()), core()
    standing.reached(A, gone)
    gone.lost = Exception()
    standing.reached(B, core())
    assert len(standing._reached) == 1
