"""Scan files: read every header once and sort the images into series and studies."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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

#: Seconds until the progress bar of reading headers is shown.
_PATIENCE = 3.0


@dataclass(frozen=True, eq=False)
class FoundSeries:
    """The images of a series by their headers, or those of them that are one volume.

    Attributes:
        study_id: StudyInstanceUID (in LSDC files this is the study id), or the folder's name.
        series_id: SeriesInstanceUID, or the folder's name in the LSDC layout.
        kind: one of the three kinds, or None if unknown.
        headers: of its images, numbered by the rules.
        rules: for reading it; LSDC if its files are in the LSDC layout.
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
        """A problem or note about the series or one of its files."""
        file = "" if path is None else str(path)
        return Problem(what, self.study_id, self.series_id, file, fatal=fatal)


@dataclass(frozen=True)
class Scan:
    """Series in the order of their first files, and problems of files that cannot be used."""

    series: tuple[FoundSeries, ...]
    problems: tuple[Problem, ...]


def scan(path: Path | str, kinds: Mapping[str, SeriesKind] | None = None) -> Scan:
    """Read all headers below a folder, or of one file, and sort them into series.

    Args:
        path: folder or file.
        kinds: series id -> kind, from a table.

    Raises:
        BadDicom: if the path does not exist or cannot be listed.
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
    """Read all headers of a folder as one series; its subfolders are not searched.

    Files that belong to another series than most files are excluded and reported.

    Raises:
        BadDicom: if the folder does not exist.
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
    """The images of a file, and the problems of the file and its frames."""
    usable, errors = read_headers(file)
    return usable, [file_problem(file, error, study_id, series_id) for error in errors]


def _scan_files(files: Iterable[Path], kinds: Mapping[str, SeriesKind]) -> Scan:
    return _series_of([_read(file) for file in files], kinds)


def _series_of(files: Sequence[Read], kinds: Mapping[str, SeriesKind]) -> Scan:
    """Sort images into series, and join series with one image each if they are one series."""
    headers = [h for usable, _ in files for h in usable]
    problems = [p for _, bad in files for p in bad]
    # without a series UID, the images of a folder are one series
    parts = partition(headers, lambda h: (h.study_uid, h.series_uid or str(h.path.parent)))
    found = [_found(part, kinds) for part in parts]
    whole: dict[SliceHeader, FoundSeries] = {}
    notes = []
    for images in _single_images([s.headers for s in found if s.rules is not LSDC]):
        joined = _found(sorted(images, key=lambda h: (h.instance_number, h.series_uid)), kinds)
        whole |= dict.fromkeys(images, joined)
        what = f"was joined from series with one image each ({len(images)} images)"
        notes.append(joined.note(what))
    series = dict.fromkeys(whole.get(s.headers[0], s) for s in found)
    return Scan(tuple(series), (*problems, *notes))


def _study_folder(header: SliceHeader) -> Path:
    """The study folder if a file has no study UID: the parent of the file's folder."""
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


#: Minimum number of slices of a regular stack, and the maximum difference of its gaps (fraction).
_STACK, _EVEN = 4, 0.1


def _single_images(parts: Sequence[Sequence[SliceHeader]]) -> list[list[SliceHeader]]:
    """Find series with images at one place only that together are one series.

    They must agree in study, description, anatomical plane, matrix, spacing, echo, repetition and
    inversion time, sequence and kind of image, and in frame of reference unless each has its own.
    Because scouts agree in all these too, the series numbers or instance numbers must also be those
    of one series, or the images must form a regular stack.

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
    """Split headers by a value, unless every header has a different value."""
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
    """The files of one study; headers have been read, pixels have not.

    Attributes:
        study_id: StudyInstanceUID, or the folder's name if files have none.
        files: its DICOM files, absolute and sorted.
        problems: files among them that could not be used.
        scan: its series; None if the headers were not kept.
    """

    study_id: str
    files: tuple[Path, ...]
    problems: tuple[Problem, ...]
    scan: Scan | None = field(compare=False, repr=False)

    def without_headers(self) -> FoundStudy:
        """Return a copy without headers: small, and it can be sent to another process."""
        return replace(self, scan=None)

    @property
    def folder(self) -> Path:
        """The deepest folder that contains all its files."""
        return Path(os.path.commonpath([f.parent for f in self.files]))

    def current(self) -> Scan:
        """Its series; all headers are read again if they were not kept or a file has changed."""
        if self.scan is None:
            return _scan_files(self.files, {})
        known = {h.path: h.file.modified for s in self.scan.series for h in s.headers}
        if all(_modified(file) == known[file] for file in self.files):
            return self.scan
        return _scan_files(self.files, {})

    def fingerprint(self) -> str:
        """SHA-256 of paths, sizes and modification times, and of the reader's versions.

        Raises:
            BadDicom: if a file no longer exists.
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
class FoundStudies:
    """The studies below some paths.

    Attributes:
        studies: in the order in which they were found.
        problems: paths without a study, and files that belong to no study.
    """

    studies: tuple[FoundStudy, ...]
    problems: tuple[Problem, ...]


def find_studies(paths: Iterable[Path]) -> FoundStudies:
    """Sort all DICOM files below some folders (or single files) into studies, by their headers.

    Files of one study may be spread over several paths. A file below two paths is read and counted
    once. A file that cannot be used is reported with the study of the nearest folder, if that
    folder contains exactly one study.
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
    return FoundStudies(tuple(found), (*problems, *unowned))


def _study_key(header: SliceHeader) -> str:
    return header.study_uid or str(_study_folder(header))


def _study(files: Mapping[Path, Read], problems: Iterable[Problem]) -> FoundStudy:
    """The study of these files."""
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
    """Problems by the study of the nearest folder, and problems where it is not exactly one."""
    around: dict[Path, set[str]] = {}
    for key, own in files.items():
        for folder in {parent for file in own for parent in file.parents}:
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
