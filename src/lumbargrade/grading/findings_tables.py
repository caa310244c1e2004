"""Tables of the result of a study: findings and measurements."""

from __future__ import annotations

from pathlib import Path

from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.measurement import Measurement, Opinion
from lumbargrade.domain.vocabulary import FINDINGS, Grade, Target
from lumbargrade.files.tables import write_table
from lumbargrade.grading.graded import GradedStudy, finding_or_reason
from lumbargrade.lsdc.point_file import PLACE_COLUMNS, point_cells

COLUMNS = (
    *("study_id", "finding", "condition", "side", "level", "grade"),
    *(g.column for g in Grade),
    *(f"calibrated_{g.column}" for g in Grade),
    *("not_graded", *PLACE_COLUMNS),
    *("measured_grade", "quantity", "value", "unit", "moderate_from", "severe_from"),
    *("model_grade", "review"),
)

MEASUREMENT_COLUMNS = (
    *("study_id", "quantity", "level", "side", "value", "unit", "quality", "remark"),
    *("view", "series_id", "instance_number"),
)


def write_findings_csv(path: Path, graded: GradedStudy) -> None:
    """Write the table of a study's findings atomically; see `findings_rows`."""
    write_table(path, COLUMNS, findings_rows(graded))


def findings_rows(graded: GradedStudy) -> list[list[object]]:
    """Return 25 rows of the columns `COLUMNS`.

    A finding that the models do not grade has their reason in ``not_graded`` and no probabilities
    or point. Its ``grade`` is empty unless a reader graded it. ``review`` has the status if a
    review was applied.
    """
    return [_csv_row(graded, target) for target in FINDINGS]


def _csv_row(graded: GradedStudy, target: Target) -> list[object]:
    finding, reason = finding_or_reason(graded.prediction, target)
    name = (graded.prediction.study_id, target.column, target.condition, target.side, target.level)
    grade = graded.grade(target)
    start = (*name, None if grade is None else grade.column)
    status = None if graded.review is None else graded.review.by_target[target].status
    empty = (None,) * len(Grade)
    if finding is None:
        nothing = (*empty, *empty, reason, *point_cells(None), *_opinion_cells(None))
        return [*start, *nothing, None, status]
    return [
        *(*start, *finding.probabilities, *(finding.calibrated or empty), reason),
        *point_cells(finding.point),
        *_opinion_cells(finding.opinion),
        *(finding.model_grade.column, status),
    ]


def _opinion_cells(opinion: Opinion | None) -> list[object]:
    if opinion is None:
        return [None] * 6
    o = opinion
    return [o.grade.column, o.quantity, o.value, o.quantity.unit, o.moderate, o.severe]


def write_measurements_csv(path: Path, prediction: StudyPrediction) -> None:
    """Write the table of a study's measurements atomically; see `measurement_rows`."""
    write_table(path, MEASUREMENT_COLUMNS, measurement_rows(prediction))


def measurement_rows(prediction: StudyPrediction) -> list[list[object]]:
    """Return a row of the columns `MEASUREMENT_COLUMNS` per measurement."""
    return [[prediction.study_id, *_measurement_cells(m)] for m in prediction.measurements]


def _measurement_cells(m: Measurement) -> list[object]:
    what = (m.quantity, m.level, m.side, m.value, m.quantity.unit, m.quality, m.remark)
    return [*what, m.view, m.series_id, m.instance_number]
