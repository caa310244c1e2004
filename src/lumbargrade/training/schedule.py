"""The training plan of a fold: phases, learning rates, the restart and the epochs to keep.

Epochs are counted from the start of training. If the last phase restarts from an earlier epoch
(``train.restart_from``), the count goes back to that epoch, so some numbers occur twice. Therefore
a :class:`Position` consists of the epoch and whether the restart has happened.
(The option ``--restart`` is different: it deletes a run and starts it again.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

from lumbargrade.config import TrainConfig
from lumbargrade.domain.errors import UsageError

Value = TypeVar("Value", int, float)

#: One-cycle schedule: fraction of warm-up steps, and divisors of the peak for first and last rate.
WARM_UP, FIRST_DIVISOR, LAST_DIVISOR = 0.1, 25.0, 1000.0


def for_fold(values: Sequence[Value], fold: int, key: str = "") -> Value:
    """Return the value of a fold from one value for all folds, or one per fold.

    Args:
        values: one value, or one per fold.
        fold: the fold.
        key: the recipe key, for messages.

    Raises:
        UsageError: if there are several values, but none for this fold.
    """
    if len(values) == 1:
        return values[0]
    if not 0 <= fold < len(values):
        where = f"{key}: " if key else ""
        raise UsageError(
            f"{where}no setting for fold {fold} among {len(values)} per-fold values; "
            "give one value, or one per fold"
        )
    return values[fold]


def one_cycle(progress: float) -> float:
    """Return the learning rate as a share of its peak: linear warm-up, then cosine decay.

    Args:
        progress: fraction of all training steps that are done, 0 to 1.
    """
    if progress < WARM_UP:
        return 1 / FIRST_DIVISOR + (1 - 1 / FIRST_DIVISOR) * progress / WARM_UP
    cosine = 0.5 * (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP)))
    return 1 / LAST_DIVISOR + (1 - 1 / LAST_DIVISOR) * cosine


class Position(NamedTuple):
    """Progress of a training: the epochs done, and whether the restart has happened.

    The next epoch has the number ``epoch + 1``.
    """

    epoch: int = 0
    restarted: bool = False


@dataclass(frozen=True)
class Plan:
    """The epochs of one fold.

    Attributes:
        rates: peak learning rate of each phase.
        ends: the epoch at which each phase ends.
        restart: epoch with whose averaged weights the last phase starts; 0 means no restart.
        stop: training stops at this epoch; 0 means at the end of the last phase.
        schedule: learning rate inside the phases.
        keep, keep_every: epochs whose averaged weights are kept.
        validate_every: interval between validated epochs.
        patience: training stops after this number of epochs without a better score; 0 means never.
    """

    rates: tuple[float, ...]
    ends: tuple[int, ...]
    restart: int = 0
    stop: int = 0
    schedule: Literal["constant", "one_cycle"] = "constant"
    keep: tuple[int, ...] = ()
    keep_every: int = 0
    validate_every: int = 1
    patience: int = 0

    def phase(self, at: Position) -> int:
        """Return the number, from 1, of the next epoch's phase."""
        if at.restarted:
            return len(self.ends)
        some = self.ends[:-1] if self.restart else self.ends
        return next((i for i, end in enumerate(some, 1) if at.epoch < end), len(some))

    def recorded_phase(self, at: Position) -> int:
        """Return `phase` for records, names and messages: 0 if there is only one phase."""
        return self.phase(at) if len(self.ends) > 1 else 0

    def end(self, restarted: bool) -> int:
        """Return the epoch at which training, or the part before the restart, ends."""
        if self.restart and not restarted:
            return min(self.ends[-2], self.stop or self.ends[-2])
        return self.stop or self.ends[-1]

    def restarts(self, at: Position) -> bool:
        """Return whether the restart comes next."""
        return self.reaches_restart and not at.restarted and at.epoch >= self.ends[-2]

    def done(self, at: Position) -> bool:
        """Return whether training has reached its end, or passed it after ``stop`` was lowered."""
        if at.restarted and not self.reaches_restart:
            return True
        return at.epoch >= self.end(at.restarted) and not self.restarts(at)

    @property
    def reaches_restart(self) -> bool:
        """Whether there is a restart and training does not stop before it."""
        return bool(self.restart) and not 0 < self.stop <= self.ends[-2]

    def trained(self, at: Position) -> int:
        """Return the number of trained epochs; epochs with equal numbers count separately."""
        return self.ends[-2] + at.epoch - self.restart if at.restarted else at.epoch

    @property
    def total(self) -> int:
        """Number of epochs trained from start to end."""
        restarted = self.reaches_restart
        return self.trained(Position(self.end(restarted), restarted))

    def rate(self, at: Position, progress: float) -> float:
        """Return the learning rate of a step.

        Args:
            at: position before the epoch of the step.
            progress: fraction of all training steps that are done, 0 to 1. ``one_cycle`` is one
                cycle over all steps, even with a restart.
        """
        peak = self.rates[self.phase(at) - 1]
        if self.schedule == "constant":
            return peak
        return peak * one_cycle(progress)

    def keeps(self, at: Position) -> bool:
        """Return whether the weights after the last epoch are kept as a separate model."""
        every = bool(self.keep_every) and at.epoch % self.keep_every == 0
        for_restart = not at.restarted and at.epoch == self.restart > 0
        return every or at.epoch in self.keep or for_restart

    def validates(self, at: Position) -> bool:
        """Return whether the last epoch is validated: at the interval, at the end, or if kept."""
        at_interval = at.epoch % self.validate_every == 0
        return at_interval or at.epoch == self.end(at.restarted) or self.keeps(at)

    def out_of_patience(self, at: Position, best_epoch: int, best_phase: int) -> bool:
        """Return whether training stops early.

        The part before a restart is always trained to its end. The restart resets the count of
        epochs without a better score.

        Args:
            at: position after the last epoch.
            best_epoch: epoch with the best score, from 1; 0 if there is none.
            best_phase: its phase, as in :meth:`recorded_phase`.
        """
        if not self.patience or not self.validates(at):
            return False
        if self.restart and not at.restarted:
            return False
        since = max(best_epoch, 1)
        if at.restarted and best_phase < len(self.ends):
            since = self.restart
        return at.epoch - since >= self.patience


