"""Model folders of the released two-stage networks: weights with the name of their structure.

As with other models (`lumbargrade.models.checkpoint`), a folder holds ``model.safetensors`` with
the metadata in its header, and ``model.json``, a copy of the metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lumbargrade import __version__
from lumbargrade.domain.errors import BadModel, UsageError
from lumbargrade.files.binary import safetensors_metadata
from lumbargrade.files.structures import parse_plain, plain, structured
from lumbargrade.files.writing import sha256_of
from lumbargrade.inference.model_folder import weight_file
from lumbargrade.networks.one_stage import channels_last
from lumbargrade.networks.weights import (
    filled,
    read_safetensors,
    read_weights,
    require_finite,
    require_fit,
    require_real,
    write_weights,
)
from lumbargrade.team_two_stage.members import RECIPE
from lumbargrade.team_two_stage.networks import build_network

#: Key of the metadata in the header of the weight file.
_HEADER = "lumbargrade-team-two-stage"


@dataclass(frozen=True)
class ReleasedMeta:
    """Metadata of a released two-stage network.

    Attributes:
        network: name of its structure, see `build_network`.
        fold: fold of the studies that it was not trained on; -1 if unknown.
        provenance: file that it was imported from, as plain JSON data.
        lumbargrade: version of this package that wrote the model.
    """

    network: str
    fold: int = -1
    provenance: dict[str, Any] = field(default_factory=dict)
    lumbargrade: str = __version__


class ReleasedModel(nn.Module):
    """A released two-stage network with its metadata.

    Attributes:
        network: the network without metadata.
        meta: structure, fold and provenance.
    """

    def __init__(self, network: nn.Module, meta: ReleasedMeta) -> None:
        super().__init__()
        self.network = network
        self.meta = meta

    def forward(self, **images: Tensor | NDArray[np.uint8]) -> Any:
        """Run the network on uint8 images by name.

        Names and shapes are those of the network's ``forward`` in
        `lumbargrade.team_two_stage.networks`. Mirrored passes are averaged where the network does
        so itself.

        Raises:
            UsageError: if an image is not uint8.
        """
        device = next(self.parameters()).device
        given = {name: torch.as_tensor(image, device=device) for name, image in images.items()}
        for name, image in given.items():
            if image.dtype != torch.uint8:
                raise UsageError(
                    f"{name} is {image.dtype}; give grey values as uint8, the network scales them"
                )
        return self.network(**given)


def import_released(file: Path, network: str, out: Path, fold: int = -1) -> ReleasedMeta:
    """Convert a released file to a model folder.

    Args:
        file: ``.pt`` with the parameters, a bare state dict; no code in it is executed.
        network: name of its structure.
        out: model folder to write.
        fold: fold of the studies that it was not trained on; -1 if unknown.

    Raises:
        BadModel: if the file is damaged or its parameters do not fit the network exactly.
        UsageError: if there is no such network, or the fold is not 0 to 4.
        OSError: if the folder cannot be written to.
    """
    if not -1 <= fold <= 4:
        raise UsageError(f"fold {fold}: no such published fold; use 0 to 4")
    with torch.device("meta"):
        expected = build_network(network).state_dict()
    content = read_weights(file)
    try:
        weights = _fitted(content.tensors, expected)
    except BadModel as error:
        raise BadModel(f"{file} is not a file of {RECIPE}/{network}: {error}") from None
    provenance = {**content.notes, "imported_from": file.name, "sha256": sha256_of(file)}
    if content.removed:
        provenance["removed_prefix"] = content.removed
    meta = ReleasedMeta(network, fold, provenance)
    write_weights(out, weights, _HEADER, plain(meta))
    return meta


def _fitted(given: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return parameters in the types of a network."""
    shapes = {name: tensor.shape for name, tensor in expected.items()}
    require_fit(given, shapes, "parameters do not fit the network")
    require_real(given, expected)
    weights = {name: given[name].to(tensor.dtype) for name, tensor in expected.items()}
    # checked after the conversion, because a float64 can overflow in float32
    require_finite(weights, "parameters cannot be used")
    return weights


def is_released(path: Path | str) -> bool:
    """Return whether a path is a model folder (or weight file) of a released two-stage network.

    Raises:
        BadModel: if there is no model, or it is damaged.
    """
    return _HEADER in _metadata(weight_file(path))


def read_released_meta(path: Path | str) -> ReleasedMeta:
    """Read the metadata of a model folder without reading its weights.

    Raises:
        BadModel: if it is not a released two-stage network, or is damaged.
    """
    file = weight_file(path)
    text = _metadata(file).get(_HEADER)
    if text is None:
        raise BadModel(f"{file}: not a network of {RECIPE}; `lumbargrade import-weights` makes one")
    data = parse_plain(text, file, BadModel, json_text=True)
    return structured(data, ReleasedMeta, file, "model", BadModel)


def load_released(path: Path | str) -> ReleasedModel:
    """Load a network in evaluation mode, on the CPU.

    Raises:
        BadModel: if it is not a released two-stage network, is damaged, or its parameters do not
            fit its structure or are not finite.
    """
    meta, file = read_released_meta(path), weight_file(path)
    what = f"{file}: not the parameters of {RECIPE}/{meta.network}"
    try:
        network = filled(
            lambda: build_network(meta.network), read_safetensors(file), what, str(file)
        )
    except UsageError as error:
        raise BadModel(f"{file}: {error}") from None
    return ReleasedModel(channels_last(network), meta).eval()


def _metadata(file: Path) -> dict[str, str]:
    try:
        return safetensors_metadata(file)
    except OSError as error:
        raise BadModel(f"{file}: {error.strerror}") from None
