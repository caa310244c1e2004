"""Round the weights of ONNX graphs to 16 or 8 bits, and their arithmetic to 8 bits."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from lumbargrade.inference.base import Arrays

#: The stored tensors of a weight, and the operation that computes the weight from them.
Stored = tuple[list[onnx.TensorProto], onnx.NodeProto]

#: Smaller weights stay in single precision; they need no room.
_FEW = 64

#: Weights of the last layers, by the beginning of their names: they stay in single precision,
#: because points and probabilities follow from them directly.
_LAST = ("head.", "network.heads", "network.grade", "network.project", "network.trunk.point")


def with_half_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store the larger weights in half precision; the arithmetic stays in single precision."""

    def rounded(name: str, values: NDArray[Any]) -> Stored:
        with np.errstate(over="ignore"):  # infinite weights are refused later
            half = onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}.half")
        return [half], onnx.helper.make_node("Cast", [half.name], [name], to=onnx.TensorProto.FLOAT)

    return _with_stored(model, rounded)


def with_int8_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store the larger weights in 8 bits with a scale per channel; the arithmetic stays the same.

    Engines compute the weights in single precision when they open the file.
    """

    def rounded(name: str, values: NDArray[Any]) -> Stored:
        largest = np.abs(values).max(axis=tuple(range(1, values.ndim)))
        scale = (np.maximum(largest, np.finfo(np.float32).tiny) / 127).astype(np.float32)
        shaped = scale.reshape(-1, *[1] * (values.ndim - 1))
        whole = np.rint(values / shaped).clip(-127, 127).astype(np.int8)
        tensors = [
            onnx.numpy_helper.from_array(whole, f"{name}.int8"),
            onnx.numpy_helper.from_array(scale, f"{name}.scale"),
        ]
        given = [tensor.name for tensor in tensors]
        return tensors, onnx.helper.make_node("DequantizeLinear", given, [name], axis=0)

    return _with_stored(model, rounded, kept=_LAST)


def _with_stored(
    model: onnx.ModelProto,
    rounded: Callable[[str, NDArray[Any]], Stored],
    kept: tuple[str, ...] = (),
) -> onnx.ModelProto:
    """Store the larger weights in another form.

    Vectors stay as they are: they need no room, and a variance may not fit the range.

    Args:
        model: the graph; it is changed.
        rounded: makes the stored tensors of a weight, and the operation that restores it.
        kept: beginnings of the names of weights that stay as they are.
    """
    graph = model.graph
    nodes = []
    for weight in list(graph.initializer):
        small = len(weight.dims) < 2 or np.prod(weight.dims) < _FEW
        if weight.data_type != onnx.TensorProto.FLOAT or small or weight.name.startswith(kept):
            continue
        (first, *others), node = rounded(weight.name, onnx.numpy_helper.to_array(weight))
        weight.CopyFrom(first)
        graph.initializer.extend(others)
        nodes.append(node)
    nodes += graph.node
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return model


def calibrated(model: onnx.ModelProto, inputs: Sequence[Arrays]) -> onnx.ModelProto:
    """Compute convolutions and products with weights in 8 bits.

    Args:
        model: the graph.
        inputs: real inputs, on which the range of every activation is measured.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # without types
        def __init__(self) -> None:
            self.rest: Iterator[dict[str, Any]] = iter([dict(one) for one in inputs])

        def get_next(self) -> dict[str, Any] | None:
            return next(self.rest, None)

    last = [n.name for n in model.graph.node if any(i.startswith(_LAST) for i in n.input)]
    level = logging.root.level
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        logging.root.setLevel(logging.ERROR)  # it advises preparations that exports do not need
        try:
            quantize_static(
                source,
                target,
                Reader(),
                op_types_to_quantize=["Conv", "MatMul", "Gemm"],
                nodes_to_exclude=last,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                extra_options={"MatMulConstBOnly": True},
            )
        finally:
            logging.root.setLevel(level)
        return onnx.load(target)
