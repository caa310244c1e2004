"""Read the series of a study into volumes, and decide which of them are graded."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from lumbargrade.dicom.choice import Candidate, SeriesChoice, choose
from lumbargrade.dicom.duplicates import split_same_pixels
from lumbargrade.dicom.kinds.classify import Verdict, classify
from lumbargrade.dicom.pixels import release
from lumbargrade.dicom.places import Orientation, orientation_of
from lumbargrade.dicom.reader import SeriesResult, build_volume, duplicate_notes
from lumbargrade.dicom.requests import Request, SeriesLabel
from lumbargrade.dicom.rules import LSDC, spatial_stacks
from lumbargrade.dicom.scan import FoundSeries
from lumbargrade.dicom.scope import (
    cautions,
    repeated_uids,
    several_names,
    unusable,
)
from lumbargrade.dicom.splitting import Part, split_series
from lumbargrade.domain.errors import BadDicom, Problem
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.domain.volume import Volume

_DUPLICATE = "duplicate of series"


@dataclass(frozen=True, eq=False)
class ReadVolume:
    """A volume that was read, and what is known of its series.

    Attributes:
        volume: the volume.
        reason: why it is of its kind, or of none.
        number, description: SeriesNumber and SeriesDescription; empty if absent.
        fat_suppressed: whether fat is dark, as far as the header says.
        requested: whether the user named it.
        listed: whether its kind is that of a table of series, which decides what is used.
        thickness: SliceThickness, mm; None if absent.
    """

    volume: Volume
    reason: str
    number: str = ""
    description: str = ""
    fat_suppressed: bool = False
    requested: bool = False
    listed: bool = False
    thickness: float | None = None

    def choice(self, chosen: bool, reason: str) -> SeriesChoice:
        volume = self.volume
        name = (volume.series_id, self.number, self.description)
        return SeriesChoice(*name, volume.kind, chosen, reason, self.reason)


def read_chosen(
    found: Sequence[FoundSeries], request: Request
) -> tuple[list[tuple[Volume, SeriesChoice]], list[Problem]]:
    """Read the series of one study; return each volume with the decision, and the problems.

    Volumes whose kind a table of series gives are all used.

    Raises:
        BadDicom: if the request fits no series.
    """
    labels = [_label(series) for series in found]
    wanted = request.kinds(labels)
    request.require_used(labels)
    volumes: list[ReadVolume] = []
    problems: list[Problem] = []
    for read, wrong in read_all(found, wanted):
        volumes += read
        problems += wrong
    _require_read(wanted, volumes, request)
    return decide(volumes), [*problems, *_study_notes(found, volumes)]


def decide(volumes: Sequence[ReadVolume]) -> list[tuple[Volume, SeriesChoice]]:
    """Decide which volumes of a study are graded; each is returned with the decision."""
    candidates = {
        v.volume.series_id: Candidate(
            v.volume, v.number, v.description, v.fat_suppressed, v.requested
        )
        for v in volumes
        if v.volume.kind is not None and not v.listed
    }
    poor = {i: why for i, c in candidates.items() if not c.requested and (why := unusable(c))}
    decided = choose([c for i, c in candidates.items() if i not in poor])
    decided |= {i: (False, why) for i, why in poor.items()}
    chosen = []
    for v in volumes:
        otherwise = (v.volume.kind is not None, v.reason)
        choice = v.choice(*decided.get(v.volume.series_id, otherwise))
        if choice.chosen and (own := candidates.get(v.volume.series_id)) is not None:
            choice = replace(choice, cautions=tuple(cautions(own, v.thickness)))
        chosen.append((v.volume, choice))
    return chosen


def _study_notes(found: Sequence[FoundSeries], volumes: Sequence[ReadVolume]) -> list[Problem]:
    """Notes on images that may be mixed up."""
    notes = []
    study = found[0].study_id if found else ""
    if several_names(found):
        what = "PatientName differs between images; check that they are of one patient"
        notes.append(Problem(what, study, fatal=False))
    repeated = repeated_uids(v.volume for v in volumes if not v.reason.startswith(_DUPLICATE))
    for series, count in repeated.items():
        what = f"{count} images have the SOPInstanceUID of other images of the series, which differ"
        advice = "check which of them is right; the archive or an anonymiser has mixed them up"
        notes.append(Problem(what, study, series, advice=advice, fatal=False))
    return notes


def _label(series: FoundSeries) -> SeriesLabel:
    first = series.headers[0]
    return SeriesLabel(series.series_id, first.series_uid, first.series_number, first.description)


def _require_read(
    wanted: Mapping[str, SeriesKind], volumes: Sequence[ReadVolume], request: Request
) -> None:
    """Check that every requested series has a volume of the requested kind."""
    read = {v.volume.series_id for v in volumes if v.requested}
    for series_id, kind in wanted.items():
        if series_id not in read and not any(i.startswith(f"{series_id}#") for i in read):
            near = [v for v in volumes if v.volume.series_id.partition("#")[0] == series_id]
            why = "; ".join(v.reason for v in near) or "no image of it can be read"
            raise BadDicom(f"series {series_id} cannot be used as {kind.value}: {why}")


def read_all(
    found: Iterable[FoundSeries], wanted: Mapping[str, SeriesKind]
) -> Iterator[tuple[list[ReadVolume], list[Problem]]]:
    """The volumes of each series, and the problems.

    A volume with the pixels and planes of an earlier volume is a duplicate, whatever its series
    UID; it has no kind, so it is not graded. Series in the LSDC layout are not compared.

    Args:
        found: the series.
        wanted: series id -> kind that the user requests.
    """
    seen: dict[Hashable, str] = {}
    for item in found:
        results, problems = _read_series(item, wanted)
        volumes = []
        for result, read in results:
            if item.rules is not LSDC:
                volume = read.volume
                planes = tuple(s.plane for s in volume.slices)
                content = (volume.study_id, planes, result.digest)
                first = seen.setdefault(content, volume.series_id)
                if first != volume.series_id and volume.kind is not None and not read.requested:
                    reason = f"{_DUPLICATE} {first}"
                    read = replace(read, volume=replace(volume, kind=None), reason=reason)
            volumes.append(read)
        yield volumes, problems


def _read_series(
    found: FoundSeries, wanted: Mapping[str, SeriesKind]
) -> tuple[list[tuple[SeriesResult, ReadVolume]], list[Problem]]:
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
        asked = wanted.get(series_id) or (None if part.excluded else wanted.get(found.series_id))
        verdict = _verdict(part, found, asked)
        images = tuple(part.headers)
        own = replace(found, series_id=series_id, kind=verdict.kind, headers=images, problems=())
        try:
            if part.error:
                raise BadDicom(f"{found.origin}: {part.error}")
            result = build_volume(own)
        except BadDicom as error:
            problems.append(own.note(str(error), fatal=not part.excluded))
            continue
        read = ReadVolume(
            result.volume,
            verdict.reason,
            images[0].series_number,
            images[0].description,
            verdict.fat_suppressed,
            requested=asked is not None and verdict.kind is asked,
            listed=found.kind is not None,
            thickness=images[0].about.thickness,
        )
        results.append((result, read))
        problems += [*result.problems, *map(own.note, verdict.remarks)]
    release(found.headers)
    return results, problems


def _part_ids(series_id: str, parts: Sequence[Part]) -> list[str]:
    """Ids of the parts of a series; a single volume to grade keeps the series id."""
    ids = [f"{series_id}#{number}" for number in range(1, len(parts) + 1)]
    if sum(not p.excluded for p in parts) == 1:
        ids[0] = series_id
    return ids


def _verdict(part: Part, found: FoundSeries, asked: SeriesKind | None) -> Verdict:
    """The kind of a part, with the reason."""
    if part.excluded and asked is None:
        return Verdict(None, part.excluded)
    if found.kind is not None:
        return Verdict(found.kind, "series table")
    first = spatial_stacks(part.headers, None, found.rules)[0][0]
    about, normal = part.headers[0].about, first.plane.normal
    verdict = classify(about, normal)
    if asked is None or verdict.kind is asked:
        return verdict
    plane = orientation_of(normal)
    if plane is not (Orientation.SAGITTAL if asked.sagittal else Orientation.AXIAL):
        return Verdict(None, f"requested as {asked.value}, but its images are {plane}")
    if about.modality not in ("", "MR"):
        return verdict
    what = f"identified as {verdict.kind.value}" if verdict.kind else "excluded"
    remark = f"used as {asked.value} by request; without it: {what} ({verdict.reason})"
    return Verdict(asked, "requested", (*verdict.remarks, remark), verdict.fat_suppressed)
