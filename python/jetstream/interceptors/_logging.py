"""One line in the log for every call."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, TypeVar

from jetstream import _logging
from jetstream._interception import Call, ClientCall, ServerCall
from jetstream._subscription import Done
from jetstream.interceptors._outcome import CANCELLED, OK, outcome_of, spell_peer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from jetstream._context import Context
    from jetstream._session import Session

C = TypeVar("C", bound=Call)


class Logging:
    """Writes a line for every call and every subscription when it ends; for either end.

    It says who called what, how it ended and how long it took. Records have the same as attributes:
    ``rpc_method``, ``rpc_peer``, ``rpc_outcome``, ``rpc_seconds`` and, for a subscription,
    ``rpc_items``.

    Args:
        logger: Where to write; by default ``jetstream.call``.
        level: The level of calls that went well, or were given up.
        failures: The level of those that failed.
    """

    def __init__(
        self,
        logger: logging.Logger | None = None,
        *,
        level: int = logging.INFO,
        failures: int = logging.WARNING,
    ) -> None:
        self._logger = logger or _logging.call
        self._level = level
        self._failures = failures

    async def intercept_call(self, call: C, proceed: Callable[[C], Awaitable[Any]], /) -> Any:
        """Notes how a call went."""
        began = time.perf_counter()
        try:
            result = await proceed(call)
        except BaseException as error:
            self._note(call, began, error, None)
            raise
        self._note(call, began, None, None)
        return result

    async def intercept_stream(
        self, call: C, proceed: Callable[[C], AsyncIterator[Any]], /
    ) -> AsyncGenerator[Any]:
        """Notes how a subscription went."""
        began = time.perf_counter()
        items = 0
        try:
            async for item in proceed(call):
                items += type(item) is not Done
                yield item
        except BaseException as error:
            self._note(call, began, error, items)
            raise
        self._note(call, began, None, items)

    def _note(
        self, call: Call, began: float, error: BaseException | None, items: int | None
    ) -> None:
        outcome = outcome_of(error)
        level = self._level if outcome in (OK, CANCELLED) else self._failures
        if not self._logger.isEnabledFor(level):
            return
        seconds = time.perf_counter() - began
        attributes: dict[str, Any] = {
            "rpc_method": call.method.what,
            "rpc_outcome": outcome,
            "rpc_seconds": seconds,
        }
        way, whom = _other_end(call)
        other = ""
        if whom is not None:
            attributes["rpc_peer"] = name = spell_peer(whom.peer)
            other = f" {way} {name}" + (f" at {whom.remote}" if whom.remote else "")
        count = ""
        if items is not None:
            attributes["rpc_items"] = items
            count = f", {items} items"
        # An outcome may be the code that a peer sent, which may hold anything.
        told = outcome if outcome.isprintable() else repr(outcome)
        self._logger.log(
            level,
            "%s%s: %s after %.3f ms%s",
            call.method.what,
            other,
            told,
            seconds * 1e3,
            count,
            extra=attributes,
        )


def _other_end(call: Call) -> tuple[str, Context | Session | None]:
    """Who is there, and whether the call comes or goes."""
    if isinstance(call, ServerCall):
        return "from", call.context
    return "to", call.session if isinstance(call, ClientCall) else None
