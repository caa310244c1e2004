"""Scores and point errors of out-of-fold predictions, per fold, per model and for the ensemble."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lumbargrade.config import Recipe
from lumbargrade.dataset.rows import SeriesRow
from lumbargrade.dataset.store import VolumeStore
from lumbargrade.domain.vocabulary import Condition, Grade
from lumbargrade.prediction.validation import FoldPredictions, mean_of
from lumbargrade.scoring.keypoints import PointErrors, point_errors
from lumbargrade.scoring.local import any_severe, local_score
from lumbargrade.tasks.inference import SeriesPrediction

ENSEMBLE = "ensemble"
ALL_FOLDS = "all"

Pairs = Sequence[tuple[SeriesRow, SeriesPrediction]]


@dataclass(frozen=True)
class ScoreLine:
    """One line of the validation table.

    Attributes:
        condition: what is scored.
        model: recipe name, or ``ensemble``.
        fold: fold number, or ``all``.
        series: how many series.
        score: weighted log loss (weights 1, 2, 4).
        score_flip: the same with flip averaging; None where the condition has no sides.
        any_severe: any-severe loss per study; None where the condition has sides.
        published: the published score of this recipe, beside the ``all`` line.
        published_flip: the published score with flip averaging.
    """

    condition: Condition
    model: str
    fold: str
    series: int
    score: float
    score_flip: float | None = None
    any_severe: float | None = None
    published: float | None = None
    published_flip: float | None = None


def score_pairs(pairs: Pairs) -> float:
    """Local score of predictions against the grades of their rows."""
    grades = np.concatenate([row.grades for row, _ in pairs])
    probabilities = np.concatenate([p.probabilities for _, p in pairs])
    known = grades >= 0
    return float(local_score(probabilities[known], grades[known]).weighted)


def any_severe_of_pairs(pairs: Pairs) -> float:
    """Any-severe loss over studies; several series of a study are averaged."""
    studies: dict[int, list[tuple[SeriesRow, SeriesPrediction]]] = {}
    for row, prediction in pairs:
        studies.setdefault(row.study_id, []).append((row, prediction))
    severe = [
        np.mean([p.probabilities[:, Grade.SEVERE] for _, p in s], 0) for s in studies.values()
    ]
    grades = np.array([s[0][0].grades for s in studies.values()])
    return float(any_severe(np.array(severe), np.where(grades < 0, -1, grades == Grade.SEVERE)))


def errors_of_pairs(pairs: Pairs, store: VolumeStore, size: int) -> PointErrors:
    """Point errors in mask pixels, slices and millimetres over annotated points.

    Args:
        pairs: rows with their predictions.
        store: gives true patient points and image sizes.
        size: side of the network input; a mask pixel is four input pixels.
    """
    voxels, truth, patient, true_patient, scale, normals = [], [], [], [], [], []
    for row, prediction in pairs:
        volume = store.volume(row.study_id, row.series_id)
        marked = np.isfinite(row.points).all(axis=1)
        per_pixel = size / max(volume.pixels.shape[1:]) / 4
        scale.append(np.full(int(marked.sum()), per_pixel))
        voxels.append(prediction.voxels[marked])
        truth.append(row.points[marked])
        patient.append(prediction.patient[marked])
        true_patient.append(volume.to_patient(row.points[marked]))
        last = len(volume.slices) - 1
        on = np.clip(np.rint(row.points[marked, 2]), 0, last).astype(int)
        normals.append(np.array([volume.slices[z].plane.normal for z in on]).reshape(-1, 3))
    factor = np.concatenate(scale)[:, None]
    return point_errors(
        _mask_units(np.concatenate(voxels), factor),
        _mask_units(np.concatenate(truth), factor),
        np.concatenate(patient),
        np.concatenate(true_patient),
        np.concatenate(normals),
    )


def _mask_units(voxels: NDArray[np.floating], factor: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([voxels[:, :2] * factor, voxels[:, 2:]], axis=1)


def ensemble_of(folds: Iterable[FoldPredictions]) -> dict[int, tuple[Pairs, Pairs | None]]:
    """Mean over models of one condition, fold by fold: plain pairs and flip-averaged pairs."""
    by_fold: dict[int, list[FoldPredictions]] = {}
    for one in folds:
        by_fold.setdefault(one.meta.fold, []).append(one)
    found: dict[int, tuple[Pairs, Pairs | None]] = {}
    for fold, members in sorted(by_fold.items()):
        rows = {str(r.series_id): r for m in members for r in m.rows}
        plain = mean_of([m.plain for m in members])
        flips = [m.flipped for m in members if m.flipped is not None]
        flipped = mean_of(flips) if len(flips) == len(members) else None
        found[fold] = (
            [(rows[p.series_id], p) for p in plain],
            [(rows[p.series_id], p) for p in flipped] if flipped is not None else None,
        )
    return found


def score_table(condition: Condition, folds: Sequence[FoldPredictions]) -> list[ScoreLine]:
    """Lines for every model and fold, each model over all folds, and the ensemble."""
    lines = []
    recipes: dict[str, list[FoldPredictions]] = {}
    for one in folds:
        recipes.setdefault(one.meta.recipe.name, []).append(one)
    for name, members in recipes.items():
        recipe = members[0].meta.recipe
        pairs = {
            m.meta.fold: (
                list(zip(m.rows, m.plain, strict=True)),
                None if m.flipped is None else list(zip(m.rows, m.flipped, strict=True)),
            )
            for m in members
        }
        lines += _lines(condition, name, pairs, recipe)
    if len(recipes) > 1:
        lines += _lines(condition, ENSEMBLE, ensemble_of(folds), None)
    return lines


def _lines(
    condition: Condition,
    model: str,
    folds: Mapping[int, tuple[Pairs, Pairs | None]],
    recipe: Recipe | None,
) -> list[ScoreLine]:
    lines = [
        _line(condition, model, str(fold), plain, flipped)
        for fold, (plain, flipped) in sorted(folds.items())
    ]
    plain = [pair for one, _ in folds.values() for pair in one]
    flips = [one for _, one in folds.values()]
    flipped = (
        [pair for one in flips if one is not None for pair in one]
        if all(one is not None for one in flips)
        else None
    )
    published = recipe.published if recipe is not None else None
    return [*lines, _line(condition, model, ALL_FOLDS, plain, flipped, published)]


def _line(
    condition: Condition,
    model: str,
    fold: str,
    plain: Pairs,
    flipped: Pairs | None,
    published: object = None,
) -> ScoreLine:
    return ScoreLine(
        condition=condition,
        model=model,
        fold=fold,
        series=len(plain),
        score=score_pairs(plain),
        score_flip=None if flipped is None else score_pairs(flipped),
        any_severe=None if condition.sided else any_severe_of_pairs(plain),
        published=getattr(published, "score", None),
        published_flip=getattr(published, "score_flip", None),
    )
