"""Which files of a folder tree are meant to be DICOM, and how one that is not is reported."""

from __future__ import annotations

import os
from pathlib import Path

from lumbargrade.domain.errors import BadDicom, Problem

#: Names that file systems and DICOM media leave behind; they never hold an image.
_FURNITURE = frozenset({"dicomdir", "thumbs.db", "desktop.ini", "lockfile", "version"})

#: A file with such a suffix is expected to be an image, so that one that cannot be read is a loss.
_DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ".ima"})


def image_files(path: Path, *, recursive: bool) -> list[Path]:
    """Files that may hold an image, sorted by path; hidden files and DICOMDIR are left out.

    Raises:
        OSError: if the folder itself cannot be listed.
    """
    if path.is_file():
        return [path]
    found: list[Path] = []
    for folder, folders, names in os.walk(path, onerror=_raise):
        folders[:] = sorted(f for f in folders if not f.startswith(".")) if recursive else []
        found += [Path(folder, n) for n in names if not _furniture(n)]
    return sorted(found)


def _raise(error: OSError) -> None:
    raise error


def _furniture(name: str) -> bool:
    return name.startswith(".") or name.lower() in _FURNITURE


class NotDicom(BadDicom):
    """A file without the DICOM mark."""


def file_problem(path: Path, error: BadDicom, study: str = "", series: str = "") -> Problem:
    """A file that was left out; fatal unless it was never meant to be a DICOM file."""
    expected = path.suffix.lower() in _DICOM_SUFFIXES or not isinstance(error, NotDicom)
    text = str(error).removeprefix(f"{path}: ")
    return Problem(text, study=study, series=series, file=str(path), fatal=expected)
