"""Summary of a DICOM folder, as data; `report.inspected` has the text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from lumbargrade.dicom.archives import find_archived
from lumbargrade.dicom.choice import SeriesChoice
from lumbargrade.dicom.places import orientation_of
from lumbargrade.dicom.requests import NOTHING, Request
from lumbargrade.dicom.scan import Scan, scan
from lumbargrade.dicom.scope import require_one_patient
from lumbargrade.dicom.volumes import read_chosen
from lumbargrade.domain.errors import BadDicom, NothingDone, Problem
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.domain.volume import Volume


@dataclass(frozen=True, slots=True)
class StackSummary:
    """One orientation group of a volume.

    Attributes:
        slices: number of slices.
        instances: instance numbers of the first and the last slice.
        gap: median distance between slice planes, mm; None for a single slice.
        normal: unit slice normal, LPS.
    """

    slices: int
    instances: tuple[int, int]
    gap: float | None
    normal: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class SeriesSummary:
    """One volume.

    Attributes:
        study_id, series_id: its ids.
        number, description: SeriesNumber and SeriesDescription; empty if absent.
        kind: one of the three kinds, or None.
        chosen: whether `grade` uses it.
        reason: why, or why not.
        identified: why it has this kind, or none.
        cautions: what makes grades from it less certain.
        orientation: anatomical plane of the first stack.
        shape: slices, rows, columns.
        spacing: mm between (rows, columns) of the first slice.
        stacks: its orientation groups.
    """

    study_id: str
    series_id: str
    number: str
    description: str
    kind: SeriesKind | None
    chosen: bool
    reason: str
    identified: str
    cautions: tuple[str, ...]
    orientation: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float]
    stacks: tuple[StackSummary, ...]

    @property
    def gaps(self) -> tuple[float, ...]:
        """The distances between slices of its stacks, mm, without repetitions."""
        return tuple(sorted({round(s.gap, 2) for s in self.stacks if s.gap is not None}))


@dataclass(frozen=True, slots=True)
class FolderSummary:
    """Everything that was found below a folder.

    Attributes:
        path: the folder or file.
        series: one per volume, grouped by study.
        problems: every file that could not be used, and notes on what is unusual.
    """

    path: str
    series: tuple[SeriesSummary, ...]
    problems: tuple[Problem, ...]

    @property
    def studies(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(s.study_id for s in self.series))

    def as_dict(self) -> dict[str, object]:
        """Plain data for JSON."""
        return {
            "path": self.path,
            "studies": list(self.studies),
            "series": [asdict(s) for s in self.series],
            "problems": [p.as_dict() for p in self.problems],
        }


def summarise_folder(
    path: Path | str,
    *,
    kinds: Mapping[str, SeriesKind] | None = None,
    request: Request = NOTHING,
) -> FolderSummary:
    """Describe a DICOM folder tree or file. All pixels are decoded, one study at a time.

    Raises:
        BadDicom: if the path does not exist or cannot be listed, or a request fits no series.
        NothingDone: if there is no DICOM file.
    """
    found = scan(path, kinds, request)
    summaries, problems = _summaries(found, request)
    with TemporaryDirectory(prefix="lumbargrade-") as temporary:
        scratch = Path(temporary)
        archived, wrong = find_archived(found.archives, scratch, request)
        problems += wrong
        for study in archived:
            with study.copied(study.files(), scratch) as folder:
                own, wrong = _summaries(scan(folder, kinds, request), request)
                summaries += own
                problems += [*study.problems, *(study.named_problem(p, folder) for p in wrong)]
    if not summaries and not problems:
        raise NothingDone(f"{path}: no DICOM files")
    return FolderSummary(str(path), tuple(summaries), tuple(problems))


def _summaries(found: Scan, request: Request) -> tuple[list[SeriesSummary], list[Problem]]:
    summaries, problems = [], list(found.problems)
    ordered = sorted(found.series, key=lambda s: (s.study_id, s.series_id))
    for study_id, group in groupby(ordered, key=lambda s: s.study_id):
        series = list(group)
        try:
            require_one_patient(series)
        except BadDicom as error:
            problems.append(Problem(str(error), study=study_id))
        read, wrong = read_chosen(series, request)
        problems += wrong
        summaries += [summarise_volume(volume, choice) for volume, choice in read]
    return summaries, problems


def summarise_volume(volume: Volume, choice: SeriesChoice) -> SeriesSummary:
    """Describe one volume."""
    depth, rows, columns = volume.pixels.shape
    groups: dict[int, list[int]] = {}
    for z, s in enumerate(volume.slices):
        groups.setdefault(s.group, []).append(z)
    return SeriesSummary(
        study_id=volume.study_id,
        series_id=volume.series_id,
        number=choice.number,
        description=choice.description,
        kind=volume.kind,
        chosen=choice.chosen,
        reason=choice.reason,
        identified=choice.identified,
        cautions=choice.cautions,
        orientation=orientation_of(volume.slices[0].plane.normal).value,
        shape=(depth, rows, columns),
        spacing=volume.slices[0].plane.spacing,
        stacks=tuple(_summarise_stack(volume, zs) for zs in groups.values()),
    )


def _summarise_stack(volume: Volume, zs: list[int]) -> StackSummary:
    slices = [volume.slices[z] for z in zs]
    x, y, z = slices[0].plane.normal.tolist()
    along = np.array([s.plane.position for s in slices]) @ np.array([x, y, z])
    gap = round(float(np.median(np.diff(along))), 4) if len(slices) > 1 else None
    ends = (slices[0].instance_number, slices[-1].instance_number)
    return StackSummary(len(slices), ends, gap, (x, y, z))
