"""Summary of a DICOM folder, as data and as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lumbargrade.dicom.places import orientation_of
from lumbargrade.dicom.scan import scan
from lumbargrade.dicom.study import read_all
from lumbargrade.domain.errors import NothingDone, Problem
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
        kind: one of the three kinds, or None.
        reason: why it has this kind, or why it is excluded.
        orientation: anatomical plane of the first stack.
        shape: slices, rows, columns.
        spacing: mm between (rows, columns) of the first slice.
        stacks: its orientation groups.
    """

    study_id: str
    series_id: str
    kind: SeriesKind | None
    reason: str
    orientation: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float]
    stacks: tuple[StackSummary, ...]

    def text(self) -> str:
        depth, rows, columns = self.shape
        gaps = sorted({f"{s.gap:.2f}" for s in self.stacks if s.gap is not None}, key=float)
        apart = f", {' / '.join(gaps)} mm apart" if gaps else ""
        size = (
            f"{depth} x {rows} x {columns}, pixels {self.spacing[0]:.3g} x {self.spacing[1]:.3g} mm"
        )
        stacks = f", {len(self.stacks)} stacks" if len(self.stacks) > 1 else ""
        kind = self.kind.value if self.kind else "unknown kind"
        return f"{kind} ({self.reason}), {self.orientation}: {size}{apart}{stacks}"


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

    def text(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        studies = _count(len(self.studies), "study", "studies")
        yield f"{self.path}: {studies}, {_count(len(self.series), 'volume')}"
        for study in self.studies:
            yield f"study {study}"
            for series in self.series:
                if series.study_id == study:
                    yield f"  series {series.series_id}: {series.text()}"
        if self.problems:
            fatal = sum(p.fatal for p in self.problems)
            yield f"{_count(len(self.problems), 'remark')}, {fatal} of them about lost images"
            yield from (f"  {'lost' if p.fatal else 'note'}: {p}" for p in self.problems)


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def summarise_folder(
    path: Path | str, *, kinds: Mapping[str, SeriesKind] | None = None
) -> FolderSummary:
    """Describe a DICOM folder tree or file. All pixels are decoded, one series at a time.

    Raises:
        BadDicom: if the path does not exist or cannot be listed.
        NothingDone: if there is no DICOM file.
    """
    found = scan(path, kinds)
    if not found.series and not found.problems:
        raise NothingDone(f"{path}: no DICOM files")
    summaries, problems = [], list(found.problems)
    ordered = sorted(found.series, key=lambda s: (s.study_id, s.series_id))
    for volumes, wrong in read_all(ordered):
        problems += wrong
        summaries += [summarise_volume(volume, why) for volume, why in volumes]
    return FolderSummary(str(path), tuple(summaries), tuple(problems))


def summarise_volume(volume: Volume, reason: str) -> SeriesSummary:
    """Describe one volume."""
    depth, rows, columns = volume.pixels.shape
    groups: dict[int, list[int]] = {}
    for z, s in enumerate(volume.slices):
        groups.setdefault(s.group, []).append(z)
    return SeriesSummary(
        study_id=volume.study_id,
        series_id=volume.series_id,
        kind=volume.kind,
        reason=reason,
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
