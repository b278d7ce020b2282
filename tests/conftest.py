"""Fixtures for every test folder."""

from __future__ import annotations

import gc

import pytest

from tests.helpers import LOOPS


# What a person waits for is what Python itself has.
@pytest.fixture(params=[LOOPS[0], pytest.param(LOOPS[1], marks=pytest.mark.slow)])
def loop(request: pytest.FixtureRequest) -> str:
    """The name of an event loop: the test runs once on each."""
    return str(request.param)


def pytest_collection_finish() -> None:
    """What was imported stays: the collections after each test need not look at it."""
    gc.collect()
    gc.freeze()
