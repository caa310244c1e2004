"""Assess out-of-fold predictions: everything that `validate` writes, before it is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.vocabulary import Condition
from lumbargrade.grading.model_record import OofRecord
from lumbargrade.lsdc.point_file import PointRow
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.models.task import Row
from lumbargrade.scoring.agreement import Part, break_down
from lumbargrade.scoring.cohort import GradedFindings, pair
from lumbargrade.validation.judged import (
    FoldPredictions,
    ensemble_of,
    grouped_by_rows,
)
from lumbargrade.validation.out_of_fold import oof_record, out_of_fold_points, out_of_fold_studies
from lumbargrade.validation.scores import PointLine, ScoreLine, point_table, score_table


@dataclass(frozen=True)
class Assessment:
    """Out-of-fold predictions with their scores.

    Attributes:
        scores: per condition, model and fold, and of ensembles.
        points: likewise, errors of the points that findings are taken from.
        studies: one prediction per study, the mean over the models of its fold.
        placed: the points that a second stage trains on.
        record: the models behind the predictions.
        examples: condition -> rows with the mean prediction of the ensemble, to be drawn.
        graded: findings of ``studies`` with their reference grades.
        agreement: measures of ``graded`` by condition, level and side; empty if there is none.
    """

    scores: Sequence[ScoreLine]
    points: Sequence[PointLine]
    studies: Sequence[StudyPrediction]
    placed: Sequence[PointRow]
    record: OofRecord
    examples: Mapping[Condition, Sequence[tuple[Row, StudyPrediction]]]
    graded: GradedFindings
    agreement: Sequence[Part]


def assess(folds: Sequence[FoldPredictions], store: VolumeStore) -> Assessment:
    """Score the predictions of every model on its fold, and of all models together.

    Args:
        folds: predictions of every model on its fold.
        store: labels and volumes.
    """
    scores: list[ScoreLine] = []
    points: list[PointLine] = []
    examples: dict[Condition, list[tuple[Row, StudyPrediction]]] = {}
    for condition in Condition:
        grading = [f for f in folds if not f.guide and condition in f.task.conditions]
        if grading:
            scores += score_table(condition, grading)
            examples[condition] = _examples(condition, grading)
        placing = [f for f in folds if condition in {t.condition for t in f.task.targets}]
        points += point_table(condition, placing, store)
    studies = out_of_fold_studies(folds, store)
    graded = pair({p.study_id: p for p in studies}, store.grades).predicted
    return Assessment(
        scores=scores,
        points=points,
        studies=studies,
        placed=out_of_fold_points(folds, store),
        record=oof_record(folds, store),
        examples=examples,
        graded=graded,
        agreement=break_down(graded) if studies else [],
    )


def _examples(
    condition: Condition, folds: Sequence[FoldPredictions]
) -> list[tuple[Row, StudyPrediction]]:
    """Return rows with the mean prediction of the first ensemble, as each fold is used."""
    first = next(iter(grouped_by_rows(folds).values()), [])
    parts = [one.narrowed(condition) for one in ensemble_of(first).values()]
    return [pair for one in parts for pair in zip(one.rows, one.used, strict=True)]
