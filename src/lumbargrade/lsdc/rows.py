"""Training rows: the series that a condition is trained on, with their points and grades."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.point import Point
from lumbargrade.domain.vocabulary import KIND_OF, TARGETS, Condition, SeriesKind, Target
from lumbargrade.lsdc.exclusions import is_excluded
from lumbargrade.lsdc.tables import SeriesEntry

#: Conditions whose rows need all points, because one sagittal series shows every level.
_NEEDS_ALL_POINTS = frozenset({Condition.FORAMINAL, Condition.CANAL})


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """A series to train on.

    Attributes:
        study_id, series_id: as in the tables.
        fold: the fold that validates this study.
        kind: the kind of series.
        targets: what is graded, in network order, (P).
        points: float32 (P, 3) native voxels (x, y, z); NaN where there is no point.
        grades: int8 (P,) grade, -1 where there is none.
    """

    study_id: str
    series_id: str
    fold: int
    kind: SeriesKind
    targets: tuple[Target, ...]
    points: NDArray[np.float32]
    grades: NDArray[np.int8]

    @property
    def key(self) -> tuple[str, ...]:
        """The key of the row: its study and series."""
        return self.study_id, self.series_id

    @property
    def labelled(self) -> list[Point]:
        """The labelled points of the series."""
        return [
            Point(target, self.series_id, -1, (float(x), float(y), float(z)))
            for target, (x, y, z) in zip(self.targets, self.points, strict=True)
            if np.isfinite([x, y, z]).all()
        ]

    @property
    def frame(self) -> Literal["voxel", "patient"]:
        """What ``points`` are."""
        return "voxel"


class LabelledPoint(Protocol):
    """A point of a table or a store: the target that it marks, in its series."""

    @property
    def study_id(self) -> str: ...
    @property
    def series_id(self) -> str: ...
    @property
    def target(self) -> Target: ...


PointT = TypeVar("PointT", bound=LabelledPoint)


def select_rows(
    condition: Condition,
    series: Iterable[SeriesEntry],
    points: Iterable[PointT],
    *,
    include_wrong_left_points: bool = False,
) -> dict[SeriesEntry, dict[Target, PointT]]:
    """Select the series that give a training row, in table order, with their points.

    Foraminal and canal: series of the condition's kind with a point for every target. Subarticular:
    axial series with any point, since several axial series share the levels of a study. Excluded
    series give no row.
    """
    marked: dict[tuple[str, str], dict[Target, PointT]] = defaultdict(dict)
    for point in points:
        if point.target.condition is condition:
            marked[point.study_id, point.series_id][point.target] = point
    needed = len(TARGETS[condition]) if condition in _NEEDS_ALL_POINTS else 1
    return {
        entry: marked[entry[:2]]
        for entry in series
        if entry.kind is KIND_OF[condition]
        and len(marked.get(entry[:2], ())) >= needed
        and not is_excluded(
            condition,
            entry.study_id,
            entry.series_id,
            include_wrong_left_points=include_wrong_left_points,
        )
    }
