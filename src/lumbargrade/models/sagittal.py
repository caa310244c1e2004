"""One-stage tasks that grade sagittal series: foramina on T1, the canal on T2."""

from __future__ import annotations

import torch
from torch import Tensor

from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.vocabulary import Side
from lumbargrade.models.series_task import Batch, SeriesTask
from lumbargrade.models.task import LossTerms
from lumbargrade.networks import losses
from lumbargrade.networks.one_stage import OneStageOutput


class ForaminalTask(SeriesTask):
    """Grade the ten foramina of a sagittal T1 series."""

    def loss(self, output: OneStageOutput, batch: Batch) -> LossTerms:
        """Add squared errors of xy and z, heatmap divergence, and grades by dynamic matching."""
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


class CanalTask(SeriesTask):
    """Grade the five canal levels of a sagittal T2/STIR series."""

    def loss(self, output: OneStageOutput, batch: Batch) -> LossTerms:
        """Add slice likelihood, squared error of xy, heatmap divergence and two grade losses.

        One grade loss is on the pooled grade, the other on the grade map around the point. Levels
        without a point train only the pooled grade.
        """
        maps = output.slice_log_probs, output.plane_heatmaps, output.grade_map
        if maps[0] is None or maps[1] is None or maps[2] is None:
            raise UsageError(f"{self.recipe.name}: the network has no slice, plane and grade maps")
        slices, heatmaps, grade_map = maps[0], maps[1], maps[2]
        config = self.recipe.loss
        weights = self._class_weights(output.xy)
        placed = batch.grade.masked_fill(~batch.annotated, -1)
        parts = {
            "slice": losses.slice_nll(slices, batch.z, batch.annotated),
            "xy": losses.coordinate_error(output.xy, batch.xy, batch.annotated),
            "heatmap": losses.plane_heatmap_loss(
                heatmaps,
                batch.xy,
                batch.annotated,
                config.heatmap_sigma,
                config.heatmap_divergence,
            ),
            "grade": losses.grade_nll(output.log_grade, batch.grade, weights),
            "grade_map": losses.weighted_mean_by_grade(
                losses.grade_map_nll(grade_map, batch.xy, placed, config.neighbour_distance),
                placed,
                weights,
            ),
        }
        total = (
            config.coordinate * (parts["slice"] + parts["xy"])
            + config.heatmap * parts["heatmap"]
            + config.grade * (parts["grade"] + parts["grade_map"])
        )
        graded = int((batch.grade >= 0).sum())
        return LossTerms(total, parts, {"graded": graded})
