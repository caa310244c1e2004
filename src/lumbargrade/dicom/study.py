"""Any folder tree of DICOM files to the series of a study, each with its kind."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lumbargrade.dicom.copies import split_same_pixels
from lumbargrade.dicom.kinds.classify import Verdict, classify
from lumbargrade.dicom.opening import file_problem, image_files
from lumbargrade.dicom.places import partition
from lumbargrade.dicom.reader import SeriesName, build_series, release_all
from lumbargrade.dicom.rules import EXPORT, LSDC, ReadingRules
from lumbargrade.dicom.slice_order import spatial_stacks
from lumbargrade.dicom.slices import SliceHeader, read_headers
from lumbargrade.dicom.splitting import Part, join_single_images, split_series
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
    headers: list[SliceHeader] = []
    problems: list[Problem] = []
    for file in files:
        usable, errors = read_headers(file)
        headers += usable
        problems += [file_problem(file, error) for error in errors]
    # without a UID, a folder is all that holds a series together
    parts = partition(headers, lambda h: (h.study_uid, h.series_uid or str(h.path.parent)))
    return _joined([_found(part, kinds or {}) for part in parts], problems)


def _joined(found: Sequence[FoundSeries], problems: Sequence[Problem]) -> Scan:
    """The series, those of one image each joined where they are one."""
    whole: dict[SliceHeader, FoundSeries] = {}
    notes = []
    for headers in join_single_images(s.headers for s in found if s.rules is not LSDC):
        headers.sort(key=lambda h: (h.instance_number, h.series_uid))
        joined = _found(headers, {})
        whole |= dict.fromkeys(headers, joined)
        what = f"is joined from series of one image each ({len(headers)} images)"
        notes.append(Problem(what, joined.study_id, joined.series_id, fatal=False))
    series = dict.fromkeys(whole.get(s.headers[0], s) for s in found)
    return Scan(tuple(series), (*problems, *notes))


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
    """The volumes of one series.

    Attributes:
        volumes: in the order of their first images.
        reasons: why each is of its kind.
        problems: what was wrong.
        digests: of the pixels of each, before they were scaled.
    """

    volumes: tuple[Volume, ...]
    reasons: tuple[str, ...]
    problems: tuple[Problem, ...]
    digests: tuple[bytes, ...]


def read_found(found: FoundSeries, kinds: Mapping[str, SeriesKind] | None = None) -> ReadSeries:
    """Decode a series to one volume, or to several where its slices cannot be one.

    A series in the LSDC layout is one volume, as the published system makes it. Any other is split
    by frame of reference, anatomical plane, and repetition (echo, time point); what cannot be told
    apart is a problem.
    """
    kind = (kinds or {}).get(found.series_id)
    volumes, reasons, problems, digests = [], [], [], []
    origin = found.headers[0].path.parent
    unsplit = SeriesName(found.study_id, found.series_id, kind, origin)
    parts = [Part(list(found.headers))]
    if found.rules is not LSDC:
        headers, copies = split_same_pixels(found.headers)
        problems += unsplit.copies(copies)
        parts = split_series(headers)
    if (count := sum(not p.aside for p in parts)) > 1:
        problems.append(unsplit.note(f"is {count} volumes, not one"))
    for part, series_id in zip(parts, _part_ids(found.series_id, parts), strict=True):
        verdict = _verdict(part, kind, found.rules)
        name = SeriesName(found.study_id, series_id, verdict.kind, origin)
        try:
            if part.error:
                raise BadDicom(f"{origin}: {part.error}")
            result = build_series(part.headers, (), name, found.rules)
        except BadDicom as error:
            problems.append(name.note(str(error), fatal=not part.aside))
            continue
        volumes.append(result.volume)
        reasons.append(verdict.reason)
        digests.append(result.digest)
        problems += [*result.problems, *map(name.note, verdict.remarks)]
    release_all(found.headers)
    return ReadSeries(tuple(volumes), tuple(reasons), tuple(problems), tuple(digests))


def read_all(
    found: Iterable[FoundSeries], kinds: Mapping[str, SeriesKind] | None = None
) -> Iterator[ReadSeries]:
    """Decode series one after the other; images that were sent twice are graded once.

    A volume with the pixels and planes of an earlier one, under whatever series UID, has no kind.
    Series in the LSDC layout are as their tables say.
    """
    seen: dict[Hashable, str] = {}
    for item in found:
        result = read_found(item, kinds)
        if item.rules is LSDC:
            yield result
            continue
        volumes, reasons = list(result.volumes), list(result.reasons)
        for i, volume in enumerate(volumes):
            planes = tuple(s.plane for s in volume.slices)
            content = (volume.study_id, planes, result.digests[i])
            first = seen.setdefault(content, volume.series_id)
            if first != volume.series_id and volume.kind is not None:
                volumes[i] = replace(volume, kind=None)
                reasons[i] = f"the same images as series {first}"
        yield replace(result, volumes=tuple(volumes), reasons=tuple(reasons))


def _part_ids(series_id: str, parts: Sequence[Part]) -> list[str]:
    """Ids of the parts of a series: its own for the one volume, if there is only one to grade."""
    ids = [f"{series_id}#{number}" for number in range(1, len(parts) + 1)]
    if sum(not p.aside for p in parts) == 1:
        ids[0] = series_id
    return ids


def _verdict(part: Part, known: SeriesKind | None, rules: ReadingRules) -> Verdict:
    """The kind of a part, and why."""
    if part.aside:
        return Verdict(None, part.aside)
    if known is not None:
        return Verdict(known, "series table")
    first = spatial_stacks(part.headers, known, rules)[0][0]
    return classify(part.headers[0].about, first.plane.normal)


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

    Examples:
        >>> study = read_study("STUDY")
        >>> for kind, volumes in study.series.items():
        ...     print(kind, volumes[0].pixels.shape)
        Sagittal T1 (4, 40, 32)
        Sagittal T2/STIR (4, 40, 32)
        Axial T2 (4, 40, 32)
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
    for result in read_all(found.series, kinds):
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
