"""Reads the Markdown of README and docs, and runs the Python in it.

The blocks of one page share a namespace and run in order; `await` may stand at the top level. What
a page needs but should not show stands in a comment that begins with `<!-- python`. A block with a
title is a file. A `text` block titled "Output" is what the block before it prints; `…` in it stands
for anything.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import re
import sys
import types
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md")))
PORT = "4433"
"""The port that the pages use; tests take a free one."""

_BLOCK = re.compile(
    r"^```(?P<language>\w+)(?: title=\"(?P<title>[^\"]*)\")?\n(?P<code>.*?)^```$"
    r"|^<!-- python\n(?P<hidden>.*?)^-->$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One fenced block, or a hidden one."""

    page: Path
    line: int
    language: str
    title: str
    code: str


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    text = page.read_text("utf-8")
    return [
        Block(
            page,
            text.count("\n", 0, found.start()) + 2,
            found["language"] or "python",
            found["title"] or "",
            found["hidden"] if found["code"] is None else found["code"],
        )
        for found in _BLOCK.finditer(text)
    ]


def file(page: Path, title: str) -> str:
    """The file of this title on a page."""
    (block,) = (block for block in blocks(page) if block.title == title)
    return block.code


def output(page: Path, line_after: str) -> str:
    """The output block that follows a file of this title."""
    found = blocks(page)
    at = next(at for at, block in enumerate(found) if block.title == line_after)
    return next(block.code for block in found[at:] if block.title == "Output")


def is_like(printed: str, shown: str) -> bool:
    """Whether a page shows what was printed."""
    pattern = ".*".join(re.escape(part) for part in shown.strip().split("…"))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


async def run_page(page: Path, port: str, folder: Path) -> int:
    """Runs the Python of a page, and tells how many blocks that were.

    Args:
        page: The page.
        port: What to write instead of `PORT`.
        folder: Where its files go; the other blocks can import them.
    """
    name = f"page_{page.stem.lower().replace('-', '_')}"
    module = types.ModuleType(name)
    # Annotations are looked up in the module of their class.
    sys.modules[name] = module
    files = {block.title: block.code for block in blocks(page) if block.title.endswith(".py")}
    for title, code in files.items():
        (folder / title).write_text(code.replace(PORT, port))
    sys.path.insert(0, str(folder))
    count = 0
    printed: str | None = None
    try:
        for block in blocks(page):
            if block.language == "python":
                printed = None if block.title else await _run(block, port, module)
                count += not block.title
            elif block.title == "Output" and printed is not None:
                where = f"{page.name}:{block.line}"
                assert is_like(printed, block.code), f"{where}: printed is\n{printed}"
    finally:
        sys.path.remove(str(folder))
        for each in (name, *(title.removesuffix(".py") for title in files)):
            sys.modules.pop(each, None)
    return count


async def _run(block: Block, port: str, module: types.ModuleType) -> str:
    source = "\n" * (block.line - 1) + block.code.replace(PORT, port)
    code = compile(
        source, str(block.page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True
    )
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        running = eval(code, module.__dict__)
        if inspect.iscoroutine(running):
            await running
    return printed.getvalue()
