"""Rows with their out-of-fold predictions: of one model fold by fold, and averaged over models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.vocabulary import Condition, Target
from lumbargrade.models.task import SeriesPrediction
from lumbargrade.validation.out_of_fold import FoldPredictions, mean_of

#: Name of the mean over several models, in tables.
ENSEMBLE = "ensemble"

#: Rows (`SeriesRow`, `StudyRow` or `JudgedRow`), each with its prediction.
Pairs = Sequence[tuple[Any, SeriesPrediction]]


class FoldPairs(NamedTuple):
    """Rows of a fold with their predictions: without flips, and averaged with flips if they are."""

    plain: Pairs
    flipped: Pairs | None

    @property
    def used(self) -> Pairs:
        """The predictions that findings and points are taken from."""
        return self.plain if self.flipped is None else self.flipped

    def narrowed(self, condition: Condition) -> FoldPairs:
        """The same of one condition's targets alone."""
        flipped = None if self.flipped is None else narrowed(self.flipped, condition)
        return FoldPairs(narrowed(self.plain, condition), flipped)


@dataclass(frozen=True)
class JudgedRow:
    """The part of a row that is judged: ids, P targets, points (P, 3) and grades (P,)."""

    study_id: int
    series_id: int
    targets: tuple[Target, ...]
    points: NDArray[np.floating]
    grades: NDArray[np.int8]


def narrowed(pairs: Pairs, condition: Condition) -> Pairs:
    """Pairs of one condition's targets alone, from rows that may have others too."""
    found = []
    for row, prediction in pairs:
        mine = [i for i, t in enumerate(row.targets) if t.condition is condition]
        if len(mine) == len(row.targets):
            found.append((row, prediction))
            continue
        some = JudgedRow(
            row.study_id,
            row.series_id,
            tuple(row.targets[i] for i in mine),
            row.points[mine],
            row.grades[mine],
        )
        part = replace(
            prediction,
            targets=some.targets,
            probabilities=prediction.probabilities[mine],
            voxels=prediction.voxels[mine],
            patient=prediction.patient[mine],
            instances=prediction.instances[mine],
            series=tuple(prediction.series_of(i) for i in mine),
        )
        found.append((some, part))
    return found


def pairs_of(one: FoldPredictions) -> FoldPairs:
    """Rows of a model's fold with its predictions."""
    flipped = None if one.flipped is None else list(zip(one.rows, one.flipped, strict=True))
    return FoldPairs(list(zip(one.rows, one.plain, strict=True)), flipped)


def grouped_by_rows(folds: Sequence[FoldPredictions]) -> dict[str, list[FoldPredictions]]:
    """Models grouped by the rows that they predict, so that each group can be averaged row by row.

    The models of whole series are the first group; models of studies are grouped by their targets.

    Returns:
        Name of the ensemble -> its models.
    """
    series = [f for f in folds if f.plain and not f.plain[0].series]
    studies: dict[tuple[Target, ...], list[FoldPredictions]] = {}
    for one in folds:
        if one.plain and one.plain[0].series:
            studies.setdefault(one.plain[0].targets, []).append(one)
    groups = [g for g in (series, *studies.values()) if g]
    return {ENSEMBLE if i == 0 else f"{ENSEMBLE} {i + 1}": g for i, g in enumerate(groups)}


def ensemble_of(folds: Sequence[FoldPredictions]) -> dict[int, FoldPairs]:
    """Mean over models that predict the same rows, fold by fold.

    If some of the models are averaged with flips and others never are, ``flipped`` is the mean of
    the predictions that each model is used with.
    """
    by_fold: dict[int, list[FoldPredictions]] = {}
    for one in folds:
        by_fold.setdefault(one.meta.fold, []).append(one)
    found = {}
    for fold, members in sorted(by_fold.items()):
        rows = {(str(r.study_id), _series(r, m)): r for m in members for r in m.rows}

        def pairs(
            predictions: Sequence[SeriesPrediction], rows: Mapping[tuple[str, str], Any] = rows
        ) -> Pairs:
            return [(rows[p.study_id, p.series_id], p) for p in predictions]

        flips = any(m.flipped is not None for m in members)
        found[fold] = FoldPairs(
            pairs(mean_of([m.plain for m in members])),
            pairs(mean_of([m.used for m in members])) if flips else None,
        )
    return found


def _series(row: Any, member: FoldPredictions) -> str:
    """The series id that predictions of a row carry: none where it is a whole study's."""
    return "" if member.plain and member.plain[0].series else str(row.series_id)
