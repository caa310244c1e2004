"""Rows with their out-of-fold predictions: of one model fold by fold, and averaged over models."""

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
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.models.checkpoint import ModelMeta
from lumbargrade.models.registry import AnyTask, get_task
from lumbargrade.models.task import Row

#: Name of the mean over several models, in tables.
ENSEMBLE = "ensemble"

Predictions = Sequence[StudyPrediction]


@dataclass(frozen=True)
class JudgedRows:
    """Rows with their predictions.

    Attributes:
        rows: series or studies with their labels.
        plain: one prediction per row.
        flipped: the same averaged with the mirrored volume; None if flips were not asked for, or
            the model is never averaged with them.
    """

    rows: Sequence[Row]
    plain: Predictions
    flipped: Predictions | None = None

    @classmethod
    def of(cls, member: Member, store: VolumeStore, rows: Sequence[Row]) -> JudgedRows:
        """What a model says of rows."""

        def predicted(*, flip: bool) -> Predictions:
            return member.task.predict_rows(member.network, store, rows, flip=flip)

        return cls(rows, predicted(flip=False), predicted(flip=True) if member.flips else None)

    @classmethod
    def together(cls, parts: Sequence[JudgedRows]) -> JudgedRows:
        """Several folds as one; ``flipped`` is None unless every fold has it."""
        flips = [p.flipped for p in parts if p.flipped is not None]
        return cls(
            [row for p in parts for row in p.rows],
            [one for p in parts for one in p.plain],
            [one for f in flips for one in f] if len(flips) == len(parts) else None,
        )

    @property
    def used(self) -> Predictions:
        """The predictions that findings, points, their tables and pictures are taken from."""
        return self.plain if self.flipped is None else self.flipped

    def narrowed(self, condition: Condition) -> JudgedRows:
        """The same with the targets of one condition alone."""
        return JudgedRows([_narrowed(r, condition) for r in self.rows], self.plain, self.flipped)


@dataclass(frozen=True)
class FoldPredictions:
    """What one model says of the rows of its validation fold.

    Attributes:
        meta: the model.
        judged: rows with their predictions.
        sources: every model behind the predictions, those that placed the points included.
        guide: whether the model only places points here.
        path: the model's folder, where it has one.
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
    """Some targets of a row."""

    study_id: int
    key: tuple[int, ...]
    fold: int
    targets: tuple[Target, ...]
    points: NDArray[np.floating]
    grades: NDArray[np.int8]
    labelled: Sequence[Point]
    frame: Literal["voxel", "patient"]


def _narrowed(row: Row, condition: Condition) -> Row:
    mine = [i for i, t in enumerate(row.targets) if t.condition is condition]
    targets = tuple(row.targets[i] for i in mine)
    points, grades = row.points[mine], row.grades[mine]
    labelled = [p for p in row.labelled if p.target.condition is condition]
    ids = row.study_id, row.key, row.fold
    return PartOfRow(*ids, targets, points, grades, labelled, row.frame)


def grouped_by_rows(folds: Iterable[FoldPredictions]) -> dict[str, list[FoldPredictions]]:
    """Models grouped by the rows that they predict, so that each group can be averaged row by row.

    The models of whole series are the first group; models of studies are grouped by their targets.

    Returns:
        Name of the ensemble -> its models.
    """
    groups: dict[tuple[Target, ...], list[FoldPredictions]] = {}
    for one in sorted(folds, key=lambda f: f.task.needs_guides):
        groups.setdefault(one.task.targets if one.task.needs_guides else (), []).append(one)
    names = (f"{ENSEMBLE} {i + 1}" if i else ENSEMBLE for i in range(len(groups)))
    return dict(zip(names, groups.values(), strict=True))


def ensemble_of(folds: Sequence[FoldPredictions]) -> dict[int, JudgedRows]:
    """Mean over models that predict the same rows, fold by fold.

    Only rows that every model predicted are kept. If some of the models are averaged with flips and
    others never are, ``flipped`` is the mean of the predictions that each model is used with.
    """
    by_fold: dict[int, list[JudgedRows]] = {}
    for one in folds:
        by_fold.setdefault(one.meta.fold, []).append(one.judged)
    return {fold: _mean(members) for fold, members in sorted(by_fold.items())}


def _mean(members: Sequence[JudgedRows]) -> JudgedRows:
    rows = [{row.key: row for row in m.rows} for m in members]
    common = [key for key in rows[0] if all(key in other for other in rows)]

    def averaged(predictions: Sequence[Predictions]) -> Predictions:
        by_row = [dict(zip(k, p, strict=True)) for k, p in zip(rows, predictions, strict=True)]
        return [average([one[key] for one in by_row]) for key in common]

    flips = any(m.flipped is not None for m in members)
    return JudgedRows(
        [rows[0][key] for key in common],
        averaged([m.plain for m in members]),
        averaged([m.used for m in members]) if flips else None,
    )
