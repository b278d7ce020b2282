"""HTTP/2 as h2spec has it: every case, the strict ones too."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.helpers import run
from tests.http.programs import Said, said_by
from tests.http.serving import respond, server, tls

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
PACKAGE = "github.com/summerwind/h2spec/cmd/h2spec"
BUILD_TIMEOUT = 600

CASES = 146
"""Those of version 2.2.1. One that is not run is not passed."""


@pytest.fixture(scope="session")
def h2spec() -> str:
    """The program: one that is installed, or built by `go` from what `h2spec/go.mod` says."""
    installed = shutil.which("h2spec")
    if installed is not None:
        return installed
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        pytest.skip("h2spec is missing, and so is go, which builds it")
    program = REPOSITORY / "target" / "h2spec"
    program.parent.mkdir(exist_ok=True)
    done = subprocess.run(
        [go, "build", "-mod=readonly", "-o", program, PACKAGE],
        cwd=HERE / "h2spec",
        env=os.environ | {"GOFLAGS": "", "GOWORK": "off"},
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_TIMEOUT,
    )
    assert done.returncode == 0, done.stderr
    return str(program)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers once the request is whole.

    Some cases break a rule in the middle of a request, which must not be answered by then: what
    comes on a stream behind that may be ignored (RFC 9113, section 5.1).
    """
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        if not message["more_body"]:
            break
    await respond(b"x" * 64)(scope, receive, send)


def test_every_case(h2spec: str, tmp_path: Path) -> None:
    report = tmp_path / "report.xml"

    async def main() -> Said:
        async with server(app, tls=tls(), lifespan="off") as running:
            port = str(running.tcp_address.port)
            where = ("-h", "127.0.0.1", "-p", port)
            return await said_by(h2spec, *where, "-t", "-k", "-S", "-o", "5", "-j", str(report))

    told = run(main, patience=180)
    assert report.exists(), told
    cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    wrong = [
        (case.get("package"), case.get("classname"), [(each.tag, each.text) for each in case])
        for case in cases
        if len(case)
    ]
    assert wrong == []
    assert len(cases) == CASES
