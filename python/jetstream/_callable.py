"""What the core is told of the services that peers may call, and of how to call them."""

from __future__ import annotations

import functools
import inspect
import logging
import time
from typing import TYPE_CHECKING, Any

from jetstream import _logging
from jetstream._addresses import address_of
from jetstream._context import make_context
from jetstream._explain import explain
from jetstream._identity import peer_of
from jetstream._session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jetstream import _core
    from jetstream._interception import ServerInterceptor
    from jetstream._limits import Limits
    from jetstream._router import Router


def log_violation(core: _core.Connection, why: str) -> None:
    """Says that a peer broke the protocol."""
    who = address_of(core.remote) or peer_of(core)
    _logging.server.warning("%s broke the protocol: %s", who, why)


def callable_by_peers(
    router: Router, limits: Limits, interceptors: Sequence[ServerInterceptor] = ()
) -> tuple[Mapping[str, _core.ServiceTable], Limits, Any, Any, Any]:
    """What the core is told of the services that peers may call, and of how to call them."""
    wrap = _logged if _logging.call.isEnabledFor(logging.DEBUG) else None
    around = (*interceptors, *router.interceptors)
    tables = {service.definition.name: service.table(wrap, around) for service in router.services}

    def make_session(core: _core.Connection) -> Session:
        return Session(core, limits=limits)

    return tables, limits, make_context, explain, make_session


def _logged(what: str, function: Callable[..., Any], task: bool) -> Callable[..., Any]:
    """The same function with a line in the log for each call."""

    def note(began: float, outcome: str) -> None:
        _logging.call.debug(
            "%s: %s after %.3f ms", what, outcome, (time.perf_counter() - began) * 1e3
        )

    if task or inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def run_async(*args: Any) -> Any:
            began = time.perf_counter()
            try:
                result = await function(*args)
            except BaseException as error:
                note(began, type(error).__name__)
                raise
            note(began, "ok")
            return result

        return run_async

    @functools.wraps(function)
    def run(*args: Any) -> Any:
        began = time.perf_counter()
        try:
            result = function(*args)
        except BaseException as error:
            note(began, type(error).__name__)
            raise
        note(began, "ok")
        return result

    return run
