"""Write the starter's networks as ONNX files that need no torch, and compare each with torch.

Weights are stored in half precision and cast to single precision when the file is loaded, so the
file is small and the network still computes in single precision.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lumbargrade.domain.errors import BadModel
from lumbargrade.files.writing import atomic_path
from lumbargrade.inference.engines import OnnxEngine
from lumbargrade.models.quantised import with_half_weights
from lumbargrade.models.tracing import traced
from lumbargrade.networks.starter import AxialNetwork, SagittalNetwork

#: Largest difference of a probability from torch's that is accepted.
LARGEST_DEVIATION = 1e-2


def export_starter(network: nn.Module, path: Path, images: Sequence[NDArray[np.float32]]) -> float:
    """Write a network as ``path`` and compare its output with torch's.

    The file takes any number of images of any height and width (multiples of 32).

    Args:
        network: a `SagittalNetwork` or `AxialNetwork` in evaluation mode, on the CPU.
        path: the file.
        images: inputs (B, C, H, W) to compare, beside random ones.

    Returns:
        The largest difference of a probability.

    Raises:
        BadModel: if it is more than `LARGEST_DEVIATION`; the file is not written then.
        OSError: if the file cannot be written.
    """
    assert isinstance(network, SagittalNetwork | AxialNetwork)
    compared = [*_random(network.channels), *images]
    return write_starter(
        _exported(network), path, lambda engine: _deviation(network, engine, compared)
    )


def write_starter(
    model: onnx.ModelProto, path: Path, deviation: Callable[[OnnxEngine], float]
) -> float:
    """Write a traced network with weights in half precision, and compare it with torch.

    Args:
        model: the network in single precision.
        path: the file.
        deviation: finds the largest difference of a probability from torch's.

    Returns:
        This difference.

    Raises:
        BadModel: if it is more than `LARGEST_DEVIATION`; the file is not written then.
        OSError: if the file cannot be written.
    """
    with atomic_path(path) as temporary:
        onnx.save(with_half_weights(model), temporary)
        found = deviation(OnnxEngine(temporary))
        if found > LARGEST_DEVIATION:
            raise BadModel(
                f"{path}: probabilities differ by {found:.2g} from those of torch, more than "
                f"{LARGEST_DEVIATION}; not written"
            )
    return found


def _random(channels: int) -> list[NDArray[np.float32]]:
    """Random images of several shapes, in the range of real ones."""
    rng = np.random.default_rng(0)
    shapes = [(1, channels, 128, 128), (2, channels, 224, 160)]
    return [rng.gamma(2.0, 0.25, shape).clip(0, 2).astype(np.float32) for shape in shapes]


def _exported(network: SagittalNetwork | AxialNetwork) -> onnx.ModelProto:
    """Trace a network; batch, height and width stay free."""
    folded = folded_normalisation(network)
    sizes = [torch.export.Dim(n, min=1, max=2**16) for n in ("rows", "columns")]
    free = {0: torch.export.Dim("batch", min=1), 2: 32 * sizes[0], 3: 32 * sizes[1]}
    example = torch.rand(2, network.channels, 96, 64)
    return traced(folded, (example,), ["image"], network.output_type._fields, {"image": free})


def folded_normalisation(network: nn.Module) -> nn.Module:
    """Return a copy of a network with each batch normalisation folded into its convolution."""
    network = copy.deepcopy(network).eval()
    for block in network.modules():
        if not isinstance(block, nn.Sequential):
            continue
        for i in range(1, len(block)):
            before, layer = block[i - 1], block[i]
            if isinstance(before, nn.Conv2d) and isinstance(layer, nn.BatchNorm2d):
                block[i - 1] = fuse_conv_bn_eval(before, layer)
                block[i] = nn.Identity()
    return network


@torch.inference_mode()
def _deviation(
    network: SagittalNetwork | AxialNetwork,
    engine: OnnxEngine,
    images: Sequence[NDArray[np.float32]],
) -> float:
    """Return the largest difference of a probability; infinite if one is not a number."""
    largest = 0.0
    for image in images:
        expected = network(torch.from_numpy(image))
        found = engine.run({"image": image})
        for name, one in zip(network.output_type._fields, expected, strict=True):
            soft, other = name in ("structures", "segments"), torch.from_numpy(found[name])
            difference = _probabilities(one, soft) - _probabilities(other, soft)
            if not difference.isfinite().all():
                return float("inf")
            largest = max(largest, float(difference.abs().max()))
    return largest


def _probabilities(logits: Tensor, soft: bool) -> Tensor:
    return logits.softmax(1) if soft else logits.sigmoid()
