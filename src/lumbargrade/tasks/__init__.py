"""What one group of conditions needs to be trained and read: samples, network, loss, decoding."""

from __future__ import annotations

from lumbargrade.config import Recipe
from lumbargrade.tasks.base import Task
from lumbargrade.tasks.canal import CanalTask
from lumbargrade.tasks.foraminal import ForaminalTask

__all__ = ["CanalTask", "ForaminalTask", "Task", "get_task"]


def get_task(recipe: Recipe) -> Task:
    """The task of a recipe.

    Raises:
        UsageError: if the recipe's network does not fit its task.
    """
    return ForaminalTask(recipe) if recipe.task == "foraminal" else CanalTask(recipe)
