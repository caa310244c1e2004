"""Train a network of the starter on a stream of phantoms.

On a CPU, a resumed run gives bit-identical weights, for any number of workers.
"""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from lumbargrade.config import StarterRecipe, recipe_to_dict
from lumbargrade.domain.errors import TrainingFailed, UsageError
from lumbargrade.files.tables import write_table
from lumbargrade.files.writing import locked_folder
from lumbargrade.launch.signals import StopSignals
from lumbargrade.models.device import amp_dtype, autocast, choose_device
from lumbargrade.models.starter_weights import (
    StarterMeta,
    build_starter,
    load_starter,
    save_starter,
)
from lumbargrade.networks.starter import AxialOutput, SagittalOutput
from lumbargrade.networks.starter_losses import IGNORED, heat_loss, segment_loss, structure_loss
from lumbargrade.training.learner import Learner
from lumbargrade.training.loop import MODEL_FOLDER
from lumbargrade.training.phantom_items import Items, Phantoms, item_maker, phantom_loader
from lumbargrade.training.records import METRICS_FILE
from lumbargrade.training.schedule import one_cycle
from lumbargrade.training.starter_evaluation import EVALUATION_SEED, evaluate, listed
from lumbargrade.training.state import STATE_FILE, load_state, save_state

log = logging.getLogger(__name__)

#: Number of series per batch of an evaluation.
_EVALUATION_BATCH = 4


@dataclass
class StreamProgress:
    """Progress of a run.

    Attributes:
        step: number of trained steps.
        seconds: wall-clock time of training and evaluation.
        history: rows of metrics.csv.
        evaluated: step of the last evaluation; 0 if there is none.
        evaluation: its figures.
    """

    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    evaluated: int = 0
    evaluation: dict[str, float] = field(default_factory=dict)


