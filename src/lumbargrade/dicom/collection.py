"""The studies below any paths: found by their headers, read one at a time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from lumbargrade.dicom.kinds.classify import KINDS_VERSION
from lumbargrade.dicom.opening import file_problem, image_files
from lumbargrade.dicom.rules import READER_VERSION
from lumbargrade.dicom.slices import read_headers
from lumbargrade.dicom.study import Study, assemble, scan_files, study_folder
from lumbargrade.domain.errors import BadDicom, Problem

#: Seconds before the progress of reading headers is shown.
_PATIENCE = 3.0


@dataclass(frozen=True)
class FoundStudy:
    """The files of one study; headers and pixels are read when asked for.

    Attributes:
        study_id: StudyInstanceUID, or the folder's name where files carry none.
        files: its DICOM files, absolute and sorted.
        problems: files among them that could not be used.
    """

    study_id: str
    files: tuple[Path, ...]
    problems: tuple[Problem, ...] = ()

    @property
    def folder(self) -> Path:
        """The deepest folder that holds all its files."""
        return Path(os.path.commonpath([f.parent for f in self.files]))

    def read(self) -> Study:
        """The study's volumes.

        Raises:
            BadDicom: if no series can be used.
        """
        found = scan_files(self.files)
        study = assemble(found, f"study {self.study_id}")
        return replace(study, problems=(*self.problems, *study.problems))

    def fingerprint(self) -> str:
        """SHA-256 of the files' paths, sizes and times of change, and of the reader's versions.

        Raises:
            BadDicom: if a file has vanished.
        """
        digest = hashlib.sha256(f"reader {READER_VERSION}, kinds {KINDS_VERSION}\n".encode())
        for file in self.files:
            try:
                status = file.stat()
            except OSError as error:
                raise BadDicom(f"{file}: cannot be read ({error.strerror})") from None
            digest.update(os.fsencode(f"{file}|{status.st_size}|{status.st_mtime_ns}\n"))
        return digest.hexdigest()


@dataclass(frozen=True)
class Collection:
    """What lies below some paths.

    Attributes:
        studies: in the order in which they were met.
        problems: paths without a study, and files that belong to none.
    """

    studies: tuple[FoundStudy, ...]
    problems: tuple[Problem, ...]


def find_studies(paths: Iterable[Path]) -> Collection:
    """Sort all DICOM files below some folders (or single files) into studies, by their headers.

    A study whose files are spread over several paths is one study; a file that is met twice
    counts once. A file that cannot be used goes to the study around it, where there is only one.
    """
    files: dict[str, dict[Path, None]] = {}
    names: dict[str, str] = {}
    lost: dict[str, tuple[Path, Problem]] = {}
    problems: list[Problem] = []
    for path in dict.fromkeys(p.resolve() for p in paths):
        try:
            listed = _list(path)
        except BadDicom as error:
            problems.append(_unusable(path, str(error)))
            continue
        bad, usable = [], 0
        for file in tqdm(listed, desc="headers", unit="file", disable=None, delay=_PATIENCE):
            headers, errors = read_headers(file)
            if not headers:
                bad += [file_problem(file, error) for error in errors]
                continue
            usable += 1
            header = headers[0]  # bad frames beside it are told when the study is read
            key = header.study_uid or str(study_folder(header))
            names.setdefault(key, header.study_uid or study_folder(header).name)
            files.setdefault(key, {})[file] = None
        if not usable:
            problems.append(_unusable(path, _reasons(bad)))
            continue
        for problem in bad:
            lost.setdefault(problem.file, (path, problem))
    owned, unowned = _owned(lost.values(), files)
    studies = tuple(
        FoundStudy(names[key], tuple(sorted(own)), tuple(owned.get(key, ())))
        for key, own in files.items()
    )
    return Collection(studies, (*problems, *unowned))


def _list(path: Path) -> list[Path]:
    if not path.exists():
        raise BadDicom("no such file or folder")
    try:
        return image_files(path, recursive=True)
    except OSError as error:
        raise BadDicom(f"{error.filename or path}: cannot be read ({error.strerror})") from None


def _reasons(problems: Sequence[Problem]) -> str:
    if not problems:
        return "no files"
    counts: dict[str, int] = {}
    for problem in problems:
        counts[problem.what] = counts.get(problem.what, 0) + 1
    listed = "; ".join(f"{what} ({n} x)" if n > 1 else what for what, n in counts.items())
    return f"no usable DICOM image: {listed[:400]}"


def _unusable(path: Path, what: str) -> Problem:
    advice = "give a folder with the DICOM images of a study; `lumbargrade inspect` shows more"
    return Problem(what, study=str(path), advice=advice)


def _owned(
    lost: Iterable[tuple[Path, Problem]], files: Mapping[str, Iterable[Path]]
) -> tuple[dict[str, list[Problem]], list[Problem]]:
    """Problems of files by the study around them, and those with no or several studies around."""
    around: dict[Path, set[str]] = {}
    for key, own in files.items():
        for folder in {parent for file in own for parent in file.parents}:
            around.setdefault(folder, set()).add(key)
    owned: dict[str, list[Problem]] = {}
    unowned = []
    for root, problem in lost:
        # not above the path that was asked for: what lies beside it is another matter
        above = [p for p in Path(problem.file).parents if p == root or root in p.parents]
        near = next((around[p] for p in above if p in around), set())
        if len(near) == 1:
            owned.setdefault(next(iter(near)), []).append(problem)
        else:
            unowned.append(problem)
    return owned, unowned
