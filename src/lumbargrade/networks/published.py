"""Names of parameters in the published checkpoints and their names here."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lumbargrade.domain.errors import BadModel
from lumbargrade.networks.one_stage import OneStageNetwork, VolumeNetwork
from lumbargrade.networks.weights import require_finite, require_fit

#: (published beginning, our beginning) of parameter names; the rest of a name is the same.
_COMMON = (
    ("encoder.", "encoder.model."),
    ("decoder.block.{i}.conv1.", "decoder.blocks.{i}.first."),
    ("decoder.block.{i}.conv2.", "decoder.blocks.{i}.second."),
)
_VOLUME = (
    ("zxy_mask.", "head.points."),
    ("grade_mask.", "head.project."),
    ("grade.", "head.grade."),
)
_PLANE = (
    ("z_mask.", "head.slices."),
    ("level_mask.", "head.points."),
    ("grade_mask.", "head.grade."),
)

#: Buffers in published files that no computation uses; each is the integer 0.
_UNUSED = ("D",)


def published_names(network: OneStageNetwork) -> dict[str, str]:
    """Published name of every parameter and buffer of a network: {ours: published}."""
    heads = _VOLUME if isinstance(network, VolumeNetwork) else _PLANE
    pairs = [
        (published.format(i=i), ours.format(i=i))
        for published, ours in _COMMON + heads
        for i in range(len(network.decoder.blocks))
    ]
    # a whole timm model sits one attribute deeper in our encoder
    if any(name.startswith("encoder.model.model.") for name in network.state_dict()):
        pairs.insert(0, ("encoder.", "encoder.model.model."))
    return {name: _rename(name, pairs) for name in network.state_dict()}


def published_shapes(network: OneStageNetwork) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor a published file of this network holds, by its published name."""
    state = network.state_dict()
    shapes = {
        published: _published_shape(ours, tuple(state[ours].shape))
        for ours, published in published_names(network).items()
    }
    return {**shapes, **dict.fromkeys(_UNUSED, ())}


def fill_from_published(network: OneStageNetwork, weights: Mapping[str, Tensor]) -> None:
    """Load published weights into a network: every parameter, and nothing else.

    Raises:
        BadModel: naming missing, unknown and misshapen parameters, and those that are not finite
            or not of the type that they should be.
    """
    require_fit(weights, published_shapes(network), "parameters do not fit the network")
    state, names = network.state_dict(), published_names(network)
    whole = [
        p for n, p in names.items() if state[n].is_floating_point() > weights[p].is_floating_point()
    ]
    if whole:
        raise BadModel(f"whole numbers where weights should be: {', '.join(whole[:5])}")
    ours = {n: weights[p].reshape(state[n].shape) for n, p in names.items()}
    network.load_state_dict(ours, strict=True)
    # of what was loaded: a float64 can be beyond what a float32 holds
    filled = network.state_dict()
    require_finite({p: filled[n] for n, p in names.items()}, "parameters cannot be used")


def to_published(network: OneStageNetwork) -> dict[str, Tensor]:
    """The weights of a network under their published names; :func:`fill_from_published` reads them.

    Returns:
        Published name -> tensor on the CPU that shares no memory; real numbers are float32.
    """
    state, shapes = network.state_dict(), published_shapes(network)
    found = {name: torch.tensor(0) for name in _UNUSED}
    for ours, published in published_names(network).items():
        tensor = state[ours].detach().cpu().reshape(shapes[published])
        tensor = tensor.float() if tensor.is_floating_point() else tensor
        found[published] = tensor.clone(memory_format=torch.contiguous_format)
    return found


def _rename(name: str, pairs: list[tuple[str, str]]) -> str:
    for published, ours in pairs:
        if name.startswith(ours):
            return published + name.removeprefix(ours)
    raise AssertionError(f"parameter {name} has no published name")


def _published_shape(ours: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    # we project pooled vectors with a linear layer where the published code convolves 1x1x1
    return (*shape, 1, 1, 1) if ours == "head.project.weight" else shape