def plan_of(train: TrainConfig, fold: int) -> Plan:
    """Build the plan of a fold from a recipe's training settings.

    Raises:
        UsageError: if settings contradict each other; the text names the key.
    """
    rates = tuple(for_fold(p.lr, fold, "train.phases.lr") for p in train.phases)
    ends = tuple(for_fold(p.until, fold, "train.phases.until") for p in train.phases)
    plan = Plan(
        rates,
        ends,
        _restart(train.restart_from, ends, fold),
        train.epochs,
        train.schedule,
        train.keep,
        train.keep_every,
        train.validate_every,
        train.patience,
    )
    if train.keep_every < 0:
        raise UsageError(f"train.keep_every {train.keep_every}: use 0 (none) or a number of epochs")
    last = max(train.epochs, *(end for p in train.phases for end in p.until))
    beyond = [k for k in train.keep if not 1 <= k <= last]
    if beyond:
        listed = ", ".join(map(str, beyond))
        raise UsageError(
            f"train.keep {listed}: the training has epochs 1 to {last}; use epochs among these"
        )
    return plan


def _restart(values: tuple[int, ...], ends: tuple[int, ...], fold: int) -> int:
    """Return the epoch from which the last phase of a fold restarts; 0 if there is no restart."""
    if not values:
        return 0
    epoch = for_fold(values, fold, "train.restart_from")
    what = f"train.restart_from {epoch} (fold {fold})"
    if len(ends) < 2:
        raise UsageError(
            f"{what}: a restart needs an earlier phase, and train.phases has one phase; add a "
            "phase, or leave restart_from empty"
        )
    if not 1 <= epoch <= ends[-2]:
        raise UsageError(
            f"{what}: the phase before the last ends at epoch {ends[-2]}; use an epoch from 1 to "
            f"{ends[-2]}"
        )
    if epoch >= ends[-1]:
        raise UsageError(f"{what}: the last phase ends at epoch {ends[-1]}; use an earlier epoch")
    return epoch
