"""Spinal canal stenosis on sagittal T2/STIR: the slice first, then five points in its plane."""

from __future__ import annotations

from typing import Literal

from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.vocabulary import Condition, SeriesKind
from lumbargrade.models.one_stage import Batch, OneStageTask
from lumbargrade.models.task import LossTerms
from lumbargrade.networks import losses
from lumbargrade.networks.heads import OneStageOutput


class CanalTask(OneStageTask):
    """Five levels of the canal in a sagittal T2/STIR series."""

    condition = Condition.CANAL
    kind = SeriesKind.SAGITTAL_T2
    decoder: Literal["2d", "3d"] = "2d"

    def loss(self, output: OneStageOutput, batch: Batch) -> LossTerms:
        """Slice likelihood, squared error of xy, heatmap divergence, grades pooled and on the map.

        Grades of levels without a point train the pooled grade only.
        """
        maps = output.slice_log_probs, output.plane_heatmaps, output.grade_map
        if maps[0] is None or maps[1] is None or maps[2] is None:
            raise UsageError(f"{self.recipe.name}: the network gives no slices, planes and grades")
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
