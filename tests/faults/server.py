"""A server that lives in a process of its own, to be killed and started again.

As a program: `python -m tests.faults.server FOLDER PORT`; it appends every entry to FOLDER/entries
before it is answered, prints its port, and serves until it is told to stop or killed.
"""

from __future__ import annotations

import asyncio
import os
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from jetstream import Limits, Server, ServerTls

from tests.faults.ledger import LedgerImpl
from tests.helpers import authority, server_identity

if TYPE_CHECKING:
    from types import TracebackType

ROOT = Path(__file__).parents[2]
_ENTRY = struct.Struct("!Q")


class ServerProcess:
    """The program as a child: `with ServerProcess(folder) as server`; may be killed and restarted.

    Its certificate is of the authority that `tests.helpers` has.

    Args:
        folder: What the program is given.
        program: Another one, which prints its port, too.
    """

    def __init__(self, folder: Path, program: str = "tests.faults.server") -> None:
        self._folder = folder
        self._program = program
        self._process: subprocess.Popen[str] | None = None
        self.port = 0
        identity = server_identity()
        (folder / "chain.pem").write_bytes(identity.chain_pem)
        (folder / "key.pem").write_bytes(identity.key_pem)
        (folder / "ca.pem").write_bytes(authority().ca_pem)
        (folder / "entries").touch()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens, also before it is restarted."""
        return "127.0.0.1", self.port

    def start(self) -> None:
        """Starts it, on the port that it had; returns when it listens."""
        command = [sys.executable, "-m", self._program, str(self._folder), str(self.port)]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the server did not start"
        self.port = int(line)

    def kill(self) -> None:
        """SIGKILL: it says goodbye to nobody."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def entries(self) -> Counter[int]:
        """What was entered, in all its lives."""
        data = (self._folder / "entries").read_bytes()
        return Counter(number for (number,) in _ENTRY.iter_unpack(data))

    def __enter__(self) -> ServerProcess:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()


async def _serve(folder: Path, port: int) -> None:
    # One write for each entry, in the kernel's hands before the answer is on its way.
    with (folder / "entries").open("ab", buffering=0) as entries:
        impl = LedgerImpl(lambda number: entries.write(_ENTRY.pack(number)))
        tls = ServerTls(folder / "chain.pem", folder / "key.pem", client_ca=folder / "ca.pem")
        server = Server(impl, tls=tls, port=port, limits=Limits())
        await server.start()
        print(server.address.port, flush=True)
        await server.run()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2])))
