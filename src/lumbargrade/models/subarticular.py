"""The subarticular task: find and grade each recess in a crop of axial slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.inference.base import MASK_STRIDE
from lumbargrade.inference.crops import RecessInference
from lumbargrade.models.study_task import StudySample, StudyTask
from lumbargrade.models.task import LossTerms, SampleMeta
from lumbargrade.networks import losses
from lumbargrade.networks.crop_network import CropOutput, build_crop_network


@dataclass(frozen=True, eq=False)
class CropBatch:
    """N crops of B studies; every crop has at least one slice.

    Attributes:
        slices: uint8 (N, D, S, S).
        valid: bool (N, D).
        xyz: float32 (N, 3) true point: mask pixels and slice of the crop; 0 if not annotated.
        annotated: bool (N,) whether the true point lies in the crop.
        grade: int64 (N,), -1 if not graded.
        owner: (index of the study in the batch, index of the target) of each crop.
        samples: one per study.
    """

    slices: Tensor
    valid: Tensor
    xyz: Tensor
    annotated: Tensor
    grade: Tensor
    owner: list[tuple[int, int]]
    samples: list[SampleMeta]

    @property
    def slices_seen(self) -> int:
        """Number of slices that the encoder sees."""
        return int(self.valid.sum())

    def to(self, device: torch.device | str) -> CropBatch:
        """Return the batch with its tensors on another device."""
        return replace(
            self,
            slices=self.slices.to(device, non_blocking=True),
            valid=self.valid.to(device),
            xyz=self.xyz.to(device),
            annotated=self.annotated.to(device),
            grade=self.grade.to(device),
        )


class SubarticularTask(StudyTask[CropBatch, CropOutput]):
    """Find and grade ten recesses in the axial slices that cut each level.

    Crops lie beside the projected canal centre. Crops of the right side are mirrored, so that one
    network serves both sides.
    """

    inference: RecessInference

    def build_network(self, pretrained: bool | None = None) -> nn.Module:
        """Build an untrained network; ``pretrained`` None follows the recipe."""
        return build_crop_network(self.recipe.encoder, self.recipe.network, pretrained)

    def collate(self, samples: Sequence[StudySample]) -> CropBatch:
        """Join the crops of all studies into a batch, without crops that have no slice."""
        slices, valid, xyz, annotated, grades, owner = [], [], [], [], [], []
        for study, sample in enumerate(samples):
            for place, crop in enumerate(sample.crops.views[SeriesKind.AXIAL_T2]):
                if not crop.valid.any():
                    continue
                point = sample.point_in(SeriesKind.AXIAL_T2, place, place)
                slices.append(crop.image)
                valid.append(crop.valid)
                annotated.append(point is not None)
                xyz.append(np.zeros(3) if point is None else point / [MASK_STRIDE, MASK_STRIDE, 1])
                grades.append(int(sample.grades[place]))
                owner.append((study, place))
        size = self.recipe.crop.axial_size
        shape = (0, 2 * self.recipe.crop.neighbours + 1, size, size)
        return CropBatch(
            slices=torch.from_numpy(np.stack(slices) if slices else np.zeros(shape, np.uint8)),
            valid=torch.from_numpy(np.stack(valid) if valid else np.zeros(shape[:2], bool)),
            xyz=torch.from_numpy(np.array(xyz, np.float32).reshape(-1, 3)),
            annotated=torch.tensor(annotated, dtype=torch.bool),
            grade=torch.tensor(grades, dtype=torch.int64),
            owner=owner,
            samples=[SampleMeta(s.study_id) for s in samples],
        )

    def forward(self, network: nn.Module, batch: CropBatch) -> CropOutput:
        """Run the network on a batch and return its output."""
        result: CropOutput = network(batch.slices, batch.valid)
        return result

    def loss(self, output: CropOutput, batch: CropBatch) -> LossTerms:
        """Add the squared error of the point, heatmap divergence and weighted grade loss."""
        config = self.recipe.loss
        weights = torch.tensor(config.class_weights, device=output.grade.device)
        annotated = batch.annotated
        parts = {
            "xy": losses.coordinate_error(
                output.xy[:, None], batch.xyz[:, None, :2], annotated[:, None]
            ),
            "z": losses.masked_mean((output.z - batch.xyz[:, 2]).square(), annotated),
            "heatmap": losses.crop_heatmap_loss(
                output.heatmaps,
                batch.xyz,
                annotated,
                config.heatmap_sigma,
                config.heatmap_divergence,
            ),
            "grade": losses.grade_nll(output.log_grade, batch.grade, weights),
        }
        total = (
            config.coordinate * (parts["xy"] + parts["z"])
            + config.heatmap * parts["heatmap"]
            + config.grade * parts["grade"]
        )
        return LossTerms(total, parts, {"graded": int((batch.grade >= 0).sum())})

    def outputs(self, network: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run a network on the crops of a study."""
        output: CropOutput = network(inputs["slices"], inputs["valid"])
        return crop_outputs(output, heatmaps=self.recipe.network.peak_radius > 0)


def crop_outputs(output: CropOutput, *, heatmaps: bool) -> dict[str, Tensor]:
    """Return outputs by the names that `RecessInference` decodes."""
    found = {"grade": output.grade, "xy": output.xy, "z": output.z}
    return {**found, "heatmaps": output.heatmaps} if heatmaps else found
