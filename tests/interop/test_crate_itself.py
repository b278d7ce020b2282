"""What the crate's client reports about the crate's own server: the programs work, and these are
the known differences between the crate and its protocol."""

from __future__ import annotations

import asyncio
from pathlib import Path

from .cases import failures, report_of
from .conftest import CrateServer

KNOWN_DIFFERENCES_16 = {
    # Its router looks at the name only and echoes whatever version the client asked for.
    "another_major",
    "newer_minor",
    # It drops the bytes that arrived together with the version request.
    "other_digest",
}

KNOWN_DIFFERENCES_15 = {
    # It answers with the older of both versions and refuses none of its own name.
    "version_too_new",
}


def test_16_has_only_the_known_differences(
    rust16: Path, certificates: Path, crate_server: CrateServer
) -> None:
    report = asyncio.run(report_of(rust16, crate_server.address, certificates))
    assert set(failures(report)) == KNOWN_DIFFERENCES_16


def test_15_has_only_the_known_differences(
    rust15: Path, certificates: Path, crate_server_15: CrateServer
) -> None:
    report = asyncio.run(report_of(rust15, crate_server_15.address, certificates))
    assert set(failures(report)) == KNOWN_DIFFERENCES_15
