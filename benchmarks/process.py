"""The processes that are measured: started, asked, looked at and ended by their own handle."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncGenerator, Mapping, Set
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks.peers import ROOT

START_TIMEOUT = 20.0
END_TIMEOUT = 5.0
_TICK = 1 / os.sysconf("SC_CLK_TCK")


class ProgramError(Exception):
    """A program did not do its part; the text says which and how."""


class Program:
    """A running child that answers in JSON lines. Made by `running`."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, stderr: Path) -> None:
        self._name = name
        self._process = process
        self._stderr = stderr

    async def read(self, timeout_seconds: float) -> dict[str, Any]:
        """The next line it prints."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(timeout_seconds):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise ProgramError(
                f"{self._name}: no answer within {timeout_seconds:g} s{self._complaint()}"
            ) from None
        if not line:
            raise ProgramError(f"{self._name} ended early{self._complaint()}")
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            raise ProgramError(f"{self._name} said {line[:100]!r}{self._complaint()}") from None
        return answer

    def go(self) -> None:
        """Gives the word that a client waits for."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")

    def cpu_seconds(self) -> float:
        """User and system time so far of it and of all that descend from it, ended ones too."""
        children: dict[int, list[int]] = {}
        ticks: dict[int, int] = {}
        for process in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # one that ended meanwhile
                fields = process.read_text(encoding="utf-8").rpartition(")")[2].split()
                pid = int(process.parent.name)
                children.setdefault(int(fields[1]), []).append(pid)
                ticks[pid] = sum(map(int, fields[11:15]))
        total, left = 0, [self._process.pid]
        while left:
            pid = left.pop()
            total += ticks.get(pid, 0)
            left += children.get(pid, [])
        return total * _TICK

    def resident_bytes(self) -> int:
        """Resident memory now."""
        rollup = Path(f"/proc/{self._process.pid}/smaps_rollup").read_text(encoding="ascii")
        for line in rollup.splitlines():
            if line.startswith("Rss:"):
                return int(line.split()[1]) * 1024
        raise ProgramError(f"{self._name} has no memory: it ended{self._complaint()}")

    async def end(self) -> None:
        """Closes its stdin, which asks it to end, and kills it if it does not."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(END_TIMEOUT):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def _complaint(self) -> str:
        lines = self._stderr.read_text(encoding="utf-8", errors="replace").split("\n")
        last = [line.strip() for line in lines if line.strip()][-1:]
        return "".join(f": {line[:300]}" for line in last)


@asynccontextmanager
async def running(
    command: tuple[str, ...],
    cores: Set[int],
    environment: Mapping[str, str],
    inside: tuple[str, ...] = (),
) -> AsyncGenerator[Program]:
    """Runs a program on these cores for as long as the context is open.

    `inside` are the words of another command that becomes this one, in the same process.
    """
    name = " ".join(Path(word).name if "/" in word else word for word in command[:6])
    with tempfile.NamedTemporaryFile(prefix="bench-", suffix=".stderr") as stderr:
        own = os.sched_getaffinity(0)
        # A child inherits the cores of the thread that starts it.
        os.sched_setaffinity(0, cores)
        try:
            process = await asyncio.create_subprocess_exec(
                *inside,
                *command,
                cwd=ROOT,
                env=os.environ | dict(environment),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
            )
        finally:
            os.sched_setaffinity(0, own)
        program = Program(name, process, Path(stderr.name))
        try:
            yield program
        finally:
            await program.end()
