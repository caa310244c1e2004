"""The training loop: one fold of one recipe, resumable to the bit on a CPU.

The loop knows nothing of conditions: samples, losses, decoding and scores come from the task.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from lumbargrade.checkpoint import ModelMeta, save_model
from lumbargrade.config import Published, Recipe, recipe_to_dict
from lumbargrade.dataset.store import VolumeStore
from lumbargrade.domain.errors import NothingDone, TrainingFailed
from lumbargrade.domain.files import write_text
from lumbargrade.tasks import get_task
from lumbargrade.tasks.base import LossTerms, Row, SeriesPrediction, Task, TaskBatch
from lumbargrade.tasks.loader import training_loader
from lumbargrade.tasks.precision import amp_dtype, autocast
from lumbargrade.training.device import choose_device
from lumbargrade.training.records import BOARD_FOLDER, METRICS_FILE, EpochRecord, RunRecords
from lumbargrade.training.schedule import learning_rate, total_epochs
from lumbargrade.training.state import STATE_FILE, Progress, load_state, save_state

log = logging.getLogger(__name__)

MODEL_FOLDER = "model"
NONFINITE_FILE = "nonfinite.json"

#: Called after each validated epoch with its number, the rows and what was predicted for them.
EpochHook = Callable[[int, Sequence[Any], Sequence[SeriesPrediction]], None]


@dataclass(frozen=True)
class FoldResult:
    """How the training of a fold ended.

    Attributes:
        folder: the run's folder; ``model/`` in it is the best model.
        best: best validation score.
        best_epoch: the epoch it belongs to, from 1.
        finished: False when a signal ended the run early; it resumes with the same command.
    """

    folder: Path
    best: float
    best_epoch: int
    finished: bool


class FoldTrainer:
    """Trains one fold.

    Args:
        recipe: the experiment.
        fold: the fold that is held out for validation.
        store: volumes and labels.
        folder: where the run is kept.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        hook: called after each validated epoch, for pictures.

    Raises:
        NothingDone: if no row trains or none validates.
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
        self.task: Task = get_task(recipe)
        rows = self.task.rows(store)
        self.training_rows = [r for r in rows if r.fold != fold]
        self.validation_rows = [r for r in rows if r.fold == fold]
        self._need(self.training_rows, "train")
        self._need(self.validation_rows, "validate")
        torch.manual_seed(self.config.seed + fold)
        self.network: nn.Module = self.task.build_network().to(self.device)
        self.average = AveragedModel(
            self.network,
            multi_avg_fn=get_ema_multi_avg_fn(self.config.ema_decay),  # type: ignore[no-untyped-call]  # torch has no types here
            use_buffers=True,
        )
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=1e-4, weight_decay=self.config.weight_decay
        )
        self.dtype = amp_dtype(self.config, self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        self.epochs = total_epochs(self.config, fold)
        self.stop_asked = False

    def _need(self, rows: Sequence[Row], purpose: str) -> None:
        if not rows:
            kinds = " or ".join(self.task.kinds)
            raise NothingDone(
                f"{self.recipe.name}: the store has no {kinds} series with labels to {purpose} "
                f"fold {self.fold}"
            )

    @property
    def _parts(self) -> dict[str, Any]:
        return {
            "network": self.network,
            "average": self.average,
            "optimizer": self.optimizer,
            "scaler": self.scaler,
        }

    @property
    def stamp(self) -> str:
        """Identifies what must not change between the parts of one run."""
        settings = replace(
            self.recipe,
            summary="",
            published=Published(),
            train=replace(self.config, workers=0, threads=0, epochs=0),
        )
        text = json.dumps([recipe_to_dict(settings), self.fold, self.store.fingerprint])
        return hashlib.sha256(text.encode()).hexdigest()

    def run(self, *, restart: bool = False) -> FoldResult:
        """Train to the end, or until SIGTERM or SIGINT, which saves and leaves.

        Args:
            restart: remove what an earlier run left in the folder, and begin anew.

        Raises:
            TrainingFailed: on a non-finite loss; the batch is named in ``nonfinite.json``.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if restart:
            self._forget()
        progress = load_state(self.folder, self._parts, self.stamp) or Progress()
        if progress.epoch < self.epochs and self._stopped_early(progress):
            progress.finished = True
        elif progress.epoch < self.epochs:
            progress.finished = False
        records = RunRecords(self.folder, self._label, self.epochs, progress.history)
        try:
            with self._catch_signals():
                while progress.epoch < self.epochs and not progress.finished:
                    if not self._epoch(progress, records):
                        break
        finally:
            records.close()
        progress.finished = progress.finished or progress.epoch >= self.epochs
        save_state(self.folder, progress, self._parts, self.stamp)
        return FoldResult(self.folder, progress.best, progress.best_epoch, progress.finished)

    def _forget(self) -> None:
        """Remove an earlier run, its state first, so that nothing of it is taken for this one."""
        for name in (STATE_FILE, METRICS_FILE, NONFINITE_FILE, "curves.png"):
            (self.folder / name).unlink(missing_ok=True)
        for name in (MODEL_FOLDER, BOARD_FOLDER, "epochs"):
            if (self.folder / name).is_dir():
                shutil.rmtree(self.folder / name)

    @property
    def _label(self) -> str:
        return f"{self.recipe.name} fold {self.fold}"

    def _epoch(self, progress: Progress, records: RunRecords) -> bool:
        """One epoch, from where it was left; False when a signal cut it short."""
        lr = self._train_batches(progress)
        if lr is None:
            return False
        start = time.perf_counter()
        number = progress.epoch + 1
        validation: dict[str, float] = {}
        if self._validates(number):
            validation = self._validate(number, progress)
        steps = max(progress.step, 1)
        train = {k: v if k.startswith("n_") else v / steps for k, v in progress.sums.items()}
        seconds = progress.seconds + time.perf_counter() - start
        records.add(EpochRecord(number, lr, seconds, train, validation))
        progress.history = records.history
        progress.epoch, progress.step, progress.sums, progress.seconds = number, 0, {}, 0.0
        progress.finished = self._stopped_early(progress)
        if progress.finished:
            log.info("%s: no better score for %d epochs", self._label, self.config.patience)
        save_state(self.folder, progress, self._parts, self.stamp)
        return not self.stop_asked

    def _validates(self, number: int) -> bool:
        return number % self.config.validate_every == 0 or number == self.epochs

    def _stopped_early(self, progress: Progress) -> bool:
        """Whether the last epoch's validation was one too many without a better score."""
        patience = self.config.patience
        waited = progress.epoch - max(progress.best_epoch, 1)
        return bool(patience) and self._validates(progress.epoch) and waited >= patience

    def _train_batches(self, progress: Progress) -> float | None:
        """Train over the rest of the epoch; the last learning rate, or None if told to stop."""
        self.network.train()
        loader = training_loader(
            self.task,
            self.store,
            self.training_rows,
            epoch=progress.epoch,
            skip=progress.step,
        )
        steps = progress.step + len(loader)
        lr = 0.0
        bar = tqdm(
            loader,
            desc=f"{self._label} epoch {progress.epoch + 1}/{self.epochs}",
            initial=progress.step,
            total=steps,
            leave=False,
            disable=None,
            unit="batch",
        )
        mark = time.perf_counter()
        for batch in bar:
            share = (progress.epoch * steps + progress.step) / (self.epochs * steps)
            lr = learning_rate(self.config, self.fold, progress.epoch, share)
            last = progress.step + 1 == steps
            terms = self._step(batch, lr, progress, steps)
            progress.step += 1
            self._add(progress.sums, terms)
            now = time.perf_counter()
            progress.seconds += now - mark
            mark = now
            bar.set_postfix(loss=f"{progress.sums['loss'] / progress.step:.3f}")
            if self.stop_asked and not last and progress.step % self.config.accumulate == 0:
                return None
        return lr

    def _step(self, batch: TaskBatch, lr: float, progress: Progress, steps: int) -> LossTerms:
        """Forward, backward, and where the accumulation is full, one move of the optimiser.

        Args:
            steps: batches of this epoch; what remains at its end is a smaller accumulation.
        """
        first = progress.step - progress.step % self.config.accumulate
        end = min(first + self.config.accumulate, steps)
        batch = batch.to(self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        if progress.step == first:
            self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.device, self.dtype):
            output = self.task.forward(self.network, batch)
        terms = self.task.loss(output, batch)
        if not torch.isfinite(terms.total):
            self._refuse(batch, terms, progress)
        self.scaler.scale(terms.total / (end - first)).backward()  # type: ignore[no-untyped-call]  # torch has no types here
        if progress.step + 1 == end:
            if self.config.clip_gradient:
                self.scaler.unscale_(self.optimizer)
                nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_gradient)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.average.update_parameters(self.network)
        return terms

    @staticmethod
    def _add(sums: dict[str, float], terms: LossTerms) -> None:
        values = {"loss": terms.total, **terms.parts}
        for key, value in values.items():
            sums[key] = sums.get(key, 0.0) + float(value.detach())
        for key, count in terms.counts.items():
            sums[f"n_{key}"] = sums.get(f"n_{key}", 0.0) + count

    def _refuse(self, batch: TaskBatch, terms: LossTerms, progress: Progress) -> None:
        path = self.folder / NONFINITE_FILE
        record = {
            "recipe": self.recipe.name,
            "fold": self.fold,
            "epoch": progress.epoch + 1,
            "step": progress.step + 1,
            "study_ids": [s.study_id for s in batch.samples],
            "series_ids": [s.series_id for s in batch.samples],
            "losses": {k: repr(float(v.detach())) for k, v in terms.parts.items()},
        }
        write_text(path, json.dumps(record, indent=1))
        studies = ", ".join(str(s.study_id) for s in batch.samples)
        raise TrainingFailed(
            f"{self._label}: the loss is not finite on studies {studies}; see {path}. "
            "Lower the learning rate, or set --train.amp bf16 or off"
        )

    def _validate(self, number: int, progress: Progress) -> dict[str, float]:
        """Score the averaged weights on the fold; keep the model if it is the best so far."""
        network = self.average.module.eval()
        predictions = self.task.predict_rows(
            network, self.store, self.validation_rows, device=self.device
        )
        scores = self.task.evaluate(self.validation_rows, predictions)
        if scores["score"] < progress.best and np.isfinite(scores["score"]):
            progress.best, progress.best_epoch = scores["score"], number
            meta = ModelMeta(
                recipe=self.recipe,
                fold=self.fold,
                data=self.store.fingerprint,
                scores=scores,
                provenance={
                    "epoch": number,
                    "trained_on": sorted({r.study_id for r in self.training_rows}),
                    **self.task.notes(
                        network, self.store, self.validation_rows, device=self.device
                    ),
                    "prevalence": {t.column: p for t, p in self.store.prevalence().items()},
                },
            )
            save_model(self.folder / MODEL_FOLDER, network, meta)
        if self.hook is not None:
            self.hook(number, self.validation_rows, predictions)
        return scores

    @contextmanager
    def _catch_signals(self) -> Iterator[None]:
        """Let SIGTERM and SIGINT end the run after the batch in work."""

        def ask(number: int, frame: FrameType | None) -> None:
            log.warning("%s: %s; saving", self._label, signal.Signals(number).name)
            self.stop_asked = True

        caught = (signal.SIGTERM, signal.SIGINT)
        before = {s: signal.signal(s, ask) for s in caught}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
