"""The TypeScript client, on Node, and the real server: lanes over a Unix socket."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from jetstream import Router, Server

from tests.helpers import run
from tests.web.node import needs_node, output, start
from tests.web.services import Lab

pytestmark = needs_node

SCENARIOS = (
    "calls",
    "errors",
    "cancellation",
    "deadlines",
    "metadata",
    "subscriptions",
    "many",
    "leaving",
    "windows",
    "streams",
    "feeds",
    "lossy",
    "mismatch",
)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    """What one run of all scenarios said: what was wrong with each, or `None`."""
    path = tmp_path_factory.mktemp("node") / "lab.sock"
    logging.getLogger("jetstream.call").disabled = True

    async def main() -> dict[str, str | None]:
        async with Server(Router(Lab()), unix=str(path)):
            told: dict[str, str | None] = json.loads(await output("node-lanes.ts", str(path)))
            return told

    try:
        return run(main)
    finally:
        logging.getLogger("jetstream.call").disabled = False


@pytest.mark.parametrize("lanes", ["own", "shared"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(scenario: str, lanes: str, outcome: dict[str, str | None]) -> None:
    """Streams have lanes of their own, or share that of the calls."""
    wrong = outcome[f"{scenario}-{lanes}"]
    assert wrong is None, wrong


def test_nothing_was_left_out(outcome: dict[str, str | None]) -> None:
    assert set(outcome) == {f"{name}-{lanes}" for name in SCENARIOS for lanes in ("own", "shared")}


def test_a_session_stays_up_while_its_server_restarts(tmp_path: Path) -> None:
    path = tmp_path / "lab.sock"

    async def main() -> None:
        one = Server(Router(Lab()), unix=str(path), graceful_timeout=0.2)
        await one.start()
        process = await start("node-restart.ts", str(path))
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert await process.stdout.readline() == b"up\n"
            await one.close()
            process.stdin.write(b"\n")
            assert await process.stdout.readline() == b"waiting\n"
            async with Server(Router(Lab()), unix=str(path)):
                process.stdin.write(b"\n")
                assert await process.stdout.readline() == b"down\n"
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    run(main)
