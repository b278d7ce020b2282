"""Writing keys and certificates to disk: modes, no half-written files, nothing lost.

What the files mean is `_certs`' business, what the user is told the command line's.
"""

import contextlib
import os
import secrets
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jetstream._errors import TlsConfigError

SECRET_MODE = 0o600
PUBLIC_MODE = 0o644


@dataclass(frozen=True, kw_only=True)
class NewFile:
    """A file to be written.

    Attributes:
        path: Where it goes; the folder must exist.
        data: All of its bytes.
        secret: True for what holds a private key: the file never has another mode than 0600.
    """

    path: Path
    data: bytes = field(repr=False)
    secret: bool


def secret_file(path: Path, data: bytes) -> NewFile:
    """Describe a file that holds a private key.

    Args:
        path: Where it goes.
        data: All of its bytes.

    Returns:
        The file, not written yet.
    """
    return NewFile(path=path, data=data, secret=True)


def public_file(path: Path, data: bytes) -> NewFile:
    """Describe a file that everybody may read.

    Args:
        path: Where it goes.
        data: All of its bytes.

    Returns:
        The file, not written yet.
    """
    return NewFile(path=path, data=data, secret=False)


class FilesExistError(TlsConfigError):
    """Files are in the way and were not to be replaced.

    Attributes:
        paths: The files that exist, in the order in which they would have been written.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        names = ", ".join(str(path) for path in paths)
        verb = "exists" if len(paths) == 1 else "exist"
        super().__init__(f"{names} already {verb}; nothing was written and nothing is lost")
        self.paths = tuple(paths)


def write_files(files: Sequence[NewFile], *, replace: bool = False) -> None:
    """Write all of the files or none of them.

    Every file is created exclusively (`O_EXCL`, so no link is followed) and with its final mode, so
    a key cannot be read by others at any moment, whatever the umask. When files are replaced, the
    new ones are written beside the old ones and then renamed over them: a process that watches a
    file sees the old content or the new, never a part of it.

    Args:
        files: What to write.
        replace: Whether existing files may be replaced.

    Raises:
        FilesExistError: Something exists and `replace` is false; nothing was written.
        OSError: A file could not be written; new files were removed again.
    """
    paths = [file.path for file in files]
    present = [path for path in paths if os.path.lexists(path)]
    if present and not replace:
        raise FilesExistError(present)
    for path in present:
        if path.is_dir():
            raise IsADirectoryError(21, "Is a directory", str(path))
    with _removed_on_failure() as created:
        for file in files:
            target = _beside(file.path) if replace else file.path
            try:
                _create(target, file.data, SECRET_MODE if file.secret else PUBLIC_MODE, created)
            except FileExistsError:
                raise FilesExistError([file.path]) from None
        if replace:
            for staged, path in zip(tuple(created), paths, strict=True):
                staged.replace(path)
                created.remove(staged)


@contextlib.contextmanager
def _removed_on_failure() -> Generator[list[Path]]:
    created: list[Path] = []
    try:
        yield created
    except BaseException:
        for path in created:
            path.unlink(missing_ok=True)
        raise


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}.new")


def _create(path: Path, data: bytes, mode: int, created: list[Path]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    created.append(path)
    with os.fdopen(descriptor, "wb") as file:
        if mode == SECRET_MODE and hasattr(os, "fchmod"):
            os.fchmod(descriptor, mode)  # a strict umask may have taken the owner's own bits
        file.write(data)
