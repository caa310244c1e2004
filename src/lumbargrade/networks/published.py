"""Names of parameters in the published checkpoints, and what they are called here."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lumbargrade.config import Recipe, load_recipe, recipe_names
from lumbargrade.domain.errors import BadModel, UsageError
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

#: Buffers in published files that no computation uses: a whole number each, 0.
_UNUSED = ("D",)

#: Recipe keys beside the encoder's name that decide the parameters, by decoder.
_STRUCTURE = {
    "3d": ("encoder.stages", "encoder.whole_model", "network.decoder", "network.widths",
           "network.depths", "network.features"),
    "2d": ("encoder.stages", "encoder.whole_model", "network.decoder", "network.widths",
           "network.hidden"),
}  # fmt: skip

#: Recipe keys that change what a network says, but not its parameters.
_DECODING = (
    *("data.size", "data.frame", "network.neighbours", "network.peak_radius"),
    "augment.flip_exchanges_sides",
)


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
        BadModel: listing every missing, unknown and misshapen parameter, and those that are not
            finite or not of the type that they should be.
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
    """Weights of a network as a published file holds them; :func:`fill_from_published` reads them.

    Returns:
        Published names -> tensors on the CPU with memory of their own, real numbers as float32.
    """
    state, shapes = network.state_dict(), published_shapes(network)
    found = {name: torch.tensor(0) for name in _UNUSED}
    for ours, published in published_names(network).items():
        tensor = state[ours].detach().cpu().reshape(shapes[published])
        tensor = tensor.float() if tensor.is_floating_point() else tensor
        found[published] = tensor.clone(memory_format=torch.contiguous_format)
    return found


def published_counterpart(recipe: Recipe) -> Recipe:
    """The published experiment whose checkpoints hold the parameters of a recipe's network.

    Raises:
        UsageError: saying in which settings the recipe differs from every published network.
    """
    everything = [load_recipe(name) for name in recipe_names()]
    known = [r for r in everything if r.task == recipe.task and r.published.score is not None]
    if not known:
        raise UsageError(
            f"{recipe.name}: a {recipe.task} model; published checkpoints are of one-stage "
            "foraminal and canal networks only"
        )
    same = [r for r in known if _architecture(r) == _architecture(recipe)]
    if not same:
        names = ", ".join(dict.fromkeys(_architecture(r) for r in known))
        raise UsageError(
            f"{recipe.name}: no published {recipe.task} network has the encoder "
            f"{recipe.encoder.name}; they have {names}"
        )
    if faults := _differences(recipe, same[0], _STRUCTURE[same[0].network.decoder]):
        raise UsageError(f"{recipe.name}: not the structure of {same[0].name}: {'; '.join(faults)}")
    return min(same, key=lambda r: (r.name != recipe.name, len(unsaved_settings(recipe, r))))


def unsaved_settings(recipe: Recipe, published: Recipe) -> list[str]:
    """Settings in which a recipe reads its network's output unlike a published experiment.

    A published file does not hold them: whoever reads it decodes as the published experiment does.
    """
    return _differences(recipe, published, _DECODING)


def _architecture(recipe: Recipe) -> str:
    """timm's name of the encoder without the tag of its pretrained weights."""
    return recipe.encoder.name.split(".")[0]


def _differences(recipe: Recipe, published: Recipe, keys: tuple[str, ...]) -> list[str]:
    faults = []
    for key in keys:
        section, name = key.split(".")
        ours, theirs = (getattr(getattr(r, section), name) for r in (recipe, published))
        if ours != theirs:
            faults.append(f"{key} {ours} (published: {theirs})")
    return faults


def _rename(name: str, pairs: list[tuple[str, str]]) -> str:
    for published, ours in pairs:
        if name.startswith(ours):
            return published + name.removeprefix(ours)
    raise AssertionError(f"parameter {name} has no published name")


def _published_shape(ours: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    # we project pooled vectors with a linear layer where the published code convolves 1x1x1
    return (*shape, 1, 1, 1) if ours == "head.project.weight" else shape
