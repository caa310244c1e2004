"""A network in training with the average of its weights, the optimiser and the gradient scaler."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lumbargrade.config import TrainConfig
from lumbargrade.domain.errors import TrainingFailed
from lumbargrade.files.writing import write_text
from lumbargrade.models.task import LossTerms, TaskBatch

NONFINITE_FILE = "nonfinite.json"


def refuse_nonfinite(
    run: Path, label: str, batch: TaskBatch, terms: LossTerms, place: Mapping[str, Any]
) -> NoReturn:
    """Write the batch's studies and losses into the run's folder, and raise TrainingFailed.

    Args:
        run: the run's folder.
        label: names the run in the message.
        batch, terms: what was trained on, and its loss.
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
        "Lower the learning rate, or set --train.amp bf16 or off"
    )


class Learner:
    """A network in training.

    Args:
        network: on its device.
        config: optimiser, average and clipping.
        device: where the network is.
        dtype: mixed-precision type of the forward pass, None for fp32. Losses of an fp16 pass are
            scaled; if gradients overflow, the optimiser step is skipped and the scale lowered.

    Attributes:
        network: the weights that are trained.
        average: their exponential average, which is validated and saved.
        optimizer: AdamW.
        scaler: scales the loss for fp16.
    """

    def __init__(
        self,
        network: nn.Module,
        config: TrainConfig,
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
        # the average begins at the first weights, as in the published runs; with 0 the first move
        # would replace it
        self.average.n_averaged.fill_(1)
        self.fresh_optimizer()

    def fresh_optimizer(self) -> None:
        """Replace the optimiser and the scaler by new ones: no moments, initial scale."""
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=1e-4, weight_decay=self.config.weight_decay
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)

    def restart(self, weights: Mapping[str, Tensor]) -> None:
        """Continue from these weights with a fresh optimiser and scaler.

        The average is set to the weights too, and follows by its decay from the next step on.
        """
        self.network.load_state_dict(weights)
        self.average.module.load_state_dict(weights)
        self.fresh_optimizer()

    @property
    def parts(self) -> dict[str, Any]:
        """Everything with a ``state_dict``, by name."""
        return {
            "network": self.network,
            "average": self.average,
            "optimizer": self.optimizer,
            "scaler": self.scaler,
        }

    def set_rate(self, lr: float) -> None:
        """Set the learning rate of the next optimiser step."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    def forget_gradients(self) -> None:
        """Clear the gradients, to begin a new accumulation."""
        self.optimizer.zero_grad(set_to_none=True)

    def add_gradients(self, loss: Tensor) -> None:
        """Add the gradients of a loss."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch has no types here

    def move(self) -> None:
        """One optimiser step, then one update of the average.

        If the scaler skips the step, the average is still updated with the unchanged weights, as in
        the published runs.
        """
        if self.config.clip_gradient:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_gradient)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.average.update_parameters(self.network)
