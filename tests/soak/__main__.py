"""The long soak: `make soak`, or `python -m tests.soak calls` for one of its stages."""

from __future__ import annotations

import functools
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.soak import stages

STAGES = {
    "calls": functools.partial(stages.make_calls, count=1_000_000, warm_up=200_000),
    "varied": functools.partial(stages.vary, count=100_000, warm_up=20_000),
    "reconnects": functools.partial(stages.reconnect, count=10_000, warm_up=2_000),
    "runs": functools.partial(stages.cancel_runs, count=10_000),
    "connections": functools.partial(stages.hold_connections, count=20_000),
}


def _soak(name: str) -> bool:
    began = time.monotonic()

    def say(what: str) -> None:
        print(f"{name:12} {time.monotonic() - began:6.1f} s  {what}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        try:
            STAGES[name](Path(folder), say=say)
        except Exception:
            traceback.print_exc()
            say("FAILED")
            return False
    say("ok")
    return True


def _main() -> int:
    unknown = [name for name in sys.argv[1:] if name not in STAGES]
    if unknown:
        print(f"no such stage: {', '.join(unknown)}; there are {', '.join(STAGES)}")
        return 2
    results = [_soak(name) for name in sys.argv[1:] or STAGES]
    print("verdict: " + ("passed" if all(results) else "FAILED"))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(_main())
