"""When attempts to connect are made, and what is waited for meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import math
from typing import TYPE_CHECKING, Any

import pytest
from jetstream import (
    ClosedError,
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    NoSharedProtocol,
    Reconnect,
    SessionRefused,
    TlsConfigError,
    TlsError,
)
from jetstream._addresses import each_address
from jetstream._attempts import Attempts
from jetstream._reconnect import can_heal
from jetstream._states import States

from tests.helpers import run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def middle(low: float, high: float) -> float:
    """No jitter."""
    return (low + high) / 2


def take(options: Reconnect, count: int, uniform: Callable[[float, float], float]) -> list[float]:
    """The first distances."""
    return list(itertools.islice(options.distances(uniform), count))


def test_distances_grow_by_the_factor_to_the_most() -> None:
    options = Reconnect(first=1.0, factor=2.0, most=5.0)
    assert take(options, 5, middle) == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert take(options, 2, middle) == [1.0, 2.0], "each loss begins anew"


def test_jitter_is_a_part_of_each_distance() -> None:
    options = Reconnect(first=1.0, factor=2.0, most=5.0, jitter=0.2)
    assert take(options, 4, lambda low, _: low) == pytest.approx([0.8, 1.6, 3.2, 4.0])
    assert take(options, 4, lambda _, high: high) == pytest.approx([1.2, 2.4, 4.8, 6.0])
    for distance, exact in zip(options.distances(), [1.0, 2.0, 4.0, 5.0], strict=False):
        assert 0.8 * exact <= distance <= 1.2 * exact


def test_a_server_that_was_away_for_long_is_asked_about_once_a_second() -> None:
    begun = list(itertools.accumulate(take(Reconnect(), 40, middle), initial=0.0))
    # QUIC asks again a second after the first time, and then after twice as long.
    asked = sorted(when + more for when in begun for more in (0.0, 1.0, 3.0))
    gaps = [later - sooner for sooner, later in itertools.pairwise(asked) if later < begun[-1]]
    assert max(gaps) <= 1.0 + 1e-9


def test_distances_never_overflow() -> None:
    distances = Reconnect(first=0.05, factor=1e300, most=5.0).distances(middle)
    assert all(math.isfinite(next(distances)) for _ in range(10_000))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"first": 0}, "first=0"),
        ({"first": -1.0}, "more than 0"),
        ({"factor": 0.5}, "at least 1"),
        ({"most": math.inf}, "most=inf"),
        ({"most": math.nan}, "most=nan"),
        ({"jitter": 1.5}, "from 0 to 1"),
        ({"attempts": 0}, "at least 1, or None"),
        ({"patience": 0}, "patience"),
        ({"probe": 0}, "probe=0.*more than 0, or None"),
        ({"probe": True}, "probe=True"),
        ({"patience": None}, r"patience=None\): it must be more than 0$"),
        ({"first": None}, "first=None"),
        ({"factor": None}, "factor=None.*at least 1"),
        ({"first": "1"}, "first='1'"),
        ({"most": 10**400}, "most=1000"),
        ({"attempts": 2.5}, "attempts=2.5.*at least 1, or None"),
        ({"attempts": True}, "attempts=True"),
    ],
)
def test_numbers_out_of_range(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Reconnect(**changes)


def test_numbers_at_the_edge() -> None:
    Reconnect(factor=1.0, jitter=0.0, attempts=1, probe=None)
    Reconnect(jitter=1.0)


@pytest.mark.parametrize(
    ("error", "heals", "later"),
    [
        (ConnectTimeout("no answer"), True, True),
        (ConnectError("the name cannot be resolved"), True, True),
        (ConnectionLost("reset"), True, True),
        (OSError("unreachable"), True, True),
        (TlsError("refused"), False, True),
        (NoSharedProtocol("none"), False, True),
        (SessionRefused("a bad token", status=401), False, False),
        (SessionRefused("no such path", status=404), False, False),
        (SessionRefused("too many", status=429), True, True),
        (SessionRefused("in trouble", status=503), True, True),
        (TlsConfigError("no such file"), False, False),
        (ClosedError("the client is closed"), False, False),
        (ConnectError("no name", code="jetstream::server_name"), False, False),
        (RuntimeError("a mistake of ours"), False, False),
    ],
)
def test_what_another_attempt_may_change(error: BaseException, heals: bool, later: bool) -> None:
    assert can_heal(error) is heals
    assert can_heal(error, was_ready=True) is later


@pytest.mark.parametrize(
    ("addresses", "each"),
    [
        ("a:1", ["a:1"]),
        (("a", 1), [("a", 1)]),
        (["a", 1], [["a", 1]]),
        (["a:1", "b:2"], ["a:1", "b:2"]),
        (("a:1", "b:2"), ["a:1", "b:2"]),
        ([("a", 1), "b:2"], [("a", 1), "b:2"]),
        ([], []),
    ],
)
def test_one_address_or_several(addresses: Any, each: list[Any]) -> None:
    assert list(each_address(addresses)) == each


# ---- states ----


def test_whoever_waits_for_a_state_gets_it_though_it_has_passed() -> None:
    async def main() -> None:
        states = States("connecting")
        ready = asyncio.ensure_future(states.wait_for("ready"))
        never = asyncio.ensure_future(states.wait_for("unavailable"))
        end = asyncio.ensure_future(states.wait_for("closed"))
        await asyncio.sleep(0)
        assert states.change("ready")
        assert not states.change("ready")
        assert states.change("connecting")
        assert await ready
        assert states.change("closed")
        assert not states.change("ready"), "that was the last"
        assert not await never
        assert await end
        assert not await states.wait_for("ready")
        assert states.now == "closed"

    run(main)


def test_waiting_can_be_given_up() -> None:
    async def main() -> None:
        states = States("connecting")
        waits = asyncio.ensure_future(states.wait_for("ready"))
        await asyncio.sleep(0)
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)
        assert states.change("ready")
        assert not states._waiters

    run(main)


def test_followers_see_each_state_or_the_latest() -> None:
    async def main() -> None:
        states = States("connecting")
        quick: list[str] = []

        async def follow() -> None:
            async for state in states.follow():
                quick.append(state)

        following = asyncio.ensure_future(follow())
        slow = states.follow()
        assert await anext(slow) == "connecting"
        for state in ("ready", "connecting", "unavailable", "ready"):
            await asyncio.sleep(0)
            states.change(state)  # type: ignore[arg-type]
        assert await anext(slow) == "ready"
        await asyncio.sleep(0)
        states.change("closed")
        await following
        assert quick == ["connecting", "ready", "connecting", "unavailable", "ready", "closed"]
        assert [state async for state in slow] == ["closed"]

    run(main)


# ---- attempts ----


class Core:
    """A connection that came about."""

    def __init__(self) -> None:
        self.closed = False

    def close(self, code: int, reason: bytes) -> None:
        self.closed = True


class Dialling:
    """Attempts that end as a test wants."""

    def __init__(self) -> None:
        self.attempts: list[asyncio.Future[Any]] = []
        self.begun = asyncio.Semaphore(0)
        self.cancelled = 0

    async def dial(self) -> Any:
        attempt: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.attempts.append(attempt)
        self.begun.release()
        try:
            return await attempt
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def wait(self, count: int) -> None:
        """Waits for so many more attempts."""
        for _ in range(count):
            await self.begun.acquire()


def attempts(
    dialling: Dialling, distance: float = 0.0, limit: int | None = None, **options: Any
) -> Attempts:
    dial: Callable[[], Awaitable[Any]] = dialling.dial
    return Attempts(dial, itertools.repeat(distance), limit, **options)


def test_attempts_run_beside_each_other_and_the_first_to_succeed_wins(loop: str) -> None:
    async def main() -> None:
        dialling = Dialling()
        running = asyncio.ensure_future(attempts(dialling, 0.001).run())
        await dialling.wait(3)
        winner = Core()
        dialling.attempts[1].set_result(winner)
        assert await running is winner
        assert dialling.cancelled == len(dialling.attempts) - 1
        assert not winner.closed
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main, loop=loop)


def test_only_so_many_attempts_run_at_once() -> None:
    async def main() -> None:
        dialling = Dialling()
        running = asyncio.ensure_future(attempts(dialling, 0.001).run())
        await dialling.wait(10)
        open_ones = [attempt for attempt in dialling.attempts if not attempt.done()]
        assert len(open_ones) <= 4
        assert open_ones == dialling.attempts[-len(open_ones) :], "the oldest are given up"
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    run(main)


def test_a_second_connection_is_closed() -> None:
    async def main() -> None:
        dialling = Dialling()
        running = asyncio.ensure_future(attempts(dialling, 0.001).run())
        await dialling.wait(2)
        one, other = Core(), Core()
        dialling.attempts[0].set_result(one)
        dialling.attempts[1].set_result(other)
        winner: Any = await running
        await asyncio.sleep(0)
        assert {one.closed, other.closed} == {False, True}
        assert not winner.closed

    run(main)


def test_a_failure_waits_for_its_distance_and_one_that_cannot_heal_does_not() -> None:
    async def main() -> None:
        dialling = Dialling()
        made = attempts(dialling, 3600.0)
        running = asyncio.ensure_future(made.run())
        await dialling.wait(1)
        failure = ConnectError("refused")
        dialling.attempts[0].set_exception(failure)
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(dialling.attempts) == 1
        assert made.error is failure
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        again = asyncio.ensure_future(attempts(dialling, 3600.0).run())
        await dialling.wait(1)
        dialling.attempts[1].set_exception(TlsError("not trusted"))
        with pytest.raises(TlsError):
            await again

    run(main)


def test_the_last_attempt_tells_why() -> None:
    async def main() -> None:
        dialling = Dialling()
        running = asyncio.ensure_future(attempts(dialling, 0.001, limit=2).run())
        await dialling.wait(2)
        dialling.attempts[0].set_exception(ConnectError("one"))
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert not running.done(), "the second still runs"
        dialling.attempts[1].set_exception(ConnectError("two"))
        with pytest.raises(ConnectError, match="two"):
            await running
        assert len(dialling.attempts) == 2

    run(main)


def test_the_first_attempt_may_have_to_wait() -> None:
    async def main() -> None:
        dialling = Dialling()
        running = asyncio.ensure_future(attempts(dialling, 3600.0).run(after=3600.0))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not dialling.attempts
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    run(main)


def test_an_attempt_can_be_hurried() -> None:
    async def main() -> None:
        dialling = Dialling()
        made = attempts(dialling, 3600.0, pause=lambda: 3600.0)
        running = asyncio.ensure_future(made.run())
        for count in (1, 2, 3):
            await asyncio.sleep(0)
            made.hurry()
            await dialling.wait(1)
            assert len(dialling.attempts) == count
        winner = Core()
        dialling.attempts[0].set_result(winner)
        assert await running is winner

    run(main)


def test_no_attempt_begins_in_a_pause() -> None:
    async def main() -> None:
        dialling, pauses = Dialling(), [0.0]
        made = attempts(dialling, 0.001, pause=lambda: pauses[0])
        running = asyncio.ensure_future(made.run())
        await dialling.wait(1)
        pauses[0] = 0.001
        for _ in range(20):
            await asyncio.sleep(0.001)
        count = len(dialling.attempts)
        assert count <= 2, "one that had begun"
        winner = Core()
        dialling.attempts[0].set_result(winner)
        assert await running is winner, "what runs goes on"

    run(main)


@pytest.mark.parametrize("steps", range(12))
def test_giving_up_closes_what_comes_about(steps: int) -> None:
    async def main() -> None:
        dialling, core = Dialling(), Core()
        running = asyncio.ensure_future(attempts(dialling, 0.001).run())
        await dialling.wait(1)
        dialling.attempts[0].set_result(core)
        for _ in range(steps):
            await asyncio.sleep(0)
        running.cancel()
        (end,) = await asyncio.gather(running, return_exceptions=True)
        await asyncio.sleep(0)
        assert end is core or core.closed, "nobody owns it"
        # Another attempt may have begun, and ends now.
        if others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)

    run(main)
