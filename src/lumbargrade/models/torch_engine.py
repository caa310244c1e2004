"""Run networks in torch for predictions."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from lumbargrade.files.timing import stage
from lumbargrade.inference.base import Arrays
from lumbargrade.models.device import run_forward
from lumbargrade.models.registry import AnyTask
from lumbargrade.models.task import device_of


class TorchEngine:
    """A network in eval mode, on its device (an `Engine`).

    Args:
        task: the task of the network.
        network: the network.
    """

    name = f"torch {torch.__version__}"

    def __init__(self, task: AnyTask, network: nn.Module) -> None:
        self.task, self.network = task, network

    @torch.inference_mode()
    def run(self, inputs: Arrays) -> Arrays:
        """Run the network in the precision of its recipe (`run_forward`)."""
        device = device_of(self.network)
        tensors = {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in inputs.items()}
        on_device = {k: tensor.to(device) for k, tensor in tensors.items()}
        recipe = self.task.recipe
        with stage(f"network {recipe.name}"):
            outputs = run_forward(
                recipe.train, device, lambda: self.task.outputs(self.network, on_device)
            )
        return {name: tensor.float().cpu().numpy() for name, tensor in outputs.items()}
