"""The TypeScript client, on Node, and the real server: calls over HTTP POST."""

from __future__ import annotations

import json
import logging

import pytest
from jetstream import Router

from tests.helpers import run
from tests.http.serving import respond, server
from tests.web.node import needs_node, output
from tests.web.services import Lab, Values

pytestmark = needs_node

SCENARIOS = (
    "calls",
    "values",
    "errors",
    "cancellation",
    "deadlines",
    "impossible",
    "mismatch",
    "limits",
    "gone",
)


@pytest.fixture(scope="module")
def outcome() -> dict[str, str | None]:
    """What one run of all scenarios said: what was wrong with each, or `None`."""
    logging.getLogger("jetstream.call").disabled = True

    async def main() -> dict[str, str | None]:
        app = respond(b"the application", 404)
        router = Router(Lab(), Values())
        async with server(app, router=router) as listening:
            url = f"http://127.0.0.1:{listening.tcp_address.port}/"
            told: dict[str, str | None] = json.loads(await output("node-http.ts", url))
            return told

    try:
        return run(main)
    finally:
        logging.getLogger("jetstream.call").disabled = False


@pytest.mark.parametrize("encoding", ["frames", "json"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(scenario: str, encoding: str, outcome: dict[str, str | None]) -> None:
    wrong = outcome[f"{scenario}-{encoding}"]
    assert wrong is None, wrong


def test_nothing_was_left_out(outcome: dict[str, str | None]) -> None:
    assert set(outcome) == {f"{name}-{kind}" for name in SCENARIOS for kind in ("frames", "json")}
