"""Folders are visited once, whatever links lead to them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from lumbargrade.files.folders import walk


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "disk" / "b").mkdir(parents=True)
    (tmp_path / "disk" / "b" / "1.dcm").touch()
    (tmp_path / "root" / "a").mkdir(parents=True)
    (tmp_path / "root" / "a" / "2.dcm").touch()
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "disk")
    (tmp_path / "root" / "again").symlink_to(tmp_path / "disk" / "b")
    (tmp_path / "root" / "round").symlink_to(tmp_path / "root")
    return tmp_path / "root"


def test_links_are_followed_and_each_folder_is_visited_once(tree: Path) -> None:
    visited = [(str(folder.relative_to(tree)), files) for folder, _, files in walk(tree)]
    assert visited == [(".", []), ("a", ["2.dcm"]), ("again", ["1.dcm"]), ("linked", [])]


def test_folders_that_the_caller_removes_are_not_visited(tree: Path) -> None:
    visited = []
    for folder, inside, _ in walk(tree):
        visited.append(folder.name)
        inside[:] = [name for name in inside if name != "again"]
    assert visited == ["root", "a", "linked", "b"]


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(walk(tmp_path / "none"))


def test_folders_that_cannot_be_listed_are_named_and_the_others_visited(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = os.scandir

    def refused(path: str) -> object:
        if str(path) == str(tree / "linked"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refused)
    unreadable: list[OSError] = []
    assert [folder.name for folder, _, _ in walk(tree, unreadable)] == ["root", "a", "again"]
    assert [e.filename for e in unreadable] == [str(tree / "linked")]
    with pytest.raises(PermissionError):
        list(walk(tree))
