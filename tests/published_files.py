"""Checkpoint files as the published code wrote them, with weights that anyone can compute again."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

#: reference file -> recipe that the checkpoint belongs to
CHECKPOINTS = {
    "nfn-pvt_v2_b4": "one-stage-nfn-fixed/pvt_v2_b4-decoder3d-01",
    "nfn-convnext_small.fb_in22k": "one-stage-nfn-fixed/convnext_small-decoder3d-01",
    "nfn-tf_efficientnet_b5.ns_jft_in1k": "one-stage-nfn-fixed/effnet_b5-decoder3d-01",
    "scs-pvt_v2_b4": "one-stage-scs/pvt_v2_b4-decoder2d-01",
    "scs-convnext_base.fb_in22k": "one-stage-scs/convnext_base-decoder2d-01",
    "scs-tf_efficientnet_b4.ns_jft_in1k": "one-stage-scs/effnet_b4-decoder2d-01",
}

_SHARP = ("zxy_mask", "level_mask", "grade_mask", "z_mask")


def published_shapes(shared: Path, name: str) -> dict[str, tuple[int, ...]]:
    """Parameter names and shapes of a published checkpoint."""
    text = (shared / "reference" / "checkpoints" / f"{name}.keys.json").read_text()
    return {key: tuple(shape) for key, shape in json.loads(text).items()}


def published_weights(shared: Path, name: str) -> dict[str, torch.Tensor]:
    """The reference weights of a checkpoint (section 7 of the specification)."""
    sharpness = 20.0 if name.startswith("nfn") else 4.0
    shapes = published_shapes(shared, name)
    return {key: _tensor(key, shape, sharpness) for key, shape in shapes.items()}


def two_stage_weights(
    shapes: Mapping[str, Sequence[int]], gain: float = 1.0
) -> dict[str, torch.Tensor]:
    """The reference weights of a two-stage network (section 9 of its specification).

    Args:
        shapes: of its parameters by name.
        gain: factor of the weights of convolutions.
    """
    found = {key: _tensor(key, tuple(shape), 1.0) for key, shape in shapes.items()}
    layers = [k for k, shape in shapes.items() if len(shape) >= 4 and not k.endswith("gamma")]
    return found | {key: found[key] * gain for key in layers}


def fill_by_rule(network: nn.Module, sharpness: float, prefix: str = "") -> nn.Module:
    """Give a network the weights that follow from its parameters' names and shapes.

    Args:
        sharpness: factor of the weights of the last layers, as in `published_weights`.
        prefix: put before every name, so that networks of one shape get different weights.
    """
    weights = {
        key: _tensor(key, tuple(value.shape), sharpness, prefix)
        for key, value in network.state_dict().items()
    }
    network.load_state_dict(weights)
    return network.eval()


def write_published(path: Path, weights: dict[str, torch.Tensor]) -> Path:
    """A ``.pth`` file as the published trainer saved it."""
    torch.save({"state_dict": weights, "iteration": 1234, "epoch": 5}, path)
    return path


def _tensor(key: str, shape: tuple[int, ...], sharpness: float, prefix: str = "") -> torch.Tensor:
    if key == "D" or key.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    return torch.from_numpy(np.asarray(_values(key, shape, sharpness, prefix), dtype=np.float32))


def _values(key: str, shape: tuple[int, ...], sharpness: float, prefix: str) -> NDArray[np.float64]:
    if not shape:
        return np.zeros(shape)
    noise = np.random.default_rng(zlib.crc32((prefix + key).encode())).standard_normal(shape)
    if key.endswith("running_var"):
        return 1 + 0.1 * np.abs(noise)
    if key.endswith("running_mean"):
        return 0.1 * noise
    if key.endswith("gamma"):
        return 0.5 + 0.1 * noise
    if len(shape) == 1:
        if key.endswith(".scale"):
            return 1 + 0.05 * noise
        return (1.0 if key.endswith("weight") else 0.0) + 0.05 * noise
    scale = sharpness if key.split(".")[0] in _SHARP else 1.0
    return scale * noise / np.sqrt(prod(shape[1:]))
