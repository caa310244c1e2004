"""Agreement of the starter's grading network with the grades of held-out phantoms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.point import Point
from lumbargrade.domain.vocabulary import FINDINGS, Condition, Grade, Target
from lumbargrade.inference.engines import OnnxEngine
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.sampling.study_rows import StudyRow, study_rows
from lumbargrade.scoring.agreement import Agreement, agreement
from lumbargrade.scoring.cohort import pair
from lumbargrade.starter.grader import grade_levels


def evaluate_grader(
    engine: OnnxEngine, store: VolumeStore, *, jitter_mm: float = 0.0, seed: int = 0
) -> dict[Condition, Agreement]:
    """Grade every study of a store around its labelled points, and compare with its grades.

    Args:
        engine: the exported network.
        store: studies that it was not trained on.
        jitter_mm: standard deviation, along each axis, of random shifts of the labelled points.
        seed: of these shifts.
    """
    predictions: dict[str, StudyPrediction] = {}
    grades: dict[str, Mapping[Target, Grade]] = {}
    for number, row in enumerate(study_rows(store, FINDINGS)):
        rng = np.random.default_rng([seed, number])
        points = [_shifted(p, rng.normal(0, jitter_mm, 3)) for p in row.guides]
        predictions[row.study_id] = predict_row(engine, store, row, points)
        grades[row.study_id] = {
            t: Grade(int(g)) for t, g in zip(row.targets, row.grades, strict=True) if g >= 0
        }
    paired = pair(predictions, grades).predicted
    return {condition: agreement(paired.of(condition)) for condition in Condition}


def predict_row(
    engine: OnnxEngine, store: VolumeStore, row: StudyRow, points: list[Point]
) -> StudyPrediction:
    """Grade a study of a store around some points."""
    volumes = [store.volume(s.study_id, s.series_id) for s in row.series]
    return grade_levels(engine, row.study_id, volumes, points)


def _shifted(point: Point, shift: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Point:
    x, y, z = np.add(point.patient or (0.0, 0.0, 0.0), shift).tolist()
    return replace(point, patient=(x, y, z))
