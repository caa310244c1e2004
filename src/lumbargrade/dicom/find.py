"""Find the studies below some paths by the headers of all files, and know whether they changed."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from tqdm import tqdm

from lumbargrade.dicom.choice import CHOICE_VERSION
from lumbargrade.dicom.discs import DISC_FILE
from lumbargrade.dicom.kinds.classify import KINDS_VERSION
from lumbargrade.dicom.listing import Places, image_places
from lumbargrade.dicom.requests import NOTHING, HeaderValue, Request
from lumbargrade.dicom.rules import READER_VERSION
from lumbargrade.dicom.scan import (
    Read,
    Scan,
    read_file,
    scan_files,
    series_of,
    study_folder,
)
from lumbargrade.domain.errors import BadDicom, Problem, in_short
from lumbargrade.files.pool import run_jobs

#: Images whose headers stay in memory until their study is read: a few hundred studies.
MOST_HEADERS = 20_000

#: Versions of the reader and of what decides the kinds and the choice of series, for fingerprints.
READER = f"reader {READER_VERSION}, kinds {KINDS_VERSION}, choice {CHOICE_VERSION}\n"

#: More files than this are read by several processes, which take a few seconds to start.
_FEW = 5000

#: Seconds until the progress bar of reading headers is shown.
_PATIENCE = 3.0


@dataclass(frozen=True)
class FoundStudy:
    """The files of one study; headers have been read, pixels have not.

    Attributes:
        study_id: StudyInstanceUID, or the folder's name if files have none.
        folders: the absolute folders of its DICOM files, with the names of these; both sorted.
        problems: files among them that could not be used.
        scan: its series; None if the headers were not kept.
        request: what the user decides about reading it.
    """

    study_id: str
    folders: tuple[tuple[str, tuple[str, ...]], ...]
    problems: tuple[Problem, ...]
    scan: Scan | None = field(default=None, compare=False, repr=False)
    request: Request = NOTHING

    @property
    def files(self) -> tuple[Path, ...]:
        """Its DICOM files, absolute and sorted."""
        return tuple(sorted(Path(folder, n) for folder, names in self.folders for n in names))

    def without_headers(self) -> FoundStudy:
        """Return a copy without headers: small, and it can be sent to another process."""
        return replace(self, scan=None)

    @property
    def folder(self) -> Path:
        """The deepest folder that contains all its files."""
        return Path(os.path.commonpath([folder for folder, _ in self.folders]))

    def current(self) -> Scan:
        """Its series; all headers are read again if they were not kept or a file has changed."""
        if self.scan is None:
            return scan_files(self.files, {}, self.request.headers)
        known = {h.path: h.file.modified for s in self.scan.series for h in s.headers}
        if all(_modified(file) == known[file] for file in self.files):
            return self.scan
        return scan_files(self.files, {}, self.request.headers)

    def fingerprint(self) -> str:
        """SHA-256 of paths, sizes and modification times, of the reader's versions and the request.

        Raises:
            BadDicom: if a file no longer exists.
        """
        return files_fingerprint(f"{READER}{self.request.fingerprint}", self.files)


def files_fingerprint(how: str, files: Iterable[Path]) -> str:
    """SHA-256 of how files are read, and of their paths, sizes and modification times.

    Raises:
        BadDicom: if a file no longer exists.
    """
    digest = hashlib.sha256(how.encode())
    for file in files:
        try:
            status = file.stat()
        except OSError as error:
            raise BadDicom(f"{file}: cannot be read ({error.strerror})") from None
        digest.update(os.fsencode(f"{file}|{status.st_size}|{status.st_mtime_ns}\n"))
    return digest.hexdigest()


def _modified(file: Path) -> float | None:
    try:
        return file.stat().st_mtime
    except OSError:
        return None


@dataclass(frozen=True)
class FoundStudies:
    """The studies below some paths.

    Attributes:
        studies: in the order in which they were found.
        problems: paths without a study, and files that belong to no study.
        archives: zip files, which were not searched; see `dicom.archives`.
        niftis: NIfTI files, which were not read; see `bids`.
    """

    studies: tuple[FoundStudy, ...]
    problems: tuple[Problem, ...]
    archives: tuple[Path, ...] = ()
    niftis: tuple[Path, ...] = ()


def find_studies(
    paths: Iterable[Path],
    *,
    most_headers: int = MOST_HEADERS,
    workers: int = 1,
    request: Request = NOTHING,
) -> FoundStudies:
    """Sort all DICOM files below some folders (or single files) into studies, by their headers.

    Files of one study may be spread over several paths. A file below two paths is read and counted
    once. A file that cannot be used is reported with the study of the nearest folder, if that
    folder contains exactly one study.

    Args:
        paths: folders and files.
        most_headers: number of images whose headers are kept for `read_found`; those of further
            files are read again.
        workers: number of processes that read the headers of many files; headers that they read
            are not kept.
        request: what the user decides about reading the studies.
    """
    finder = _Finder(most_headers, workers, request)
    for path in dict.fromkeys(p.resolve() for p in paths):
        finder.search(path)
    return finder.found()


class _Finder:
    """Collects the studies of some paths; see `find_studies`."""

    def __init__(self, most_headers: int, workers: int, request: Request) -> None:
        self.spare, self.workers, self.request = most_headers, workers, request
        #: folder -> name of a usable file -> key of its study
        self.usable: dict[str, dict[str, str]] = {}
        self.errors: dict[Path, list[Problem]] = {}
        self.kept: dict[Path, Read] = {}
        #: key of a study -> its id
        self.ids: dict[str, str] = {}
        #: unusable file -> the path below which it was found, and the problem
        self.lost: dict[str, tuple[Path, Problem]] = {}
        self.problems: list[Problem] = []
        self.archives: dict[Path, None] = {}
        self.niftis: dict[Path, None] = {}

    def search(self, path: Path) -> None:
        """Read all headers below a path."""
        try:
            below = image_places(path)
        except BadDicom as error:
            what = str(error) if path.exists() else "no such file or folder"
            self.problems.append(_unusable(path, what))
            return
        self.archives |= dict.fromkeys(below.archives)
        self.niftis |= dict.fromkeys(below.niftis)
        bad, usable, listed = list(below.problems), 0, below.folders
        count = sum(len(names) for _, names in listed)
        if self.workers > 1 and count > _FEW:
            self._read_in_parallel(listed)
        with tqdm(
            total=count, desc="headers", unit="file", disable=None, delay=_PATIENCE
        ) as progress:
            for folder, names in listed:
                for name in names:
                    if self._is_usable(folder, name):
                        usable += 1
                    else:
                        bad += self.errors[Path(folder, name)]
                    progress.update()
        elsewhere = below.archives or below.niftis
        if elsewhere and not usable:
            self.problems += [problem for problem in bad if problem.fatal]
            return
        if not usable:
            self.problems.append(_unusable(path, _reasons(bad)))
            return
        root = path.parent if path.name.lower() == DISC_FILE else path
        for problem in bad:
            self.lost.setdefault(problem.file, (root, problem))

    def _is_usable(self, folder: str, name: str) -> bool:
        """Read a file unless it has been read, and say whether it has an image."""
        if name in self.usable.setdefault(folder, {}):
            return True
        file = Path(folder, name)
        if file in self.errors:
            return False
        read = read_file(file, values=self.request.headers)
        self._note(folder, name, looked(read))
        self.spare -= len(read[0])
        if read[0] and self.spare >= 0:
            self.kept[file] = read
        return bool(read[0])

    def _read_in_parallel(self, listed: Places) -> None:
        """Read all files that have not been read; their headers are not kept."""
        new = []
        for folder, names in listed:
            known = self.usable.setdefault(folder, {})
            unread = [n for n in names if n not in known and Path(folder, n) not in self.errors]
            if unread:
                new.append((folder, unread))
        look_at = partial(_look_at, values=self.request.headers)
        looks = run_jobs(look_at, new, self.workers, task="headers", unit="folder")
        for (folder, names), found in zip(new, looks, strict=True):
            for name, look in zip(names, found, strict=True):
                self._note(folder, name, look)

    def _note(self, folder: str, name: str, look: _Look) -> None:
        if isinstance(look, list):
            self.errors[Path(folder, name)] = look
            return
        key, study_id = look
        self.usable[folder][name] = sys.intern(key)
        self.ids.setdefault(key, study_id)

    def found(self) -> FoundStudies:
        places: dict[str, dict[str, list[str]]] = {key: {} for key in self.ids}
        for folder, names in self.usable.items():
            for name, key in names.items():
                places[key].setdefault(folder, []).append(name)
        owned, unowned = _owned(self.lost.values(), places)
        studies = []
        for key, folders in places.items():
            ordered = tuple((f, tuple(sorted(names))) for f, names in sorted(folders.items()))
            lost = tuple(owned.get(key, ()))
            study = FoundStudy(self.ids[key], ordered, lost, request=self.request)
            files = study.files
            if all(file in self.kept for file in files):
                scan = series_of([self.kept[file] for file in files], {})
                study = replace(study, scan=scan)
            studies.append(study)
        problems = (*self.problems, *unowned)
        return FoundStudies(tuple(studies), problems, tuple(self.archives), tuple(self.niftis))


#: Key and id of the study of a file, or why it cannot be used.
_Look = tuple[str, str] | list[Problem]


def _look_at(place: tuple[str, list[str]], values: Sequence[HeaderValue]) -> list[_Look]:
    """Read files of a folder; what is told of them is small, and so is sent to another process."""
    folder, names = place
    known: dict[_Look, _Look] = {}
    looks = [looked(read_file(Path(folder, name), values=values)) for name in names]
    # equal texts of a message are sent once if they are one object
    return [look if isinstance(look, list) else known.setdefault(look, look) for look in looks]


def looked(read: Read) -> tuple[str, str] | list[Problem]:
    """Key and id of the study of a file, or why it cannot be used."""
    headers, errors = read
    if not headers:
        return errors
    folder = study_folder(headers[0])
    return headers[0].study_uid or str(folder), headers[0].study_uid or folder.name


def _reasons(problems: Sequence[Problem]) -> str:
    if not problems:
        return "no files"
    return f"no usable DICOM image: {in_short(problems)}"


def _unusable(path: Path, what: str) -> Problem:
    advice = "give a folder with the DICOM images of a study; `lumbargrade inspect` shows more"
    return Problem(what, study=str(path), advice=advice)


def _owned(
    lost: Iterable[tuple[Path, Problem]], places: Mapping[str, Iterable[str]]
) -> tuple[dict[str, list[Problem]], list[Problem]]:
    """Problems by the study of the nearest folder, and problems where it is not exactly one.

    Args:
        lost: the path below which a file was found, and its problem.
        places: key of a study -> the folders of its files.
    """
    lost = list(lost)
    around: dict[Path, set[str]] = {}
    for key, own in places.items() if lost else ():
        for folder in {p for place in own for p in (Path(place), *Path(place).parents)}:
            around.setdefault(folder, set()).add(key)
    owned: dict[str, list[Problem]] = {}
    unowned = []
    for root, problem in lost:
        # only folders up to the given path; files outside it do not count
        above = [p for p in Path(problem.file).parents if p == root or root in p.parents]
        near = next((around[p] for p in above if p in around), set())
        if len(near) == 1:
            owned.setdefault(next(iter(near)), []).append(problem)
        else:
            unowned.append(problem)
    return owned, unowned
