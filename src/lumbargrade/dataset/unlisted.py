"""Folders of images that the tables of a data set do not name, so that nothing reads them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from lumbargrade.domain.errors import Problem


def unlisted_studies(images: Path, listed: Collection[str], table: str) -> Iterator[Problem]:
    """A note for each study folder that the table of series descriptions does not name.

    Args:
        images: folder ``train_images`` or ``test_images``.
        listed: study ids of the table.
        table: its name, for the notes.
    """
    for study in _folders(images, listed):
        what = f"study folder that {table} does not list; its images are not used"
        yield Problem(what, study=study, file=str(images / study), fatal=False)


def unlisted_series(
    images: Path, listed: Mapping[str, Collection[str]], table: str
) -> Iterator[Problem]:
    """A note for each series folder, in the folder of a listed study, that the table does not name.

    Args:
        images: folder ``train_images`` or ``test_images``.
        listed: study id -> its series ids.
        table: name of the table, for the notes.
    """
    for study, known in listed.items():
        for series in _folders(images / study, known):
            what = f"series folder that {table} does not list; its images are not used"
            folder = str(images / study / series)
            yield Problem(what, study=study, series=series, file=folder, fatal=False)


def _folders(folder: Path, known: Collection[str]) -> list[str]:
    """Names of folders with something in them that are not known; hidden ones are passed over."""
    try:
        with os.scandir(folder) as entries:
            found = [e for e in entries if e.name not in known and not e.name.startswith(".")]
            return sorted(e.name for e in found if e.is_dir() and _holds_something(e.path))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _holds_something(folder: str) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(not e.name.startswith(".") for e in entries)
    except PermissionError:
        return True
