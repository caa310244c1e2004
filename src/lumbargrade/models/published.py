"""Import and export published .pth checkpoints, which name their parameters differently."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from lumbargrade.config import Recipe, load_recipe, recipe_names
from lumbargrade.domain.errors import BadModel, UsageError
from lumbargrade.files.writing import require_writable, sha256_of
from lumbargrade.inference.model_folder import ModelMeta, read_meta
from lumbargrade.models.checkpoint import fresh_network, load_model, save_model
from lumbargrade.networks.one_stage import OneStageNetwork, PlaneNetwork, VolumeNetwork
from lumbargrade.networks.weights import (
    read_weights,
    require_finite,
    require_fit,
    require_real,
    write_torch,
)

#: (published prefix, our prefix) of parameter names; the rest of a name is the same.
_COMMON_PARTS = (
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

#: Unused buffers in published files; each is the integer 0.
_UNUSED = ("D",)


def published_names(network: OneStageNetwork) -> dict[str, str]:
    """Map every parameter and buffer name of a network to its published name."""
    heads = _VOLUME if isinstance(network, VolumeNetwork) else _PLANE
    pairs = [
        (published.format(i=i), ours.format(i=i))
        for published, ours in _COMMON_PARTS + heads
        for i in range(len(network.decoder.blocks))
    ]
    # our encoder holds a whole timm model one attribute deeper
    if any(name.startswith("encoder.model.model.") for name in network.state_dict()):
        pairs.insert(0, ("encoder.", "encoder.model.model."))
    return {name: _rename(name, pairs) for name in network.state_dict()}


def published_shapes(network: OneStageNetwork) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor in a published file of this network, by published name."""
    state = network.state_dict()
    shapes = {
        published: _published_shape(ours, tuple(state[ours].shape))
        for ours, published in published_names(network).items()
    }
    return {**shapes, **dict.fromkeys(_UNUSED, ())}


def fill_from_published(network: OneStageNetwork, weights: Mapping[str, Tensor]) -> None:
    """Load published weights into a network; every parameter must be there, and no other.

    Raises:
        BadModel: if parameters are missing, unknown, not finite, or of the wrong shape or type;
            the text names them.
    """
    require_fit(weights, published_shapes(network), "parameters do not fit the network")
    state, names = network.state_dict(), published_names(network)
    require_real(weights, {p: state[n] for n, p in names.items()})
    ours = {n: weights[p].reshape(state[n].shape) for n, p in names.items()}
    network.load_state_dict(ours, strict=True)
    # checked after loading, because a float64 can overflow in float32
    filled = network.state_dict()
    require_finite({p: filled[n] for n, p in names.items()}, "parameters cannot be used")


