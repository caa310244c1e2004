"""Find the task of a recipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lumbargrade.config import Recipe, TaskName
from lumbargrade.models.keypoints import keypoint_task
from lumbargrade.models.sagittal import CanalTask, ForaminalTask
from lumbargrade.models.subarticular import SubarticularTask
from lumbargrade.models.task import Task
from lumbargrade.models.two_stage import TwoStageTask

#: A task with any types of rows, samples, batches and outputs.
AnyTask = Task[Any, Any, Any, Any]

_TASKS: dict[TaskName, Callable[[Recipe], AnyTask]] = {
    "foraminal": ForaminalTask,
    "canal": CanalTask,
    "keypoints": keypoint_task,
    "subarticular": SubarticularTask,
    "two_stage": TwoStageTask,
}


def get_task(recipe: Recipe) -> AnyTask:
    """Return the task of a recipe.

    Raises:
        UsageError: if the recipe does not fit its task.
    """
    return _TASKS[recipe.task](recipe)
