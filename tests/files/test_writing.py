"""Files are replaced whole, whatever their names; what cannot be written is known before."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from lumbargrade.files.writing import atomic_folder, atomic_path, require_writable, write_text


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


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    for name in ("old.txt", "new.txt"):
        with atomic_folder(tmp_path / "below" / "folder") as folder:
            (folder / name).touch()
    assert [p.name for p in tmp_path.rglob("*")] == ["below", "folder", "new.txt"]


def test_a_folder_that_cannot_be_completed_or_replaced_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old.txt").touch()
    with pytest.raises(FileNotFoundError), atomic_folder(tmp_path / "folder") as folder:
        (folder / "missing.txt").read_text()
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(PermissionError), atomic_folder(tmp_path / "folder"):
        pass
    assert [p.name for p in tmp_path.rglob("*")] == ["folder", "old.txt"]


def test_a_full_disk_is_told_with_the_file_that_could_not_be_written(tmp_path: Path) -> None:
    write_text(tmp_path / "t.txt", "before")
    with pytest.raises(OSError, match="No space") as caught, atomic_path(tmp_path / "t.txt"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # a write does not know the name
    assert caught.value.filename == str(tmp_path / "t.txt")
    assert [p.read_text() for p in tmp_path.iterdir()] == ["before"]
