"""Rows of whole studies, for tasks that look at crops of several series."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.geometry import FloatArray
from lumbargrade.domain.point import NOWHERE, Point
from lumbargrade.domain.vocabulary import KIND_OF, Condition, Target
from lumbargrade.lsdc.exclusions import is_excluded
from lumbargrade.lsdc.point_file import PointRow
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.lsdc.tables import SeriesEntry

#: Standard deviation of guide points along each axis if it cannot be measured, mm.
DEFAULT_JITTER = 2.0

#: Minimum number of compared points to measure their spread.
FEWEST_ERRORS = 30


@dataclass(frozen=True, slots=True)
class StudyRow:
    """One study to train on.

    Attributes:
        study_id: as in the tables.
        fold: the fold that validates it.
        series: its series.
        targets: what is graded, in the order of the task, (P).
        grades: int8 (P,) grade, -1 where there is none.
        truth: labelled points of the targets.
        guides: points that crops are cut around.
        guided_by_labels: whether any guide is a label, not a prediction.
        jitter: standard deviation of the guides along patient x, y, z that training adds, mm.
    """

    study_id: str
    fold: int
    series: tuple[SeriesEntry, ...]
    targets: tuple[Target, ...]
    grades: NDArray[np.int8]
    truth: Mapping[Target, Point]
    guides: tuple[Point, ...]
    guided_by_labels: bool = False
    jitter: tuple[float, float, float] = (DEFAULT_JITTER,) * 3

    @property
    def key(self) -> tuple[str, ...]:
        """The key of the row: its study."""
        return (self.study_id,)

    @property
    def labelled(self) -> list[Point]:
        """The labelled points of the targets."""
        return list(self.truth.values())

    @property
    def frame(self) -> Literal["voxel", "patient"]:
        """What ``points`` are."""
        return "patient"

    @property
    def points(self) -> FloatArray:
        """Labelled points of the targets, (P, 3) patient LPS mm; NaN where there is none."""
        found = {t: p.patient for t, p in self.truth.items()}
        return np.array([found.get(t) or NOWHERE for t in self.targets])


def study_rows(
    store: VolumeStore,
    targets: Sequence[Target],
    predicted: Mapping[str, Mapping[Target, PointRow]] | None = None,
    *,
    include_wrong_left_points: bool = False,
) -> list[StudyRow]:
    """Return a row for every study of a store with a grade of a target and a guide point.

    Args:
        store: series, points and grades.
        targets: what is graded.
        predicted: out-of-fold points; a study with any such point uses only these as guides, other
            studies use their labels.
        include_wrong_left_points: use the left T1 points of the three studies where they are wrong.
    """
    series: dict[str, list[SeriesEntry]] = defaultdict(list)
    for entry in store.series:
        series[entry.study_id].append(entry)
    labels = _labels(store, include_wrong_left_points)
    jitter = measured_jitter(predicted or {}, labels)
    rows = []
    for study, entries in series.items():
        known = store.grades.get(study, {})
        grades = np.array([known.get(t, -1) for t in targets], np.int8)
        placed = labels.get(study, {})
        truth = {t: placed[t] for t in targets if t in placed}
        guessed = (predicted or {}).get(study)
        guides = tuple(p.point for p in guessed.values()) if guessed else tuple(placed.values())
        if guides and (grades >= 0).any():
            rows.append(
                StudyRow(
                    study,
                    store.folds.get(study, -1),
                    tuple(entries),
                    tuple(targets),
                    grades,
                    truth,
                    guides,
                    guided_by_labels=not guessed,
                    jitter=jitter,
                )
            )
    return rows


def measured_jitter(
    predicted: Mapping[str, Mapping[Target, PointRow]],
    labels: Mapping[str, Mapping[Target, Point]],
) -> tuple[float, float, float]:
    """Return a robust standard deviation of predicted points about labels, along x, y and z, mm.

    1.4826 times the median absolute error is the standard deviation of a normal distribution and
    ignores the few points that lie on another level. Subarticular points are not guides.
    """
    errors = [
        np.subtract(row.point.patient or NOWHERE, labels[study][target].patient or NOWHERE)
        for study, points in predicted.items()
        for target, row in points.items()
        if target in labels.get(study, {}) and target.condition is not Condition.SUBARTICULAR
    ]
    if len(errors) < FEWEST_ERRORS:
        return (DEFAULT_JITTER,) * 3
    x, y, z = (1.4826 * np.median(np.abs(errors), axis=0)).tolist()
    return x, y, z


def _labels(store: VolumeStore, include_wrong: bool) -> dict[str, dict[Target, Point]]:
    """Return study -> target -> labelled point; the first one if several series have one."""
    kinds = {(s.study_id, s.series_id): s.kind for s in store.series}
    found: dict[str, dict[Target, Point]] = defaultdict(dict)
    for p in store.points:
        condition = p.target.condition
        if p.patient is None:
            continue
        if kinds.get((p.study_id, p.series_id)) is not KIND_OF[condition]:
            continue
        if is_excluded(condition, p.study_id, p.series_id, include_wrong_left_points=include_wrong):
            continue
        found[p.study_id].setdefault(p.target, p)
    return dict(found)
