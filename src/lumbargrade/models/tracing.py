"""Trace torch networks to ONNX graphs."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import onnx
import torch
from torch import Tensor, nn

#: Version of the ONNX operators; ONNX Runtime 1.14 and newer run it.
OPSET = 18


def traced(
    network: nn.Module,
    inputs: tuple[Tensor, ...],
    input_names: Sequence[str],
    output_names: Sequence[str],
    free: dict[str, Any] | None = None,
) -> onnx.ModelProto:
    """Trace a network.

    Args:
        network: on the CPU; it is put in evaluation mode.
        inputs: an example.
        input_names, output_names: in the order of its inputs and outputs.
        free: sizes of the inputs that stay free (`torch.export.Dim`), by input and dimension.
    """
    # graphs know no other memory layout
    network = network.eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # not in its types
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
