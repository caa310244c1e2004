"""The machine that ``benchmarks.gpu`` runs on."""

from __future__ import annotations

import platform
import subprocess
from datetime import date
from typing import Any

import timm
import torch
import torchvision
from benchmarks.common import processor

from lumbargrade.files.cpus import usable_cpus


def about(device: torch.device) -> dict[str, Any]:
    """What the figures were measured on, and with."""
    found: dict[str, Any] = {
        "device": device.type,
        "card": "none",
        "driver": "none",
        "processor": f"{usable_cpus()} cores of {processor()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "timm": timm.__version__,
        "date": date.today().isoformat(),
    }
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory / 2**30
        found["card"] = f"{torch.cuda.get_device_name(device)}, {memory:.0f} GiB"
        found["driver"] = _driver()
    return found


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return (done.stdout.split() or ["unknown"])[0]
