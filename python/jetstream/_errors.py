"""The errors of the package. Attributes carry the data; the text derives from them.

```
JetStreamError
├── EncodeError     a value cannot be put on the wire
└── DecodeError     bytes are not a value of their type
```
"""


class JetStreamError(Exception):
    """The root of everything this package raises on its own account."""


class EncodeError(JetStreamError):
    """A value cannot be put on the wire. Nothing of it was sent.

    Attributes:
        path: Where the value is, such as `Echo.put(items)[3].name`.
        message: What is wrong with it.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(path, message)
        self.path = path
        self.message = message

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class DecodeError(JetStreamError):
    """Bytes are not a value of their type.

    Attributes:
        path: Where in the value, such as `Echo.put(items)[3].name`.
        offset: The first byte that could not be read.
        message: What is wrong with it.
    """

    def __init__(self, path: str, offset: int, message: str) -> None:
        super().__init__(path, offset, message)
        self.path = path
        self.offset = offset
        self.message = message

    def __str__(self) -> str:
        text = f"{self.message} (byte {self.offset})"
        return f"{self.path}: {text}" if self.path else text
