"""The Python in README and docs runs, and prints what the pages say."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from jetstream import JetStreamError, _errors

from tests.docs.pages import PAGES, PORT, REPOSITORY, blocks, file, is_like, output, run_page
from tests.docs.programs import run_program, server_program
from tests.helpers import run

README = REPOSITORY / "README.md"
TUTORIAL = REPOSITORY / "docs" / "tutorial.md"
ERRORS = REPOSITORY / "docs" / "errors.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_python_of_a_page_runs(page: Path, folder: Path, port: str) -> None:
    count = run(lambda: run_page(page, port, folder))
    shown = [block for block in blocks(page) if block.language == "python" and not block.title]
    assert count == len(shown)


@pytest.mark.parametrize("name", ["echo_server.py", "echo_client.py"])
def test_the_readme_shows_the_example_itself(name: str) -> None:
    assert file(README, name) == (REPOSITORY / "examples" / name).read_text()


@pytest.mark.parametrize(("name", "most"), [("echo_server.py", 15), ("echo_client.py", 8)])
def test_the_readme_is_short(name: str, most: int) -> None:
    lines = [line for line in file(README, name).splitlines() if line.strip()]
    assert len(lines) <= most


def test_the_readme_opens_with_the_two_commands() -> None:
    commands = [block.code for block in blocks(README) if block.language == "console"]
    assert re.findall(r"^\$ (make \w+)", commands[0], re.MULTILINE) == ["make demo", "make test"]


def test_the_tutorials_programs_work_together(folder: Path, port: str) -> None:
    for name in ("shelf.py", "serve.py", "ask.py"):
        (folder / name).write_text(file(TUTORIAL, name).replace(PORT, port))
    with server_program("serve.py", cwd=folder):
        printed = run_program(folder / "ask.py", cwd=folder)
    assert is_like(printed, output(TUTORIAL, "ask.py")), printed


def test_every_error_has_a_section() -> None:
    text = ERRORS.read_text()
    errors = [
        cls
        for _, cls in inspect.getmembers(_errors, inspect.isclass)
        if issubclass(cls, JetStreamError)
    ]
    for cls in errors:
        code = f"`{cls.default_code}`" if cls.default_code else ""
        heading = rf"^## {cls.__name__}\n(?:(?!^## ).*\n)*?.*{re.escape(code)}"
        assert re.search(heading, text, re.MULTILINE), f"{cls.__name__} {code}"


def test_every_code_has_a_section() -> None:
    text = ERRORS.read_text()
    sources = [
        *(REPOSITORY / "python" / "jetstream").rglob("*.py"),
        *(REPOSITORY / "rust").rglob("*.rs"),
    ]
    codes = {
        code for path in sources for code in re.findall(r'"(jetstream::[a-z_]+)"', path.read_text())
    }
    assert codes
    assert {code for code in codes if f"`{code}`" not in text} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name}: {target}"
