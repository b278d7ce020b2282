"""Writing files: all or none, exclusively, and never a key in an error message."""

import os
from pathlib import Path

import pytest
from jetstream._files import FilesExistError, public_file, secret_file, write_files


def content(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


class TestWriteFiles:
    def test_failure_leaves_nothing(self, tmp_path):
        files = [secret_file(tmp_path / "a", b"a"), public_file(tmp_path / "missing" / "b", b"b")]
        for replace in (False, True):
            with pytest.raises(FileNotFoundError):
                write_files(files, replace=replace)
            assert content(tmp_path) == {}

    def test_failure_keeps_the_old(self, tmp_path, monkeypatch):
        (tmp_path / "a").write_bytes(b"old")

        def fail(*args):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fchmod", fail)
        with pytest.raises(OSError, match="No space left"):
            write_files([secret_file(tmp_path / "a", b"new")], replace=True)
        assert content(tmp_path) == {"a": b"old"}

    def test_a_file_that_appears_meanwhile_is_kept(self, tmp_path, monkeypatch):
        (tmp_path / "b").write_bytes(b"precious")
        monkeypatch.setattr(os.path, "lexists", lambda path: False)
        files = [secret_file(tmp_path / "a", b"a"), secret_file(tmp_path / "b", b"b")]
        with pytest.raises(FilesExistError) as caught:
            write_files(files)
        assert caught.value.paths == (tmp_path / "b",)
        assert content(tmp_path) == {"b": b"precious"}

    def test_repr_holds_no_key(self):
        assert "SECRET" not in repr(secret_file(Path("a"), b"SECRET"))
