"""Read and write models: weights with their recipe, fold, data and scores.

A model is a folder with ``model.safetensors`` and ``model.json``. The metadata is stored in the
header of the weight file, so that one atomic write keeps weights and metadata consistent.
``model.json`` is a copy for people and for tools that do not read safetensors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lumbargrade.config import Recipe, TaskName
from lumbargrade.domain.errors import BadModel, UsageError
from lumbargrade.files.writing import atomic_path, write_text
from lumbargrade.inference.model_folder import (
    HEADER,
    MODEL_META,
    MODEL_WEIGHTS,
    ModelMeta,
    meta_to_dict,
    read_meta,
    weight_file,
)
from lumbargrade.models.registry import get_task
from lumbargrade.networks.one_stage import channels_last
from lumbargrade.networks.weights import require_finite, require_fit


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


def write_weights(
    folder: Path, state: Mapping[str, Tensor], header: str, meta: Mapping[str, Any]
) -> None:
    """Write a model folder: the weights with their metadata in the header, and a copy of those.

    Args:
        folder: created if missing.
        state: parameters by name.
        header: key of the metadata in the weight file; it tells kinds of models apart.
        meta: plain JSON data.

    Raises:
        OSError: if the folder cannot be written to.
    """
    tensors = {name: t.detach().cpu().contiguous() for name, t in state.items()}
    text = json.dumps(meta, indent=1)
    with atomic_path(folder / MODEL_WEIGHTS) as temporary:
        try:
            save_file(tensors, temporary, metadata={header: text})
        except SafetensorError as error:
            raise OSError(f"{folder / MODEL_WEIGHTS}: {error}") from None
    write_text(folder / MODEL_META, text + "\n")


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
    try:
        weights = load_file(file)
    except SafetensorError as error:
        raise BadModel(f"{file}: damaged: {error}") from None
    return Model(_filled(meta, weights, str(file)), meta).eval()


def fresh_network(recipe: Recipe) -> nn.Module:
    """Build a network with random weights; torch's random state is left unchanged."""
    with torch.random.fork_rng(devices=[]):
        return get_task(recipe).build_network(pretrained=False)


def _filled(meta: ModelMeta, weights: Mapping[str, Tensor], origin: str) -> nn.Module:
    # on the meta device, no time is spent on random weights that would be overwritten
    try:
        with torch.device("meta"):
            network = fresh_network(meta.recipe)
    except UsageError as error:
        raise BadModel(f"{origin}: {error}") from None
    expected = network.state_dict()
    if any(name not in expected for name, _ in network.named_buffers()):
        network = fresh_network(
            meta.recipe
        )  # buffers that are computed, not saved, need a real device
    shapes = {name: tensor.shape for name, tensor in expected.items()}
    require_fit(weights, shapes, f"{origin}: not the parameters of recipe {meta.recipe.name}")
    if wrong := [n for n, tensor in expected.items() if weights[n].dtype != tensor.dtype]:
        raise BadModel(
            f"{origin}: {wrong[0]} is {weights[wrong[0]].dtype}, not {expected[wrong[0]].dtype} "
            f"({len(wrong)} such parameters)"
        )
    require_finite(weights, origin)  # otherwise findings would be skipped without an error
    network.load_state_dict(weights, strict=True, assign=True)
    return channels_last(network)
