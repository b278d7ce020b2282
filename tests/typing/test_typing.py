"""mypy and pyright see in `usage.py` what it says, and in `mistakes.py` every mistake."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent

pytestmark = pytest.mark.slow


def mypy(file: Path) -> list[str]:
    """Each error as `line: text`."""
    options = ["--config-file", "pyproject.toml", "--strict", "--no-error-summary"]
    output = run("mypy", *options, "--no-incremental", str(file))
    pattern = re.compile(rf"{re.escape(str(file.relative_to(ROOT)))}:(\d+): error: (.*)")
    found = [pattern.fullmatch(line) for line in output.splitlines() if ": error: " in line]
    # An error elsewhere, such as in the package itself, matches nothing.
    return [f"{match[1]}: {match[2]}" if match else output for match in found]


def pyright(file: Path) -> list[str]:
    """Each error as `line: text`."""
    output = run("pyright", "--outputjson", "--pythonpath", sys.executable, str(file))
    found = json.loads(output)["generalDiagnostics"]
    assert all(Path(item["file"]) == file for item in found), output
    return [f"{item['range']['start']['line'] + 1}: {item['message']}" for item in found]


def run(tool: str, *arguments: str) -> str:
    if importlib.util.find_spec(tool) is None:
        pytest.skip(f"{tool} is not installed")
    # Without this, pyright's launcher asks the network whether it is the latest.
    environment = {**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", tool, *arguments],
        capture_output=True,
        check=False,
        cwd=ROOT,
        env=environment,
        text=True,
    )
    # 0: nothing found, 1: something found. All else: it did not run.
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("check", [mypy, pyright], ids=["mypy", "pyright"])
def test_users_code_is_clean(check):
    assert check(HERE / "usage.py") == []


@pytest.mark.parametrize("check", [mypy, pyright], ids=["mypy", "pyright"])
def test_mistakes_are_found(check):
    file = HERE / "mistakes.py"
    lines = file.read_text().splitlines()
    marked = {at for at, line in enumerate(lines, 1) if line.endswith("# error")}
    found = check(file)
    assert {int(text.partition(":")[0]) for text in found} == marked, "\n".join(found)


def test_the_stubs_say_what_is_in_the_core():
    output = run("mypy.stubtest", "jetstream._core")
    assert "Success" in output, output
