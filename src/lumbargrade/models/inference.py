"""A network's predictions for series, as numbers in native pixels and patient mm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lumbargrade.config import Recipe
from lumbargrade.domain.vocabulary import SeriesKind, Target
from lumbargrade.domain.volume import Volume
from lumbargrade.lsdc.rows import SeriesRow
from lumbargrade.models.task import Batch, SeriesPrediction
from lumbargrade.sampling.series import Sample, make_sample

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SeriesScores:
    """What a network says of a batch of series, as numbers.

    Attributes:
        probabilities: float64 (B, P, 3), each row sums to 1.
        xy: float64 (B, P, 2) input pixels.
        z: float64 (B, P) slice of the input.
    """

    probabilities: Floats
    xy: Floats
    z: Floats


class SeriesTask(Protocol):
    """What prediction needs of a task whose network sees a whole series."""

    @property
    def recipe(self) -> Recipe: ...
    @property
    def kind(self) -> SeriesKind: ...
    @property
    def targets(self) -> tuple[Target, ...]: ...
    def collate(self, samples: Sequence[Sample]) -> Batch: ...
    def predict(self, network: nn.Module, batch: Batch, *, flip: bool = False) -> SeriesScores: ...


def locate(volume: Volume, voxels: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Patient mm and nearest instance numbers of native voxels (P, 3); NaN and -1 for NaN ones."""
    patient, instances = np.full((len(voxels), 3), np.nan), np.full(len(voxels), -1, np.int64)
    known = np.isfinite(voxels).all(axis=1)
    patient[known] = volume.to_patient(voxels[known])
    z = volume.nearest_slices(voxels[known, 2])
    instances[known] = [volume.slices[i].instance_number for i in z]
    return patient, instances


@torch.inference_mode()
def predict_volumes(
    task: SeriesTask,
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
    data = task.recipe.data
    samples = [make_sample(v, row, size=data.size, frame=data.frame) for row, v in volumes]
    batch = task.collate(samples).to(device or torch.device("cpu"))
    scores = task.predict(network, batch, flip=flip)
    found = []
    for i, (_, volume) in enumerate(volumes):
        points = np.concatenate([scores.xy[i], scores.z[i][:, None]], axis=1)
        voxels = samples[i].maps.to_native(points)
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


def unlabelled_row(task: SeriesTask, volume: Volume) -> SeriesRow:
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
