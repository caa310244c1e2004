"""Base class of tasks whose network sees a whole series: everything but the loss."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.geometry import FloatArray
from lumbargrade.domain.upright import Upright
from lumbargrade.inference.base import MASK_STRIDE, Engine
from lumbargrade.inference.series import SeriesInference
from lumbargrade.lsdc.mean_shape import read_mean_shape
from lumbargrade.lsdc.rows import SeriesRow
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.models.task import Json, SampleMeta, Task
from lumbargrade.networks import losses
from lumbargrade.networks.one_stage import OneStageOutput, build_network
from lumbargrade.sampling.augment import draw_augmentation
from lumbargrade.sampling.series import Sample, annotated_points, make_sample


@dataclass(frozen=True, eq=False)
class Batch:
    """B samples with P targets each.

    Attributes:
        slices: uint8 (sum of counts, S, S), sample after sample.
        counts: slices of each sample.
        xy: float32 (B, P, 2) mask pixels; 0 if not annotated.
        z: float32 (B, P) slice index; 0 if not annotated.
        annotated: bool (B, P).
        grade: int64 (B, P), -1 if not graded.
        samples: one per sample.
    """

    slices: Tensor
    counts: list[int]
    xy: Tensor
    z: Tensor
    annotated: Tensor
    grade: Tensor
    samples: list[SampleMeta]

    @property
    def slices_seen(self) -> int:
        """Number of slices that the encoder sees."""
        return len(self.slices)

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch with its tensors on another device."""
        return replace(
            self,
            slices=self.slices.to(device, non_blocking=True),
            xy=self.xy.to(device),
            z=self.z.to(device),
            annotated=self.annotated.to(device),
            grade=self.grade.to(device),
        )


def collate(samples: Sequence[Sample]) -> Batch:
    """Join samples of any slice counts into a batch, without padding."""
    points = np.nan_to_num(np.stack([s.points for s in samples]))
    annotated = np.stack([s.annotated for s in samples])
    points[~annotated] = 0
    return Batch(
        slices=torch.from_numpy(np.concatenate([s.image for s in samples])),
        counts=[len(s.image) for s in samples],
        xy=torch.from_numpy(points[..., :2] / MASK_STRIDE),
        z=torch.from_numpy(np.ascontiguousarray(points[..., 2])),
        annotated=torch.from_numpy(annotated),
        grade=torch.from_numpy(np.stack([s.grades for s in samples]).astype(np.int64)),
        samples=[SampleMeta(s.study_id, s.series_id, s.maps) for s in samples],
    )


class SeriesTask(Task[SeriesRow, Sample, Batch, OneStageOutput]):
    """A task whose network sees a whole series of one kind.

    Args:
        recipe: the task's recipe.

    Raises:
        UsageError: if the recipe's decoder or class weights do not fit the task.
    """

    inference: SeriesInference

    def build_network(self, pretrained: bool | None = None) -> nn.Module:
        """Build an untrained network; ``pretrained`` None follows the recipe."""
        recipe = self.recipe
        return build_network(recipe.encoder, recipe.network, len(self.targets), pretrained)

    @cached_property
    def _given_shape(self) -> FloatArray | None:
        """The mean shape from the recipe's file; None if the store's mean shape is used.

        Only training needs the file.
        """
        file = self.recipe.data.mean_shape
        return read_mean_shape(Path(file), self.inference.condition) if file else None

    def read_files(self) -> dict[str, str]:
        """Read the recipe's mean shape, and return the digests of the recipe's files.

        Raises:
            BadInput: if a file cannot be used.
        """
        _ = self._given_shape
        return super().read_files()

    def rows(self, store: VolumeStore, folds: Collection[int] | None = None) -> list[SeriesRow]:
        """Return the labelled series of a store, from all folds or some."""
        wrong = self.recipe.data.include_wrong_left_points
        rows = store.rows(self.inference.condition, include_wrong_left_points=wrong)
        return [row for row in rows if folds is None or row.fold in folds]

    def sample(
        self, store: VolumeStore, row: SeriesRow, rng: np.random.Generator | None = None
    ) -> Sample:
        """Make one network input; it is augmented if ``rng`` is given."""
        volume = store.volume(row.study_id, row.series_id)
        size = self.recipe.data.size
        draw = None
        if rng is not None:
            upright = Upright.of(volume)
            given = self._given_shape
            draw = draw_augmentation(
                rng,
                self.recipe.augment,
                upright.points(row.points),
                annotated_points(row),
                upright.shape,
                size,
                store.mean_shape(self.inference.condition) if given is None else given,
                len(volume.slices),
            )
        return make_sample(volume, row, size=size, draw=draw, frame=self.recipe.data.frame)

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Join samples into a batch."""
        return collate(samples)

    def forward(self, network: nn.Module, batch: Batch) -> OneStageOutput:
        """Run the network on a batch and return its output."""
        result: OneStageOutput = network(batch.slices, batch.counts)
        return result

    def _volume_points(self, output: OneStageOutput, batch: Batch) -> dict[str, Tensor]:
        """Return the loss parts xy, z and heatmap of points found by softmax over the volume.

        Raises:
            UsageError: if the network has no such heatmaps.
        """
        if output.volume_heatmaps is None:
            raise UsageError(f"{self.recipe.name}: the network has no volume heatmaps")
        config = self.recipe.loss
        return {
            "xy": losses.coordinate_error(output.xy, batch.xy, batch.annotated),
            "z": losses.coordinate_error(output.z, batch.z, batch.annotated),
            "heatmap": losses.volume_heatmap_loss(
                output.volume_heatmaps,
                batch.xy,
                batch.z,
                batch.annotated,
                config.heatmap_sigma,
                config.heatmap_divergence,
            ),
        }

    def outputs(self, network: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run a network on the slices of one series."""
        slices = inputs["slices"]
        output: OneStageOutput = network(slices, [len(slices)])
        return series_outputs(output, heatmaps=self.recipe.network.peak_radius > 0)

    def predict_row(
        self, engine: Engine, store: VolumeStore, row: SeriesRow, *, flip: bool = False
    ) -> StudyPrediction:
        """Predict the series of a row."""
        volume = store.volume(row.study_id, row.series_id)
        return self.inference.predict_volume(engine, volume, flip=flip)

    def notes(
        self, engine: Engine, store: VolumeStore, rows: Sequence[SeriesRow]
    ) -> dict[str, Json]:
        """Return the mean shape from the recipe's file, if any: (P, 2) pixels of a 512 frame."""
        given = self._given_shape
        return {} if given is None else {"mean_shape": given.tolist()}

    def _class_weights(self, like: Tensor) -> Tensor:
        return torch.tensor(self.recipe.loss.class_weights, device=like.device)


def series_outputs(output: OneStageOutput, *, heatmaps: bool) -> dict[str, Tensor]:
    """Return the outputs of a batch of one series by the names that `SeriesInference` decodes."""
    found = {"grade": output.grade[0], "xy": output.xy[0], "z": output.z[0]}
    if heatmaps and output.volume_heatmaps is not None:
        found["heatmaps"] = output.volume_heatmaps[0]
    elif heatmaps and output.plane_heatmaps is not None:
        found["heatmaps"] = output.plane_heatmaps[0]
    return found
