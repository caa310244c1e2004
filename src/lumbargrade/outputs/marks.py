"""From predictions and labels to marks on pictures."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from lumbargrade.dataset.rows import SeriesRow
from lumbargrade.domain.findings import Finding
from lumbargrade.domain.vocabulary import Grade
from lumbargrade.outputs.overlay import Mark
from lumbargrade.tasks.inference import SeriesPrediction


def predicted_marks(prediction: SeriesPrediction) -> list[Mark]:
    """A ring per target with its most probable grade."""
    marks = []
    for i, target in enumerate(prediction.targets):
        x, y, z = (float(v) for v in prediction.voxels[i])
        best = int(np.argmax(prediction.probabilities[i]))
        probability = float(prediction.probabilities[i][best])
        marks.append(Mark(target, x, y, z, Grade(best), probability))
    return marks


def finding_marks(findings: Iterable[Finding], series_id: str) -> list[Mark]:
    """A ring per finding that lies in a series."""
    return [
        Mark(f.target, f.place.x, f.place.y, f.place.z, f.grade, f.probabilities[f.grade])
        for f in findings
        if f.place is not None and f.place.series_id == series_id
    ]


def true_marks(row: SeriesRow) -> list[Mark]:
    """A cross per labelled point; grey where the grade is unknown."""
    marks = []
    for target, (x, y, z), grade in zip(row.targets, row.points, row.grades, strict=True):
        if np.isfinite([x, y, z]).all():
            known = Grade(int(grade)) if grade >= 0 else None
            marks.append(Mark(target, float(x), float(y), float(z), known, true=True))
    return marks
