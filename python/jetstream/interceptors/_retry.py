"""Calls that are made again, where that can do no harm."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from jetstream import _core
from jetstream._backoff import Backoff
from jetstream._errors import (
    CallError,
    ConnectionLost,
    DeadlineExceeded,
    JetStreamError,
    Unavailable,
)
from jetstream._interception import ClientCall, ClientInterceptor
from jetstream._limits import check_time

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection


class RetryBudget:
    """Bounds how many retries there are among all calls, so that they cannot add up to a storm.

    The retry throttling of gRPC (proposal A6): there are so many tokens; a failure takes one, a
    success gives a part of one back, and there are retries only while more than half are there.

    Args:
        tokens: How many there are at most, and at the beginning.
        ratio: What a success gives back.

    Raises:
        ValueError: One of them is not above 0.
    """

    def __init__(self, tokens: float = 10.0, ratio: float = 0.1) -> None:
        if tokens <= 0 or ratio <= 0:
            raise ValueError("tokens and ratio must be above 0")
        self._most = tokens
        self._ratio = ratio
        self._tokens = tokens

    @property
    def allows(self) -> bool:
        """Whether there may be a retry now."""
        return self._tokens > self._most / 2

    def succeeded(self) -> None:
        """Notes a call that went well."""
        self._tokens = min(self._most, self._tokens + self._ratio)

    def failed(self) -> None:
        """Notes an attempt that failed in a way that another one may not."""
        self._tokens = max(0.0, self._tokens - 1.0)


class Retry(ClientInterceptor):
    """Makes calls again that failed in passing, within their time; for channels.

    Made again is a call that the server had not begun (`Unavailable`), whichever the method; and a
    call of a method declared ``@method(idempotent=True)`` whose connection was lost, or that ended
    with one of `codes`. A subscription is made again only if nothing had come of it, and a call
    with a stream from the caller never: its items are spent.

    Args:
        attempts: How often a call is made at most, the first time included.
        backoff: How long to wait before the next attempt.
        attempt_timeout: Seconds for each attempt of an idempotent method, after which the next one
            is made; by default each has all the time that is left.
        codes: Codes of errors that may pass.
        budget: Shared by the calls that can add up; by default one of this object's own.

    Raises:
        TypeError: `codes` is a single one.
        ValueError: `attempts` is less than 1, or `attempt_timeout` no time.
    """

    def __init__(
        self,
        *,
        attempts: int = 4,
        backoff: Backoff | None = None,
        attempt_timeout: float | None = None,
        codes: Collection[str] = ("jetstream::unavailable",),
        budget: RetryBudget | None = None,
    ) -> None:
        if attempts < 1:
            raise ValueError("attempts must be at least 1: the first one is one of them")
        check_time("attempt_timeout", attempt_timeout, also=", or None for all that is left")
        if isinstance(codes, str):
            # Its characters would be codes that nobody has.
            msg = f"codes={codes!r}: it must be a collection of codes, as in codes=[{codes!r}]"
            raise TypeError(msg)
        self._attempts = attempts
        self._backoff = backoff or Backoff()
        self._attempt_timeout = attempt_timeout
        self._codes = frozenset(codes)
        self._budget = budget or RetryBudget()

    async def intercept_call(
        self, call: ClientCall, proceed: Callable[[ClientCall], Awaitable[Any]], /
    ) -> Any:
        """Makes a call until it goes well, or must not be made again."""
        attempts = _Attempts(call)
        while True:
            attempts.prepare(self._attempt_timeout)
            try:
                result = await proceed(call)
            except JetStreamError as error:
                wait = self._wait_after(error, attempts)
                if wait is None:
                    raise
            else:
                self._budget.succeeded()
                return result
            await asyncio.sleep(wait)

    async def intercept_stream(
        self, call: ClientCall, proceed: Callable[[ClientCall], AsyncIterator[Any]], /
    ) -> AsyncGenerator[Any]:
        """Makes a subscription until something comes of it, or it must not be made again."""
        attempts = _Attempts(call)
        while True:
            attempts.prepare(None)
            begun = False
            try:
                async for item in proceed(call):
                    if not begun:
                        begun = True
                        self._budget.succeeded()
                    yield item
            except JetStreamError as error:
                wait = None if begun else self._wait_after(error, attempts)
                if wait is None:
                    raise
            else:
                return
            await asyncio.sleep(wait)

    def _wait_after(self, error: JetStreamError, attempts: _Attempts) -> float | None:
        """How long to wait before the next attempt; `None` if there is to be none."""
        if not self._may_pass(error, attempts.call):
            return None
        self._budget.failed()
        wait = self._backoff.delay(attempts.made)
        left = attempts.left()
        if attempts.made >= self._attempts or not self._budget.allows:
            return None
        return None if left is not None and wait >= left else wait

    def _may_pass(self, error: JetStreamError, call: ClientCall) -> bool:
        method = call.method
        if method.takes_stream:
            return False
        if isinstance(error, Unavailable):
            return True
        if not method.idempotent:
            return False
        if error.code == DeadlineExceeded.default_code:
            return self._attempt_timeout is not None
        told = isinstance(error, CallError) and error.code in self._codes
        return told or isinstance(error, ConnectionLost)


class _Attempts:
    """The attempts of one call: each finds it as the first one did, with the time that is left."""

    __slots__ = ("_callers", "_deadline", "_metadata", "_required", "_timeout", "call", "made")

    def __init__(self, call: ClientCall) -> None:
        self.call = call
        self.made = 0
        self._metadata = dict(call.metadata)
        self._required = call.metadata_required
        self._timeout = call.timeout
        self._deadline = None if call.timeout is None else time.monotonic() + call.timeout
        self._callers = _core.current_deadline()

    def left(self) -> float | None:
        """Seconds until nobody waits for the call any more; `None` for ever."""
        ends = [end for end in (self._deadline, self._callers) if end is not None]
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    def prepare(self, most: float | None) -> None:
        """Makes the call ready to be made, for at most so long."""
        # The caller's deadline counts all the same, and the error then says whose it was.
        call, left = self.call, self._timeout
        self.made += 1
        if self.made > 1:
            if self._deadline is not None:
                left = max(0.0, self._deadline - time.monotonic())
            call.metadata.clear()
            call.metadata.update(self._metadata)
            call.metadata_required = self._required
        if most is not None and call.method.idempotent:
            left = most if left is None else min(most, left)
        call.timeout = left
