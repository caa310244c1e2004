"""Read and write models: weights with their recipe, fold, data and scores.

A model is a folder with ``model.safetensors`` and ``model.json``. The metadata is stored in the
header of the weight file, so that one atomic write keeps weights and metadata consistent.
``model.json`` is a copy for people and for tools that do not read safetensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lumbargrade.config import Recipe, TaskName
from lumbargrade.domain.errors import BadModel, UsageError
from lumbargrade.inference.model_folder import (
    HEADER,
    ModelMeta,
    meta_to_dict,
    read_meta,
    weight_file,
)
from lumbargrade.models.registry import get_task
from lumbargrade.networks.one_stage import channels_last
from lumbargrade.networks.weights import filled, read_safetensors, write_weights


class Model(nn.Module):
    """A trained network with its metadata.

    Attributes:
        network: the network without metadata.
        meta: recipe, fold, scores and provenance.
    """

    def __init__(self, network: nn.Module, meta: ModelMeta) -> None:
        super().__init__()
        self.network = network
        self.meta = meta

    def forward(self, *inputs: Any) -> Any:
        """Run the network; inputs and output depend on the task.

        One-stage tasks on sagittal series take uint8 slices (sum of counts, H, W) and slice counts,
        and return an output with ``.grade``, ``.xy`` and ``.z``.
        """
        return self.network(*inputs)


def save_model(
    path: Path | str, network: nn.Module | Mapping[str, Tensor], meta: ModelMeta
) -> None:
    """Write a model folder; an earlier model there stays usable until the new one is complete.

    Args:
        path: the folder; created if missing.
        network: the network (or a loaded :class:`Model`), or its ``state_dict``.
        meta: the model's metadata.

    Raises:
        OSError: if the folder cannot be written to.
    """
    folder = Path(path)
    network = network.network if isinstance(network, Model) else network
    state = network.state_dict() if isinstance(network, nn.Module) else network
    write_weights(folder, state, HEADER, meta_to_dict(meta))


def load_model(path: Path | str, expect_task: TaskName | None = None) -> Model:
    """Load a model in evaluation mode, on the CPU.

    Args:
        path: model folder (or its weight file).
        expect_task: refuse a model of another task.

    Raises:
        BadModel: if it is not a model, is damaged, has another format or another task, or its
            parameters do not fit its recipe or are not finite.

    Examples:
        >>> model = load_model("MODELS/canal")
        >>> model.meta.recipe.task, model.meta.fold
        ('canal', 0)
    """
    meta = read_meta(path)
    if expect_task is not None and meta.recipe.task != expect_task:
        raise BadModel(
            f"{path}: a {meta.recipe.task} model ({meta.recipe.name}), not a {expect_task} one"
        )
    file = weight_file(path)
    return Model(_filled(meta, read_safetensors(file), str(file)), meta).eval()


def fresh_network(recipe: Recipe) -> nn.Module:
    """Build a network with random weights; torch's random state is left unchanged."""
    with torch.random.fork_rng(devices=[]):
        return get_task(recipe).build_network(pretrained=False)


def _filled(meta: ModelMeta, weights: Mapping[str, Tensor], origin: str) -> nn.Module:
    what = f"{origin}: not the parameters of recipe {meta.recipe.name}"
    try:
        network = filled(lambda: fresh_network(meta.recipe), weights, what, origin)
    except UsageError as error:
        raise BadModel(f"{origin}: {error}") from None
    return channels_last(network)
