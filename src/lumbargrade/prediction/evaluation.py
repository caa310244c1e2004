"""Scores and point errors of out-of-fold predictions: per model and fold, and for the ensemble.

Figures over several folds are given twice: as the mean of the folds' figures, which is what the
published system calls its average, and pooled over the studies of all folds together.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lumbargrade.config import Published, Recipe
from lumbargrade.dataset.store import VolumeStore
from lumbargrade.domain.vocabulary import Condition, Grade, Target
from lumbargrade.prediction.published_figures import figures_of
from lumbargrade.prediction.validation import FoldPredictions, mean_of
from lumbargrade.scoring.keypoints import NOT_FOUND, PointErrors, mean_errors, point_errors
from lumbargrade.scoring.local import any_severe, local_score
from lumbargrade.tasks.base import SeriesPrediction

ENSEMBLE = "ensemble"
MEAN, POOLED = "mean", "pooled"

Pairs = Sequence[tuple[Any, SeriesPrediction]]


class FoldPairs(NamedTuple):
    """Rows of a fold with their predictions: without flips, and flip-averaged where that is."""

    plain: Pairs
    flipped: Pairs | None

    @property
    def used(self) -> Pairs:
        """The predictions that findings and points are taken from."""
        return self.plain if self.flipped is None else self.flipped


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
        fold: fold number; ``mean`` of the folds' figures; ``pooled`` over all folds' studies.
        series: how many series.
        score: weighted log loss (weights 1, 2, 4), without flip averaging.
        score_flip: the same with flip averaging; None where no model is averaged with flips.
        any_severe: any-severe loss per study; None where the condition has sides.
        published: the published score of the same recipe or ensemble: of the fold, the mean of
            its five folds' scores, or pooled; None where it is not known.
        published_flip: likewise with flip averaging.
        published_any_severe: likewise of the any-severe loss.
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
    published_any_severe: float | None = None


@dataclass(frozen=True)
class PointLine:
    """One line of the table of points.

    Attributes:
        condition: whose points.
        model, fold: as in `ScoreLine`.
        errors: of the predictions that findings are taken from.
    """

    condition: Condition
    model: str
    fold: str
    errors: PointErrors


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
    return point_errors(*_point_columns(pairs, store, size))


def _point_columns(pairs: Pairs, store: VolumeStore, size: int) -> tuple[NDArray[np.float64], ...]:
    found = [_point_pairs(row, p, store, size) for row, p in pairs]
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))


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


def alike(folds: Sequence[FoldPredictions]) -> dict[str, list[FoldPredictions]]:
    """Models whose rows are the same, so that they can be averaged row by row.

    Models of whole series come first and together, those of studies by their targets.

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
    """Mean over models of one kind of row, fold by fold.

    Where some of the models are averaged with flips and others never are, the flip-averaged mean
    takes each as it is used.
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


@dataclass(frozen=True)
class _Judged:
    """What one block of lines is about: a model or an ensemble, fold by fold."""

    name: str
    recipes: Collection[Recipe]
    folds: Mapping[int, FoldPairs]


def _judged(condition: Condition, folds: Sequence[FoldPredictions]) -> Iterator[_Judged]:
    """Every model over its folds, then ensembles of several models, narrowed to a condition."""

    def mine(pairs: FoldPairs) -> FoldPairs:
        flipped = None if pairs.flipped is None else narrowed(pairs.flipped, condition)
        return FoldPairs(narrowed(pairs.plain, condition), flipped)

    names: dict[str, list[FoldPredictions]] = {}
    for one in folds:
        names.setdefault(one.meta.recipe.name, []).append(one)
    for name, members in names.items():
        by_fold = {m.meta.fold: mine(pairs_of(m)) for m in sorted(members, key=_fold)}
        yield _Judged(name, [members[0].meta.recipe], by_fold)
    for name, members in alike(folds).items():
        recipes = {m.meta.recipe.name: m.meta.recipe for m in members}
        if len(recipes) > 1:
            averaged = {fold: mine(pairs) for fold, pairs in ensemble_of(members).items()}
            yield _Judged(name, list(recipes.values()), averaged)


def _fold(one: FoldPredictions) -> int:
    return one.meta.fold


def pairs_of(one: FoldPredictions) -> FoldPairs:
    """Rows of a model's fold with its predictions."""
    flipped = None if one.flipped is None else list(zip(one.rows, one.flipped, strict=True))
    return FoldPairs(list(zip(one.rows, one.plain, strict=True)), flipped)


def score_table(condition: Condition, folds: Sequence[FoldPredictions]) -> list[ScoreLine]:
    """Lines for every model and fold, each model over its folds, and the ensemble.

    Models of whole series and models of studies are averaged apart: their rows are not the same.
    """
    return [line for one in _judged(condition, folds) for line in _score_lines(condition, one)]


def _score_lines(condition: Condition, judged: _Judged) -> list[ScoreLine]:
    published = figures_of(judged.recipes)
    lines = []
    for fold, pairs in judged.folds.items():
        line = _score_line(condition, judged.name, str(fold), pairs)
        at = _of_fold(published, fold)
        lines.append(replace(line, published=at[0], published_flip=at[1]))
    pooled = _score_line(condition, judged.name, POOLED, _together(judged.folds.values()))
    return [
        *lines,
        replace(
            pooled,
            fold=MEAN,
            score=float(np.mean([line.score for line in lines])),
            score_flip=_mean([line.score_flip for line in lines]),
            any_severe=_mean([line.any_severe for line in lines]),
            published=published.score,
            published_flip=published.score_flip,
            published_any_severe=published.any_severe,
        ),
        replace(
            pooled,
            published=published.score_pooled,
            published_any_severe=published.any_severe_pooled,
        ),
    ]


def _score_line(condition: Condition, model: str, fold: str, pairs: FoldPairs) -> ScoreLine:
    return ScoreLine(
        condition=condition,
        model=model,
        fold=fold,
        series=len(pairs.plain),
        score=score_pairs(pairs.plain),
        score_flip=None if pairs.flipped is None else score_pairs(pairs.flipped),
        any_severe=None if condition.sided else any_severe_of_pairs(pairs.used),
    )


def _of_fold(published: Published, fold: int) -> tuple[float | None, float | None]:
    """Published scores of one fold, without and with flips."""
    plain, flipped = published.score_folds, published.score_flip_folds
    return (
        plain[fold] if 0 <= fold < len(plain) else None,
        flipped[fold] if 0 <= fold < len(flipped) else None,
    )


def _together(folds: Collection[FoldPairs]) -> FoldPairs:
    """All folds as one; flip-averaged where every fold is."""
    flips = [f.flipped for f in folds if f.flipped is not None]
    flipped = [pair for one in flips for pair in one] if len(flips) == len(folds) else None
    return FoldPairs([pair for one in folds for pair in one.plain], flipped)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def point_table(
    condition: Condition, folds: Sequence[FoldPredictions], store: VolumeStore
) -> list[PointLine]:
    """Errors of the points that findings are taken from, in the lines of `score_table`."""
    lines = []
    for one in _judged(condition, folds):
        size = next(iter(one.recipes)).data.size
        columns = {f: _point_columns(p.used, store, size) for f, p in one.folds.items()}
        errors = {f: point_errors(*c) for f, c in columns.items()}
        whole = point_errors(*map(np.concatenate, zip(*columns.values(), strict=True)))
        named = [
            *((str(fold), e) for fold, e in errors.items()),
            (MEAN, mean_errors(list(errors.values()))),
            (POOLED, whole),
        ]
        lines += [PointLine(condition, one.name, fold, e) for fold, e in named]
    return lines
