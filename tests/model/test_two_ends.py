"""Our client and our server over a way that loses datagrams, whatever happens in whatever order:
calls, cancellation, deadlines, subscriptions, loss, other addresses, connections that are cut.

What must hold is a handful of lines: a call is answered with what only it is answered, or fails in
one of the ways that what has happened to it allows; what may not run twice does not; a subscription
has no gap; and nothing is left when all is over."""

# A service class only declares.
# mypy: disable-error-code="empty-body"

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from jetstream import (
    U64,
    Client,
    ConnectionLost,
    DeadlineExceeded,
    Done,
    Interface,
    Limits,
    Reconnect,
    Subscription,
    method,
    service,
    with_options,
)

from tests.faults.ledger import answer_to
from tests.faults.proxy import Faults, Proxy
from tests.helpers import PATIENCE, client_tls, live_objects, serve

if TYPE_CHECKING:
    from jetstream import Server, Session

T = TypeVar("T")

SWIFT = Reconnect(first=0.01, most=0.05, patience=PATIENCE)
PATIENT = Limits(idle_timeout=60.0, handshake_timeout=60.0)
WINDOW = 64
"""Items that a subscription gives: more than are taken at once, fewer than anybody waits for."""

LOST = "connection"
CANCELLED = "cancelled"
LATE = "deadline"

picks = st.integers(0, 1_000)


@service
class Book(Interface):
    """What may happen to a call."""

    async def enter(self, number: U64) -> U64:
        """Enters a number, which may be done once."""
        ...

    async def hold(self, number: U64) -> U64:
        """The same, and answers when it is let go."""
        ...

    async def settle(self) -> None:
        """Answers when the handshake is over at both ends: it may not come in early data."""
        ...

    @method(idempotent=True)
    async def look(self, number: U64) -> U64:
        """Answers the same however often it is asked."""
        ...

    def items(self, first: U64) -> Subscription[U64, U64]:
        """So many numbers from `first` on, and how many there were."""
        ...


class BookImpl(Book):
    """Keeps what was entered, and who waits."""

    def __init__(self) -> None:
        self.entered: Counter[int] = Counter()
        self.gates: dict[int, asyncio.Event] = {}
        self.running = 0

    def gate(self, number: int) -> asyncio.Event:
        return self.gates.setdefault(number, asyncio.Event())

    async def enter(self, number: U64) -> U64:
        self.entered[number] += 1
        return answer_to(number)

    async def hold(self, number: U64) -> U64:
        self.entered[number] += 1
        self.running += 1
        try:
            await self.gate(number).wait()
            return answer_to(number)
        finally:
            self.running -= 1

    async def settle(self) -> None:
        pass

    async def look(self, number: U64) -> U64:
        await asyncio.sleep(0)
        return answer_to(number)

    async def items(self, first: U64) -> AsyncGenerator[U64 | Done[U64]]:
        self.running += 1
        try:
            for number in range(first, first + WINDOW):
                yield number
            yield Done(WINDOW)
        finally:
            self.running -= 1


@dataclass
class Begun:
    """A call, and how it may end beside being answered."""

    number: int
    task: asyncio.Task[int]
    once: bool
    """It may not run twice, so it fails when its connection is lost."""
    held: bool = False
    may: set[str] = field(default_factory=set)


@dataclass
class Taken:
    """A subscription, and which item comes next."""

    items: Subscription[int, int]
    first: int
    next: int
    cut: bool = False
    """Its connection may be lost, which ends it."""


