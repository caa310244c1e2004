"""Any folder tree of DICOM files to the series of a study, each with its kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lumbargrade.dicom.files import file_problem, image_files
from lumbargrade.dicom.kinds.classify import Verdict, classify
from lumbargrade.dicom.reader import SeriesName, build_series
from lumbargrade.dicom.rules import EXPORT, LSDC, ReadingRules
from lumbargrade.dicom.slices import SliceHeader, read_header
from lumbargrade.dicom.stacks import (
    partition,
    single_place,
    spatial_stacks,
    split_copies,
    split_repeats,
    split_series,
)
from lumbargrade.domain.errors import BadDicom, Problem
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.domain.volume import Volume


@dataclass(frozen=True)
class Study:
    """The readable images of one study.

    Attributes:
        study_id: StudyInstanceUID (in LSDC files this is the study id), or the folder's name.
        series: volumes by kind, in the order of their ids; kinds that the study lacks are absent.
        problems: every file that could not be used, and what is odd about the rest.
        other: volumes of no known kind, such as localizers.
        reasons: why each of them is of none.
    """

    study_id: str
    series: dict[SeriesKind, list[Volume]]
    problems: tuple[Problem, ...] = ()
    other: tuple[Volume, ...] = field(default=())
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class FoundSeries:
    """Files that claim to be one series.

    Attributes:
        study_id, series_id: ids as in :class:`Study`; LSDC series go by their folder's name.
        headers: of its accepted files, sorted by path and numbered by the rules.
        rules: for reading it; LSDC where its files lie in that layout.
    """

    study_id: str
    series_id: str
    headers: tuple[SliceHeader, ...]
    rules: ReadingRules


@dataclass(frozen=True)
class Scan:
    """The headers of a folder tree: its series, and the files that are none."""

    series: tuple[FoundSeries, ...]
    problems: tuple[Problem, ...]


def scan(path: Path | str, kinds: Mapping[str, SeriesKind] | None = None) -> Scan:
    """Read all headers below a folder, or of one file, and sort them into series.

    Raises:
        BadDicom: if there is no such file or folder, or if it cannot be listed.
    """
    path = Path(path)
    if not path.exists():
        raise BadDicom(f"{path}: no such file or folder")
    try:
        files = image_files(path, recursive=True)
    except OSError as error:
        raise BadDicom(f"{error.filename or path}: cannot be read ({error.strerror})") from None
    return scan_files(files, kinds)


def scan_files(files: Iterable[Path], kinds: Mapping[str, SeriesKind] | None = None) -> Scan:
    """Read the headers of some files, in their order, and sort them into series."""
    headers, problems = [], []
    for file in files:
        try:
            headers.append(read_header(file))
        except BadDicom as error:
            problems.append(file_problem(file, error))
    # without a UID, a folder is all that holds a series together
    parts = partition(headers, lambda h: (h.study_uid, h.series_uid or str(h.path.parent)))
    return Scan(tuple(_found(part, kinds or {}) for part in parts), tuple(problems))


def study_folder(header: SliceHeader) -> Path:
    """The folder that stands for the study where a file names none: the one above its own."""
    return header.path.absolute().parent.parent


def _found(headers: Sequence[SliceHeader], kinds: Mapping[str, SeriesKind]) -> FoundSeries:
    first = headers[0]
    folder = first.path.parent.name
    together = all(h.path.parent == first.path.parent for h in headers)
    named = folder in kinds or first.series_uid == f"{first.study_uid}.{folder}"
    rules = LSDC if together and named else EXPORT
    return FoundSeries(
        study_id=first.study_uid or study_folder(first).name,
        series_id=folder if rules is LSDC or not first.series_uid else first.series_uid,
        headers=tuple(rules.numbered(headers)),
        rules=rules,
    )


@dataclass(frozen=True)
class ReadSeries:
    """The volumes of one series, why each is of its kind, and what was wrong."""

    volumes: tuple[Volume, ...]
    reasons: tuple[str, ...]
    problems: tuple[Problem, ...]


def read_found(found: FoundSeries, kinds: Mapping[str, SeriesKind] | None = None) -> ReadSeries:
    """Decode a series to one volume, or to several where its slices cannot be one.

    A series in the LSDC layout is one volume, as the published system makes it. Any other is split
    by frame of reference, anatomical plane, and repetition (echo, time point); what cannot be told
    apart is a problem.
    """
    kind = (kinds or {}).get(found.series_id)
    volumes, reasons, problems = [], [], []
    origin = found.headers[0].path.parent
    unsplit = SeriesName(found.study_id, found.series_id, kind, origin)
    headers, copies = split_copies(found.headers)
    problems += [unsplit.note("is a copy of another file", h.path) for h in copies]
    parts = [headers] if found.rules is LSDC else _parts(headers, problems, unsplit)
    if len(parts) > 1:
        problems.append(unsplit.note(f"is {len(parts)} volumes, not one"))
    for number, part in enumerate(parts, start=1):
        first = spatial_stacks(part, kind, found.rules)[0][0]
        verdict = classify(part[0].about, first.plane.normal)
        if kind is not None:
            verdict = Verdict(kind, "series table")
        series_id = found.series_id if len(parts) == 1 else f"{found.series_id}#{number}"
        name = SeriesName(found.study_id, series_id, verdict.kind, origin)
        try:
            result = build_series(part, (), name, found.rules)
        except BadDicom as error:
            problems.append(name.note(str(error), fatal=True))
            continue
        volumes.append(result.volume)
        reasons.append(verdict.reason)
        problems += [*result.problems, *map(name.note, verdict.remarks)]
    return ReadSeries(tuple(volumes), tuple(reasons), tuple(problems))


def _parts(
    headers: Sequence[SliceHeader], problems: list[Problem], name: SeriesName
) -> list[list[SliceHeader]]:
    parts: list[list[SliceHeader]] = []
    for plane in split_series(headers):
        times = None if single_place(plane) else split_repeats(plane)
        if times is not None:
            parts += times
        elif single_place(plane):
            what = f"{name.origin}: {len(plane)} images at one place are not a volume"
            problems.append(name.note(what, fatal=True))
        else:
            what = (
                f"{name.origin}: several images of the same places, with nothing to tell them apart"
            )
            problems.append(name.note(what, fatal=True))
    return parts


def read_study(path: Path | str, *, kinds: Mapping[str, SeriesKind] | None = None) -> Study:
    """Read a study: a folder in the LSDC layout, any folder tree of DICOM files, or one file.

    A series in the LSDC layout (its folder is named in ``kinds`` or in its SeriesInstanceUID, as
    in the published images) is read by the rules for that layout, so that it is the same volume
    with the same numbers as in `prepare` and `submit`; any other by those for a DICOM export (see
    `lumbargrade.dicom.rules`).

    Args:
        path: where the files are; they are sorted by what their headers say.
        kinds: kind by series id (the LSDC descriptions table); other series are classified by
            what their headers say (see `lumbargrade.dicom.kinds`).

    Raises:
        BadDicom: if no series can be used, or if the files belong to several studies.
    """
    found = scan(path, kinds)
    studies = sorted({s.study_id for s in found.series})
    if len(studies) > 1:
        listed = ", ".join(studies[:5])
        raise BadDicom(f"{path}: holds {len(studies)} studies ({listed}); give one of them")
    return assemble(found, str(path), kinds)


def assemble(found: Scan, name: str, kinds: Mapping[str, SeriesKind] | None = None) -> Study:
    """Decode the series of one study.

    Args:
        found: its headers; all series are of one study.
        name: what the study is called where nothing of it can be used.
        kinds: as in :func:`read_study`.

    Raises:
        BadDicom: if no series can be used.
    """
    series: dict[SeriesKind, list[Volume]] = {}
    other: list[Volume] = []
    declined: list[str] = []
    problems = list(found.problems)
    for item in found.series:
        result = read_found(item, kinds)
        problems += result.problems
        for volume, why in zip(result.volumes, result.reasons, strict=True):
            if volume.kind is None:
                other.append(volume)
                declined.append(why)
                what = f"of no known kind ({why})"
                problems.append(Problem(what, volume.study_id, volume.series_id, fatal=False))
            else:
                series.setdefault(volume.kind, []).append(volume)
    if not series and not other:
        reasons = "; ".join(dict.fromkeys(p.what for p in problems)) or "no DICOM files"
        raise BadDicom(f"{name}: no usable series ({reasons[:400]})")
    # several series of a kind follow each other by id, whatever the names and order of their files
    for volumes in series.values():
        volumes.sort(key=lambda v: v.series_id)
    return Study(found.series[0].study_id, series, tuple(problems), tuple(other), tuple(declined))
