"""Read and write the networks of the starter: weights with their recipe and how they were trained.

As with other models (`lumbargrade.models.checkpoint`), a folder holds ``model.safetensors`` with
the metadata in its header, and ``model.json``, a copy of the metadata.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn

from lumbargrade import __version__
from lumbargrade.config import StarterRecipe, recipe_to_dict, require_starter_in_range
from lumbargrade.domain.errors import BadModel, UsageError
from lumbargrade.files.structures import parse_plain, structured
from lumbargrade.inference.model_folder import MODEL_WEIGHTS
from lumbargrade.networks.starter import AxialNetwork, SagittalNetwork
from lumbargrade.networks.weights import require_finite, require_fit, write_weights

_HEADER = "lumbargrade-starter"


@dataclass(frozen=True)
class StarterMeta:
    """How a network of the starter was trained.

    Attributes:
        recipe: every setting.
        steps: number of trained steps, without those of ``recipe.init``.
        minutes: wall-clock minutes of these steps.
        device: processor they ran on.
        phantoms: version of the stream of phantoms.
        evaluation: figures on held-out phantoms.
        lumbargrade: version of this package.
    """

    recipe: StarterRecipe
    steps: int
    minutes: float
    device: str
    phantoms: int
    evaluation: dict[str, float] = field(default_factory=dict)
    lumbargrade: str = __version__


def build_starter(recipe: StarterRecipe) -> nn.Module:
    """Build the network of a recipe with random weights."""
    kinds: dict[str, type[SagittalNetwork | AxialNetwork]] = {
        "starter_sagittal": SagittalNetwork,
        "starter_axial": AxialNetwork,
    }
    network = kinds[recipe.task](recipe.network)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]  # not in its types


def save_starter(folder: Path, network: nn.Module, meta: StarterMeta) -> None:
    """Write a model folder; an earlier model there stays usable until the new one is complete.

    Raises:
        OSError: if the folder cannot be written to.
    """
    plain = {**asdict(meta), "recipe": recipe_to_dict(meta.recipe)}
    write_weights(folder, network.state_dict(), _HEADER, plain)


def load_starter(folder: Path) -> tuple[nn.Module, StarterMeta]:
    """Load a network in evaluation mode, on the CPU.

    Args:
        folder: a model folder, or the folder of a run that holds it as ``model``.

    Raises:
        BadModel: if there is no model of the starter, or it is damaged or does not fit its recipe.
    """
    files = [folder / MODEL_WEIGHTS, folder / "model" / MODEL_WEIGHTS]
    file = next((f for f in files if f.is_file()), None)
    if file is None:
        raise BadModel(f"{folder}: no model there; give a run of `lumbargrade train starter/...`")
    try:
        with safe_open(file, framework="pt") as content:
            text = (content.metadata() or {}).get(_HEADER)
        weights = load_file(file)
    except (SafetensorError, OSError) as error:
        raise BadModel(f"{file}: damaged or not a model: {error}") from None
    if text is None:
        raise BadModel(f"{file}: not a network of the starter")
    meta = _meta(parse_plain(text, file, BadModel, json_text=True), file)
    network = build_starter(meta.recipe)
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    require_fit(weights, shapes, f"{file}: not the parameters of recipe {meta.recipe.name}")
    require_finite(weights, str(file))
    network.load_state_dict(weights)
    return network.eval(), meta


def _meta(data: dict[str, Any], file: Path) -> StarterMeta:
    try:
        meta = structured(data, StarterMeta, file, "model")
        require_starter_in_range(meta.recipe, str(file))
    except UsageError as error:
        raise BadModel(f"{error} (this is lumbargrade {__version__})") from None
    return meta
