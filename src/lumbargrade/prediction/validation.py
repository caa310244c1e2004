"""Out-of-fold predictions: each model on the studies it has not seen."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from lumbargrade.checkpoint import ModelMeta, read_meta
from lumbargrade.dataset.rows import SeriesRow
from lumbargrade.dataset.store import VolumeStore
from lumbargrade.domain.errors import NothingDone, UsageError
from lumbargrade.prediction.members import load_member
from lumbargrade.tasks import get_task
from lumbargrade.tasks.inference import SeriesPrediction, predict_rows

log = logging.getLogger(__name__)

#: Fingerprint of the fold of every study of the published training set (see `fold_fingerprint`).
PUBLISHED_FOLDS = "7469186af81fa0c6c9343ffb2d89d526c44dd00bb3ec61e1e9faa97a3ee55b3d"


@dataclass(frozen=True)
class FoldPredictions:
    """What one model says of the series of its validation fold.

    Attributes:
        meta: the model.
        rows: series with their labels.
        plain: one prediction per row.
        flipped: the same averaged with the mirrored volume; None where flips were not asked for.
    """

    meta: ModelMeta
    rows: Sequence[SeriesRow]
    plain: Sequence[SeriesPrediction]
    flipped: Sequence[SeriesPrediction] | None


def fold_fingerprint(folds: Mapping[int, int]) -> str:
    """SHA-256 of which study is in which fold."""
    return hashlib.sha256(json.dumps(sorted(folds.items())).encode()).hexdigest()


def refuse_seen_studies(meta: ModelMeta, store: VolumeStore, rows: Sequence[SeriesRow]) -> None:
    """Make sure that a model was not trained on what it is about to be judged on.

    Raises:
        UsageError: if it was, or if nothing is known of its fold or of what it was trained on.
    """
    name = f"{meta.recipe.name} fold {meta.fold}"
    if meta.fold < 0:
        raise UsageError(
            f"{meta.recipe.name}: it is not known which fold this model was validated on "
            "(import-weights --fold says so); it cannot be evaluated out of fold"
        )
    trained_on = meta.provenance.get("trained_on")
    if trained_on is None:
        if fold_fingerprint(store.folds) == PUBLISHED_FOLDS:
            return
        raise UsageError(
            f"{name}: it is not known which studies this model was trained on, and the store's "
            "folds are not the published ones; it cannot be evaluated out of fold here"
        )
    seen = sorted({row.study_id for row in rows} & set(trained_on))
    if seen:
        some = ", ".join(map(str, seen[:5]))
        raise UsageError(
            f"{name} was trained on {len(seen)} of the studies it would be judged on ({some}...); "
            "its folds are not the store's"
        )


def predict_out_of_fold(
    paths: Sequence[Path], store: VolumeStore, *, device: torch.device, flip: bool
) -> list[FoldPredictions]:
    """Every model on its own validation fold.

    Raises:
        UsageError: if a model has seen a study of its fold, or two models are the same fold of
            one recipe.
        NothingDone: if the store has no labelled series for any of the models.
    """
    metas = {path: read_meta(path) for path in paths}
    _refuse_doubles(metas)
    found = []
    for path, meta in tqdm(metas.items(), desc="models", unit="model", disable=None):
        task = get_task(meta.recipe)
        rows = [r for r in task.rows(store) if r.fold == meta.fold]
        refuse_seen_studies(meta, store, rows)
        if not rows:
            log.warning("%s fold %d: no labelled series", meta.recipe.name, meta.fold)
            continue
        member = load_member(path, device)
        plain = predict_rows(task, member.network, store, rows, device=device)
        flipped = (
            predict_rows(task, member.network, store, rows, device=device, flip=True)
            if flip and task.condition.sided
            else None
        )
        found.append(FoldPredictions(meta, rows, plain, flipped))
    if not found:
        raise NothingDone("the store has no labelled series for any of the models")
    return found


def _refuse_doubles(metas: Mapping[Path, ModelMeta]) -> None:
    seen: dict[tuple[str, int], Path] = {}
    for path, meta in metas.items():
        key = (meta.recipe.name, meta.fold)
        if key in seen:
            raise UsageError(f"{path} and {seen[key]} are both {key[0]} fold {key[1]}")
        seen[key] = path


def mean_of(members: Sequence[Sequence[SeriesPrediction]]) -> list[SeriesPrediction]:
    """Mean over models, series by series: probabilities, voxels and patient points.

    Only series that every member predicted are kept. The instance of a point is that of the member
    whose slice is nearest to the mean.
    """
    by_series = [{p.series_id: p for p in member} for member in members]
    common = [s for s in by_series[0] if all(s in other for other in by_series)]
    averaged = []
    for series in common:
        same = [member[series] for member in by_series]
        first = same[0]
        voxels = np.mean([p.voxels for p in same], axis=0)
        nearest = np.argmin([np.abs(p.voxels[:, 2] - voxels[:, 2]) for p in same], axis=0)
        instances = np.array([same[k].instances[i] for i, k in enumerate(nearest)])
        averaged.append(
            SeriesPrediction(
                first.study_id,
                first.series_id,
                first.targets,
                np.mean([p.probabilities for p in same], axis=0),
                voxels,
                np.mean([p.patient for p in same], axis=0),
                instances,
            )
        )
    return averaged
