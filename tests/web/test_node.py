"""The TypeScript client, on Node, and the real server: lanes over a Unix socket."""

from __future__ import annotations

import json
import logging

import pytest
from jetstream import Router, Server

from tests.helpers import run
from tests.web.node import needs_node, output
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
