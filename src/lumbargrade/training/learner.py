"""A network in training, with the average of its weights, its optimiser and gradient scaler."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lumbargrade.config import StreamConfig, TrainConfig
from lumbargrade.domain.errors import TrainingFailed
from lumbargrade.files.writing import write_text
from lumbargrade.models.task import LossTerms, TaskBatch
from lumbargrade.networks import joint

NONFINITE_FILE = "nonfinite.json"


def refuse_nonfinite(
    run: Path, label: str, batch: TaskBatch, terms: LossTerms, place: Mapping[str, Any]
) -> NoReturn:
    """Write the studies and losses of a batch into the run's folder and raise TrainingFailed.

    Args:
        run: the run's folder.
        label: name of the run in the message.
        batch, terms: the batch and its loss.
        place: recipe, fold, epoch and step, as plain JSON data.

    Raises:
        TrainingFailed: always.
    """
    path = run / NONFINITE_FILE
    record = {
        **place,
        "study_ids": [s.study_id for s in batch.samples],
        "series_ids": [s.series_id for s in batch.samples if s.series_id],
        "losses": {k: repr(float(v.detach())) for k, v in terms.parts.items()},
    }
    write_text(path, json.dumps(record, indent=1))
    studies = ", ".join(s.study_id for s in batch.samples)
    raise TrainingFailed(
        f"{label}: the loss is not finite on studies {studies}; see {path}. "
        "Use a lower learning rate, or --train.amp bf16 or off"
    )


def adamw(network: nn.Module, weight_decay: float, *, fused: bool) -> torch.optim.AdamW:
    """Create AdamW, which can load the state of a fused and of a plain one."""
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=1e-4, weight_decay=weight_decay, fused=fused or None
    )

    def stay(_: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        state["param_groups"] = [{**g, "fused": fused or None} for g in state["param_groups"]]

    optimizer.register_load_state_dict_pre_hook(stay)
    return optimizer


class Learner:
    """A network in training.

    Args:
        network: the network, on its device.
        config: settings of optimiser, average and gradient clipping.
        device: device of the network.
        dtype: mixed-precision type of the forward pass, None for fp32. With fp16 the loss is
            scaled; if gradients overflow, the optimiser step is skipped and the scale reduced.

    Attributes:
        network: the network with the trained weights.
        average: their exponential moving average, which is validated and saved.
        optimizer: AdamW.
        scaler: scales the loss for fp16.
    """

    def __init__(
        self,
        network: nn.Module,
        config: TrainConfig | StreamConfig,
        device: torch.device,
        dtype: torch.dtype | None,
    ) -> None:
        self.network, self.config = network, config
        self.device, self.dtype = device, dtype
        self.average = AveragedModel(
            network,
            multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay),  # type: ignore[no-untyped-call]  # torch has no types here
            use_buffers=True,
        )
        # the average starts at the initial weights, as in the published runs; with 0 the first
        # update would replace it
        self.average.n_averaged.fill_(1)
        self.fresh_optimizer()

    def fresh_optimizer(self) -> None:
        """Create a new optimiser without moments and a new scaler with the initial scale.

        On a GPU one kernel updates all weights. On a CPU it would round differently.
        """
        self.optimizer = adamw(
            self.network, self.config.weight_decay, fused=self.device.type == "cuda"
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)

    def restart(self, weights: Mapping[str, Tensor]) -> None:
        """Continue from these weights with a new optimiser and scaler.

        The average is also set to the weights.
        """
        self.network.load_state_dict(weights)
        self.average.module.load_state_dict(weights)
        self.fresh_optimizer()

    @property
    def parts(self) -> dict[str, Any]:
        """All objects with a ``state_dict``, by name."""
        return {
            "network": self.network,
            "average": self.average,
            "optimizer": self.optimizer,
            "scaler": self.scaler,
        }

    def set_rate(self, lr: float) -> None:
        """Set the learning rate for the next optimiser step."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    def forget_gradients(self) -> None:
        """Clear the gradients before a new accumulation."""
        self.optimizer.zero_grad(set_to_none=True)

    def add_gradients(self, loss: Tensor) -> None:
        """Add the gradients of a loss."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch has no types here

    def move(self) -> None:
        """Make one optimiser step and update the average.

        If the scaler skips the step, the average is still updated with the unchanged weights, as in
        the published runs.
        """
        joint.sum_gradients(self.network)
        if self.config.clip_gradient:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_gradient)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        joint.average_buffers(self.network)
        self.average.update_parameters(self.network)
