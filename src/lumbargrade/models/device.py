"""Choose the device and the precision in which networks run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from lumbargrade.config import StreamConfig, TrainConfig
from lumbargrade.domain.errors import UsageError


def choose_device(name: str = "auto") -> torch.device:
    """Return the named device; ``auto`` is CUDA if available, otherwise the CPU.

    Raises:
        UsageError: if there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(
            f"--device {name!r}: no such device; use auto, cpu, cuda or cuda:N"
        ) from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(
            f"--device {name!r}: unknown kind of device; use auto, cpu, cuda or cuda:N"
        )
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("no CUDA device is available; use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"--device {name!r}: no such CUDA device; use cuda:0 to "
            f"cuda:{torch.cuda.device_count() - 1}"
        )
    return device


log = logging.getLogger(__name__)

Output = TypeVar("Output")


def amp_dtype(train: TrainConfig | StreamConfig, device: torch.device) -> torch.dtype | None:
    """Return the mixed-precision type, or None for fp32.

    A CPU always uses fp32, because bf16 without hardware support is very slow.
    """
    if device.type != "cuda" or train.amp == "off":
        return None
    if train.amp == "fp16":
        return torch.float16
    if train.amp == "bf16" or torch.cuda.is_bf16_supported():
        return torch.bfloat16
    return torch.float16


def autocast(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager[Any]:
    """Return the autocast context for a forward pass; it does nothing if ``dtype`` is None."""
    if dtype is None:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def run_forward(train: TrainConfig, device: torch.device, forward: Callable[[], Output]) -> Output:
    """Run a network in the recipe's precision for predictions and return its output.

    Mixed precision (``train.amp_prediction`` on CUDA) can overflow: fp16 ends at 65,504. If the
    output of a batch is not finite, the batch is computed again in fp32 with a warning, because
    findings with NaN probabilities are skipped. Networks always compute heatmaps, coordinates and
    probabilities in fp32 (:mod:`lumbargrade.networks.heatmap`).

    Args:
        train: the recipe's settings.
        device: the device of the network and its input.
        forward: runs the network on one batch.
    """
    dtype = amp_dtype(train, device) if train.amp_prediction else None
    with autocast(device, dtype):
        output = forward()
    if dtype is None or all(bool(t.isfinite().all()) for t in _floats(output)):
        return output
    log.warning("the output in %s is not finite; computing this batch again in fp32", dtype)
    return forward()


def _floats(value: Any) -> Iterator[Tensor]:
    """Yield all floating-point tensors in nested dataclasses, mappings and sequences."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif is_dataclass(value):
        for part in fields(value):
            yield from _floats(getattr(value, part.name))
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _floats(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _floats(part)