def to_published(network: OneStageNetwork) -> dict[str, Tensor]:
    """Return the weights of a network under their published names.

    :func:`fill_from_published` reads them back.

    Returns:
        Published name -> independent copy of the tensor on the CPU; real numbers are float32.
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
    # our linear layer on pooled vectors is a 1x1x1 convolution in the published code
    return (*shape, 1, 1, 1) if ours == "head.project.weight" else shape


log = logging.getLogger(__name__)

#: Recipe keys that determine the parameters, besides the encoder's name: of all networks, and by
#: decoder.
_COMMON = ("encoder.stages", "encoder.whole_model", "network.decoder", "network.widths")
_STRUCTURE = {
    "3d": (*_COMMON, "network.depths", "network.features"),
    "2d": (*_COMMON, "network.hidden"),
}

#: Recipe keys that change how a network's output is decoded, but not its parameters.
_DECODING = (
    *("data.size", "data.frame", "network.neighbours", "network.peak_radius"),
    "augment.flip_exchanges_sides",
)


def import_published(
    file: Path | str, recipe_name: str, out: Path | str, fold: int = -1
) -> ModelMeta:
    """Convert a published checkpoint to a model folder.

    Args:
        file: ``.pth`` with ``state_dict`` (or only the parameters); no code in it is executed.
            Prefixes of DataParallel and torch.compile are removed from the names.
        recipe_name: the recipe of the checkpoint.
        out: model folder to write.
        fold: the validation fold; -1 if unknown.

    Raises:
        BadModel: if the file is damaged or its parameters do not fit the recipe exactly.
        UsageError: if there is no such recipe, or the fold is not 0 to 4.
    """
    if not -1 <= fold <= 4:
        raise UsageError(f"fold {fold}: no such published fold; use 0 to 4")
    recipe = load_recipe(recipe_name)
    file = Path(file)
    content = read_weights(file)
    network = fresh_network(recipe)
    if not isinstance(network, PlaneNetwork | VolumeNetwork):
        raise UsageError(
            f"{recipe.name}: not a one-stage network, and only these have published checkpoints"
        )
    try:
        fill_from_published(network, content.tensors)
    except BadModel as error:
        raise BadModel(f"{file} is not a checkpoint of {recipe.name}: {error}") from None
    if content.removed:
        log.info("%s: removed the prefix %s from every parameter name", file, content.removed)
    origin = {**content.notes, "imported_from": file.name, "sha256": sha256_of(file)}
    if content.removed:
        origin["removed_prefix"] = content.removed
    meta = ModelMeta(recipe=recipe, fold=fold, provenance=origin)
    save_model(out, network, meta)
    return meta


def export_published(path: Path | str, file: Path | str) -> Recipe:
    """Write a model as a published-style checkpoint, which :func:`import_published` reads back.

    The file holds ``state_dict`` with the published names and shapes, ``iteration`` and ``epoch``;
    the two numbers are 0 if unknown.

    Args:
        path: model folder (or its weight file).
        file: the ``.pth`` file to write, atomically.

    Returns:
        The published recipe whose code reads the file.

    Raises:
        BadModel: if ``path`` is not a model.
        UsageError: if no published network has its structure, or the file is not named ``.pth``.
        OSError: if the file cannot be written.
    """
    file = Path(file)
    if file.suffix != ".pth":
        raise UsageError(f"{file}: not a .pth file; use a file name that ends in .pth")
    counterpart = published_counterpart(read_meta(path).recipe)
    require_writable(file)
    model = load_model(path)
    if not isinstance(model.network, PlaneNetwork | VolumeNetwork):
        raise AssertionError(f"{counterpart.name} is of a one-stage network")
    counts = {k: model.meta.provenance.get(k, 0) for k in ("iteration", "epoch")}
    write_torch(file, {"state_dict": to_published(model.network), **counts})
    return counterpart


def published_counterpart(recipe: Recipe) -> Recipe:
    """Return the published recipe whose checkpoints fit a recipe's network.

    Raises:
        UsageError: if there is none; the text lists the settings that differ.
    """
    everything = [load_recipe(name) for name in recipe_names()]
    known = [r for r in everything if r.task == recipe.task and r.published.score is not None]
    if not known:
        raise UsageError(
            f"{recipe.name}: a {recipe.task} model cannot be exported; published checkpoints exist "
            "only for one-stage foraminal and canal networks"
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
    """List the settings with which a recipe decodes its network's output differently.

    A published file does not hold these settings: a program that reads it uses those of the
    published recipe.
    """
    return _differences(recipe, published, _DECODING)


def _architecture(recipe: Recipe) -> str:
    """Return timm's name of the encoder without the tag of its pretrained weights."""
    return recipe.encoder.name.split(".")[0]


def _differences(recipe: Recipe, published: Recipe, keys: tuple[str, ...]) -> list[str]:
    faults = []
    for key in keys:
        section, name = key.split(".")
        ours, theirs = (getattr(getattr(r, section), name) for r in (recipe, published))
        if ours != theirs:
            faults.append(f"{key} {ours} (published: {theirs})")
    return faults
