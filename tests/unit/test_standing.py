"""Which address a session tries next."""

from __future__ import annotations

from typing import Any

import pytest
from jetstream import ConnectError, JetStreamError, NoSharedProtocol, Reconnect, TlsError
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
    standing = Standing(now=Clock())
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
    standing = Standing(now=Clock())
    for each in ALL:
        standing.tried(each)
    standing.reached(C, core())
    assert standing.next_of(ALL) == C


def test_one_whose_connection_is_gone_comes_last() -> None:
    standing, first = Standing(now=Clock()), core()
    standing.tried(A)
    standing.reached(A, first)
    standing.doubted(first)
    assert standing.next_of(ALL) == B
    standing.doubted(core())
    assert standing.next_of(ALL) == B, "nobody knows where that was"


def test_it_counts_for_a_minute() -> None:
    clock = Clock()
    standing = Standing(now=clock)
    standing.tried(A)
    clock.now += 59
    assert standing.next_of(ALL) == B
    clock.now += 2
    assert standing.next_of(ALL) == A
    assert not standing._tried


def test_connections_that_are_gone_are_not_kept() -> None:
    standing, gone = Standing(now=Clock()), core()
    standing.reached(A, gone)
    gone.lost = Exception()
    standing.reached(B, core())
    assert len(standing._reached) == 1


told: list[JetStreamError] = []


def known(clock: Clock) -> Standing:
    """One with three addresses, and distances of 1, 2, 4 seconds."""
    standing = Standing(Reconnect(first=1, factor=2, jitter=0, most=4), told.append, clock)
    standing.resolved(ALL)
    return standing


def reach(standing: Standing, address: Address) -> Any:
    """A connection to it."""
    found = core()
    standing.reached(address, found)
    return found


def test_one_whose_connections_end_at_once_is_left_alone_for_longer_and_longer() -> None:
    clock = Clock()
    standing = known(clock)
    for distance in (1.0, 2.0, 4.0, 4.0):
        standing.ended(reach(standing, A))
        assert standing.next_of([A]) is None
        assert standing.next_of(ALL) is not None, "others have nothing to do with it"
        assert standing.pause() == 0
        clock.now += distance - 0.001
        assert standing.next_of([A]) is None
        clock.now += 0.001
        assert standing.next_of([A]) == A


def test_the_distance_is_from_one_beginning_to_the_next() -> None:
    clock = Clock()
    standing = known(clock)
    first = reach(standing, A)
    clock.now += 0.9
    standing.ended(first)
    clock.now += 0.1
    assert standing.next_of([A]) == A


def test_a_connection_that_lasts_makes_it_good_again() -> None:
    clock = Clock()
    standing = known(clock)
    standing.ended(reach(standing, A))
    clock.now += 1
    standing.ended(reach(standing, A))
    clock.now += 2
    lasting = reach(standing, A)
    clock.now += 1
    standing.ended(lasting)
    assert standing.next_of([A]) == A, "at once"
    standing.ended(reach(standing, A))
    clock.now += 1
    assert standing.next_of([A]) == A, "from the first distance on"


def test_a_server_that_goes_away_in_order_has_done_nothing_wrong() -> None:
    clock = Clock()
    standing = known(clock)
    for _ in range(20):
        leaving = reach(standing, A)
        leaving.going_away = True
        standing.ended(leaving)
        assert standing.next_of([A]) is None, "but nobody runs in circles"
        clock.now += 0.25
        assert standing.next_of([A]) == A
    standing.ended(reach(standing, A))
    clock.now += 1
    assert standing.next_of([A]) == A, "and it has not counted"


def test_the_pause_is_until_the_first_may_be_tried() -> None:
    clock = Clock()
    standing = known(clock)
    for each in (A, A, A, B, B, C):
        standing.ended(reach(standing, each))
    assert standing.pause() == 1, "that is C"
    clock.now += 1
    assert standing.pause() == 0
    assert Standing(now=clock).pause() == 0


def test_of_addresses_that_are_no_more_nothing_is_kept() -> None:
    standing = known(Clock())
    standing.ended(reach(standing, A))
    standing.tried(B)
    standing.resolved([C])
    assert not standing._tried
    assert not standing._barred
    assert not standing._brief


@pytest.mark.parametrize("error", [TlsError("not trusted"), NoSharedProtocol("none")])
def test_one_that_refuses_is_left_alone_for_the_longest_distance(error: JetStreamError) -> None:
    clock = Clock()
    standing = known(clock)
    standing.failed(A, error)
    assert told[-1] is error
    clock.now += 3.999
    assert standing.next_of([A]) is None
    assert standing.next_of(ALL) == B
    clock.now += 0.001
    assert standing.next_of([A]) == A
    standing.failed(A, error)
    standing.forgive()
    assert standing.next_of([A]) == A


def test_one_that_does_not_answer_may_be_tried_again_at_any_time() -> None:
    standing = known(Clock())
    standing.failed(A, ConnectError("unreachable"))
    assert standing.next_of([A]) == A
