"""Wire plans and the codec that runs them."""

from typing import Any, final

__all__ = ["ArgumentsPlan", "Plan"]

@final
class Plan:
    """How values of one annotation are laid out, compiled once.

    Args:
        description: One tuple per node, the first being the root. A node starts with its kind and
            names other nodes by their position.

    Raises:
        ValueError: The nodes do not make a plan.
    """

    def __new__(cls, description: tuple[tuple[Any, ...], ...]) -> Plan: ...
    def encode(self, value: object, path: str = "") -> bytes:
        """Returns the bytes of `value`.

        Args:
            value: A value of the annotation.
            path: What comes before the path in an error.

        Raises:
            EncodeError: It is no such value, or does not fit.
        """

    def decode(self, data: bytes, path: str = "") -> Any:
        """Returns the value that fills `data` exactly.

        Args:
            data: The bytes of one value.
            path: What comes before the path in an error.

        Raises:
            DecodeError: They are not.
        """

@final
class ArgumentsPlan:
    """The ordered, named arguments of one method.

    Args:
        description: As for `Plan`; the first node has the kind `arguments`.

    Raises:
        ValueError: The nodes do not make a plan.
    """

    def __new__(cls, description: tuple[tuple[Any, ...], ...]) -> ArgumentsPlan: ...
    def encode(self, *args: object, path: str = "") -> bytes:
        """Returns the bytes of the arguments, one after the other.

        Args:
            *args: All of them, in order.
            path: What comes before the path in an error.

        Raises:
            EncodeError: One does not fit, or there are more or fewer.
        """

    def decode(self, data: bytes, path: str = "") -> tuple[Any, ...]:
        """Returns the arguments that fill `data` exactly.

        Args:
            data: The bytes of all of them.
            path: What comes before the path in an error.

        Raises:
            DecodeError: They are not.
        """

    def __len__(self) -> int: ...
