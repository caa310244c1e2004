"""Which learning rate and how many epochs: phases per fold, constant or one cycle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

from lumbargrade.config import TrainConfig
from lumbargrade.domain.errors import UsageError

Value = TypeVar("Value", int, float)

#: One-cycle shape: share of the steps spent warming up, and the first and last rate's divisors.
WARM_UP, FIRST_DIVISOR, LAST_DIVISOR = 0.1, 25.0, 1000.0


def for_fold(values: Sequence[Value], fold: int) -> Value:
    """The value of a fold from a tuple that holds one value for all folds, or one per fold.

    Raises:
        UsageError: if the tuple is longer than one and has none for this fold.
    """
    if len(values) == 1:
        return values[0]
    if not 0 <= fold < len(values):
        raise UsageError(f"no setting for fold {fold} among {len(values)} per-fold values")
    return values[fold]


def total_epochs(train: TrainConfig, fold: int) -> int:
    """Epochs that a fold trains for."""
    return train.epochs or for_fold(train.phases[-1].until, fold)


def learning_rate(train: TrainConfig, fold: int, epoch: int, progress: float) -> float:
    """Learning rate of a step.

    Args:
        train: the schedule.
        fold: which fold trains.
        epoch: epoch of the step, counted from 0.
        progress: share of all steps of the training that are done, 0..1.
    """
    phase = next((p for p in train.phases if epoch < for_fold(p.until, fold)), train.phases[-1])
    peak = for_fold(phase.lr, fold)
    if train.schedule == "constant":
        return peak
    if progress < WARM_UP:
        return peak * (1 / FIRST_DIVISOR + (1 - 1 / FIRST_DIVISOR) * progress / WARM_UP)
    cosine = 0.5 * (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP)))
    return peak * (1 / LAST_DIVISOR + (1 - 1 / LAST_DIVISOR) * cosine)
