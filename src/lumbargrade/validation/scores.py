"""Scores and point errors of out-of-fold predictions, per model and fold and for ensembles.

Figures over several folds are given twice: as the mean over folds, which the published system calls
its average, and pooled over the studies of all folds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from lumbargrade.config import Published, Recipe
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.upright import Upright
from lumbargrade.domain.vocabulary import Condition, Grade
from lumbargrade.files.structures import parse_plain, structured
from lumbargrade.grading.combine import average
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.models.task import Row, weighted_log_loss
from lumbargrade.scoring.local import any_severe
from lumbargrade.scoring.points import NOT_FOUND, PointErrors, mean_errors, point_errors
from lumbargrade.validation.judged import FoldPredictions, JudgedRows, ensemble_of, grouped_by_rows

_FILE = "validation/data/published_ensembles.toml"


@dataclass(frozen=True)
class PublishedEnsemble:
    """Recipes whose probabilities were averaged, with the published figures of the mean."""

    recipes: tuple[str, ...]
    figures: Published


@dataclass(frozen=True)
class _Ensembles:
    ensemble: tuple[PublishedEnsemble, ...]


@cache
def published_ensembles() -> tuple[PublishedEnsemble, ...]:
    """Read all published ensembles from ``data/published_ensembles.toml``."""
    text = (resources.files("lumbargrade") / _FILE).read_text("utf-8")
    data = parse_plain(text, _FILE)
    return structured(data, _Ensembles, _FILE, "ensembles", partial=True).ensemble


def figures_of(recipes: Collection[Recipe]) -> Published:
    """Return the published figures of a recipe or of exactly these recipes averaged, if any."""
    if len(recipes) == 1:
        return next(iter(recipes)).published
    names = {r.name for r in recipes}
    known = (e.figures for e in published_ensembles() if set(e.recipes) == names)
    return next(known, Published())


MEAN, POOLED = "mean", "pooled"


@dataclass(frozen=True)
class ScoreLine:
    """One line of the validation table.

    Attributes:
        condition: what is scored.
        model: recipe name, or ``ensemble``.
        fold: fold number; ``mean`` of the folds' figures; ``pooled`` over all folds' studies.
        series: number of series.
        score: weighted log loss (weights 1, 2, 4), without flip averaging.
        score_flip: the same with flip averaging; None if no model is averaged with flips.
        any_severe: any-severe loss per study; None if the condition has sides.
        published: the published score of the same recipe or ensemble (of the fold, mean over its
            five folds, or pooled); None if unknown.
        published_flip: the published score with flip averaging.
        published_any_severe: the published any-severe loss.
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
        condition: condition of the points.
        model, fold: as in `ScoreLine`.
        errors: errors of the points that findings carry.
    """

    condition: Condition
    model: str
    fold: str
    errors: PointErrors


def any_severe_of(judged: JudgedRows) -> float:
    """Return the any-severe loss over studies; several series of a study are averaged."""
    grades: dict[str, NDArray[np.int8]] = {}
    studies: dict[str, list[StudyPrediction]] = {}
    for row, prediction in zip(judged.rows, judged.used, strict=True):
        grades.setdefault(row.study_id, row.grades)
        studies.setdefault(row.study_id, []).append(prediction)
    targets = judged.rows[0].targets
    severe = np.array([average(same).probability_rows(targets) for same in studies.values()])
    return any_severe(severe[..., Grade.SEVERE], list(grades.values()))


def point_columns(
    judged: JudgedRows, store: VolumeStore, size: int
) -> tuple[NDArray[np.float64], ...]:
    """Return the arguments of :func:`point_errors` for the annotated points of all rows.

    These are arrays (N, 3): predicted and true points with x and y in mask pixels and z in slices,
    predicted and true points in patient mm, and the normals of the true points' slices. If a row's
    points lie in several series, patient mm replace mask pixels and slices, and normals are NaN.

    Args:
        judged: rows with their predictions.
        store: volumes, for patient coordinates and image sizes.
        size: side of the network input; a mask pixel is four input pixels.
    """
    pairs = zip(judged.rows, judged.used, strict=True)
    found = [_point_pairs(row, p, store, size) for row, p in pairs]
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))


def _point_pairs(
    row: Row, prediction: StudyPrediction, store: VolumeStore, size: int
) -> tuple[NDArray[np.float64], ...]:
    marked = np.isfinite(row.points).all(axis=1)
    patient = prediction.point_rows(row.targets, patient=True)[marked]
    if row.frame == "patient":
        truth = row.points[marked]
        patient = np.where(np.isfinite(patient), patient, NOT_FOUND)
        nowhere = np.full((len(truth), 3), np.nan)
        return patient, truth, patient, truth, nowhere
    volume = store.volume(*row.key)
    voxels = prediction.point_rows(row.targets, patient=False)[marked]
    # upright, so that x runs from front to back, however a series is stored
    upright = Upright.of(volume)
    factor = np.full((int(marked.sum()), 1), size / max(upright.shape) / 4)
    on = volume.nearest_slices(row.points[marked, 2])
    normals = np.array([volume.slices[z].plane.normal for z in on]).reshape(-1, 3)
    return (
        _mask_units(upright.points(voxels), factor),
        _mask_units(upright.points(row.points[marked]), factor),
        patient,
        volume.to_patient(row.points[marked]),
        normals,
    )


def _mask_units(voxels: NDArray[np.floating], factor: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([voxels[:, :2] * factor, voxels[:, 2:]], axis=1)


@dataclass(frozen=True)
class _Block:
    """A model or an ensemble with its folds, which makes one block of lines.

    Attributes:
        name: name of the recipe or ensemble.
        recipes: recipes of all folds.
        folds: fold -> its rows with their predictions.
        whole: whether every fold has a model of every recipe.
    """

    name: str
    recipes: Collection[Recipe]
    folds: Mapping[int, JudgedRows]
    whole: bool = True


def _blocks(condition: Condition, folds: Sequence[FoldPredictions]) -> Iterator[_Block]:
    """Yield every model over its folds, then the ensembles, for one condition."""
    names: dict[str, list[FoldPredictions]] = {}
    for fold in folds:
        names.setdefault(fold.meta.recipe.name, []).append(fold)
    for name, members in names.items():
        by_fold = {m.meta.fold: m.judged.narrowed(condition) for m in members}
        yield _Block(name, [members[0].meta.recipe], dict(sorted(by_fold.items())))
    for name, members in grouped_by_rows(folds).items():
        recipes = {m.meta.recipe.name: m.meta.recipe for m in members}
        if len(recipes) > 1:
            averaged = {f: p.narrowed(condition) for f, p in ensemble_of(members).items()}
            whole = len(members) == len(recipes) * len(averaged)
            yield _Block(name, list(recipes.values()), averaged, whole)


def score_table(condition: Condition, folds: Sequence[FoldPredictions]) -> list[ScoreLine]:
    """Return score lines of every model and fold, of each model over its folds, and of ensembles.

    Models of whole series and models of studies are averaged separately because their rows differ.
    """
    return [line for block in _blocks(condition, folds) for line in _score_lines(condition, block)]


def _score_lines(condition: Condition, block: _Block) -> list[ScoreLine]:
    # published figures do not apply to an ensemble that lacks a model in some fold
    published = figures_of(block.recipes) if block.whole else Published()
    scores, with_flip = (
        dict(enumerate(f)) for f in (published.score_folds, published.score_flip_folds)
    )
    lines = [
        replace(
            _score_line(condition, block.name, str(fold), judged),
            published=scores.get(fold),
            published_flip=with_flip.get(fold),
        )
        for fold, judged in block.folds.items()
    ]
    pooled = _score_line(
        condition, block.name, POOLED, JudgedRows.together(list(block.folds.values()))
    )
    return [
        *lines,
        replace(
            pooled,
            fold=MEAN,
            score=float(np.mean([line.score for line in lines])),
            score_flip=_mean_if_all([line.score_flip for line in lines]),
            any_severe=_mean_if_all([line.any_severe for line in lines]),
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


def _score_line(condition: Condition, model: str, fold: str, judged: JudgedRows) -> ScoreLine:
    flipped = judged.flipped
    return ScoreLine(
        condition=condition,
        model=model,
        fold=fold,
        series=len(judged.rows),
        score=weighted_log_loss(judged.rows, judged.plain),
        score_flip=None if flipped is None else weighted_log_loss(judged.rows, flipped),
        any_severe=None if condition.sided else any_severe_of(judged),
    )


def _mean_if_all(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def point_table(
    condition: Condition, folds: Sequence[FoldPredictions], store: VolumeStore
) -> list[PointLine]:
    """Return the errors of the findings' points, with the same lines as `score_table`.

    Mask pixels of an ensemble are those of its first model; other models may have another input
    size.
    """
    lines = []
    for block in _blocks(condition, folds):
        size = next(iter(block.recipes)).data.size
        columns = {f: point_columns(judged, store, size) for f, judged in block.folds.items()}
        errors = {f: point_errors(*c) for f, c in columns.items()}
        whole = point_errors(*map(np.concatenate, zip(*columns.values(), strict=True)))
        named = [
            *((str(fold), e) for fold, e in errors.items()),
            (MEAN, mean_errors(list(errors.values()))),
            (POOLED, whole),
        ]
        lines += [PointLine(condition, block.name, fold, e) for fold, e in named]
    return lines
