"""Scan files: read every header once and sort the images into series and studies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lumbargrade.dicom.listing import image_places
from lumbargrade.dicom.opening import file_problem, image_files
from lumbargrade.dicom.places import orientation_of, parallel, partition, projections
from lumbargrade.dicom.requests import NOTHING, HeaderValue, Request
from lumbargrade.dicom.rules import EXPORT, LSDC, ReadingRules, single_place
from lumbargrade.dicom.slices import SliceHeader, read_headers
from lumbargrade.domain.errors import BadDicom, Problem
from lumbargrade.domain.vocabulary import SeriesKind


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
    """Series in the order of their first files.

    Attributes:
        series: the series.
        problems: of files that cannot be used.
        archives: zip files, which were not searched.
    """

    series: tuple[FoundSeries, ...]
    problems: tuple[Problem, ...]
    archives: tuple[Path, ...] = ()


def scan(
    path: Path | str,
    kinds: Mapping[str, SeriesKind] | None = None,
    request: Request = NOTHING,
) -> Scan:
    """Read all headers below a folder, or of one file, and sort them into series.

    Args:
        path: folder or file.
        kinds: series id -> kind, from a table.
        request: its header values replace those of the files.

    Raises:
        BadDicom: if the path does not exist or cannot be listed.
    """
    listed = image_places(Path(path))
    files = (Path(folder, name) for folder, names in listed.folders for name in names)
    found = scan_files(sorted(files), kinds or {}, request.headers)
    return replace(found, problems=(*found.problems, *listed.problems), archives=listed.archives)


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
    files = [read_file(f, study_id, series_id) for f in image_files(folder, recursive=False)]
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


Read = tuple[list[SliceHeader], list[Problem]]


def read_file(
    file: Path, study_id: str = "", series_id: str = "", values: Sequence[HeaderValue] = ()
) -> Read:
    """The images of a file, and the problems of the file and its frames."""
    usable, errors = read_headers(file, values)
    return usable, [file_problem(file, error, study_id, series_id) for error in errors]


def scan_files(
    files: Iterable[Path], kinds: Mapping[str, SeriesKind], values: Sequence[HeaderValue] = ()
) -> Scan:
    return series_of([read_file(file, values=values) for file in files], kinds)


def series_of(files: Sequence[Read], kinds: Mapping[str, SeriesKind]) -> Scan:
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


def study_folder(header: SliceHeader) -> Path:
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
        study_id=first.study_uid or study_folder(first).name,
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
