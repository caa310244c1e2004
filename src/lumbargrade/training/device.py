"""Where a run computes and in which precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from lumbargrade.config import TrainConfig
from lumbargrade.domain.errors import UsageError


def choose_device(name: str = "auto") -> torch.device:
    """The device named, or CUDA where there is one.

    Raises:
        UsageError: if there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"--device {name!r}: no such device; auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device {name!r}: the device is auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("no CUDA device is available; use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"--device {name!r}: CUDA devices are 0 to {torch.cuda.device_count() - 1}"
        )
    return device


def amp_dtype(train: TrainConfig, device: torch.device) -> torch.dtype | None:
    """Mixed-precision type, or None for fp32 (always on a CPU: bf16 without hardware crawls)."""
    if device.type != "cuda" or train.amp == "off":
        return None
    if train.amp == "fp16":
        return torch.float16
    if train.amp == "bf16" or torch.cuda.is_bf16_supported():
        return torch.bfloat16
    return torch.float16


def autocast(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager[Any]:
    """Autocast context for a forward pass; nothing where ``dtype`` is None."""
    if dtype is None:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)