class TwoEnds(RuleBasedStateMachine):
    """A server, a proxy and a session that stays up, and what must have come of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.before = live_objects()
        self.runner = asyncio.Runner()
        self.complaints: list[dict[str, Any]] = []
        self.numbers = 0
        self.calls: list[Begun] = []
        self.taken: list[Taken] = []
        self.answered: set[int] = set()
        self.server: Server | None = None
        self.fresh = True
        """The connection may be one whose handshake is not over at the server."""
        self.cut_after = 0
        """The last call that a connection may have taken with it: its end may never be told."""

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(asyncio.wait_for(main, PATIENCE))

    # ---- the two ends ----

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.impl = BookImpl()
        self.run(self.connect(seed))

    async def connect(self, seed: int) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, told: self.complaints.append(told))
        self.server = serve(self.impl, limits=PATIENT)
        await self.server.start()
        self.proxy = Proxy(("127.0.0.1", self.server.address.port), seed=seed)
        self.proxy.__enter__()
        self.client = Client(client_tls(), limits=PATIENT)
        self.session: Session = await self.client.session(
            self.proxy.address, "localhost", reconnect=SWIFT, call_timeout=PATIENCE
        )
        self.book = self.session.channel(Book)

    def number(self) -> int:
        self.numbers += 1
        return self.numbers

    def start(self, call: Coroutine[Any, Any, int], begun: Begun) -> None:
        async def begin() -> None:
            begun.task = asyncio.ensure_future(call)
            # So that it has left, or waits for its turn.
            await asyncio.sleep(0)

        self.run(begin())
        self.calls.append(begun)

    # ---- what may happen ----

    @rule(again=st.booleans())
    def call(self, again: bool) -> None:
        number = self.number()
        call = self.book.look(number) if again else self.book.enter(number)
        self.start(_answer(call), Begun(number, _NONE, once=not again))

    @rule()
    def hold(self) -> None:
        number = self.number()
        self.start(_answer(self.book.hold(number)), Begun(number, _NONE, once=True, held=True))

    @rule(seconds=st.sampled_from([0.001, 0.02]))
    def be_late(self, seconds: float) -> None:
        number = self.number()
        call = with_options(self.book, timeout=seconds).hold(number)
        self.start(_answer(call), Begun(number, _NONE, once=True, held=True, may={LATE}))

    @precondition(lambda self: any(call.held for call in self.calls))
    @rule(pick=picks)
    def let_go(self, pick: int) -> None:
        held = [call for call in self.calls if call.held]
        call = held[pick % len(held)]
        call.held = False
        self.impl.gate(call.number).set()

    @precondition(lambda self: self.calls)
    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        call = self.calls[pick % len(self.calls)]
        call.may.add(CANCELLED)
        call.task.cancel()

    @rule()
    def subscribe(self) -> None:
        first = self.number() * 1_000
        self.taken.append(Taken(self.book.items(first), first, first))

    @precondition(lambda self: self.taken)
    @rule(pick=picks, count=st.integers(1, 2 * WINDOW))
    def take(self, pick: int, count: int) -> None:
        taken = self.taken[pick % len(self.taken)]
        if not self.run(self.take_some(taken, count)):
            self.taken.remove(taken)

    async def take_some(self, taken: Taken, count: int) -> bool:
        """Takes items; false when there are no more."""
        for _ in range(count):
            try:
                item = await anext(taken.items)
            except StopAsyncIteration:
                assert taken.next == taken.first + WINDOW
                assert taken.items.result == WINDOW
                return False
            except ConnectionLost:
                assert taken.cut
                return False
            assert item == taken.next, "a gap, or one twice"
            taken.next += 1
        return True

    @precondition(lambda self: self.taken)
    @rule(pick=picks)
    def leave(self, pick: int) -> None:
        taken = self.taken.pop(pick % len(self.taken))
        self.run(_leave(taken.items))

    @rule(loss=st.sampled_from([0.0, 0.02, 0.1]), reordering=st.sampled_from([0.0, 0.1]))
    def spoil_the_way(self, loss: float, reordering: float) -> None:
        self.proxy.change(Faults(loss=loss, reordering=reordering, duplication=reordering))

    @rule()
    def move(self) -> None:
        """The client has another address, which QUIC allows after the handshake (RFC 9000, 9)."""
        if self.fresh:
            self.run(self.settle())
        self.proxy.rebind()

    async def settle(self) -> None:
        while self.fresh:
            # What was cut may be found out by this.
            with contextlib.suppress(ConnectionLost):
                await self.book.settle()
                self.fresh = False

    @rule()
    def cut(self) -> None:
        """The connection is lost without a word."""
        self.proxy.change(Faults())
        for call in self.calls:
            if call.once:
                call.may.add(LOST)
        for taken in self.taken:
            taken.cut = True
        self.fresh = True
        self.cut_after = self.numbers

        async def lose() -> None:
            core: Any = self.session._core  # pyright: ignore[reportPrivateUsage]
            core.give_up()
            await asyncio.sleep(0)

        self.run(lose())

    @rule()
    def catch_up(self) -> None:
        """All calls that can end do."""
        going = [call for call in self.calls if not call.held or call.may]
        self.calls = [call for call in self.calls if call not in going]
        for call in going:
            if call.held and not call.may & {CANCELLED, LATE}:
                # Its connection was lost, or it has not left and goes on with the next.
                self.impl.gate(call.number).set()
            self.run(self.check(call))

    async def check(self, call: Begun) -> None:
        try:
            answer = await call.task
        except asyncio.CancelledError:
            assert CANCELLED in call.may
        except DeadlineExceeded:
            assert LATE in call.may
        except ConnectionLost:
            assert LOST in call.may
        else:
            assert answer == answer_to(call.number)
            self.answered.add(call.number)

    # ---- what must hold ----

    @invariant()
    def nothing_runs_twice(self) -> None:
        if self.server is not None:
            assert all(count == 1 for count in self.impl.entered.values()), self.impl.entered

    @invariant()
    def nobody_complains(self) -> None:
        assert not self.complaints, self.complaints

    def teardown(self) -> None:
        try:
            if self.server is not None:
                self.run(self.end())
        finally:
            self.runner.close()
        self.calls.clear()
        self.taken.clear()
        if self.server is not None:
            del self.server, self.client, self.session, self.book, self.impl
        assert live_objects() == self.before

    async def end(self) -> None:
        assert self.server is not None
        try:
            await self.end_all()
        finally:
            await self.session.close()
            await self.client.close()
            await self.server.close()
            self.proxy.__exit__(None, None, None)
        self.nobody_complains()

    async def end_all(self) -> None:
        self.proxy.change(Faults())
        for call in self.calls:
            self.impl.gate(call.number).set()
            await self.check(call)
        for taken in self.taken:
            assert not await self.take_some(taken, WINDOW + 1)
        for number in range(self.cut_after + 1):
            self.impl.gate(number).set()
        async with asyncio.timeout(PATIENCE):
            # Handlers of calls that were cancelled or too late since then have been told.
            while self.impl.running:
                await self.book.look(0)
        assert self.answered >= {call.number for call in self.calls if not call.may}
        self.nothing_runs_twice()


_NONE: Any = None


async def _answer(call: Any) -> int:
    answer: int = await call
    return answer


async def _leave(items: Subscription[int, int]) -> None:
    async with items:
        pass


@pytest.mark.parametrize(
    ("examples", "steps"), [(10, 20), pytest.param(100, 40, marks=pytest.mark.slow)]
)
def test_two_ends(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        TwoEnds, settings=settings(max_examples=examples, stateful_step_count=steps)
    )
