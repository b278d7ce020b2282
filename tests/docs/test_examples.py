"""The programs in `examples/` run, and do what they are there to show."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import PORT, REPOSITORY
from tests.docs.programs import PATIENCE, run_program, server_program

EXAMPLES = REPOSITORY / "examples"


def test_echo(folder: Path, port: str) -> None:
    for name in ("echo_server.py", "echo_client.py"):
        (folder / name).write_text((EXAMPLES / name).read_text().replace(PORT, port))
    with server_program("echo_server.py", cwd=folder):
        peer, answer = run_program(folder / "echo_client.py", cwd=folder).splitlines()
    assert peer.startswith("CN=localhost SHA-256 ")
    assert answer == "hello"


def test_own_protocol(tmp_path: Path) -> None:
    lines = run_program(EXAMPLES / "own_protocol.py", cwd=tmp_path).splitlines()
    assert lines[:4] == [
        "server: ada is here, speaking tally/1",
        "client: the sum is 42",
        "client: a hundred sums, each on a stream of its own: True",
        "client: numbers seen: 206",
    ]


def test_authorization(tmp_path: Path) -> None:
    lines = run_program(EXAMPLES / "authorization.py", cwd=tmp_path).splitlines()
    refused = [line for line in lines if "jetstream::permission_denied" in line]
    assert [line.split(": ")[:2] for line in refused] == [
        ["importer", "erase"],
        ["nobody", "write"],
        ["nobody", "erase"],
    ]
    assert "ada: erase: None" in lines


def test_values(tmp_path: Path) -> None:
    lines = run_program(EXAMPLES / "values.py", cwd=tmp_path).splitlines()
    assert lines == [
        "True 10 2026-11-22 09:30:00+00:00",
        "a fragile parcel, 30 by 40",
        "a letter of 2 pages",
        "nothing was sent: Depot.describe.content.size.height: 70000 does not fit u16, "
        "which holds 0 to 65535",
    ]


class TestDemo:
    @pytest.mark.slow
    def test_it_shows_everything_and_keeps_its_certificates(self, tmp_path: Path) -> None:
        first = run_program(EXAMPLES / "demo.py", cwd=tmp_path)
        assert "made now" in first
        assert re.search(r"ping\(\) +None", first)
        assert re.search(r"echo\(\"hello\"\) +'hello'", first)
        assert re.search(r"add\(2, 40\) +42", first)
        assert re.search(r"the client sees +CN=localhost\n +SHA-256 [0-9A-F:]{95}\n +DNS", first)
        assert re.search(r"the server sees +CN=client\n +SHA-256 [0-9A-F:]{95}\n +DNS", first)
        assert 'TlsError: rejected by the peer: client certificate rejected: issuer "Some' in first
        assert re.search(r"[0-9,]+ calls per second", first)
        trips = re.findall(r"(first visit|again|with 0-RTT) +(\d+) round trip", first)
        first_visit, again, early = (int(count) for _, count in trips)
        assert first_visit > again > early >= 1
        certificate = (tmp_path / ".demo" / "certs" / "client.pem").read_bytes()

        second = run_program(EXAMPLES / "demo.py", cwd=tmp_path)
        assert "from before" in second
        assert (tmp_path / ".demo" / "certs" / "client.pem").read_bytes() == certificate

    def test_what_is_wrong_is_said(self, tmp_path: Path, certificates: Path) -> None:
        folder = tmp_path / "certs"
        shutil.copytree(certificates, folder)
        (folder / "server.key").unlink()
        done = subprocess.run(
            [sys.executable, EXAMPLES / "demo.py", "--certificates", folder],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 1
        assert "the demonstration failed: " in done.stderr
        assert "server.key" in done.stderr
        assert "Traceback" not in done.stderr
