"""The plan of a fold, epoch by epoch: phases, learning rates, the restart, the epochs kept.

Epochs are counted from the start of training. Where the last phase restarts from an earlier epoch
(``train.restart_from``), the count goes back to that epoch, so some numbers occur twice. Therefore
a :class:`Position` in the training is the epoch, and whether the restart has happened.
(The option ``--restart`` is another thing: it deletes a run and begins it anew.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

from lumbargrade.config import TrainConfig
from lumbargrade.domain.errors import UsageError

Value = TypeVar("Value", int, float)

#: One-cycle shape: share of the steps spent warming up, and the first and last rate's divisors.
WARM_UP, FIRST_DIVISOR, LAST_DIVISOR = 0.1, 25.0, 1000.0


def for_fold(values: Sequence[Value], fold: int, key: str = "") -> Value:
    """The value of a fold from a tuple that holds one value for all folds, or one per fold.

    Args:
        values: one, or one per fold.
        fold: which fold.
        key: the recipe key, for messages.

    Raises:
        UsageError: if the tuple is longer than one and has none for this fold.
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


class Position(NamedTuple):
    """How far a training is: how many epochs are done, and whether the restart has happened.

    The epoch that is trained next has the number ``epoch + 1``.
    """

    epoch: int = 0
    restarted: bool = False


@dataclass(frozen=True)
class Plan:
    """The epochs of one fold.

    Attributes:
        rates: peak learning rate of each phase.
        ends: the epoch at which each phase ends.
        restart: the epoch whose averaged weights the last phase starts from; 0: no restart.
        stop: training stops when the epoch count reaches this; 0: the phases decide.
        schedule: learning rate inside the phases.
        keep, keep_every: epochs whose averaged weights are kept.
        validate_every: interval between validated epochs.
        patience: epochs without a better score after which training stops; 0 never stops early.
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
        """Number, from 1, of the phase that trains next."""
        if at.restarted:
            return len(self.ends)
        some = self.ends[:-1] if self.restart else self.ends
        return next((i for i, end in enumerate(some, 1) if at.epoch < end), len(some))

    def recorded_phase(self, at: Position) -> int:
        """The same for records, names and messages: 0 if there is only one phase."""
        return self.phase(at) if len(self.ends) > 1 else 0

    def end(self, restarted: bool) -> int:
        """The epoch at which training ends, or at which the part before the restart ends."""
        if self.restart and not restarted:
            return min(self.ends[-2], self.stop or self.ends[-2])
        return self.stop or self.ends[-1]

    def restarts(self, at: Position) -> bool:
        """Whether the restart comes next."""
        return self.reaches_restart and not at.restarted and at.epoch >= self.ends[-2]

    def done(self, at: Position) -> bool:
        """Whether training has reached its end, or is beyond it because ``stop`` was lowered."""
        if at.restarted and not self.reaches_restart:
            return True
        return at.epoch >= self.end(at.restarted) and not self.restarts(at)

    @property
    def reaches_restart(self) -> bool:
        """Whether there is a restart, and ``stop`` is not before it."""
        return bool(self.restart) and not 0 < self.stop <= self.ends[-2]

    def trained(self, at: Position) -> int:
        """How many epochs have been trained; epochs with the same number count separately."""
        return self.ends[-2] + at.epoch - self.restart if at.restarted else at.epoch

    @property
    def total(self) -> int:
        """How many epochs are trained from the start to the end."""
        restarted = self.reaches_restart
        return self.trained(Position(self.end(restarted), restarted))

    def rate(self, at: Position, progress: float) -> float:
        """Learning rate of a step.

        Args:
            at: before the epoch of the step.
            progress: share of all training steps that are done, 0..1. ``one_cycle`` is one cycle
                over all steps; a restart does not begin another.
        """
        peak = self.rates[self.phase(at) - 1]
        if self.schedule == "constant":
            return peak
        if progress < WARM_UP:
            return peak * (1 / FIRST_DIVISOR + (1 - 1 / FIRST_DIVISOR) * progress / WARM_UP)
        cosine = 0.5 * (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP)))
        return peak * (1 / LAST_DIVISOR + (1 - 1 / LAST_DIVISOR) * cosine)

    def keeps(self, at: Position) -> bool:
        """Whether the weights at the end of the last epoch are kept as a model of their own."""
        every = bool(self.keep_every) and at.epoch % self.keep_every == 0
        for_restart = not at.restarted and at.epoch == self.restart > 0
        return every or at.epoch in self.keep or for_restart

    def validates(self, at: Position) -> bool:
        """Whether the last epoch is scored: at the interval, at the end, and if kept."""
        at_interval = at.epoch % self.validate_every == 0
        return at_interval or at.epoch == self.end(at.restarted) or self.keeps(at)

    def out_of_patience(self, at: Position, best_epoch: int, best_phase: int) -> bool:
        """Whether training stops early.

        The part before a restart is always trained to its end, and the restart resets the count of
        epochs without a better score.

        Args:
            at: after the last epoch.
            best_epoch: the epoch with the best score, from 1; 0 if there is none.
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
    """The plan of a fold.

    Raises:
        UsageError: for settings that contradict each other; it names the key.
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
        raise UsageError(
            f"train.keep_every {train.keep_every}: give 0 (none) or a number of epochs"
        )
    last = max(train.epochs, *(end for p in train.phases for end in p.until))
    beyond = [k for k in train.keep if not 1 <= k <= last]
    if beyond:
        listed = ", ".join(map(str, beyond))
        raise UsageError(
            f"train.keep {listed}: the training has epochs 1 to {last}; give epochs among these"
        )
    return plan


def _restart(values: tuple[int, ...], ends: tuple[int, ...], fold: int) -> int:
    """The epoch that the last phase of a fold restarts from; 0 if there is no restart."""
    if not values:
        return 0
    epoch = for_fold(values, fold, "train.restart_from")
    what = f"train.restart_from {epoch} (fold {fold})"
    if len(ends) < 2:
        raise UsageError(
            f"{what}: the last phase restarts from an epoch of an earlier one, and train.phases "
            "has one phase; add a phase, or leave restart_from empty"
        )
    if not 1 <= epoch <= ends[-2]:
        raise UsageError(
            f"{what}: the phase before the last ends at epoch {ends[-2]}; give an epoch from 1 to "
            f"{ends[-2]}"
        )
    if epoch >= ends[-1]:
        raise UsageError(
            f"{what}: the last phase ends at epoch {ends[-1]}; give an epoch before that"
        )
    return epoch
