"""The scan of a run: files, whose headers are read once, sorted into series and studies."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lumbargrade.dicom.kinds.classify import KINDS_VERSION
from lumbargrade.dicom.opening import file_problem, image_files
from lumbargrade.dicom.places import orientation_of, parallel, partition, projections
from lumbargrade.dicom.rules import EXPORT, LSDC, READER_VERSION, ReadingRules, single_place
from lumbargrade.dicom.slices import SliceHeader, read_headers
from lumbargrade.domain.errors import BadDicom, Problem
from lumbargrade.domain.vocabulary import SeriesKind

#: Seconds before the progress of reading headers is shown.
_PATIENCE = 3.0


@dataclass(frozen=True, eq=False)
class FoundSeries:
    """Images that claim to be one series, or those of its images that are one volume.

    Attributes:
        study_id: StudyInstanceUID (in LSDC files this is the study id), or the folder's name.
        series_id: SeriesInstanceUID; LSDC series go by their folder's name.
        kind: which of the three kinds, or None where unknown.
        headers: of its images, numbered by the rules.
        rules: for reading it; LSDC where its files lie in that layout.
        origin: the folder, for messages.
        problems: of files in its folder.
    """

    study_id: str
    series_id: str
    kind: SeriesKind | None
    headers: tuple[SliceHeader, ...]
    rules: ReadingRules
    origin: Path
    problems: tuple[Problem, ...] = ()

    def note(self, what: str, path: Path | None = None, *, fatal: bool = False) -> Problem:
        """What is wrong with the series or one of its files."""
        file = "" if path is None else str(path)
        return Problem(what, self.study_id, self.series_id, file, fatal=fatal)


@dataclass(frozen=True)
class Scan:
    """The series of some files, in the order of their first files, and the files that are none."""

    series: tuple[FoundSeries, ...]
    problems: tuple[Problem, ...]


def scan(path: Path | str, kinds: Mapping[str, SeriesKind] | None = None) -> Scan:
    """Read all headers below a folder, or of one file, and sort them into series.

    Args:
        path: folder or file.
        kinds: kind by series id, where a table says it.

    Raises:
        BadDicom: if there is no such file or folder, or if it cannot be listed.
    """
    return _scan_files(_listed(Path(path)), kinds or {})


def scan_folder(
    folder: Path,
    *,
    study_id: str,
    series_id: str,
    kind: SeriesKind | None,
    rules: ReadingRules,
) -> FoundSeries:
    """Read all headers of a folder that is one series, whatever they say; not of its subfolders.

    Files of another series than most are problems.

    Raises:
        BadDicom: if there is no such folder.
        OSError: if it cannot be listed.
    """
    if not folder.is_dir():
        raise BadDicom(f"{folder}: no such series folder")
    files = [_read(f, study_id, series_id) for f in image_files(folder, recursive=False)]
    headers = [h for usable, _ in files for h in usable]
    problems = [p for _, bad in files for p in bad]
    counts = Counter(h.series_uid for h in headers)
    own = counts.most_common(1)[0][0] if counts else ""
    for h in headers:
        if h.series_uid != own:
            what = f"belongs to another series ({h.series_uid})"
            problems.append(Problem(what, study_id, series_id, str(h.path)))
    mine = rules.numbered(h for h in headers if h.series_uid == own)
    return FoundSeries(study_id, series_id, kind, tuple(mine), rules, folder, tuple(problems))


def _listed(path: Path) -> list[Path]:
    if not path.exists():
        raise BadDicom(f"{path}: no such file or folder")
    try:
        return image_files(path, recursive=True)
    except OSError as error:
        raise BadDicom(f"{error.filename or path}: cannot be read ({error.strerror})") from None


Read = tuple[list[SliceHeader], list[Problem]]


def _read(file: Path, study_id: str = "", series_id: str = "") -> Read:
    """The images of a file, and what is wrong with it or some of its frames."""
    usable, errors = read_headers(file)
    return usable, [file_problem(file, error, study_id, series_id) for error in errors]


def _scan_files(files: Iterable[Path], kinds: Mapping[str, SeriesKind]) -> Scan:
    return _series_of([_read(file) for file in files], kinds)


def _series_of(files: Sequence[Read], kinds: Mapping[str, SeriesKind]) -> Scan:
    """The series of some files; those of one image each are joined where they are one."""
    headers = [h for usable, _ in files for h in usable]
    problems = [p for _, bad in files for p in bad]
    # without a UID, a folder is all that holds a series together
    parts = partition(headers, lambda h: (h.study_uid, h.series_uid or str(h.path.parent)))
    found = [_found(part, kinds) for part in parts]
    whole: dict[SliceHeader, FoundSeries] = {}
    notes = []
    for images in _single_images([s.headers for s in found if s.rules is not LSDC]):
        joined = _found(sorted(images, key=lambda h: (h.instance_number, h.series_uid)), kinds)
        whole |= dict.fromkeys(images, joined)
        notes.append(joined.note(f"is joined from series of one image each ({len(images)} images)"))
    series = dict.fromkeys(whole.get(s.headers[0], s) for s in found)
    return Scan(tuple(series), (*problems, *notes))


def _study_folder(header: SliceHeader) -> Path:
    """The folder that stands for the study where a file names none: the one above its own."""
    return header.path.absolute().parent.parent


def _found(headers: Sequence[SliceHeader], kinds: Mapping[str, SeriesKind]) -> FoundSeries:
    first = headers[0]
    folder = first.path.parent.name
    together = all(h.path.parent == first.path.parent for h in headers)
    named = folder in kinds or first.series_uid == f"{first.study_uid}.{folder}"
    rules = LSDC if together and named else EXPORT
    series_id = folder if rules is LSDC or not first.series_uid else first.series_uid
    return FoundSeries(
        study_id=first.study_uid or _study_folder(first).name,
        series_id=series_id,
        kind=kinds.get(series_id),
        headers=tuple(rules.numbered(headers)),
        rules=rules,
        origin=first.path.parent,
    )


#: Fewest slices that can be told to be a stack by their gaps, and by how much these may differ.
_STACK, _EVEN = 4, 0.1


def _single_images(parts: Sequence[Sequence[SliceHeader]]) -> list[list[SliceHeader]]:
    """The series that are made of several series of one place each.

    They must agree in study, description, anatomical plane, matrix, spacing, echo, repetition and
    inversion time, sequence and kind of image, and in frame of reference unless each has its own.
    That is not enough, since scouts agree in all this too: their series numbers or instance
    numbers must be those of one series, or the images a regular stack.

    Args:
        parts: the images of every series, none of them empty.
    """
    single = {p[0]: p for p in parts if len(p) == 1 or single_place(p)}
    return [
        [h for first in own for h in single[first]]
        for alike in partition(single, _looks)
        for frame in _divided(alike, [h.frame_of_reference for h in alike])
        for own in _divided(frame, [h.series_number for h in frame])
        if _is_series(own)
    ]


def _looks(header: SliceHeader) -> Hashable:
    about = header.about
    return (
        (header.study_uid, header.description, about.description, about.modality),
        (orientation_of(header.plane.normal), header.shape, *np.round(header.plane.spacing, 4)),
        (about.echo_time, about.repetition_time, about.inversion_time),
        (about.sequence, about.image_type),
    )


def _divided(headers: list[SliceHeader], values: Iterable[str]) -> list[list[SliceHeader]]:
    """Headers by a value of a series; together where each has its own, which tells nothing."""
    of = dict(zip(headers, values, strict=True))
    parts = partition(headers, of.__getitem__)
    return [headers] if len(parts) == len(headers) else parts


def _is_series(images: list[SliceHeader]) -> bool:
    if len(images) < 2:
        return False
    series, numbers = {h.series_number for h in images}, {h.instance_number for h in images}
    if (len(series) == 1 and "" not in series) or len(numbers) == len(images):
        return True
    stack = max(parallel(images), key=len)
    gaps = np.diff(np.sort(projections(stack)))
    return len(stack) >= _STACK and bool(np.ptp(gaps) <= _EVEN * gaps.mean())


@dataclass(frozen=True)
class FoundStudy:
    """The files of one study, whose headers are known; pixels are read when asked for.

    Attributes:
        study_id: StudyInstanceUID, or the folder's name where files carry none.
        files: its DICOM files, absolute and sorted.
        problems: files among them that could not be used.
        scan: its series.
    """

    study_id: str
    files: tuple[Path, ...]
    problems: tuple[Problem, ...]
    scan: Scan = field(compare=False, repr=False)

    @property
    def folder(self) -> Path:
        """The deepest folder that holds all its files."""
        return Path(os.path.commonpath([f.parent for f in self.files]))

    def current(self) -> Scan:
        """Its series; of files that have changed since, headers are read again."""
        known = {h.path: h.file.modified for s in self.scan.series for h in s.headers}
        if all(_modified(file) == known[file] for file in self.files):
            return self.scan
        return _scan_files(self.files, {})

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


def _modified(file: Path) -> float | None:
    try:
        return file.stat().st_mtime
    except OSError:
        return None


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
    is read and counted once. A file that cannot be used goes to the study around it, where there is
    only one.
    """
    read: dict[Path, Read] = {}
    studies: dict[str, dict[Path, Read]] = {}
    lost: dict[str, tuple[Path, Problem]] = {}
    problems: list[Problem] = []
    for path in dict.fromkeys(p.resolve() for p in paths):
        try:
            listed = _listed(path)
        except BadDicom as error:
            what = str(error) if path.exists() else "no such file or folder"
            problems.append(_unusable(path, what))
            continue
        bad, usable = [], 0
        for file in tqdm(listed, desc="headers", unit="file", disable=None, delay=_PATIENCE):
            if file not in read:
                read[file] = _read(file)
            headers, errors = read[file]
            if headers:
                usable += 1
                studies.setdefault(_study_key(headers[0]), {})[file] = read[file]
            else:
                bad += errors
        if not usable:
            problems.append(_unusable(path, _reasons(bad)))
            continue
        for problem in bad:
            lost.setdefault(problem.file, (path, problem))
    owned, unowned = _owned(lost.values(), studies)
    found = [_study(own, owned.get(key, ())) for key, own in studies.items()]
    return Collection(tuple(found), (*problems, *unowned))


def _study_key(header: SliceHeader) -> str:
    return header.study_uid or str(_study_folder(header))


def _study(files: Mapping[Path, Read], problems: Iterable[Problem]) -> FoundStudy:
    """A study of these files, in the order in which they were met."""
    first, ordered = next(iter(files.values()))[0][0], sorted(files)
    name = first.study_uid or _study_folder(first).name
    found = _series_of([files[file] for file in ordered], {})
    return FoundStudy(name, tuple(ordered), tuple(problems), found)


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
