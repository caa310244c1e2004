"""The first of two stages: tasks that find the points of one view, without grades.

The recipe key ``data.view`` selects the view: ten foramina on sagittal T1, five canal points on
sagittal T2, or ten recesses on the axial slices that cut each level.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lumbargrade.config import Recipe
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.lsdc.rows import SeriesRow
from lumbargrade.models.series_task import Batch, SeriesTask
from lumbargrade.models.subarticular import CropBatch, SubarticularTask
from lumbargrade.models.task import LossTerms, point_errors_of, point_medians
from lumbargrade.networks.crop_network import CropOutput
from lumbargrade.networks.one_stage import OneStageOutput
from lumbargrade.sampling.study_rows import StudyRow

#: Errors are clipped at these distances: a point further away lies on another level, and how much
#: further does not matter.
FAR_PIXELS, FAR_SLICES, FAR_MM = 20.0, 5.0, 20.0


class SagittalKeypoints(SeriesTask):
    """Find the points of a whole sagittal series by softmax over the volume."""

    def loss(self, output: OneStageOutput, batch: Batch) -> LossTerms:
        """Add the squared errors of xy and z and the heatmap divergence."""
        config = self.recipe.loss
        parts = self._volume_points(output, batch)
        total = config.coordinate * (parts["xy"] + parts["z"]) + config.heatmap * parts["heatmap"]
        return LossTerms(total, parts, {"points": int(batch.annotated.sum())})

    def evaluate(
        self, rows: Sequence[SeriesRow], predictions: Sequence[StudyPrediction]
    ) -> dict[str, float]:
        """Return as ``score`` the mean of in-plane (px) plus slice distance, and medians."""
        off = point_errors_of(rows, predictions)
        plane = np.minimum(np.linalg.norm(off[:, :2], axis=1), FAR_PIXELS)
        across = np.minimum(np.abs(off[:, 2]), FAR_SLICES)
        return {"score": _mean(plane + across), **point_medians(rows, predictions)}


class AxialKeypoints(SubarticularTask):
    """Find the recesses in axial crops."""

    def loss(self, output: CropOutput, batch: CropBatch) -> LossTerms:
        """Add the squared error of the point and the heatmap divergence."""
        terms = super().loss(output, batch)
        config = self.recipe.loss
        parts = {k: v for k, v in terms.parts.items() if k != "grade"}
        total = config.coordinate * (parts["xy"] + parts["z"]) + config.heatmap * parts["heatmap"]
        return LossTerms(total, parts, {"points": int(batch.annotated.sum())})

    def evaluate(
        self, rows: Sequence[StudyRow], predictions: Sequence[StudyPrediction]
    ) -> dict[str, float]:
        """Return the mean distance (mm) as ``score``, and medians along the patient axes."""
        off = point_errors_of(rows, predictions)
        score = _mean(np.minimum(np.linalg.norm(off, axis=1), FAR_MM))
        return {"score": score, **point_medians(rows, predictions)}


def keypoint_task(recipe: Recipe) -> SagittalKeypoints | AxialKeypoints:
    """Return the keypoint task for the recipe's view."""
    axial = recipe.data.view == "axial_t2"
    return AxialKeypoints(recipe) if axial else SagittalKeypoints(recipe)


def _mean(values: np.ndarray) -> float:
    """Return the mean; NaN without a warning if there are no values."""
    return float(values.mean()) if len(values) else float("nan")
