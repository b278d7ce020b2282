"""Where lines are broken: as prettier does it, so that whoever formats everything changes nothing.

A document is text, or a group that stands on one line if it fits and is broken at each of its own
places if it does not (Wadler, "A prettier printer").
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

WIDTH = 100
STEP = "  "


@dataclass(frozen=True, slots=True)
class Break:
    """A place where a group may be broken: `flat` if it is not, else a new line and `then`."""

    flat: str
    then: str = ""


@dataclass(frozen=True, slots=True)
class IfBroken:
    """Text that is only there if the group is broken, such as the last comma."""

    text: str


@dataclass(frozen=True, slots=True)
class Indent:
    """Further in, if the group is broken."""

    parts: tuple[Doc, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Parts that stand together on one line, if they fit and nothing in them must be broken."""

    parts: tuple[Doc, ...]
    must_break: bool = False


@dataclass(frozen=True, slots=True)
class Sequel:
    """Parts one after the other."""

    parts: tuple[Doc, ...]


Doc: TypeAlias = str | Break | IfBroken | Indent | Group | Sequel


def sequel(*parts: Doc) -> Sequel:
    """Parts one after the other."""
    return Sequel(parts)


def joined(items: Iterable[Doc], between: str) -> Sequel:
    """Items with the same text between them."""
    parts: list[Doc] = []
    for item in items:
        parts += [between, item] if parts else [item]
    return Sequel(tuple(parts))


def enclosed(
    opening: str,
    items: Sequence[Doc],
    closing: str,
    *,
    space: str = "",
    must_break: bool = False,
    last_comma: bool = True,
) -> Doc:
    """Items with commas between brackets.

    Args:
        opening: The first bracket, and what stands before it.
        items: What is between.
        closing: The last bracket.
        space: What stands inside of the brackets on one line.
        must_break: Whether each item has a line of its own in any case.
        last_comma: Whether the last item has one when broken.
    """
    if not items:
        return f"{opening}{closing}"
    inner: list[Doc] = [Break(space)]
    for item in items:
        inner += [",", Break(" "), item] if len(inner) > 1 else [item]
    comma = [IfBroken(",")] if last_comma else []
    return Group((opening, Indent(tuple(inner)), *comma, Break(space), closing), must_break)


def must_break(doc: Doc) -> bool:
    """Whether there is something in it that cannot stand on one line."""
    match doc:
        case Group(parts, forced):
            return forced or any(map(must_break, parts))
        case Indent(parts) | Sequel(parts):
            return any(map(must_break, parts))
        case str():
            return "\n" in doc
        case _:
            return False


def render(doc: Doc, *, depth: int = 0) -> str:
    """The text of a document; its first line begins where it stands, the others are indented.

    Args:
        doc: What to write.
        depth: How far in it stands.
    """
    printer = _Printer(depth)
    printer.write(doc, depth, broken=False, rest=0)
    return "".join(printer.out)


def flat(doc: Doc) -> str:
    """The text of a document on one line."""
    match doc:
        case str():
            return doc
        case Break(text):
            return text
        case IfBroken():
            return ""
        case Group(parts) | Indent(parts) | Sequel(parts):
            return "".join(map(flat, parts))


class _Printer:
    def __init__(self, depth: int) -> None:
        self.out: list[str] = []
        self.column = depth * len(STEP)

    def write(self, doc: Doc, depth: int, *, broken: bool, rest: int) -> None:
        """Writes a document.

        Args:
            doc: What to write.
            depth: How far in the group stands.
            broken: Whether the group around it is broken.
            rest: How much text follows on the same line in any case.
        """
        match doc:
            case str():
                self._text(doc)
            case Break(text, then):
                self._text(f"\n{STEP * depth}{then}" if broken else text)
            case IfBroken(text):
                self._text(text if broken else "")
            case Indent(parts):
                self._all(parts, depth + 1, broken=broken, rest=rest)
            case Sequel(parts):
                self._all(parts, depth, broken=broken, rest=rest)
            case Group(parts):
                fits = not must_break(doc) and self.column + len(flat(doc)) + rest <= WIDTH
                self._all(parts, depth, broken=not fits, rest=rest)

    def _all(self, parts: Sequence[Doc], depth: int, *, broken: bool, rest: int) -> None:
        for at, part in enumerate(parts):
            self.write(part, depth, broken=broken, rest=_head(parts[at + 1 :], broken, rest))

    def _text(self, text: str) -> None:
        self.out.append(text)
        last = text.rpartition("\n")[2]
        self.column = len(last) if last != text else self.column + len(text)


def _head(parts: Sequence[Doc], broken: bool, rest: int) -> int:
    """How much of what follows cannot be put on another line."""
    size = 0
    for part in parts:
        length, ended = _unbreakable(part, broken)
        size += length
        if ended:
            return size
    return size + rest


def _unbreakable(doc: Doc, broken: bool) -> tuple[int, bool]:
    match doc:
        case str():
            first, line, _ = doc.partition("\n")
            return len(first), bool(line)
        case Break(text):
            return (0, True) if broken else (len(text), False)
        case IfBroken(text):
            return (len(text) if broken else 0), False
        case Group(parts):
            # It can be broken where it first may.
            return _first(parts, broken=True)
        case Indent(parts) | Sequel(parts):
            return _first(parts, broken=broken)


def _first(parts: Sequence[Doc], *, broken: bool) -> tuple[int, bool]:
    size = 0
    for part in parts:
        length, ended = _unbreakable(part, broken)
        size += length
        if ended:
            return size, True
    return size, False
