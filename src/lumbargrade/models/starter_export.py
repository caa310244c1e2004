"""Write a network of the starter as an ONNX file that needs no torch, and check it.

Weights are stored in half precision and cast to single precision when the file is loaded, so the
file is small and the network still computes in single precision.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lumbargrade.domain.errors import BadModel
from lumbargrade.files.writing import atomic_path
from lumbargrade.networks.starter import AxialNetwork, SagittalNetwork

#: Version of the ONNX operators; ONNX Runtime 1.14 and newer run it.
OPSET = 18
#: Largest difference of a probability from torch's that is accepted.
LARGEST_DEVIATION = 1e-2
#: Smaller parameters stay in single precision; they need no room.
_FEW = 64


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


def traced(
    network: nn.Module,
    inputs: tuple[Tensor, ...],
    input_names: Sequence[str],
    output_names: Sequence[str],
    free: dict[str, Any] | None = None,
) -> onnx.ModelProto:
    """Trace a network.

    Args:
        network: in evaluation mode, on the CPU.
        inputs: an example.
        input_names, output_names: in the order of its inputs and outputs.
        free: sizes of the inputs that stay free (`torch.export.Dim`), by input and dimension.
    """
    with warnings.catch_warnings(), _quiet("onnxscript", "onnx_ir"):
        warnings.simplefilter("ignore")  # torch's exporter warns about its own parts
        program = torch.onnx.export(
            network,
            inputs,
            input_names=list(input_names),
            output_names=list(output_names),
            dynamic_shapes=free,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    # notes of the exporter, among them paths of this machine, are half of a small file
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    for part in (*model.graph.node, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
    return model


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Log only warnings of these packages; their optimisers report every step."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


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


def with_half_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store the larger weights in half precision, each followed by a cast to single precision.

    Vectors stay in single precision: they need no room, and a variance may not fit the range.
    """
    graph = model.graph
    casts = []
    for weight in graph.initializer:
        small = len(weight.dims) < 2 or np.prod(weight.dims) < _FEW
        if weight.data_type != onnx.TensorProto.FLOAT or small:
            continue
        name, half = weight.name, f"{weight.name}.half"
        with np.errstate(over="ignore"):  # infinite weights are refused later
            values = onnx.numpy_helper.to_array(weight).astype(np.float16)
        weight.CopyFrom(onnx.numpy_helper.from_array(values, half))
        casts.append(onnx.helper.make_node("Cast", [half], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return model


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
