"""From predictions and labels to marks on pictures."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from lumbargrade.dataset.rows import SeriesRow
from lumbargrade.dataset.study_rows import StudyRow
from lumbargrade.domain.findings import Finding
from lumbargrade.domain.vocabulary import Grade
from lumbargrade.outputs.overlay import Mark
from lumbargrade.tasks.base import SeriesPrediction


def predicted_marks(prediction: SeriesPrediction, series_id: str | None = None) -> list[Mark]:
    """A ring per placed target with its most probable grade; grey where none is said.

    Args:
        prediction: of a series, or of a study whose targets lie in several.
        series_id: only what lies in this series; None takes all.
    """
    marks = []
    for i, target in enumerate(prediction.targets):
        x, y, z = (float(v) for v in prediction.voxels[i])
        if not np.isfinite([x, y, z]).all():
            continue
        if series_id is not None and prediction.series_of(i) != series_id:
            continue
        grade, probability = None, None
        if np.isfinite(prediction.probabilities[i]).all():
            grade = Grade(int(np.argmax(prediction.probabilities[i])))
            probability = float(prediction.probabilities[i][grade])
        marks.append(Mark(target, x, y, z, grade, probability))
    return marks


def finding_marks(findings: Iterable[Finding], series_id: str) -> list[Mark]:
    """A ring per finding that lies in a series."""
    return [
        Mark(f.target, f.place.x, f.place.y, f.place.z, f.grade, f.shown[f.grade])
        for f in findings
        if f.place is not None and f.place.series_id == series_id
    ]


def true_marks(row: SeriesRow | StudyRow, series_id: str | None = None) -> list[Mark]:
    """A cross per labelled point; grey where the grade is unknown.

    Args:
        row: a labelled series, or a study with points in several.
        series_id: of a study, only points in this series.
    """
    grades = {t: Grade(int(g)) for t, g in zip(row.targets, row.grades, strict=True) if g >= 0}
    if isinstance(row, StudyRow):
        voxels = {t: p.voxel for t, p in row.truth.items() if series_id in (None, p.series_id)}
    else:
        points = zip(row.targets, row.points, strict=True)
        voxels = {t: (p[0], p[1], p[2]) for t, p in points if np.isfinite(p).all()}
    return [
        Mark(t, float(x), float(y), float(z), grades.get(t), true=True)
        for t, (x, y, z) in voxels.items()
    ]


def series_shown(row: SeriesRow | StudyRow, prediction: SeriesPrediction) -> list[str]:
    """The series in which a prediction or a label has points, in order of targets."""
    if not prediction.series:
        return [prediction.series_id]
    labelled = [p.series_id for p in row.truth.values()] if isinstance(row, StudyRow) else []
    return list(dict.fromkeys(s for s in (*prediction.series, *labelled) if s))
