"""Files are replaced whole, whatever their names; what cannot be written is known before."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from lumbargrade.files.writing import atomic_path, require_writable, write_text


@pytest.mark.parametrize("name", ["x" * 250 + ".csv", "folder/file/x.csv", "folder"])
def test_what_cannot_be_written_is_known_before_the_work(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    for write in (require_writable, lambda path: write_text(path, "x")):
        with pytest.raises(OSError, match=r"."):
            write(tmp_path / name)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", "folder"]


def test_a_name_of_the_longest_length_that_can_be_written_passes(tmp_path: Path) -> None:
    name = "x" * 230 + ".csv"
    require_writable(tmp_path / name)
    write_text(tmp_path / name, "x")
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_bytes_that_are_no_text_are_escaped(tmp_path: Path) -> None:
    write_text(tmp_path / "t.txt", "a\udcffé")
    assert (tmp_path / "t.txt").read_text(encoding="utf-8") == "a\\udcffé"


def test_a_full_disk_is_told_with_the_file_that_could_not_be_written(tmp_path: Path) -> None:
    write_text(tmp_path / "t.txt", "before")
    with pytest.raises(OSError, match="No space") as caught, atomic_path(tmp_path / "t.txt"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # a write does not know the name
    assert caught.value.filename == str(tmp_path / "t.txt")
    assert [p.read_text() for p in tmp_path.iterdir()] == ["before"]
