"""Chromium beside a test, driven by playwright-core: typescript/test/chromium.mjs is its driver."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import threading
from typing import TYPE_CHECKING, Any, Self

import pytest

from tests.http.programs import environment, need
from tests.http.test_browser import public_key_hash
from tests.web.node import FOLDER, NODE

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE = 60.0
"""Seconds for what the browser is asked."""


class PageError(Exception):
    """What a scenario of the page's threw."""


class Chromium:
    """A browser for many tests, which may each have a loop of their own.

    Args:
        bundle: Where the script of the pages is written to.
    """

    def __init__(self, bundle: Path) -> None:
        chromium = need("chromium", "chromium")
        if NODE is None or not (FOLDER / "node_modules" / "playwright-core").is_dir():
            pytest.skip("needs Node 20 or newer, and the packages in typescript/node_modules")
        self.bundle = bundle
        self._numbers = itertools.count(1)
        self._waiting: dict[int, tuple[asyncio.AbstractEventLoop, asyncio.Future[Any]]] = {}
        self._process = subprocess.Popen(
            [NODE, "test/chromium.mjs", chromium, public_key_hash(), str(bundle)],
            cwd=FOLDER,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        first = self._process.stdout.readline()
        assert first, "the browser did not start"
        self.version: str = json.loads(first)["version"]
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told = json.loads(line)
            loop, future = self._waiting.pop(told["id"])
            loop.call_soon_threadsafe(_settle, future, told)

    async def ask(self, command: str, page: int | None = None, *args: Any) -> Any:
        """What the driver answers to a command."""
        assert self._process.stdin is not None
        number = next(self._numbers)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting[number] = loop, future
        message = {"id": number, "command": command, "page": page, "args": args}
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        async with asyncio.timeout(PATIENCE):
            told = await future
        if "error" in told:
            raise PageError(told["error"])
        return told["value"]

    def close(self) -> None:
        """Ends the browser."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()


def _settle(future: asyncio.Future[Any], told: Any) -> None:
    if not future.done():
        future.set_result(told)


class Page:
    """A page of a browser that knows nothing yet: ``async with Page(chromium) as page``."""

    def __init__(self, chromium: Chromium) -> None:
        self._chromium = chromium
        self._number = 0

    async def __aenter__(self) -> Self:
        self._number = await self._chromium.ask("open")
        return self

    async def __aexit__(self, *error: object) -> None:
        thrown = await self._chromium.ask("close", self._number)
        assert not thrown, thrown

    async def visit(self, url: str) -> None:
        """Goes there, until its script has run."""
        await self._chromium.ask("visit", self._number, url)

    async def run(self, scenario: str, *args: Any) -> Any:
        """What a scenario of typescript/test/page.ts gives back.

        Raises:
            PageError: It threw something.
        """
        told = await self._chromium.ask("run", self._number, scenario, *args)
        if "error" in told:
            raise PageError(told["error"])
        return told["value"]

    async def heap(self) -> int:
        """Bytes that its script holds, without garbage."""
        return int(await self._chromium.ask("heap", self._number))
