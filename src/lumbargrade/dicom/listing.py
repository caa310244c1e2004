"""List the files below a path that may be images, zip files, and files that a disc lacks."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lumbargrade.dicom.discs import DISC_FILE, listed_files, plain_path
from lumbargrade.dicom.opening import NIFTI_ENDINGS, image_folders, require_file
from lumbargrade.domain.errors import BadDicom, Problem
from lumbargrade.files.archives import ARCHIVE_SUFFIX, is_archive

#: Folders with the names of files.
Places = list[tuple[str, list[str]]]


@dataclass(frozen=True)
class Listed:
    """What is below a path.

    Attributes:
        folders: with the names of files that may be images; names are short, paths are not.
        archives: zip files.
        niftis: NIfTI files; see `bids`.
        problems: files that a DICOMDIR lists in vain, and folders that cannot be read.
    """

    folders: Places
    archives: tuple[Path, ...] = ()
    niftis: tuple[Path, ...] = ()
    problems: tuple[Problem, ...] = ()


def image_places(path: Path) -> Listed:
    """List a folder, a DICOMDIR with the files that it lists, a zip file, or another file.

    Raises:
        BadDicom: if it does not exist or cannot be listed, or a given DICOMDIR is damaged.
    """
    if not path.exists():
        raise BadDicom(f"{path}: no such file or folder")
    if path.is_file() and is_archive(path):
        return Listed([], (path,))
    if path.is_file() and path.name.lower().endswith(NIFTI_ENDINGS):
        return Listed([], niftis=(path,))
    if path.is_file() and path.name.lower() == DISC_FILE:
        return _disc(path)
    folders: Places = []
    archives: list[Path] = []
    niftis: list[Path] = []
    problems: list[Problem] = []
    unreadable: list[OSError] = []
    try:
        for folder, names, beside in image_folders(path, recursive=True, unreadable=unreadable):
            if names:
                folders.append((str(folder), list(map(sys.intern, names))))
            others, unread = _files_in(folder, beside)
            problems += unread
            archives += [folder / n for n in others if n.lower().endswith(ARCHIVE_SUFFIX)]
            niftis += [folder / n for n in others if n.lower().endswith(NIFTI_ENDINGS)]
            discs = [folder / n for n in others if n.lower() == DISC_FILE]
            problems += [problem for disc in discs for problem in _missing_from(disc)]
    except OSError as error:
        raise BadDicom(f"{error.filename or path}: cannot be read ({error.strerror})") from None
    problems += [
        Problem(f"folder cannot be read ({e.strerror})", file=str(e.filename)) for e in unreadable
    ]
    return Listed(folders, tuple(archives), tuple(niftis), tuple(problems))


def _files_in(folder: Path, names: Iterable[str]) -> tuple[list[str], list[Problem]]:
    """The sorted names of zip, NIfTI and other files, and problems of those that are no files."""
    found, problems = [], []
    for name in sorted(name for name in names if not name.startswith(".")):
        try:
            require_file(folder / name)
        except BadDicom as error:
            what = str(error).removeprefix(f"{folder / name}: ")
            problems.append(Problem(what, file=str(folder / name)))
        else:
            found.append(name)
    return found, problems


def _disc(disc: Path) -> Listed:
    """The files that a DICOMDIR lists; names on discs may differ in case."""
    found, lost = _files_of(disc, listed_files(disc))
    folders: dict[str, list[str]] = {}
    for file in found:
        folders.setdefault(str(file.parent), []).append(sys.intern(file.name))
    places = [(folder, sorted(names)) for folder, names in sorted(folders.items())]
    return Listed(places, problems=_lost(disc, lost))


def _files_of(disc: Path, listed: list[str]) -> tuple[list[Path], list[str]]:
    """The files that are there, and the listed paths that are not."""
    there: dict[Path, dict[str, Path]] = {}

    def inside(folder: Path) -> dict[str, Path]:
        if folder not in there:
            entries = folder.iterdir() if folder.is_dir() else ()
            there[folder] = {plain_path(entry.name): entry for entry in entries}
        return there[folder]

    found, lost = [], []
    for path in listed:
        place: Path | None = disc.parent
        for part in path.split("/"):
            place = None if place is None else inside(place).get(plain_path(part))
        if place is None:
            lost.append(path)
        else:
            found.append(place)
    return found, lost


def _missing_from(disc: Path) -> tuple[Problem, ...]:
    """Problems of the files that a DICOMDIR beside images lists in vain."""
    # a damaged list loses no image: all files beside it are read
    try:
        return _lost(disc, _files_of(disc, listed_files(disc))[1])
    except BadDicom as error:
        what = str(error).removeprefix(f"{disc}: ")
        return (Problem(f"{what}; all files beside it are read", file=str(disc), fatal=False),)


def _lost(disc: Path, lost: Iterable[str]) -> tuple[Problem, ...]:
    why = f"is listed in {disc} but is not there"
    advice = "copy the whole disc"
    return tuple(Problem(why, file=str(disc.parent / path), advice=advice) for path in lost)
