"""Rows with their out-of-fold predictions, per model and fold and averaged over models."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.findings import ModelSource, StudyPrediction
from lumbargrade.domain.point import Point
from lumbargrade.domain.vocabulary import Condition, Target
from lumbargrade.grading.combine import average
from lumbargrade.grading.members import Member
from lumbargrade.inference.model_folder import ModelMeta
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.models.registry import AnyTask, get_task
from lumbargrade.models.task import Row

#: Name of the mean over several models in tables.
ENSEMBLE = "ensemble"

Predictions = Sequence[StudyPrediction]


@dataclass(frozen=True)
class JudgedRows:
    """Rows with their predictions.

    Attributes:
        rows: series or studies with their labels.
        plain: one prediction per row.
        flipped: predictions averaged with the mirrored volume; None if flips were not requested or
            the model is never averaged with them.
    """

    rows: Sequence[Row]
    plain: Predictions
    flipped: Predictions | None = None

    @classmethod
    def of(cls, member: Member, store: VolumeStore, rows: Sequence[Row]) -> JudgedRows:
        """Predict rows with a model."""

        task = get_task(member.meta.recipe)

        def predict(*, flip: bool) -> Predictions:
            return task.predict_rows(member.engine, store, rows, flip=flip)

        return cls(rows, predict(flip=False), predict(flip=True) if member.flips else None)

    @classmethod
    def together(cls, parts: Sequence[JudgedRows]) -> JudgedRows:
        """Join several folds; ``flipped`` is None unless every fold has it."""
        flips = [p.flipped for p in parts if p.flipped is not None]
        return cls(
            [row for p in parts for row in p.rows],
            [prediction for p in parts for prediction in p.plain],
            [prediction for f in flips for prediction in f] if len(flips) == len(parts) else None,
        )

    @property
    def used(self) -> Predictions:
        """The predictions used for findings, points, tables and pictures."""
        return self.plain if self.flipped is None else self.flipped

    def narrowed(self, condition: Condition) -> JudgedRows:
        """Return the rows with only the targets of one condition."""
        return JudgedRows([_narrowed(r, condition) for r in self.rows], self.plain, self.flipped)


@dataclass(frozen=True)
class FoldPredictions:
    """The predictions of one model for the rows of its validation fold.

    Attributes:
        meta: the model.
        judged: rows with their predictions.
        sources: all models behind the predictions, including those that placed guide points.
        guide: whether the model only places points here.
        path: the model's folder, if it has one.
    """

    meta: ModelMeta
    judged: JudgedRows
    sources: tuple[ModelSource, ...] = ()
    guide: bool = False
    path: Path | None = None

    @property
    def task(self) -> AnyTask:
        return get_task(self.meta.recipe)


@dataclass(frozen=True)
class PartOfRow:
    """A row with only some of its targets."""

    study_id: str
    key: tuple[str, ...]
    fold: int
    targets: tuple[Target, ...]
    points: NDArray[np.floating]
    grades: NDArray[np.int8]
    labelled: Sequence[Point]
    frame: Literal["voxel", "patient"]


def _narrowed(row: Row, condition: Condition) -> Row:
    kept = [i for i, t in enumerate(row.targets) if t.condition is condition]
    targets = tuple(row.targets[i] for i in kept)
    points, grades = row.points[kept], row.grades[kept]
    labelled = [p for p in row.labelled if p.target.condition is condition]
    ids = row.study_id, row.key, row.fold
    return PartOfRow(*ids, targets, points, grades, labelled, row.frame)


def grouped_by_rows(folds: Iterable[FoldPredictions]) -> dict[str, list[FoldPredictions]]:
    """Group models by the rows that they predict, so that each group can be averaged row by row.

    Models of whole series are the first group. Models of studies are grouped by their targets.

    Returns:
        Name of the ensemble -> its models.
    """
    groups: dict[tuple[Target, ...], list[FoldPredictions]] = {}
    for fold in sorted(folds, key=lambda f: f.task.needs_guides):
        groups.setdefault(fold.task.targets if fold.task.needs_guides else (), []).append(fold)
    names = (f"{ENSEMBLE} {i + 1}" if i else ENSEMBLE for i in range(len(groups)))
    return dict(zip(names, groups.values(), strict=True))


def ensemble_of(folds: Sequence[FoldPredictions]) -> dict[int, JudgedRows]:
    """Average models that predict the same rows, fold by fold.

    Only rows that every model predicted are kept. ``flipped`` averages each model's `used`
    predictions, so that models that are never flipped contribute their plain predictions.
    """
    by_fold: dict[int, list[JudgedRows]] = {}
    for fold in folds:
        by_fold.setdefault(fold.meta.fold, []).append(fold.judged)
    return {fold: _mean(members) for fold, members in sorted(by_fold.items())}


def _mean(members: Sequence[JudgedRows]) -> JudgedRows:
    rows = [{row.key: row for row in m.rows} for m in members]
    common = [key for key in rows[0] if all(key in other for other in rows)]

    def averaged(predictions: Sequence[Predictions]) -> Predictions:
        by_row = [dict(zip(k, p, strict=True)) for k, p in zip(rows, predictions, strict=True)]
        return [average([by_key[key] for by_key in by_row]) for key in common]

    flips = any(m.flipped is not None for m in members)
    return JudgedRows(
        [rows[0][key] for key in common],
        averaged([m.plain for m in members]),
        averaged([m.used for m in members]) if flips else None,
    )
