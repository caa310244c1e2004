"""Which files of a folder tree are meant to be DICOM, and how one that is not is reported."""

from __future__ import annotations

import os
from pathlib import Path

from lumbargrade.domain.errors import BadDicom, Problem

#: Names that file systems and DICOM media leave behind; they never hold an image.
_FURNITURE = frozenset({"dicomdir", "thumbs.db", "desktop.ini", "lockfile", "version", "__macosx"})

#: A file with such a suffix is expected to be an image, so that one that cannot be read is a loss.
_DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ".ima"})

#: Files of viewers and reports beside the images, which may well be empty.
_OTHER_SUFFIXES = frozenset(
    f".{s}"
    for s in (
        *("txt", "inf", "ini", "log", "pdf", "xml", "json", "csv", "htm", "html", "css", "js"),
        *("jpg", "jpeg", "png", "gif", "bmp", "ico", "exe", "dll", "bat", "zip", "db", "md"),
    )
)

#: The first bytes of AppleDouble and AppleSingle files.
_RESOURCE_FORKS = (b"\x00\x05\x16\x07", b"\x00\x05\x16\x00")


def image_files(path: Path, *, recursive: bool) -> list[Path]:
    """Files that may hold an image, sorted by path; hidden files and DICOMDIR are left out.

    Raises:
        OSError: if the folder itself cannot be listed.
    """
    if path.is_file():
        return [path]
    found: list[Path] = []
    for folder, folders, names in os.walk(path, onerror=_raise):
        folders[:] = sorted(f for f in folders if not _furniture(f)) if recursive else []
        found += [Path(folder, n) for n in names if not _furniture(n)]
    return sorted(found)


def _raise(error: OSError) -> None:
    raise error


def _furniture(name: str) -> bool:
    return name.startswith(".") or name.lower() in _FURNITURE


class NotDicom(BadDicom):
    """A file without the DICOM mark."""


class NotImage(BadDicom):
    """A file that was never meant to hold an image, whatever its name: no image is lost with it."""


def is_resource_fork(path: Path) -> bool:
    """Whether a file is what macOS writes beside the files of a foreign disk."""
    with path.open("rb") as file:
        return file.read(4) in _RESOURCE_FORKS


def file_problem(path: Path, error: BadDicom, study: str = "", series: str = "") -> Problem:
    """A file that was left out; fatal unless it was never meant to be a DICOM image."""
    suffix = path.suffix.lower()
    if suffix in _DICOM_SUFFIXES:
        expected = not isinstance(error, NotImage)
    else:
        expected = not isinstance(error, NotDicom | NotImage) and suffix not in _OTHER_SUFFIXES
    text = str(error).removeprefix(f"{path}: ")
    return Problem(text, study=study, series=series, file=str(path), fatal=expected)
