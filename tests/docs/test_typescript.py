"""The TypeScript on the pages compiles, with what is generated from the Python on them.

The blocks of a page are one module: what they import is for all, and each is a scope of its own.
What they assume stands in a comment that begins with `<!-- ts`. A block with a title is a file.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from jetstream.cli import app

from tests.codegen.tools import PACKAGE, needs_tools
from tests.docs.pages import PAGES as ALL
from tests.docs.pages import REPOSITORY, Block, blocks, file

DOCS = REPOSITORY / "docs"
BROWSER = DOCS / "browser.md"
MODULES = {"typescript": "library", "browser-identity": "club", "README": "echo_server"}
"""What a page generates from beside the board."""

_IMPORT = re.compile(r"^import [^;]+;\n", re.MULTILINE)
_ASSUMED = re.compile(r"^<!-- ts\n(.*?)^-->$", re.MULTILINE | re.DOTALL)
_TYPES = PACKAGE / "node_modules" / "@types"


def _module(page: Path) -> str:
    """The blocks of a page, as one module."""
    shown = [block for block in blocks(page) if _is_shown(block)]
    assumed = "".join(_ASSUMED.findall(page.read_text("utf-8")))
    imports: dict[str, set[str]] = {}
    for text in (assumed, *(block.code for block in shown)):
        for kind, names, source in re.findall(
            r'^import (type )?\{([^}]+)\} from ("[^"]+");$', text, re.MULTILINE
        ):
            found = {f"{kind}{name.strip()}" for name in names.split(",") if name.strip()}
            imports.setdefault(source, set()).update(found)
    lines = [
        f"import {{ {', '.join(sorted(names))} }} from {source};"
        for source, names in imports.items()
    ]
    scopes = [f"{{\n{_IMPORT.sub('', block.code)}}}" for block in shown]
    return "\n".join([*lines, _IMPORT.sub("", assumed), *scopes, "export {};\n"])


def _is_shown(block: Block) -> bool:
    return block.language in ("ts", "tsx") and not block.title


PAGES = [page for page in ALL if any(map(_is_shown, blocks(page)))]


@needs_tools
@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_typescript_of_a_page_compiles(page: Path, tmp_path: Path) -> None:
    _generate(page, tmp_path)
    (tmp_path / "page.tsx").write_text(_module(page))
    assert _compiled(tmp_path) == ""


@needs_tools
def test_the_page_of_the_tutorial_compiles(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    _generate(BROWSER, tmp_path / "src")
    (tmp_path / "src" / "main.ts").write_text(file(BROWSER, "src/main.ts"))
    assert _compiled(tmp_path) == ""


def _generate(page: Path, folder: Path) -> None:
    """Writes what the page says it generated, with the command that is on it."""
    names = {"board": BROWSER}
    if page.stem in MODULES:
        names[MODULES[page.stem]] = page
    for name, source in names.items():
        (folder / f"{name}.py").write_text(file(source, f"{name}.py"))
    sys.path.insert(0, str(folder))
    try:
        arguments = ["gen", "ts", *names, "--out", str(folder / "api")]
        done = CliRunner().invoke(app, [*arguments, "--app-dir", str(folder)])
    finally:
        sys.path[:] = [each for each in sys.path if each != str(folder)]
        for name in names:
            sys.modules.pop(name, None)
    assert done.exit_code == 0, done.output


def _compiled(folder: Path) -> str:
    """What the compiler says of a folder; nothing if all is well."""
    options = {
        "target": "es2022",
        "module": "esnext",
        "moduleResolution": "bundler",
        "lib": ["es2022", "esnext.disposable", "dom", "dom.iterable", "dom.asynciterable"],
        "jsx": "react-jsx",
        "types": [],
        "paths": {
            "jetstream-client": [str(PACKAGE / "src" / "index.ts")],
            "jetstream-client/react": [str(PACKAGE / "src" / "react" / "index.ts")],
            "jetstream-client/*": [str(PACKAGE / "src" / "*.ts")],
            "react": [str(_TYPES / "react" / "index.d.ts")],
            "react/*": [str(_TYPES / "react" / "*")],
            "react-dom/*": [str(_TYPES / "react-dom" / "*")],
        },
        "strict": True,
        "exactOptionalPropertyTypes": True,
        "verbatimModuleSyntax": True,
        "allowImportingTsExtensions": True,
        "noEmit": True,
    }
    config = {"compilerOptions": options, "include": ["**/*.ts", "**/*.tsx"]}
    (folder / "tsconfig.json").write_text(json.dumps(config))
    (folder / "package.json").write_text('{"type": "module"}')
    compiler = PACKAGE / "node_modules" / ".bin" / "tsc"
    done = subprocess.run(
        [compiler, "--project", folder, "--pretty", "false"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr
