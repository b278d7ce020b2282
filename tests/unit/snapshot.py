"""Texts that are kept as files, so that a change of wording is seen and judged."""

import os
from pathlib import Path

FOLDER = Path(__file__).parent / "snapshots"
UPDATE = "JETSTREAM_UPDATE_SNAPSHOTS"
"""Set this variable to write the files; then read what changed."""


def check_snapshot(group: str, name: str, text: str) -> None:
    """Compares a text with its file."""
    path = FOLDER / group / f"{name}.txt"
    if os.environ.get(UPDATE):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n", encoding="utf-8")
    assert path.is_file(), f"there is no snapshot yet: run again with {UPDATE}=1"
    assert f"{text}\n" == path.read_text(encoding="utf-8")


def snapshots(group: str) -> set[str]:
    """The names of a group's files."""
    return {path.stem for path in (FOLDER / group).glob("*.txt")}
