"""The server of a soak, in a process of its own: `python -m tests.soak.server FOLDER`.

It prints a line of JSON when it listens, answers each line that it is sent with its figures, and at
the end of its input closes and prints them once more.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jetstream import U64, Limits, Router, Server, ServerTls, method

from tests.faults.feeds import FeedsImpl
from tests.faults.ledger import Ledger, answer_to
from tests.helpers import authority, live_objects, resident, server_identity

if TYPE_CHECKING:
    from types import TracebackType

ROOT = Path(__file__).parents[2]
NUMBERS = 1 << 21
"""Numbers below this can be entered; one bit for each is there from the start, so that the memory
that is measured does not grow by what is counted."""


def settled() -> int:
    """Bytes of memory that this process occupies, without what the allocator only keeps for later.

    How much that is depends on how many connections happened to exist at once.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    return resident()


class Tally(Ledger):
    """Counts what is entered, and what is entered twice."""

    def __init__(self) -> None:
        self._seen = bytearray(NUMBERS // 8)
        self.entered = 0
        self.twice = 0

    def _enter(self, number: int) -> None:
        where, bit = number // 8, 1 << number % 8
        self.twice += bool(self._seen[where] & bit)
        self._seen[where] |= bit
        self.entered += 1

    @method
    def enter(self, number: U64) -> U64:
        self._enter(number)
        return answer_to(number)

    async def attach(self, number: U64, data: bytes) -> bytes:
        self._enter(number)
        if number % 3 == 0:
            await asyncio.sleep(0)
        return data[::-1]

    async def has(self, number: U64) -> bool:
        return bool(self._seen[number // 8] & 1 << number % 8)


@dataclass(frozen=True)
class Figures:
    """How the server does."""

    resident: int
    """Bytes."""
    live: dict[str, int]
    """Live objects of the core."""
    connections: int
    entered: int
    twice: int
    running: int
    """Handlers of `Feeds` that have not ended."""
    port: int


class SoakServer:
    """The program as a child of a test, or of a soak."""

    def __init__(self, folder: Path) -> None:
        identity = server_identity()
        (folder / "chain.pem").write_bytes(identity.chain_pem)
        (folder / "key.pem").write_bytes(identity.key_pem)
        (folder / "ca.pem").write_bytes(authority().ca_pem)
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.soak.server", str(folder)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.address = ("127.0.0.1", self._read().port)

    def _read(self) -> Figures:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            _, complaints = self._process.communicate()
            msg = f"the server ended: {complaints}"
            raise AssertionError(msg)
        return Figures(**json.loads(line))

    def figures(self) -> Figures:
        """How it does now; the garbage has been collected."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> Figures:
        """Closes it, and fails if it complained; its last figures."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        last = self._read()
        assert self._process.stderr is not None
        complaints = self._process.stderr.read()
        assert self._process.wait(10) == 0, complaints
        assert not complaints, complaints
        return last

    def __enter__(self) -> SoakServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._process:
            if self._process.poll() is None:
                self._process.kill()


async def _main(folder: Path) -> None:
    loop = asyncio.get_running_loop()
    tally, feeds = Tally(), FeedsImpl()
    tls = ServerTls(folder / "chain.pem", folder / "key.pem", client_ca=folder / "ca.pem")
    # Those who come all at once are let in without a Retry, and few of those who have gone are
    # remembered: what that costs is not what is measured.
    limits = Limits(retry_above=65_535, max_handshakes=65_535, resumable_sessions=256)
    server = Server(Router(tally, feeds), tls=tls, port=0, limits=limits)
    await server.start()
    port = server.address.port

    def tell() -> None:
        figures: dict[str, Any] = {
            "live": live_objects(),
            "resident": settled(),
            "connections": server.connections,
            "entered": tally.entered,
            "twice": tally.twice,
            "running": feeds.running,
            "port": port,
        }
        print(json.dumps(figures), flush=True)

    over = asyncio.Event()

    def on_line() -> None:
        if sys.stdin.readline():
            tell()
        else:
            loop.remove_reader(sys.stdin)
            over.set()

    tell()
    loop.add_reader(sys.stdin, on_line)
    await over.wait()
    await server.close(graceful_timeout=0)
    tell()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1])))
