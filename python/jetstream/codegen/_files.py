"""Generated files in a folder: written, compared, removed. What others wrote stays as it is."""

from __future__ import annotations

import difflib
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jetstream.codegen._errors import GenerationError
from jetstream.codegen._modules import MARK


@dataclass(frozen=True, slots=True)
class Change:
    """A file that is to change. `before` or `after` is `None` where there is none."""

    path: Path
    before: str | None
    after: str | None

    @property
    def verb(self) -> str:
        """What happens to it."""
        return "removed" if self.after is None else "wrote"


def changes(files: Mapping[str, str], folder: Path) -> list[Change]:
    """What has to change in a folder, so that it has these generated files and no others.

    Line ends do not count: some check files out with others.

    Raises:
        GenerationError: A file is in the way that was not generated.
        OSError: The folder cannot be read.
    """
    found: list[Change] = []
    for name, text in sorted(files.items()):
        path = folder / name
        before = _read(path)
        if before is not None and not before.startswith(MARK):
            raise GenerationError(
                str(path),
                "the file",
                "was not written by 'jetstream gen' and is not replaced",
                "move it, or write to another folder with -o",
            )
        if before != text:
            found.append(Change(path, before, text))
    for path in sorted(folder.glob("*.ts")) if folder.is_dir() else ():
        if path.name not in files and path.is_file():
            before = _read(path)
            if before is not None and before.startswith(MARK):
                found.append(Change(path, before, None))
    return found


def apply(changes: list[Change]) -> None:
    """Makes the changes; whoever watches a file sees what was before or what is after."""
    for change in changes:
        if change.after is None:
            change.path.unlink(missing_ok=True)
            continue
        change.path.parent.mkdir(parents=True, exist_ok=True)
        beside = change.path.with_name(f".{change.path.name}.{secrets.token_hex(6)}.new")
        try:
            beside.write_text(change.after, "utf-8", newline="\n")
            beside.replace(change.path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise


def diff(change: Change) -> str:
    """A change as a unified diff, of what is there to what would be."""
    name = change.path.as_posix()
    lines = difflib.unified_diff(
        (change.before or "").splitlines(),
        (change.after or "").splitlines(),
        os.devnull if change.before is None else name,
        os.devnull if change.after is None else name,
        lineterm="",
    )
    return "\n".join(lines)


def _read(path: Path) -> str | None:
    """A file's text; of another encoding, what can be read of it."""
    try:
        return path.read_text("utf-8", errors="replace")
    except FileNotFoundError:
        return None
