"""The Python in README and docs runs, and prints what the pages say."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import sys
from pathlib import Path

import click
import pytest
from jetstream import JetStreamError, Limits, _errors
from jetstream.codegen import TypeScriptOptions, typescript

from tests.docs.pages import PAGES, PORT, REPOSITORY, blocks, file, is_like, output, run_page
from tests.docs.programs import run_program, server_program
from tests.helpers import run

README = REPOSITORY / "README.md"
TUTORIAL = REPOSITORY / "docs" / "tutorial.md"
ERRORS = REPOSITORY / "docs" / "errors.md"
SERVING = REPOSITORY / "docs" / "serving.md"
UVICORN = REPOSITORY / "docs" / "coming-from-uvicorn.md"
LIMITS = REPOSITORY / "docs" / "limits.md"
TYPESCRIPT = REPOSITORY / "docs" / "typescript.md"


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


@pytest.mark.parametrize(
    ("page", "name", "shown"),
    [
        (README, "app.py", PORT),
        (SERVING, "serve_shop.py", "8443"),
        (UVICORN, "serve_main.py", "8000"),
    ],
    ids=["readme", "serving", "uvicorn"],
)
def test_the_servers_of_applications_run(
    page: Path, name: str, shown: str, folder: Path, port: str
) -> None:
    for block in blocks(page):
        if block.title.endswith(".py"):
            (folder / block.title).write_text(block.code.replace(shown, port))
    with server_program(name, cwd=folder) as line:
        assert f"127.0.0.1:{port} " in line


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


def codes() -> set[str]:
    """Every code that the package gives an error, on either side of the language boundary."""
    sources = [
        *(REPOSITORY / "python" / "jetstream").rglob("*.py"),
        *(REPOSITORY / "rust").rglob("*.rs"),
    ]
    found = {
        code for path in sources for code in re.findall(r'"(jetstream::[a-z_]+)"', path.read_text())
    }
    # The faults that Rust makes itself are written without what all codes begin with.
    faults = (REPOSITORY / "rust" / "py" / "src" / "faults.rs").read_text()
    found |= {f"jetstream::{name}" for name in re.findall(r'fault\(\s*"([a-z_]+)"', faults)}
    assert {"jetstream::tls", "jetstream::server_name", "jetstream::unknown_method"} <= found
    return found


def test_every_code_is_in_the_index() -> None:
    text = ERRORS.read_text()
    index = text[text.index("## Every code") : text.index("## JetStreamError")]
    rows = re.findall(r"^\| `(jetstream::[a-z_]+)` \|", index, re.MULTILINE)
    assert sorted(rows) == sorted(codes())
    headings = {heading.lower() for heading in re.findall(r"^## (\w+)$", text, re.MULTILINE)}
    assert set(re.findall(r"\]\(#(\w+)\)", index)) <= headings


def test_every_reason_of_a_refusal_is_listed() -> None:
    text = (REPOSITORY / "rust" / "net" / "src" / "tls" / "failure.rs").read_text()
    slugs = set(re.findall(r'Self::\w+(?:\([^)]*\)| \{[^}]*\})? => "([a-z_]+)"', text))
    assert "name_mismatch" in slugs
    # That one has a class of its own.
    assert {slug for slug in slugs if f"`{slug}`" not in ERRORS.read_text()} == {
        "no_shared_protocol"
    }


def test_every_close_code_is_listed() -> None:
    text = (REPOSITORY / "rust" / "proto" / "src" / "codes.rs").read_text()
    numbers = re.findall(r"^pub const \w+: u32 = (\d+);", text, re.MULTILINE)
    table = ERRORS.read_text().partition("| `close_code` | means |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| (\d+) \|", table, re.MULTILINE) == numbers


def test_every_limit_is_listed_with_its_default() -> None:
    units = {"KiB": 1 << 10, "MiB": 1 << 20, "MB": 10**6, "s": 1}
    rows = re.findall(r"^\| `(\w+)` \| ([\d.,]+) ?(\w*) \|", LIMITS.read_text(), re.MULTILINE)
    shown = {name: float(size.replace(",", "")) * units.get(unit, 1) for name, size, unit in rows}
    assert shown == {field.name: field.default for field in dataclasses.fields(Limits)}


def test_every_option_of_serve_is_listed() -> None:
    """With its other names, its environment variable, and what it is without."""
    from jetstream.cli.serve import serve

    lines = [line for line in SERVING.read_text().splitlines() if line.startswith("| `--")]
    table = [[cell.strip() for cell in line.split("|")[1:]] for line in lines]
    rows = {re.findall(r"--[\w-]+", names)[0]: (names, *rest) for names, *rest in table}
    options = {each.opts[0]: each for each in serve.params if isinstance(each, click.Option)}
    assert list(rows) == list(options)
    for name, (names, default, variable, *_) in rows.items():
        option = options[name]
        shown = re.findall(r"`(--[\w-]+)`", names)
        assert shown == [*option.opts, *option.secondary_opts]
        assert variable == f"`{option.envvar}`"
        if option.secondary_opts:
            assert default == ("on" if option.default else "off"), name
        elif isinstance(option.default, float):
            assert default == f"{option.default:g} s", name
        elif isinstance(option.default, str | int) and not option.is_flag:
            assert default.strip("`") in (str(option.default), "nobody"), name
    limits = Limits()
    fields = {
        "--ws-max-size": f"{limits.websocket_message >> 20} MiB",
        "--ws-ping-interval": f"{limits.websocket_ping:g} s",
        "--ws-ping-timeout": f"{limits.websocket_pong:g} s",
        "--timeout-keep-alive": f"{limits.http_keep_alive:g} s",
        "--limit-connections": f"{limits.max_connections:,}",
        "--limit-streams": str(limits.http_streams),
        "--limit-head": f"{limits.http_head >> 10} KiB",
    }
    assert {name: rows[name][1] for name in fields} == fields


def test_the_typescript_that_is_shown_is_what_is_generated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "library.py").write_text(file(TYPESCRIPT, "library.py"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    try:
        library = importlib.import_module("library")
        options = TypeScriptOptions(command="library:Library")
        files = typescript([library.Library], options)
    finally:
        sys.modules.pop("library", None)
    assert file(TYPESCRIPT, "src/api/library.ts") == files["library.ts"]


def test_every_option_of_gen_ts_is_listed() -> None:
    from jetstream.cli.gen import ts

    lines = [line for line in TYPESCRIPT.read_text().splitlines() if line.startswith("| `-")]
    rows = [[cell.strip() for cell in line.split("|")[1:]] for line in lines]
    shown = [(re.findall(r"`(-[\w-]+)`", names), variable) for names, variable, *_ in rows]
    options = [each for each in ts.params if isinstance(each, click.Option)]
    assert shown == [
        (each.opts, f"`{each.envvar or f'JETSTREAM_GEN_TS_{(each.name or str()).upper()}'}`")
        for each in options
    ]


def test_the_map_of_the_code_has_every_module() -> None:
    """And nothing that is gone."""
    text = (REPOSITORY / "ARCHITECTURE.md").read_text()
    drawn = text.partition("```\nrust/proto/src")[2].partition("```")[0]
    parts = re.split(r"\n(?=rust|python|typescript)", drawn)
    maps = dict(zip(("proto", "net", "py", "python", "typescript"), parts, strict=True))
    for crate in ("proto", "net", "py"):
        folder = REPOSITORY / "rust" / crate / "src"
        names = {
            path.stem
            for path in folder.rglob("*.rs")
            if path.stem not in ("mod", "tests") and "tests" not in path.relative_to(folder).parts
        }
        assert names - set(re.findall(r"\w+", maps[crate])) == set(), crate
    package = REPOSITORY / "python" / "jetstream"
    drawn_names = set(re.findall(r"\b_\w+|\b(?:testing|http|webtransport)\b", maps["python"]))
    assert drawn_names == {path.stem for path in package.glob("*.py")} | {"_core"}
    sources = {path.stem for path in (REPOSITORY / "typescript" / "src").glob("*.ts")}
    assert sources - set(re.findall(r"\w+", maps["typescript"])) == set()
    row = next(line for line in text.splitlines() if line.startswith("| `tests/`"))
    folders = {path.parent.name for path in (REPOSITORY / "tests").glob("*/*.py")}
    assert {name for name in folders if f"`{name}`" not in row} == set()


def test_the_overview_leads_to_every_page() -> None:
    index = (REPOSITORY / "docs" / "index.md").read_text()
    nav = (REPOSITORY / "mkdocs.yml").read_text()
    for page in PAGES[1:]:
        assert page.stem == "index" or f"({page.name})" in index, page
        assert f": {page.name}\n" in nav, page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def anchors(page: Path) -> set[str]:
    """What a link to a heading of a page may end in, as Python-Markdown's `toc` makes it."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    plain = (re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings)
    return {re.sub(r"[-\s]+", "-", heading) for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_to_headings_lead_to_them(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text()):
        assert anchor in anchors(page.parent / target if target else page), f"{target}#{anchor}"


def test_every_attack_has_the_tests_that_are_named() -> None:
    text = (REPOSITORY / "tests" / "hostile" / "README.md").read_text()
    sources = [*(REPOSITORY / "tests").rglob("*.py"), *(REPOSITORY / "rust").rglob("*.rs")]
    defined = {
        name
        for path in sources
        for name in re.findall(r"^ *(?:def|fn) (\w+)\(", path.read_text(), re.MULTILINE)
    }
    named = set(re.findall(r"`(\w+)`", text))
    assert len(named) > 40
    assert named - defined == set()
