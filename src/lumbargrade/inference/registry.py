"""Find the inference of a recipe."""

from __future__ import annotations

from collections.abc import Callable

from lumbargrade.config import Recipe, TaskName
from lumbargrade.domain.vocabulary import KIND_OF, Condition, SeriesKind
from lumbargrade.inference.base import Inference
from lumbargrade.inference.crops import LevelInference, RecessInference
from lumbargrade.inference.series import SeriesInference


def _foraminal(recipe: Recipe) -> Inference:
    return SeriesInference(recipe, Condition.FORAMINAL, SeriesKind.SAGITTAL_T1, "3d")


def _canal(recipe: Recipe) -> Inference:
    return SeriesInference(recipe, Condition.CANAL, SeriesKind.SAGITTAL_T2, "2d")


def _keypoints(recipe: Recipe) -> Inference:
    kind = SeriesKind[recipe.data.view.upper()]
    if not kind.sagittal:
        return RecessInference(recipe, graded=False)
    condition = next(c for c, k in KIND_OF.items() if k is kind)
    return SeriesInference(recipe, condition, kind, "3d", graded=False)


_OF_TASK: dict[TaskName, Callable[[Recipe], Inference]] = {
    "foraminal": _foraminal,
    "canal": _canal,
    "keypoints": _keypoints,
    "subarticular": RecessInference,
    "two_stage": LevelInference,
}


def get_inference(recipe: Recipe) -> Inference:
    """Return the inference of a recipe.

    Raises:
        UsageError: if the recipe does not fit its task.
    """
    return _OF_TASK[recipe.task](recipe)
