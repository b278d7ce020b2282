"""A folder as the pages assume it: with certificates, and with nobody on the port."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner
from jetstream.cli import app


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `jetstream certs init certs` writes."""
    folder = tmp_path_factory.mktemp("docs") / "certs"
    result = CliRunner().invoke(app, ["certs", "init", str(folder)])
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def folder(tmp_path: Path, certificates: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with `certs/`."""
    shutil.copytree(certificates, tmp_path / "certs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def port() -> str:
    """A UDP port that was free a moment ago."""
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
