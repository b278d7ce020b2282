"""What the crate's client reports about the crate's own server: the program works, and these are
the known differences between the crate and its protocol."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from .conftest import CrateServer

CALL_TIMEOUT = 120

KNOWN_DIFFERENCES = {
    # Its router looks at the name only and echoes whatever version the client asked for.
    "another_major",
    "newer_minor",
    # It drops the bytes that arrived together with the version request.
    "other_digest",
}


def test_only_the_known_differences_are_reported(
    rust16: Path, certificates: Path, crate_server: CrateServer
) -> None:
    call = subprocess.run(
        [rust16, "call", crate_server.address, certificates, "localhost"],
        capture_output=True,
        text=True,
        timeout=CALL_TIMEOUT,
        check=False,
    )
    report: dict[str, str] = json.loads(call.stdout)
    assert {case for case, outcome in report.items() if outcome != "ok"} == KNOWN_DIFFERENCES
    assert call.returncode == 1
