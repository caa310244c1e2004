"""Read a study from any folder tree of DICOM files; identify the kind of each series."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydicom import Dataset

from lumbargrade.dicom.duplicates import split_same_pixels
from lumbargrade.dicom.find import FoundStudy
from lumbargrade.dicom.kinds.classify import Verdict, classify
from lumbargrade.dicom.opening import read_head
from lumbargrade.dicom.pixels import release
from lumbargrade.dicom.reader import SeriesResult, build_volume, duplicate_notes
from lumbargrade.dicom.rules import LSDC, spatial_stacks
from lumbargrade.dicom.scan import FoundSeries, Scan, scan
from lumbargrade.dicom.splitting import Part, split_series
from lumbargrade.domain.errors import BadDicom, Problem
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.domain.volume import Volume
from lumbargrade.files.timing import stage


@dataclass(frozen=True)
class Study:
    """The readable images of one study.

    Attributes:
        study_id: StudyInstanceUID (in LSDC files this is the study id), or the folder's name.
        volumes: those of the three kinds, ordered by kind and id.
        problems: every file that could not be used, and notes on what is unusual.
        other: excluded volumes, such as localizers.
        reasons: why each of them is excluded.
        heads: series id -> header of its first image, without pixels and private elements; a series
            whose header cannot be parsed again has none. Results copy patient and study from it.
    """

    study_id: str
    volumes: tuple[Volume, ...]
    problems: tuple[Problem, ...] = ()
    other: tuple[Volume, ...] = field(default=())
    reasons: tuple[str, ...] = ()
    heads: Mapping[str, Dataset] = field(default_factory=dict, compare=False, repr=False)

    def of(self, kind: SeriesKind) -> tuple[Volume, ...]:
        """The volumes of a kind."""
        return tuple(v for v in self.volumes if v.kind is kind)


def read_all(
    found: Iterable[FoundSeries],
) -> Iterator[tuple[list[tuple[Volume, str]], list[Problem]]]:
    """The volumes of each series with the reason for their kind, and the problems.

    A volume with the pixels and planes of an earlier volume is a duplicate, whatever its series
    UID; it has no kind, so it is not graded. Series in the LSDC layout are not compared.
    """
    seen: dict[Hashable, str] = {}
    for item in found:
        results, problems = _read_series(item)
        volumes = []
        for result, reason in results:
            volume = result.volume
            if item.rules is not LSDC:
                planes = tuple(s.plane for s in volume.slices)
                content = (volume.study_id, planes, result.digest)
                first = seen.setdefault(content, volume.series_id)
                if first != volume.series_id and volume.kind is not None:
                    volume = replace(volume, kind=None)
                    reason = f"duplicate of series {first}"
            volumes.append((volume, reason))
        yield volumes, problems


def _read_series(found: FoundSeries) -> tuple[list[tuple[SeriesResult, str]], list[Problem]]:
    """Decode a series into one or several volumes.

    A series in the LSDC layout is one volume, as in the published system. Any other series is split
    by `split_series`; images that cannot be separated are a problem.
    """
    results = []
    problems: list[Problem] = []
    parts = [Part(list(found.headers))]
    if found.rules is not LSDC:
        headers, copies = split_same_pixels(found.headers)
        problems += duplicate_notes(found, copies)
        parts = split_series(headers)
    if (count := sum(not p.excluded for p in parts)) > 1:
        problems.append(found.note(f"was split into {count} volumes"))
    for part, series_id in zip(parts, _part_ids(found.series_id, parts), strict=True):
        verdict = _verdict(part, found)
        images = tuple(part.headers)
        own = replace(found, series_id=series_id, kind=verdict.kind, headers=images, problems=())
        try:
            if part.error:
                raise BadDicom(f"{found.origin}: {part.error}")
            result = build_volume(own)
        except BadDicom as error:
            problems.append(own.note(str(error), fatal=not part.excluded))
            continue
        results.append((result, verdict.reason))
        problems += [*result.problems, *map(own.note, verdict.remarks)]
    release(found.headers)
    return results, problems


def _part_ids(series_id: str, parts: Sequence[Part]) -> list[str]:
    """Ids of the parts of a series; a single volume to grade keeps the series id."""
    ids = [f"{series_id}#{number}" for number in range(1, len(parts) + 1)]
    if sum(not p.excluded for p in parts) == 1:
        ids[0] = series_id
    return ids


def _verdict(part: Part, found: FoundSeries) -> Verdict:
    """The kind of a part, with the reason."""
    if part.excluded:
        return Verdict(None, part.excluded)
    if found.kind is not None:
        return Verdict(found.kind, "series table")
    first = spatial_stacks(part.headers, None, found.rules)[0][0]
    return classify(part.headers[0].about, first.plane.normal)


def read_study(path: Path | str, *, kinds: Mapping[str, SeriesKind] | None = None) -> Study:
    """Read a study: a folder in the LSDC layout, any folder tree of DICOM files, or one file.

    A series is in the LSDC layout if the name of its folder is in ``kinds`` or in its
    SeriesInstanceUID, as in the published images. It is read by the rules for that layout, so
    volume and numbers are the same as in `prepare` and `submit`. Any other series is read by the
    rules for a DICOM export (see `lumbargrade.dicom.rules`).

    Args:
        path: folder or file; the headers decide which files belong together.
        kinds: series id -> kind (the LSDC descriptions table). Other series are identified from
            their headers (see `lumbargrade.dicom.kinds`).

    Raises:
        BadDicom: if no series can be used, or if the files belong to several studies.

    Examples:
        >>> study = read_study("STUDY")
        >>> for volume in study.volumes:
        ...     print(volume.kind, volume.pixels.shape)
        Sagittal T1 (4, 40, 32)
        Sagittal T2/STIR (4, 40, 32)
        Axial T2 (4, 40, 32)
    """
    found = scan(path, kinds)
    studies = sorted({s.study_id for s in found.series})
    if len(studies) > 1:
        listed = ", ".join(studies[:5])
        raise BadDicom(f"{path}: contains {len(studies)} studies ({listed}); give one of them")
    return _assembled(found, str(path))


def read_found(found: FoundStudy) -> Study:
    """Decode a study from `find_studies`.

    Raises:
        BadDicom: if no series can be used.
    """
    with stage("read the images"):
        study = _assembled(found.current(), f"study {found.study_id}")
    return replace(study, problems=(*found.problems, *study.problems))


def _assembled(found: Scan, name: str) -> Study:
    """Decode the series of one study.

    Args:
        found: its series.
        name: name of the study in the error.

    Raises:
        BadDicom: if no series can be used.
    """
    known: list[Volume] = []
    other: list[Volume] = []
    reasons: list[str] = []
    problems = list(found.problems)
    for read, wrong in read_all(found.series):
        problems += wrong
        for volume, why in read:
            if volume.kind is None:
                other.append(volume)
                reasons.append(why)
                what = f"excluded: {why}"
                problems.append(Problem(what, volume.study_id, volume.series_id, fatal=False))
            else:
                known.append(volume)
    if not known and not other:
        listed = "; ".join(dict.fromkeys(p.what for p in problems)) or "no DICOM files"
        raise BadDicom(f"{name}: no usable series ({listed[:400]})")
    # so that names and order of the files do not matter
    known.sort(key=lambda v: v.series_id)
    volumes = tuple(v for kind in SeriesKind for v in known if v.kind is kind)
    return Study(
        found.series[0].study_id,
        volumes,
        tuple(problems),
        tuple(other),
        tuple(reasons),
        _heads(found, (*volumes, *other)),
    )


def _heads(found: Scan, volumes: Iterable[Volume]) -> dict[str, Dataset]:
    """The header of the first image of each volume, by series id."""
    files = {(h.path.name, h.sop_uid): h.path for s in found.series for h in s.headers}
    heads: dict[str, Dataset] = {}
    for volume in volumes:
        first = volume.slices[0]
        head = read_head(files[first.file, first.sop_instance_uid])
        if head is not None:
            heads[volume.series_id] = head
    return heads
