"""Scores and point errors of out-of-fold predictions, per fold, per model and for the ensemble."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lumbargrade.config import Recipe
from lumbargrade.dataset.store import VolumeStore
from lumbargrade.domain.vocabulary import Condition, Grade, Target
from lumbargrade.prediction.validation import FoldPredictions, mean_of
from lumbargrade.scoring.keypoints import PointErrors, point_errors
from lumbargrade.scoring.local import any_severe, local_score
from lumbargrade.tasks.base import SeriesPrediction

ENSEMBLE = "ensemble"
ALL_FOLDS = "all"

#: Where a point stands that was not found, mm: further than any limit, and no nan in medians.
NOT_FOUND = 1e9

Pairs = Sequence[tuple[Any, SeriesPrediction]]


@dataclass(frozen=True)
class JudgedRow:
    """The part of a row that is judged: ids, P targets, points (P, 3) and grades (P,)."""

    study_id: int
    series_id: int
    targets: tuple[Target, ...]
    points: NDArray[np.floating]
    grades: NDArray[np.int8]


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


def score_pairs(pairs: Pairs) -> float:
    """Local score of predictions against the grades of their rows; what is not predicted is out."""
    grades = np.concatenate([row.grades for row, _ in pairs])
    probabilities = np.concatenate([p.probabilities for _, p in pairs])
    known = (grades >= 0) & np.isfinite(probabilities).all(axis=1)
    return float(local_score(probabilities[known], grades[known]).weighted)


def any_severe_of_pairs(pairs: Pairs) -> float:
    """Any-severe loss over studies; several series of a study are averaged."""
    studies: dict[int, list[tuple[JudgedRow, SeriesPrediction]]] = {}
    for row, prediction in pairs:
        studies.setdefault(row.study_id, []).append((row, prediction))
    severe = np.array(
        [np.mean([p.probabilities[:, Grade.SEVERE] for _, p in s], 0) for s in studies.values()]
    )
    grades = np.array([s[0][0].grades for s in studies.values()])
    known = (grades >= 0) & np.isfinite(severe)
    return float(any_severe(np.nan_to_num(severe), np.where(known, grades == Grade.SEVERE, -1)))


def errors_of_pairs(pairs: Pairs, store: VolumeStore, size: int) -> PointErrors:
    """Point errors in mask pixels, slices and millimetres over annotated points.

    Where a row's points lie in several series, shares along x, y and z are of patient mm.

    Args:
        pairs: rows with their predictions.
        store: gives true patient points and image sizes.
        size: side of the network input; a mask pixel is four input pixels.
    """
    found = [_point_pairs(row, p, store, size) for row, p in pairs]
    columns = [np.concatenate(parts) for parts in zip(*found, strict=True)]
    return point_errors(*columns)


def _point_pairs(
    row: Any, prediction: SeriesPrediction, store: VolumeStore, size: int
) -> tuple[NDArray[np.float64], ...]:
    """Predicted and true points of a row in mask units, then in mm, and true slice normals."""
    marked = np.isfinite(row.points).all(axis=1)
    if prediction.series:  # points of several series: patient mm stand for pixels and slices
        truth = row.points[marked]
        patient = np.where(np.isfinite(prediction.patient), prediction.patient, NOT_FOUND)[marked]
        nowhere = np.full((len(truth), 3), np.nan)
        return patient, truth, patient, truth, nowhere
    volume = store.volume(row.study_id, row.series_id)
    factor = np.full((int(marked.sum()), 1), size / max(volume.pixels.shape[1:]) / 4)
    last = len(volume.slices) - 1
    on = np.clip(np.rint(row.points[marked, 2]), 0, last).astype(int)
    normals = np.array([volume.slices[z].plane.normal for z in on]).reshape(-1, 3)
    return (
        _mask_units(prediction.voxels[marked], factor),
        _mask_units(row.points[marked], factor),
        prediction.patient[marked],
        volume.to_patient(row.points[marked]),
        normals,
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
        rows = {(str(r.study_id), _series(r, m)): r for m in members for r in m.rows}
        plain = mean_of([m.plain for m in members])
        flips = [m.flipped for m in members if m.flipped is not None]
        flipped = mean_of(flips) if len(flips) == len(members) else None
        found[fold] = (
            [(rows[p.study_id, p.series_id], p) for p in plain],
            [(rows[p.study_id, p.series_id], p) for p in flipped] if flipped is not None else None,
        )
    return found


def _series(row: Any, member: FoldPredictions) -> str:
    """The series id that predictions of a row carry: none where it is a whole study's."""
    return "" if member.plain and member.plain[0].series else str(row.series_id)


def score_table(condition: Condition, folds: Sequence[FoldPredictions]) -> list[ScoreLine]:
    """Lines for every model and fold, each model over all folds, and the ensemble.

    Models of whole series and models of studies are averaged apart: their rows are not the same.
    """
    lines = []
    recipes: dict[str, list[FoldPredictions]] = {}
    for one in folds:
        recipes.setdefault(one.meta.recipe.name, []).append(one)
    for name, members in recipes.items():
        recipe = members[0].meta.recipe
        pairs = {
            m.meta.fold: (
                narrowed(list(zip(m.rows, m.plain, strict=True)), condition),
                None
                if m.flipped is None
                else narrowed(list(zip(m.rows, m.flipped, strict=True)), condition),
            )
            for m in members
        }
        lines += _lines(condition, name, pairs, recipe)
    for name, group in _alike(folds).items():
        if len({m.meta.recipe.name for m in group}) > 1:
            whole = ensemble_of(group)
            averaged = {
                f: (narrowed(p, condition), None if q is None else narrowed(q, condition))
                for f, (p, q) in whole.items()
            }
            lines += _lines(condition, name, averaged, None)
    return lines


def _alike(folds: Sequence[FoldPredictions]) -> dict[str, list[FoldPredictions]]:
    """Models whose rows are the same, under the name of their ensemble."""
    series = [f for f in folds if f.plain and not f.plain[0].series]
    studies: dict[tuple[Target, ...], list[FoldPredictions]] = {}
    for one in folds:
        if one.plain and one.plain[0].series:
            studies.setdefault(one.plain[0].targets, []).append(one)
    groups = [g for g in (series, *studies.values()) if g]
    return {ENSEMBLE if i == 0 else f"{ENSEMBLE} {i + 1}": g for i, g in enumerate(groups)}


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
