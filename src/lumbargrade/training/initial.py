"""The weights that a training starts from, if its recipe names a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from lumbargrade.config import Recipe
from lumbargrade.domain.errors import UsageError
from lumbargrade.inference.model_folder import read_meta
from lumbargrade.models.checkpoint import load_model
from lumbargrade.networks.weights import require_fit
from lumbargrade.starter.weights_file import SHIPPED

#: Value of ``init`` that means the grader that comes with the package.
STARTER = "starter"
#: Its model folder beside the starter's ONNX files.
STARTER_GRADER = SHIPPED / "grader"


def initial_weights(
    recipe: Recipe, fold: int, data: str, network: nn.Module
) -> Mapping[str, Tensor]:
    """Read the weights of ``recipe.init``.

    Args:
        recipe: the recipe of the training.
        fold: its validation fold.
        data: fingerprint of its store.
        network: the network to be trained, which the weights must fit.

    Raises:
        UsageError: if the model has another task, or was trained on the studies that this training
            is validated on.
        BadModel: if it is damaged, or its parameters do not fit the recipe's network.
    """
    path = STARTER_GRADER if recipe.init == STARTER else Path(recipe.init)
    meta = read_meta(path)
    if meta.recipe.task != recipe.task:
        raise UsageError(
            f"init {recipe.init}: a model of task {meta.recipe.task}, and {recipe.name} has task "
            f"{recipe.task}; give a model of the same task"
        )
    if data and meta.data == data and meta.fold != fold:
        raise UsageError(
            f"init {recipe.init}: trained on this store with validation fold {meta.fold}, so it "
            f"has seen studies of fold {fold}; give the model of fold {fold}"
        )
    weights = load_model(path).network.state_dict()
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    require_fit(weights, shapes, f"init {recipe.init}: not the parameters of {recipe.name}")
    return weights
