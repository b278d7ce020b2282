"""Many connections held at once, from a process of their own: `python -m tests.soak.crowd PORT N`.

It connects, calls once on each, prints a line; at a line from outside it calls on each again, and
at the next one closes them, in order.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jetstream import Client, ClientTls, Limits, Session

from tests.faults.ledger import Ledger, ask
from tests.helpers import authority, client_identity

if TYPE_CHECKING:
    from types import TracebackType

ROOT = Path(__file__).parents[2]
AT_ONCE = 64
"""Handshakes at once, and then calls."""


class Crowd:
    """The program as a child.

    Args:
        folder: Where the client's certificate is put.
        port: The server's.
        count: Connections.
        first: The first of the numbers that it enters, two for each connection.
    """

    def __init__(self, folder: Path, port: int, count: int, first: int) -> None:
        identity = client_identity()
        (folder / "client.pem").write_bytes(identity.chain_pem)
        (folder / "client.key").write_bytes(identity.key_pem)
        (folder / "ca.pem").write_bytes(authority().ca_pem)
        arguments = [str(folder), str(port), str(count), str(first)]
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.soak.crowd", *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait(self) -> None:
        """Waits until it has done what it was told."""
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "done\n", "a connection failed"

    def go_on(self) -> None:
        """Tells it to do what comes next, and waits for it."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self.wait()

    def __enter__(self) -> Crowd:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._process.kill()
        self._process.communicate()


async def _main(folder: Path, port: int, count: int, first: int) -> None:
    tls = ClientTls(folder / "ca.pem", folder / "client.pem", folder / "client.key")
    # Held for a while, on a machine that does much else.
    limits = Limits(idle_timeout=120.0, keep_alive=60.0)
    async with Client(tls, limits=limits) as client:
        sessions: list[Session] = []
        todo = iter(range(count))

        async def connect() -> None:
            for number in todo:
                session = await client.session(("127.0.0.1", port), timeout=60)
                sessions.append(session)
                await ask(session.channel(Ledger), first + number)

        await _together(connect)
        await _told()
        again = iter(enumerate(sessions))

        async def call() -> None:
            for number, session in again:
                await ask(session.channel(Ledger), first + count + number)

        await _together(call)
        await _told()
        for number, session in enumerate(sessions):
            await session.close()
            # What says goodbye must fit into the server's socket.
            if number % AT_ONCE == 0:
                await asyncio.sleep(0.002)
        print("done", flush=True)


async def _together(what: object) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(what())  # type: ignore[operator]


async def _told() -> None:
    print("done", flush=True)
    await asyncio.to_thread(sys.stdin.readline)


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), *map(int, sys.argv[2:])))
