"""Pretrained encoder weights: through timm, or from a local file, strictly either way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import timm
import torch
from torch import Tensor

from lumbargrade.config import EncoderConfig
from lumbargrade.domain.errors import BadModel
from lumbargrade.networks.encoder import Encoder, build_encoder
from lumbargrade.networks.weights import first_line, read_weights, require_fit


def load_pretrained(encoder: Encoder, config: EncoderConfig) -> None:
    """Fill an encoder with the weights of ``config.weights``, or else with timm's.

    Raises:
        BadModel: if the weights cannot be downloaded (saying how to give a local file), the file
            cannot be read, or its parameters are not those of this encoder (listing them).
    """
    if config.weights:
        weights, origin = read_weights(Path(config.weights)).tensors, config.weights
    else:
        weights, origin = _download(config.name), f"timm's {config.name}"
    _fill(encoder, config, weights, origin)


def _download(name: str) -> dict[str, Tensor]:
    try:
        model = timm.create_model(name, pretrained=True)
    except (OSError, RuntimeError) as error:
        raise BadModel(
            f"pretrained weights of {name!r} cannot be downloaded: {first_line(error)}\n"
            "Give a local file: set encoder.weights to the path of the timm weight file "
            f"(model.safetensors of https://huggingface.co/timm, model {name}), "
            "or set encoder.pretrained to false to start from random weights."
        ) from None
    weights: dict[str, Tensor] = model.state_dict()
    return weights


def make_encoder(
    config: EncoderConfig, pretrained: bool | None = None, *, recompute: bool = False
) -> Encoder:
    """The encoder of a recipe.

    Args:
        config: the encoder by its timm name.
        pretrained: start from pretrained weights; None does as the recipe says.
        recompute: keep no activations for the backward pass.

    Raises:
        UsageError: for a name timm does not know, or a network without the strides asked for.
        BadModel: if pretrained weights are asked for and cannot be had.
    """
    encoder = build_encoder(config, recompute=recompute)
    if config.pretrained if pretrained is None else pretrained:
        load_pretrained(encoder, config)
    return encoder


def _fill(
    encoder: Encoder, config: EncoderConfig, weights: Mapping[str, Tensor], origin: str
) -> None:
    """Copy weights into the encoder; only what comes after its last feature map may be left over.

    timm's feature networks flatten one level of names (``stages.0`` is ``stages_0``), so names
    are compared with dots and underscores taken as the same.
    """
    prefix = "model.model." if config.whole_model else "model."
    ours = {_plain(k.removeprefix(prefix)): v for k, v in encoder.state_dict().items()}
    given = {_plain(k): v for k, v in weights.items()}
    with torch.device("meta"):
        whole = timm.create_model(config.name, pretrained=False)
    # what the whole timm model has after the last feature map (its classifier) is not used
    unused = {_plain(name) for name in whole.state_dict()} - set(ours)
    used = {name: tensor for name, tensor in given.items() if name not in unused}
    shapes = {name: tensor.shape for name, tensor in ours.items()}
    require_fit(used, shapes, f"{origin} does not fit encoder {config.name!r}")
    with torch.no_grad():
        for name, tensor in ours.items():
            tensor.copy_(given[name])


def _plain(name: str) -> str:
    return name.replace("_", ".")
