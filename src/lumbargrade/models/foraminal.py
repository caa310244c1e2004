"""Neural foraminal narrowing on sagittal T1: ten points and grades by softmax over the volume."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lumbargrade.domain.vocabulary import Condition, SeriesKind, Side
from lumbargrade.models.one_stage import Batch, OneStageTask
from lumbargrade.models.task import LossTerms
from lumbargrade.networks import losses
from lumbargrade.networks.heads import OneStageOutput


class ForaminalTask(OneStageTask):
    """Ten foramina in a sagittal T1 series."""

    condition = Condition.FORAMINAL
    kind = SeriesKind.SAGITTAL_T1
    decoder: Literal["2d", "3d"] = "3d"

    def loss(self, output: OneStageOutput, batch: Batch) -> LossTerms:
        """Squared errors of xy and z, heatmap divergence, and grades by dynamic matching."""
        config = self.recipe.loss
        matching = losses.match_grades(
            output.xy[..., 1],
            batch.xy[..., 1],
            batch.annotated,
            batch.grade,
            self._sides(output.xy),
            config.match_distance,
        )
        weights = self._class_weights(output.xy)
        parts = {
            **self._volume_points(output, batch),
            "grade": losses.grade_nll(output.log_grade, matching.grades, weights),
        }
        total = (
            config.coordinate * (parts["xy"] + parts["z"])
            + config.heatmap * parts["heatmap"]
            + config.grade * parts["grade"]
        )
        matched = int(matching.matched.sum())
        counts = {"matched": matched, "unmatched": matching.matched.numel() - matched}
        return LossTerms(total, parts, counts)

    def _sides(self, like: Tensor) -> Tensor:
        return torch.tensor([t.side is Side.RIGHT for t in self.targets], device=like.device)
