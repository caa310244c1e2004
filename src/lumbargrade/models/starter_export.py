"""Write a network of the starter as an ONNX file that needs no torch, and check it.

Weights are stored in half precision and cast to single precision when the file is loaded, so the
file is small and the network still computes in single precision.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lumbargrade.domain.errors import BadModel
from lumbargrade.files.writing import atomic_path
from lumbargrade.models.tracing import traced, with_half_weights
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
    model = with_half_weights(_exported(network))
    with atomic_path(path) as temporary:
        onnx.save(model, temporary)
        deviation = _deviation(network, temporary, [*_random(network.channels), *images])
        if deviation > LARGEST_DEVIATION:
            raise BadModel(
                f"{path}: probabilities differ by {deviation:.2g} from those of torch, more than "
                f"{LARGEST_DEVIATION}; not written"
            )
    return deviation


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
    network: SagittalNetwork | AxialNetwork, path: Path, images: Sequence[NDArray[np.float32]]
) -> float:
    """Return the largest difference of a probability; infinite if one is not a number."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    names = list(network.output_type._fields)
    largest = 0.0
    for image in images:
        expected = network(torch.from_numpy(image))
        found = session.run(names, {"image": image})
        for name, one, other in zip(names, expected, found, strict=True):
            soft = name in ("structures", "segments")
            difference = _probabilities(one, soft) - _probabilities(torch.from_numpy(other), soft)
            if not difference.isfinite().all():
                return float("inf")
            largest = max(largest, float(difference.abs().max()))
    return largest


def _probabilities(logits: Tensor, soft: bool) -> Tensor:
    return logits.softmax(1) if soft else logits.sigmoid()
