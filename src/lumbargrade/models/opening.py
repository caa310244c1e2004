"""Load a model of any kind: one that was trained here, or a released two-stage network."""

from __future__ import annotations

from pathlib import Path
from typing import overload

from lumbargrade.config import TaskName
from lumbargrade.models import checkpoint
from lumbargrade.models.checkpoint import Model
from lumbargrade.team_two_stage.model_files import ReleasedModel, is_released, load_released


@overload
def load_model(path: Path | str, expect_task: TaskName) -> Model: ...
@overload
def load_model(path: Path | str, expect_task: None = None) -> Model | ReleasedModel: ...
def load_model(path: Path | str, expect_task: TaskName | None = None) -> Model | ReleasedModel:
    """Load a model in evaluation mode, on the CPU.

    Args:
        path: model folder (or its weight file).
        expect_task: refuse a model of another task.

    Returns:
        A network with its metadata. That of a released two-stage network is called with its uint8
        images by name and returns an object with an attribute for each output
        (`lumbargrade.team_two_stage.networks`).

    Raises:
        BadModel: if it is not a model, is damaged, has another format or another task, or its
            parameters do not fit its recipe or are not finite.

    Examples:
        >>> model = load_model("MODELS/canal")
        >>> model.meta.recipe.task, model.meta.fold
        ('canal', 0)
    """
    if expect_task is None and is_released(path):
        return load_released(path)
    return checkpoint.load_model(path, expect_task)
