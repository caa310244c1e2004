"""What one group of conditions needs to be trained and read: samples, network, loss, decoding."""

from __future__ import annotations

from lumbargrade.config import Recipe, TaskName
from lumbargrade.models.canal import CanalTask
from lumbargrade.models.foraminal import ForaminalTask
from lumbargrade.models.keypoints import AxialKeypoints, SagittalKeypoints
from lumbargrade.models.one_stage import OneStageTask
from lumbargrade.models.study_task import StudyTask
from lumbargrade.models.subarticular import SubarticularTask
from lumbargrade.models.task import Task
from lumbargrade.models.two_stage import TwoStageTask

__all__ = [
    "CanalTask",
    "ForaminalTask",
    "OneStageTask",
    "StudyTask",
    "SubarticularTask",
    "Task",
    "TwoStageTask",
    "get_task",
]

_TASKS: dict[TaskName, type[OneStageTask] | type[StudyTask]] = {
    "foraminal": ForaminalTask,
    "canal": CanalTask,
    "subarticular": SubarticularTask,
    "two_stage": TwoStageTask,
}


def get_task(recipe: Recipe) -> OneStageTask | StudyTask:
    """The task of a recipe.

    Raises:
        UsageError: if the recipe's network does not fit its task.
    """
    if recipe.task == "keypoints":
        axial = recipe.data.view == "axial_t2"
        return AxialKeypoints(recipe) if axial else SagittalKeypoints(recipe)
    return _TASKS[recipe.task](recipe)