class _Window:
    """Sums since the last row of metrics.csv."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.waiting = 0.0
        self.steps = self.slices = 0
        self.losses: dict[str, float] = {}

    def add(self, losses: dict[str, Tensor], slices: int) -> None:
        for name, value in losses.items():
            self.losses[name] = self.losses.get(name, 0.0) + float(value.detach())
        self.steps += 1
        self.slices += slices

    def row(self) -> dict[str, float]:
        seconds = max(time.perf_counter() - self.start, 1e-9)
        row = {name: total / max(self.steps, 1) for name, total in self.losses.items()}
        return row | {"slices_per_second": self.slices / seconds, "waiting": self.waiting / seconds}


class StreamTrainer:
    """Train a network of the starter.

    Args:
        recipe: the recipe.
        phantoms: makes the phantoms.
        folder: the run's folder.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.

    Raises:
        UsageError: if there is no such device, or the seed is that of the evaluation.
        BadModel: if ``recipe.init`` is not a network of the same shape.
    """

    def __init__(
        self, recipe: StarterRecipe, phantoms: Phantoms, folder: Path, device: str = "auto"
    ) -> None:
        self.recipe, self.phantoms, self.folder = recipe, phantoms, folder
        self.config = recipe.train
        if self.config.seed == EVALUATION_SEED:
            raise UsageError(
                f"train.seed {EVALUATION_SEED} is that of the evaluation; use another seed"
            )
        self.device = choose_device(device)
        if self.config.threads and self.device.type == "cpu":
            torch.set_num_threads(self.config.threads)
        torch.manual_seed(self.config.seed)
        network = build_starter(recipe).to(self.device)
        self.learner = Learner(network, self.config, self.device, self._dtype())
        if recipe.init:
            self._start_from(Path(recipe.init))
        self.weights = torch.tensor(recipe.loss.structure_weights, device=self.device)
        self.signals = StopSignals(recipe.name)
        self.held_out: list[Items] = []

    def _dtype(self) -> torch.dtype | None:
        """Return the type of mixed precision; a CPU uses bf16 if the recipe asks for it."""
        if self.device.type == "cpu" and self.config.amp == "bf16":
            return torch.bfloat16
        return amp_dtype(self.config, self.device)

    def _start_from(self, run: Path) -> None:
        network, meta = load_starter(run)
        if (meta.recipe.task, meta.recipe.network) != (self.recipe.task, self.recipe.network):
            raise UsageError(
                f"init {run}: its task or network settings differ from this recipe's; use the same"
            )
        self.learner.restart(network.state_dict())

    def run(self, *, restart: bool = False) -> bool:
        """Train to the end, or until SIGTERM or SIGINT; then save the state and return.

        Args:
            restart: delete an earlier run in the folder and start again.

        Returns:
            Whether training has reached its last step.

        Raises:
            TrainingFailed: if a loss is not finite.
            BadModel: if the folder holds a run with other settings.
            UsageError: if another process is training in the folder.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        busy = (
            f"another process is training in {self.folder}; wait for its end or use another --out"
        )
        with locked_folder(self.folder, busy, patience=10.0):
            if restart:
                self._forget()
            return self._run()

    def _forget(self) -> None:
        for name in (STATE_FILE, METRICS_FILE):
            (self.folder / name).unlink(missing_ok=True)
        if (self.folder / MODEL_FOLDER).is_dir():
            shutil.rmtree(self.folder / MODEL_FOLDER)

    @property
    def _stamp(self) -> str:
        """SHA-256 of all that must not change when a run is resumed."""
        free = {"steps": 1, "log_minutes": 0.0, "save_minutes": 0.0, "evaluate_every": 0}
        free |= {"workers": 0, "threads": 0}
        settings = replace(self.recipe, summary="", train=replace(self.config, **free))  # type: ignore[arg-type]  # keys are str
        text = json.dumps([recipe_to_dict(settings), self.phantoms.STREAM_VERSION])
        return hashlib.sha256(text.encode()).hexdigest()

    def _run(self) -> bool:
        progress = (
            load_state(self.folder, self.learner.parts, self._stamp, StreamProgress)
            or StreamProgress()
        )
        if progress.step:
            log.info("%s: resuming after step %d", self.recipe.name, progress.step)
        with self.signals:
            self._train(progress)
        finished = progress.step >= self.config.steps
        if finished and progress.evaluated != progress.step:
            self._evaluate(progress)  # ``train.steps`` was reduced
            self._record(progress, {})
        self._save(progress)
        return finished

    def _train(self, progress: StreamProgress) -> None:
        """Train until the last step or a stop signal."""
        config = self.config
        window, logged, saved = _Window(), time.perf_counter(), time.perf_counter()
        mark = logged
        bar = tqdm(
            self._batches(progress.step),
            desc=self.recipe.name,
            initial=progress.step,
            total=config.steps,
            disable=None,
            unit="step",
        )
        self.learner.network.train()
        for items in bar:
            arrived = time.perf_counter()
            window.waiting += arrived - mark
            lr = config.lr * one_cycle(progress.step / config.steps)
            losses = self.step(items.to(self.device), lr, progress.step)
            progress.step += 1
            now = time.perf_counter()
            window.add(losses, len(items.images))
            evaluates = self._evaluates(progress.step)
            if evaluates:
                self._evaluate(progress)
            if evaluates or now - logged >= 60 * config.log_minutes:
                self._record(progress, {"lr": lr} | window.row())
                window, logged = _Window(), time.perf_counter()
            now = time.perf_counter()
            progress.seconds += now - mark
            mark = now
            if self.signals.asked:
                break
            if now - saved >= 60 * config.save_minutes:
                self._save(progress)
                saved = now
        bar.close()

    def _evaluates(self, step: int) -> bool:
        every = self.config.evaluate_every
        return step == self.config.steps or (every > 0 and step % every == 0)

    def _batches(self, start: int) -> Iterator[Items]:
        size = self.config.batch_size
        batches = [range(s * size, (s + 1) * size) for s in range(start, self.config.steps)]
        if not batches:
            return iter(())
        make = item_maker(self.recipe.task, self.phantoms, self.config)
        return iter(phantom_loader(make, self.config.seed, batches, self.config.workers))

    def step(self, items: Items, lr: float, step: int) -> dict[str, Tensor]:
        """Run forward and backward and an optimiser step; return the losses."""
        learner = self.learner
        learner.set_rate(lr)
        learner.forget_gradients()
        with autocast(self.device, learner.dtype):
            output: SagittalOutput | AxialOutput = learner.network(items.images)
        losses = self._losses(output, items)
        if not torch.isfinite(losses["loss"]):
            size = self.config.batch_size
            raise TrainingFailed(
                f"{self.recipe.name}: the loss is not finite at step {step + 1} (phantoms "
                f"{step * size} to {(step + 1) * size - 1} of seed {self.config.seed}); use a "
                "lower learning rate, or --train.amp bf16 or off"
            )
        learner.add_gradients(losses["loss"])
        learner.move()
        return losses

    def _losses(self, output: SagittalOutput | AxialOutput, items: Items) -> dict[str, Tensor]:
        config = self.recipe.loss
        truth = items.structures
        losses = {"structures": structure_loss(output.structures, truth.long(), self.weights)}
        losses["points"] = heat_loss(output[-1], items.heat, truth[:, ::2, ::2] != IGNORED)
        total = config.structures * losses["structures"] + config.points * losses["points"]
        if isinstance(output, SagittalOutput) and items.segments is not None:
            losses["segments"] = segment_loss(
                output.segments,
                items.segments.long(),
                config.background_segment,
                config.smoothing,
            )
            total = total + config.segments * losses["segments"]
        return {"loss": total, **losses}

    def _evaluate(self, progress: StreamProgress) -> None:
        """Evaluate the averaged weights on held-out phantoms and save them as a model."""
        if not self.held_out:
            last = self.config.evaluation_series
            batches = [
                range(i, min(i + _EVALUATION_BATCH, last))
                for i in range(0, last, _EVALUATION_BATCH)
            ]
            make = item_maker(self.recipe.task, self.phantoms, None)
            self.held_out = list(
                phantom_loader(make, EVALUATION_SEED, batches, self.config.workers)
            )
        network = self.learner.average.module.eval()
        progress.evaluation = evaluate(
            network, self.recipe.task, (items.to(self.device) for items in self.held_out)
        )
        progress.evaluated = progress.step
        save_starter(self.folder / MODEL_FOLDER, network, self._meta(progress))

    def _meta(self, progress: StreamProgress) -> StarterMeta:
        return StarterMeta(
            self.recipe,
            progress.step,
            round(progress.seconds / 60, 1),
            _name(self.device),
            self.phantoms.STREAM_VERSION,
            progress.evaluation,
        )

    def _record(self, progress: StreamProgress, row: dict[str, Any]) -> None:
        """Write a row of metrics.csv and a line of the log."""
        minutes = progress.seconds / 60
        row = {"step": progress.step, "minutes": minutes, **row}
        text = listed({k: v for k, v in row.items() if k not in ("step", "lr")})
        if progress.evaluated == progress.step:
            row |= {f"val_{name}": value for name, value in progress.evaluation.items()}
            text += " | " + listed(progress.evaluation)
        progress.history.append(row)
        columns = list(dict.fromkeys(key for r in progress.history for key in r))
        rows = ([r.get(c) for c in columns] for r in progress.history)
        write_table(self.folder / METRICS_FILE, columns, rows)
        log.info("%s step %d/%d %s", self.recipe.name, progress.step, self.config.steps, text)

    def _save(self, progress: StreamProgress) -> None:
        save_state(self.folder, progress, self.learner.parts, self._stamp)


def _name(device: torch.device) -> str:
    """Return the name of a processor, for the record of a model."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
