"""The Rust programs, their servers, and certificates for both sides."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
BUILD_TIMEOUT = 1200
END_TIMEOUT = 10


@dataclass(frozen=True)
class CrateServer:
    """What a program said when it began to listen."""

    address: str
    services: dict[str, str]


def build(program: str) -> Path:
    """One of the programs here, built; `make` has built those that every run needs."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target" / "interop"))
    subprocess.run(
        ["cargo", "build", "--release", "--locked", "--quiet"],
        cwd=HERE / program,
        env=os.environ | {"CARGO_TARGET_DIR": str(target)},
        check=True,
        timeout=BUILD_TIMEOUT,
    )
    return target / "release" / program


@contextmanager
def serving(program: Path, certificates: Path) -> Generator[CrateServer]:
    """The crate's server; it ends when its stdin closes, so it cannot outlive the tests."""
    with subprocess.Popen(
        [program, "serve", "127.0.0.1:0", certificates],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "the crate's server ended before it listened"
        yield CrateServer(**json.loads(line))
        process.stdin.close()
        try:
            process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


@pytest.fixture(scope="session")
def rust16() -> Path:
    """The program on 16.0.0."""
    return build("rust16")


@pytest.fixture(scope="session")
def rust15() -> Path:
    """The program on 15.2.0."""
    return build("rust15")


@pytest.fixture(scope="session")
def rust15_1() -> Path:
    """The program on 15.1.0."""
    return build("rust15_1")


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with ca.pem, server.pem, server.key, client.pem and client.key."""
    from jetstream.testing import ThrowawayCA

    directory = tmp_path_factory.mktemp("certificates")
    ThrowawayCA().write(directory)
    return directory


@pytest.fixture(scope="session")
def crate_server(rust16: Path, certificates: Path) -> Generator[CrateServer]:
    """The server on 16.0.0."""
    with serving(rust16, certificates) as server:
        yield server


@pytest.fixture(scope="session")
def crate_server_15(rust15: Path, certificates: Path) -> Generator[CrateServer]:
    """The server on 15.2.0."""
    with serving(rust15, certificates) as server:
        yield server


@pytest.fixture(scope="session")
def crate_server_15_1(rust15_1: Path, certificates: Path) -> Generator[CrateServer]:
    """The server on 15.1.0."""
    with serving(rust15_1, certificates) as server:
        yield server
