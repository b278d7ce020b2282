"""A description as a stable text: what a service's digest is made from.

What is written here must never change, or old and new peers would no longer know each other.
"""

from collections.abc import Callable
from typing import Any

__all__ = ["Writer"]


class Writer:
    """Writes the nodes of one description."""

    def __init__(self, nodes: tuple[tuple[Any, ...], ...]) -> None:
        self._nodes = nodes
        self._labels: dict[object, str] = {}
        self._taken: dict[str, int] = {}

    def write(self, position: int) -> str:
        """Returns the text of the node at this position and of all it refers to."""
        node = self._nodes[position]
        match node:
            case ("list" | "set", item, _):
                return f"{node[0]}[{self.write(item)}]"
            case ("option", item, _):
                return f"option[{self.write(item)}]"
            case ("tuple", items):
                return f"tuple[{','.join(map(self.write, items))}]" if items else "unit"
            case ("map", key, value):
                return f"map[{self.write(key)},{self.write(value)}]"
            case ("union", items, _):
                return f"({'|'.join(map(self.write, items))})"
            case ("struct", cls, fields, _, _):
                return self._class(cls, (cls, fields), lambda: ",".join(map(self._field, fields)))
            case ("enum", cls, members):
                return self._class(cls, cls, lambda: "|".join(item.name for item in members))
            case _:
                return str(node[0])

    def _field(self, field: tuple[str, int]) -> str:
        name, position = field
        return f"{name}:{self.write(position)}"

    def _class(self, cls: type, key: object, body: Callable[[], str]) -> str:
        label = self._labels.get(key)
        if label is not None:
            return label
        count = self._taken[cls.__name__] = self._taken.get(cls.__name__, 0) + 1
        label = cls.__name__ if count == 1 else f"{cls.__name__}#{count}"
        self._labels[key] = label
        return f"{label}{{{body()}}}"
