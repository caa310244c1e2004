"""A network's predictions for series of a store, as numbers in native pixels and patient mm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lumbargrade.dataset.rows import SeriesRow
from lumbargrade.dataset.samples import make_sample
from lumbargrade.dataset.store import VolumeStore
from lumbargrade.domain.geometry import apply_homography
from lumbargrade.domain.vocabulary import Target
from lumbargrade.domain.volume import Volume
from lumbargrade.scoring.local import local_score
from lumbargrade.tasks.base import Task

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SeriesPrediction:
    """What one network (or an average of networks) says of one series.

    Attributes:
        study_id, series_id: the series.
        targets: what was graded, (P,).
        probabilities: (P, 3).
        voxels: (P, 3) native x, y in pixels and z slice coordinate.
        patient: (P, 3) LPS mm.
        instances: (P,) instance number of the nearest slice.
    """

    study_id: str
    series_id: str
    targets: tuple[Target, ...]
    probabilities: Floats
    voxels: Floats
    patient: Floats
    instances: NDArray[np.int64]


def locate(volume: Volume, voxels: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Patient mm and nearest instance numbers of native voxels (P, 3)."""
    z = np.clip(np.rint(voxels[:, 2]).astype(int), 0, len(volume.slices) - 1)
    instances = np.array([volume.slices[i].instance_number for i in z], np.int64)
    return volume.to_patient(voxels), instances


@torch.inference_mode()
def predict_volumes(
    task: Task,
    network: nn.Module,
    volumes: Sequence[tuple[SeriesRow, Volume]],
    *,
    device: torch.device | None = None,
    flip: bool = False,
) -> list[SeriesPrediction]:
    """Predict a few volumes in one batch.

    Args:
        task: knows samples and decoding.
        network: in eval mode.
        volumes: rows (labels are not used) with their volumes.
        device: where the network is; the CPU when None.
        flip: also predict the mirrored volumes and average (test-time augmentation).
    """
    size = task.recipe.data.size
    samples = [make_sample(volume, row, size=size, draw=None) for row, volume in volumes]
    batch = task.collate(samples).to(device or torch.device("cpu"))
    scores = task.predict(network, batch, flip=flip)
    found = []
    for i, (_, volume) in enumerate(volumes):
        xy = apply_homography(samples[i].to_native, scores.xy[i])
        voxels = np.concatenate([xy, scores.z[i][:, None]], axis=1).astype(np.float64)
        patient, instances = locate(volume, voxels)
        found.append(
            SeriesPrediction(
                study_id=volume.study_id,
                series_id=volume.series_id,
                targets=task.targets,
                probabilities=np.asarray(scores.probabilities[i], np.float64),
                voxels=voxels,
                patient=patient,
                instances=instances,
            )
        )
    return found


def unlabelled_row(task: Task, volume: Volume) -> SeriesRow:
    """A row for a series without labels, so that it can be predicted like any other."""
    count = len(task.targets)
    return SeriesRow(
        study_id=int(volume.study_id) if volume.study_id.isdecimal() else -1,
        series_id=int(volume.series_id) if volume.series_id.isdecimal() else -1,
        fold=-1,
        kind=task.kind,
        targets=task.targets,
        points=np.full((count, 3), np.nan, np.float32),
        grades=np.full(count, -1, np.int8),
    )


def predict_rows(
    task: Task,
    network: nn.Module,
    store: VolumeStore,
    rows: Sequence[SeriesRow],
    *,
    device: torch.device | None = None,
    flip: bool = False,
    batch_size: int = 4,
) -> list[SeriesPrediction]:
    """Predict rows of a store, a few at a time so that memory stays flat."""
    found: list[SeriesPrediction] = []
    for chunk in _chunks(rows, batch_size):
        volumes = [(row, store.volume(row.study_id, row.series_id)) for row in chunk]
        found += predict_volumes(task, network, volumes, device=device, flip=flip)
    return found


def score_predictions(
    task: Task, rows: Sequence[SeriesRow], predictions: Sequence[SeriesPrediction]
) -> dict[str, float]:
    """Local score and point errors of predictions against the labels of their rows.

    Returns:
        ``score`` (weighted log loss), ``x``, ``y`` and ``z`` (median absolute errors in native
        pixels and slices).
    """
    grades = np.concatenate([row.grades for row in rows])
    probabilities = np.concatenate([p.probabilities for p in predictions])
    known = grades >= 0
    result = {"score": float(local_score(probabilities[known], grades[known]).weighted)}
    error = np.abs(
        np.concatenate([p.voxels for p in predictions])
        - np.concatenate([row.points for row in rows])
    )
    for axis, name in enumerate("xyz"):
        result[name] = float(np.nanmedian(error[:, axis]))
    return result


def _chunks(rows: Sequence[SeriesRow], size: int) -> Iterator[Sequence[SeriesRow]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
