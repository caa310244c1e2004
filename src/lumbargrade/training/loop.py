"""Train one fold of a recipe. On a CPU, a resumed run gives bit-identical results.

The loop does not depend on conditions: samples, losses, decoding and scores come from the task.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from lumbargrade.config import Recipe
from lumbargrade.domain.errors import NothingDone
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.files.writing import locked_folder
from lumbargrade.inference.model_folder import KEPT_FOLDER, ModelMeta
from lumbargrade.launch.run_status import STATUS_FILE, State, begin_run, update_run_status
from lumbargrade.launch.signals import StopSignals
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.models.device import amp_dtype, autocast, choose_device
from lumbargrade.models.registry import AnyTask, get_task
from lumbargrade.models.task import LossTerms, Row, TaskBatch
from lumbargrade.networks import joint
from lumbargrade.training.initial import initial_weights
from lumbargrade.training.learner import NONFINITE_FILE, Learner, refuse_nonfinite
from lumbargrade.training.loader import epoch_batches, training_loader
from lumbargrade.training.memory import StepMemory
from lumbargrade.training.processes import joint_terms, require_shares, seed_step
from lumbargrade.training.records import BOARD_FOLDER, METRICS_FILE, EpochRecord, RunRecords
from lumbargrade.training.schedule import Position, plan_of
from lumbargrade.training.state import (
    STATE_FILE,
    Progress,
    kept_folder,
    load_state,
    restart_weights,
    save_state,
    stamp_of,
    warn_of_unkept,
)
from lumbargrade.training.validator import Validator

log = logging.getLogger(__name__)

MODEL_FOLDER = "model"

#: Seconds to wait until the processes of a killed run end.
_PATIENCE = 10.0

#: Called after each validated epoch with the number of trained epochs (the epoch's number, if there
#: is no restart by ``train.restart_from``), the rows and their predictions.
EpochHook = Callable[[int, Sequence[Row], Sequence[StudyPrediction]], None]


@dataclass(frozen=True)
class FoldResult:
    """Result of training a fold.

    Attributes:
        folder: the run's folder, with the best model in ``model/``.
        best: best validation score.
        best_epoch: epoch of the best score, from 1.
        best_phase: phase of the best score, from 1; 0 if there is only one.
        finished: False if a signal ended the run early; the same command resumes it.
    """

    folder: Path
    best: float
    best_epoch: int
    best_phase: int
    finished: bool


class FoldTrainer:
    """Train one fold.

    Args:
        recipe: the recipe.
        fold: the validation fold.
        store: volumes and labels.
        folder: the run's folder.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        hook: called after each validated epoch, for pictures.

    Raises:
        NothingDone: if there are no training rows or no validation rows.
        UsageError: if settings contradict each other, or ``drop_last`` leaves no batch.
        BadModel: if the folder holds a run with other settings.
    """

    def __init__(
        self,
        recipe: Recipe,
        fold: int,
        store: VolumeStore,
        folder: Path,
        device: str = "auto",
        hook: EpochHook | None = None,
    ) -> None:
        self.recipe, self.fold, self.store, self.folder = recipe, fold, store, folder
        self.device = choose_device(device)
        self.hook = hook
        self.config = recipe.train
        if self.config.threads and self.device.type == "cpu":
            torch.set_num_threads(self.config.threads)
        self.task: AnyTask = get_task(recipe)
        self.files = self.task.read_files()
        self.stamp = stamp_of(recipe, self.files, fold, store.fingerprint)
        rows = self.task.rows(store)
        self.training_rows = [r for r in rows if r.fold != fold]
        self.validation_rows = [r for r in rows if r.fold == fold]
        self._need(self.training_rows, "train")
        self._need(self.validation_rows, "validate")
        self.plan = plan_of(self.config, fold)
        require_shares(self.config.batch_size)
        self.steps = len(epoch_batches(self.config, len(self.training_rows), 0))
        self.validator = Validator(self.task, fold, store, self.training_rows, self.validation_rows)
        torch.manual_seed(self.config.seed + fold)
        network: nn.Module = self.task.build_network()
        if recipe.init:
            network.load_state_dict(initial_weights(recipe, fold, store.fingerprint, network))
        network = network.to(self.device)
        dtype = amp_dtype(self.config, self.device)
        self.learner = Learner(network, self.config, self.device, dtype)
        joint.join_batch_norm(network)
        self.memory = StepMemory(
            self.learner,
            self.config.max_memory,
            recipe.network.checkpoint_gradients,
            lambda batch: self._terms(batch).total,
            self._label,
        )
        self.signals = StopSignals(self._label)

    def _need(self, rows: Sequence[Row], purpose: str) -> None:
        if not rows:
            kinds = " or ".join(self.task.kinds)
            raise NothingDone(
                f"{self.recipe.name}: the store has no {kinds} series with labels to {purpose} "
                f"fold {self.fold}"
            )

    def run(self, *, restart: bool = False) -> FoldResult:
        """Train to the end, or until SIGTERM or SIGINT; then save the state and return.

        Args:
            restart: delete an earlier run in the folder and start again (unlike
                ``train.restart_from``).

        Raises:
            TrainingFailed: if a loss is not finite; ``nonfinite.json`` names the batch.
            UsageError: if another process is training in the folder.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        busy = (
            f"another process is training in {self.folder}; wait for its end or use another --out"
        )
        with locked_folder(self.folder, busy, _PATIENCE) if self._writes else nullcontext():
            return self._run(restart)

    @property
    def _writes(self) -> bool:
        """Whether this process writes the files; the others only compute."""
        return joint.rank() == 0

    def _run(self, restart: bool) -> FoldResult:
        if self._writes:
            if restart:
                self._forget()
            begin_run(self.folder)
        joint.anywhere(False, self.device)  # wait for the process that writes
        progress = load_state(self.folder, self.learner.parts, self.stamp, Progress) or Progress()
        if not self.plan.done(progress.at):
            progress.finished = self._out_of_patience(progress)
        warn_of_unkept(self.folder, self.plan, progress, self._label)
        records = RunRecords(self.folder, self._label, progress.history, writes=self._writes)
        try:
            with self.signals:
                while not progress.finished and not self.plan.done(progress.at):
                    if self.plan.restarts(progress.at):
                        self._restart(progress)
                    if not self._epoch(progress, records):
                        break
        finally:
            records.close()
        progress.finished = progress.finished or self.plan.done(progress.at)
        self._save(progress, "finished" if progress.finished else "stopped")
        best = progress.best, progress.best_epoch, progress.best_phase
        return FoldResult(self.folder, *best, progress.finished)

    def _forget(self) -> None:
        """Delete an earlier run, its state first: a partly deleted run must never resume."""
        for name in (STATE_FILE, METRICS_FILE, NONFINITE_FILE, STATUS_FILE, "curves.png"):
            (self.folder / name).unlink(missing_ok=True)
        for name in (MODEL_FOLDER, KEPT_FOLDER, BOARD_FOLDER, "epochs"):
            if (self.folder / name).is_symlink():
                (self.folder / name).unlink()  # the target of the link is not ours
            elif (self.folder / name).is_dir():
                shutil.rmtree(self.folder / name)

    @property
    def _label(self) -> str:
        return f"{self.recipe.name} fold {self.fold}"

    def _restart(self, progress: Progress) -> None:
        """Start the last phase from earlier averaged weights with a new optimiser.

        Order and augmentation of samples depend on the epoch, so epochs with the same number use
        the same samples.
        """
        weights = restart_weights(self.folder, self.plan, self._same_run)
        log.info(
            "%s: phase %d restarts from the averaged weights of epoch %d with a new optimiser",
            self._label,
            len(self.plan.ends),
            self.plan.restart,
        )
        self.learner.restart(weights)
        progress.epoch, progress.restarted = self.plan.restart, True

    def _same_run(self, meta: ModelMeta) -> bool:
        """Return whether a model was trained with the settings and data of this run."""
        return stamp_of(meta.recipe, self.files, meta.fold, meta.data) == self.stamp

    def _epoch(self, progress: Progress, records: RunRecords) -> bool:
        """Finish the current epoch; return False if a signal asked to stop."""
        lr = self._train_batches(progress)
        if lr is None:
            return False
        start = time.perf_counter()
        after = Position(progress.epoch + 1, progress.restarted)
        phase = self.plan.recorded_phase(progress.at)
        validation: dict[str, float] = {}
        if self.plan.validates(after):
            validation = self._validate(after, phase, progress)
        seconds = progress.seconds + time.perf_counter() - start
        end = self.plan.end(progress.restarted)
        records.add(EpochRecord(after.epoch, lr, seconds, progress.means(), validation, phase), end)
        progress.history = records.history
        progress.epoch, progress.step, progress.sums, progress.seconds = after.epoch, 0, {}, 0.0
        progress.finished = self._out_of_patience(progress)
        if progress.finished:
            log.info(
                "%s: stopping after %d epochs without a better score",
                self._label,
                self.config.patience,
            )
        self._save(progress, "running")
        return not joint.anywhere(self.signals.asked, self.device)

    def _save(self, progress: Progress, state: State) -> None:
        """Write the state of the run and how far it is."""
        if not self._writes:
            return
        save_state(self.folder, progress, self.learner.parts, self.stamp)
        update_run_status(
            self.folder,
            state=state,
            epoch=self.plan.trained(progress.at),
            epochs=self.plan.total,
            best=progress.best if progress.best_epoch else None,
            best_epoch=progress.best_epoch,
            error="",
        )

    def _out_of_patience(self, progress: Progress) -> bool:
        return self.plan.out_of_patience(progress.at, progress.best_epoch, progress.best_phase)

    def _train_batches(self, progress: Progress) -> float | None:
        """Train the rest of the epoch; return the last learning rate, or None if asked to stop."""
        self.learner.network.train()
        loader = training_loader(
            self.task,
            self.store,
            self.training_rows,
            epoch=progress.epoch,
            skip=progress.step,
        )
        plan, at = self.plan, progress.at
        phase = plan.recorded_phase(at)
        where = f"phase {phase} epoch" if phase else "epoch"
        trained = plan.trained(at)
        lr = 0.0
        bar = tqdm(
            loader,
            desc=f"{self._label} {where} {progress.epoch + 1}/{plan.end(at.restarted)}",
            initial=progress.step,
            total=self.steps,
            leave=False,
            disable=None if self._writes else True,
            unit="batch",
        )
        mark = time.perf_counter()
        for batch in bar:
            share = (trained * self.steps + progress.step) / (plan.total * self.steps)
            lr = plan.rate(at, share)
            last = progress.step + 1 == self.steps
            terms = self._step(batch, lr, progress)
            progress.step += 1
            progress.add(terms)
            now = time.perf_counter()
            progress.seconds += now - mark
            mark = now
            bar.set_postfix(loss=f"{progress.sums['loss'] / progress.step:.3f}")
            full = progress.step % self.config.accumulate == 0
            if full and not last and joint.anywhere(self.signals.asked, self.device):
                return None
        return lr

    def _step(self, batch: TaskBatch, lr: float, progress: Progress) -> LossTerms:
        """Run forward and backward, and an optimiser step when the accumulation is full.

        The last accumulation of an epoch may be smaller.
        """
        learner = self.learner
        first = progress.step - progress.step % self.config.accumulate
        end = min(first + self.config.accumulate, self.steps)
        batch = batch.to(self.device)
        learner.set_rate(lr)
        if progress.step == first:
            learner.forget_gradients()
        seed_step([self.config.seed, self.fold, self.plan.trained(progress.at), progress.step])
        with joint.silent(self._idle(progress)):
            with self.memory.around(batch):
                terms = self._terms(batch)
            learner.add_gradients(terms.total * float(joint.counts()) / (end - first))
            # only now, because looking at the loss waits for the GPU
            if not torch.isfinite(terms.total):
                refuse_nonfinite(self.folder, self._label, batch, terms, self._place(progress))
            terms = joint_terms(terms)
        if progress.step + 1 == end:
            learner.move()
        return terms

    def _terms(self, batch: TaskBatch) -> LossTerms:
        """Run the forward pass and the loss of a batch on the device."""
        with autocast(self.device, self.learner.dtype):
            output = self.task.forward(self.learner.network, batch)
        return self.task.loss(output, batch)

    def _idle(self, progress: Progress) -> bool:
        """Return whether the current batch has no item for this process."""
        before = progress.step * self.config.batch_size
        return len(self.training_rows) - before <= joint.rank()

    def _place(self, progress: Progress) -> dict[str, Any]:
        """Return recipe, fold, epoch and step of the current batch."""
        place = {"recipe": self.recipe.name, "fold": self.fold}
        if phase := self.plan.recorded_phase(progress.at):
            place["phase"] = phase
        return place | {"epoch": progress.epoch + 1, "step": progress.step + 1}

    def _validate(self, after: Position, phase: int, progress: Progress) -> dict[str, float]:
        """Score the averaged weights; save them if they are the best so far or to be kept.

        Args:
            after: position after the epoch.
            phase: the epoch's phase, from 1; 0 if there is only one.
            progress: updated if the score is better.
        """
        judged = self.validator.judge(self.learner.average.module.eval())
        place = {"epoch": after.epoch} | ({"phase": phase} if phase else {})
        score = judged.scores["score"]
        if score < progress.best and np.isfinite(score):
            progress.best, progress.best_epoch, progress.best_phase = score, after.epoch, phase
            if self._writes:
                judged.save(self.folder / MODEL_FOLDER, **place)
        if self.plan.keeps(after) and self._writes:
            judged.save(kept_folder(self.folder, self.plan, after), **place)
        if self.hook is not None and self._writes:
            self.hook(len(progress.history) + 1, self.validation_rows, judged.predictions)
        return judged.scores
