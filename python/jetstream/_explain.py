"""What the caller of a method is told of its exception, over whatever it calls."""

from __future__ import annotations

import asyncio

from jetstream import _logging
from jetstream._errors import CallError, EncodeError, JetStreamError


def explain(what: str, error: BaseException) -> tuple[str, str | None, str | None, str | None]:
    """What the caller is told of an exception."""
    if isinstance(error, JetStreamError) and not isinstance(error, EncodeError):
        message = error.message or type(error).__name__
        # What the text of others adds would be lost; code, help and url of these travel as such.
        if type(error).__str__ not in (JetStreamError.__str__, CallError.__str__):
            message = str(error) or message
        return message, error.code, error.help, error.url
    if isinstance(error, asyncio.CancelledError):
        return f"{what} was cancelled", "jetstream::cancelled", None, None
    _logging.call.error("%s failed", what, exc_info=error)
    return f"{what} failed", "jetstream::internal", None, None
