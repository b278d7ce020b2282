"""Fixtures of the end-to-end tests."""

from __future__ import annotations

import pytest

from tests.e2e.table import TRANSPORTS, Ends


@pytest.fixture(params=TRANSPORTS)
def ends(request: pytest.FixtureRequest) -> Ends:
    """A transport: the test runs once over each."""
    return TRANSPORTS[str(request.param)]
