"""The headers of W3C Trace Context (Recommendation of 23 November 2021), version 00."""

from __future__ import annotations

import os
import random
import re
from dataclasses import dataclass

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"

_PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_NO_TRACE = "0" * 32
_NO_SPAN = "0" * 16
_SAMPLED = 0x01

# Section 3.3.1.3: a key may name a tenant before its system; a value does not end with a space.
_KEY = r"[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13}"
_VALUE = r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_MEMBER = re.compile(rf"({_KEY})=({_VALUE})")

_MOST_MEMBERS = 32

# Section 3.3.1.5: at least so much has to be passed on; long members go first.
_MOST_STATE = 512
_LONG_MEMBER = 128


@dataclass(frozen=True, slots=True)
class Trace:
    """Where something that is done stands in a trace."""

    trace_id: str
    """The same for everything that one request led to: 32 hexadecimal digits."""
    span_id: str
    """This step of it: 16 hexadecimal digits."""
    parent_id: str | None = None
    """The step that led to this one; `None` for the first."""
    sampled: bool = False
    """Whether the caller may have recorded it."""
    state: str = ""
    """What tracing systems say to themselves, ``key=value,key=value``."""

    @classmethod
    def begin(cls, *, sampled: bool = False) -> Trace:
        """The first step of a new trace."""
        return cls(_identifier(32), _identifier(16), sampled=sampled)

    def step(self) -> Trace:
        """A new step that this one leads to."""
        return Trace(self.trace_id, _identifier(16), self.span_id, self.sampled, self.state)

    @property
    def traceparent(self) -> str:
        """As it is sent to the next."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"

    @classmethod
    def parse(cls, traceparent: bytes, tracestate: bytes = b"") -> Trace | None:
        """The step that a caller tells of; `None` if that cannot be one.

        A state that cannot be one is left out; without a valid `traceparent` it means nothing.
        """
        found = _PARENT.fullmatch(traceparent)
        if found is None:
            return None
        version, trace_id, span_id, flags = (part.decode("ascii") for part in found.groups()[:4])
        # Later versions may say more after what version 00 says; ff is none (section 3.2.2).
        if version == "ff" or (version == "00" and found[5] is not None):
            return None
        if trace_id == _NO_TRACE or span_id == _NO_SPAN:
            return None
        sampled = bool(int(flags, 16) & _SAMPLED)
        return cls(trace_id, span_id, sampled=sampled, state=_state(tracestate))


# Identifiers are to be different, not to be secret. Not the module's own generator: whoever seeds
# that one for a simulation would get the same traces in every run.
_random = random.Random()  # noqa: S311
os.register_at_fork(after_in_child=_random.seed)


def _identifier(digits: int) -> str:
    # All zeros is none.
    return f"{_random.getrandbits(4 * digits) or 1:0{digits}x}"


def _state(header: bytes) -> str:
    """A tracestate that can be passed on; nothing if it is not valid."""
    try:
        text = header.decode("ascii")
    except UnicodeDecodeError:
        return ""
    members = [stripped for part in text.split(",") if (stripped := part.strip(" \t"))]
    found = [_MEMBER.fullmatch(member) for member in members]
    keys = {match[1] for match in found if match is not None}
    if None in found or len(keys) < len(found) or len(found) > _MOST_MEMBERS:
        return ""
    if len(",".join(members)) > _MOST_STATE:
        members = [member for member in members if len(member) <= _LONG_MEMBER]
    while len(",".join(members)) > _MOST_STATE:
        members.pop()
    return ",".join(members)
