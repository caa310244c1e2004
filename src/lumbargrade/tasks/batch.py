"""Samples stacked to what a network and its losses take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lumbargrade.dataset.samples import Sample
from lumbargrade.domain.upright import SliceMaps

#: Mask pixels per input pixel: ``x_mask = x_input / MASK_STRIDE``.
MASK_STRIDE = 4


@dataclass(frozen=True, eq=False)
class SampleMeta:
    """What is known of a sample beside its tensors.

    Attributes:
        study_id, series_id: where it comes from.
        maps: of one series, input pixels and slices to native voxels; None for a study.
    """

    study_id: int
    series_id: int
    maps: SliceMaps | None = None


@dataclass(frozen=True, eq=False)
class Batch:
    """B samples with P targets each.

    Attributes:
        slices: uint8 (sum of counts, S, S), sample after sample.
        counts: slices of each sample.
        xy: float32 (B, P, 2) mask pixels; 0 where not annotated.
        z: float32 (B, P) slice index; 0 where not annotated.
        annotated: bool (B, P).
        grade: int64 (B, P), -1 where not graded.
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
        """The same batch with its tensors on another device."""
        return replace(
            self,
            slices=self.slices.to(device, non_blocking=True),
            xy=self.xy.to(device),
            z=self.z.to(device),
            annotated=self.annotated.to(device),
            grade=self.grade.to(device),
        )


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples of any slice counts; nothing is padded."""
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
