"""Base class of tasks whose network sees a whole series: everything but the loss."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lumbargrade.config import Recipe
from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.geometry import FloatArray
from lumbargrade.domain.point import Point
from lumbargrade.domain.upright import Upright
from lumbargrade.domain.vocabulary import TARGETS, Condition, SeriesKind, Side, Target, mirror
from lumbargrade.domain.volume import Volume, locate
from lumbargrade.lsdc.mean_shape import read_mean_shape
from lumbargrade.lsdc.rows import SeriesRow
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.models.device import run_forward
from lumbargrade.models.task import (
    MASK_STRIDE,
    Json,
    SampleMeta,
    Task,
    device_of,
)
from lumbargrade.networks import losses
from lumbargrade.networks.heatmap import ordered_points
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


@dataclass(frozen=True, eq=False)
class SeriesScores:
    """A network's output for a batch of series, as numbers.

    Attributes:
        probabilities: float64 (B, P, 3), each row sums to 1.
        xy: float64 (B, P, 2) input pixels.
        z: float64 (B, P) slice index in the input.
    """

    probabilities: FloatArray
    xy: FloatArray
    z: FloatArray


class SeriesTask(Task[SeriesRow, Sample, Batch, OneStageOutput]):
    """A task whose network sees a whole series of one kind.

    Args:
        recipe: the task's recipe.

    Raises:
        UsageError: if the recipe's decoder or class weights do not fit the task.
    """

    needs_guides: ClassVar[bool] = False
    condition: Condition
    kind: SeriesKind
    decoder: Literal["2d", "3d"]

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        if recipe.network.decoder != self.decoder:
            raise UsageError(
                f"{recipe.name}: the {recipe.task} task needs network.decoder {self.decoder!r}, "
                f"not {recipe.network.decoder!r}"
            )

    @property
    def conditions(self) -> tuple[Condition, ...]:
        return (self.condition,)

    @property
    def kinds(self) -> tuple[SeriesKind, ...]:
        return (self.kind,)

    @property
    def mirrors(self) -> bool:
        """Whether left and right are separate outputs."""
        return self.condition.sided

    @property
    def flips(self) -> bool:
        """Whether predictions may be averaged with those of the mirrored series.

        False if the condition has no sides, or if flips in training did not exchange left and
        right: the published runs never averaged such networks.
        """
        return self.mirrors and self.recipe.augment.flip_exchanges_sides

    @property
    def targets(self) -> tuple[Target, ...]:
        return TARGETS[self.condition]

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
        return read_mean_shape(Path(file), self.condition) if file else None

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
        rows = store.rows(self.condition, include_wrong_left_points=wrong)
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
                store.mean_shape(self.condition) if given is None else given,
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

    def decode(self, output: OneStageOutput, batch: Batch) -> SeriesScores:
        """Convert a network's output to numbers, with points in input pixels."""
        probabilities = _numpy(output.grade)
        xy, z = self._points(output)
        return SeriesScores(
            probabilities=probabilities / probabilities.sum(axis=-1, keepdims=True),
            xy=_numpy(xy) * MASK_STRIDE,
            z=_numpy(z),
        )

    def _points(self, output: OneStageOutput) -> tuple[Tensor, Tensor]:
        """Return points as xy (B, P, 2) in mask pixels and z (B, P): heatmap means or peaks.

        Peaks are read so that levels stay in order: see :mod:`lumbargrade.networks.heatmap`.
        """
        radius = self.recipe.network.peak_radius
        if radius and output.volume_heatmaps is not None:
            maps = output.volume_heatmaps
            xyz = torch.stack([ordered_points(v, 3, radius, self._chains) for v in maps])
            return xyz[..., :2], xyz[..., 2]
        if radius and output.plane_heatmaps is not None:
            planes = output.plane_heatmaps
            xy = torch.stack([ordered_points(v, 2, radius, self._chains) for v in planes])
            return xy, output.z
        return output.xy, output.z

    @property
    def _chains(self) -> list[list[int]]:
        """Indices of the targets of each side, top to bottom."""
        chains: dict[Side | None, list[int]] = {}
        for i, target in enumerate(self.targets):
            chains.setdefault(target.side, []).append(i)
        return list(chains.values())

    def run(self, network: nn.Module, batch: Batch, *, flip: bool = False) -> SeriesScores:
        """Run a network in eval mode; with ``flip``, average with the mirrored volumes."""
        scores = self._run(network, batch.slices, batch)
        if not flip:
            return scores
        reversed_slices = torch.cat([v.flip(0) for v in torch.split(batch.slices, batch.counts)])
        mirrored = self.undo_flip(self._run(network, reversed_slices, batch), batch.counts)
        return SeriesScores(
            probabilities=(scores.probabilities + mirrored.probabilities) / 2,
            xy=(scores.xy + mirrored.xy) / 2,
            z=(scores.z + mirrored.z) / 2,
        )

    def undo_flip(self, scores: SeriesScores, counts: Sequence[int]) -> SeriesScores:
        """Map scores of series with reversed slices back to the original series.

        Slice z becomes D - 1 - z; x and y stay. Left and right are exchanged if the flips in
        training exchanged them (``augment.flip_exchanges_sides``), because such a network sees
        reversed slices as a mirrored patient. Other networks name the patient's true side in either
        slice order.
        """
        exchange = self.recipe.augment.flip_exchanges_sides
        order = list(mirror(self.targets)) if exchange else slice(None)
        last = np.asarray(counts)[:, None] - 1
        return SeriesScores(
            probabilities=scores.probabilities[:, order],
            xy=scores.xy[:, order],
            z=last - scores.z[:, order],
        )

    @torch.inference_mode()
    def _run(self, network: nn.Module, slices: Tensor, batch: Batch) -> SeriesScores:
        output = run_forward(
            self.recipe.train, slices.device, lambda: network(slices, batch.counts)
        )
        return self.decode(output, batch)

    def predict(
        self,
        network: nn.Module,
        study_id: str,
        volumes: Sequence[Volume],
        guide_points: Sequence[Point] = (),
        *,
        flip: bool = False,
    ) -> list[StudyPrediction]:
        """Predict each series of the task's kind."""
        pairs = [(self._unlabelled(v), v) for v in volumes if v.kind is self.kind]
        found = [p for pair in pairs for p in self._predict(network, [pair], flip=flip)]
        return [replace(p, study_id=study_id) for p in found]

    def predict_chunk(
        self, network: nn.Module, store: VolumeStore, rows: Sequence[SeriesRow], *, flip: bool
    ) -> list[StudyPrediction]:
        """Predict some rows of a store in one batch."""
        volumes = [(row, store.volume(row.study_id, row.series_id)) for row in rows]
        return self._predict(network, volumes, flip=flip)

    def _predict(
        self, network: nn.Module, volumes: Sequence[tuple[SeriesRow, Volume]], *, flip: bool
    ) -> list[StudyPrediction]:
        """Predict some volumes in one batch; the labels of the rows are not used."""
        data = self.recipe.data
        samples = [make_sample(v, row, size=data.size, frame=data.frame) for row, v in volumes]
        scores = self.run(network, self.collate(samples).to(device_of(network)), flip=flip)
        found = []
        for i, (_, volume) in enumerate(volumes):
            inside = np.concatenate([scores.xy[i], scores.z[i][:, None]], axis=1)
            points = locate(volume, self.targets, samples[i].maps.to_native(inside))
            found.append(self.prediction(volume.study_id, scores.probabilities[i], points))
        return found

    def _unlabelled(self, volume: Volume) -> SeriesRow:
        """Make a row without labels, so that an unlabelled series can be predicted."""
        count = len(self.targets)
        return SeriesRow(
            study_id=volume.study_id,
            series_id=volume.series_id,
            fold=-1,
            kind=self.kind,
            targets=self.targets,
            points=np.full((count, 3), np.nan, np.float32),
            grades=np.full(count, -1, np.int8),
        )

    def notes(
        self, network: nn.Module, store: VolumeStore, rows: Sequence[SeriesRow]
    ) -> dict[str, Json]:
        """Return the mean shape from the recipe's file, if any: (P, 2) pixels of a 512 frame."""
        given = self._given_shape
        return {} if given is None else {"mean_shape": given.tolist()}

    def _class_weights(self, like: Tensor) -> Tensor:
        return torch.tensor(self.recipe.loss.class_weights, device=like.device)


def _numpy(tensor: Tensor) -> NDArray[np.float64]:
    return np.asarray(tensor.detach().double().cpu().numpy())
