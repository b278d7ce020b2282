"""Docstrings: what Python says of classes, fields and methods, taken apart by their sections.

The style is Google's. What a section that is not known here says stays where it is.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

_HEADINGS = {
    "args": "params",
    "arguments": "params",
    "parameters": "params",
    "params": "params",
    "keyword args": "params",
    "keyword arguments": "params",
    "attributes": "attributes",
    "returns": "returns",
    "return": "returns",
    "yields": "yields",
    "yield": "yields",
    "raises": "raises",
}

_HEADING = re.compile(r"([A-Z][A-Za-z ]*):\s*")
# A name, perhaps with its type in brackets, and what is said of it.
_ENTRY = re.compile(r"\*{0,2}([\w.]+)\s*(?:\([^)]*\))?\s*:\s*(.*)")


@dataclass(frozen=True, slots=True)
class Doc:
    """A docstring by its sections; all text without its common indentation."""

    text: str = ""
    params: Mapping[str, str] = field(default_factory=dict[str, str])
    attributes: Mapping[str, str] = field(default_factory=dict[str, str])
    returns: str = ""
    yields: str = ""
    raises: tuple[tuple[str, str], ...] = ()


def parse(docstring: str | None) -> Doc:
    """Takes a docstring apart."""
    if not docstring:
        return Doc()
    text: list[str] = []
    sections: dict[str, list[str]] = {}
    into = text
    for line in inspect.cleandoc(docstring).splitlines():
        if line and not line[0].isspace():
            heading = _HEADING.fullmatch(line)
            name = _HEADINGS.get(heading[1].lower()) if heading else None
            into = text if name is None else sections.setdefault(name, [])
            if name is not None:
                continue
        into.append(line)
    return Doc(
        "\n".join(text).strip(),
        dict(_entries(sections.get("params", []))),
        dict(_entries(sections.get("attributes", []))),
        _block(sections.get("returns", [])),
        _block(sections.get("yields", [])),
        tuple(_entries(sections.get("raises", []))),
    )


def _block(lines: list[str]) -> str:
    return textwrap.dedent("\n".join(lines)).strip()


def _entries(lines: list[str]) -> list[tuple[str, str]]:
    """`name: text` with what is indented under it, one after the other."""
    found: list[tuple[str, list[str]]] = []
    for line in _block(lines).splitlines():
        entry = _ENTRY.fullmatch(line)
        if entry:
            found.append((entry[1], [entry[2]]))
        elif found:
            found[-1][1].append(line.strip())
    return [(name, "\n".join(text).strip()) for name, text in found]


def class_doc(cls: type) -> Doc:
    """What a class says of itself; what a decorator wrote for it does not count."""
    docstring = cls.__dict__.get("__doc__")
    if not isinstance(docstring, str) or docstring.startswith(f"{cls.__name__}("):
        return Doc()
    return parse(docstring)


def attribute_docs(cls: type) -> dict[str, str]:
    """What is said of a class's attributes: under each, or in a section of the docstring.

    What base classes say of those that they hand down counts too.
    """
    found: dict[str, str] = {}
    for each in reversed(cls.__mro__[:-1]):
        found |= class_doc(each).attributes
        found |= _under_assignments(_tree(each))
    return found


def module_attribute_docs(module: str) -> dict[str, str]:
    """What stands under the assignments of a module, such as those that name a union."""
    return _under_assignments(_tree(sys.modules.get(module)))


def _tree(thing: type | ModuleType | None) -> list[ast.stmt]:
    """The statements of a class or a module; none where there is no source."""
    try:
        tree: Any = ast.parse(textwrap.dedent(inspect.getsource(thing)))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    except (OSError, TypeError, SyntaxError):
        return []
    body: list[ast.stmt] = tree.body
    if isinstance(thing, type):
        return body[0].body if body and isinstance(body[0], ast.ClassDef) else []
    return body


def _under_assignments(body: list[ast.stmt]) -> dict[str, str]:
    found: dict[str, str] = {}
    for statement, below in itertools.pairwise(body):
        target: object = getattr(statement, "target", None)
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target = statement.targets[0]
        elif type(statement).__name__ == "TypeAlias":  # since Python 3.12
            target = getattr(statement, "name", None)
        match target, below:
            case ast.Name(id=name), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = inspect.cleandoc(text)
            case _:
                pass
    return found
