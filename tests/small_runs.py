"""Training runs that take a second: noise studies, a small network, a few epochs."""

from __future__ import annotations

import csv
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lumbargrade.config import (
    DataConfig,
    EncoderConfig,
    NetworkConfig,
    Phase,
    Recipe,
    TrainConfig,
)
from lumbargrade.inference.model_folder import read_meta
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.models.checkpoint import load_model
from lumbargrade.training.loop import EpochHook, FoldResult, FoldTrainer
from lumbargrade.training.state import STATE_FILE

#: A fold of the small store: six studies train, four validate.
FOLD = 4

#: What the fixture `scripted` takes: the scores of validations, one after another.
Scripted = Callable[[list[float]], None]

#: What the fixture `whole` is: a recipe to the folder of its run that nobody interrupted.
Whole = Callable[[Recipe], Path]


def small_recipe(task: str, **train: Any) -> Recipe:
    """Three epochs of three batches of two."""
    settings = {
        "phases": (Phase((1e-3,), (3,)),),
        "schedule": "one_cycle",
        "batch_size": 2,
        "workers": 0,
        "threads": 1,
        "ema_decay": 0.8,
    } | train
    return Recipe(
        name=f"small/{task}",
        task=task,  # type: ignore[arg-type]
        encoder=EncoderConfig("lcnet_050", pretrained=False, stages=3),
        network=NetworkConfig(
            "3d" if task == "foraminal" else "2d", (16, 8), (1, 1), features=8, hidden=8
        ),
        data=DataConfig(64),
        train=TrainConfig(**settings),
    )


def small_trainer(
    recipe: Recipe, store: VolumeStore, folder: Path, hook: EpochHook | None = None
) -> FoldTrainer:
    return FoldTrainer(recipe, FOLD, store, folder, "cpu", hook)


def train(
    recipe: Recipe,
    store: VolumeStore,
    folder: Path,
    *,
    before_batch: Callable[[FoldTrainer, int], None] | None = None,
    hook: EpochHook | None = None,
    restart: bool = False,
) -> FoldResult:
    """One run of a trainer of its own; each batch draws a random number, as dropout would.

    Args:
        before_batch: called with the trainer and the number of the batch in this run, from 1.
    """
    trainer = small_trainer(recipe, store, folder, hook)
    loss, seen = trainer.task.loss, 0

    def counted(output: Any, batch: Any) -> Any:
        nonlocal seen
        seen += 1
        torch.rand(1)
        if before_batch is not None:
            before_batch(trainer, seen)
        return loss(output, batch)

    trainer.task.loss = counted  # type: ignore[method-assign]
    return trainer.run(restart=restart)


def state_of(folder: Path) -> dict[str, Any]:
    """The saved state of a run."""
    state: dict[str, Any] = torch.load(folder / STATE_FILE, weights_only=True)
    return state


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a state by its path: weights, average, moments, random state."""
    found: dict[str, torch.Tensor] = {}

    def collect(path: str, value: Any) -> None:
        if isinstance(value, torch.Tensor):
            found[path] = value
        elif isinstance(value, dict):
            for key, part in value.items():
                collect(f"{path}/{key}", part)

    collect("", state_of(folder))
    return found


def metrics_of(folder: Path) -> list[dict[str, str]]:
    """Rows of metrics.csv without the only column that a clock writes."""
    with (folder / "metrics.csv").open(newline="") as lines:
        return [{k: v for k, v in r.items() if k != "seconds"} for r in csv.DictReader(lines)]


def assert_same_run(one: Path, other: Path) -> None:
    """Weights, averaged weights, moments, random state, metrics and best model to the bit."""
    ours, theirs = tensors_of(one), tensors_of(other)
    assert ours.keys() == theirs.keys()
    assert {"/rng", "/parts/average/n_averaged"} < ours.keys()
    different = [name for name in ours if not torch.equal(ours[name], theirs[name])]
    assert not different
    assert metrics_of(one) == metrics_of(other)
    assert read_meta(one / "model") == read_meta(other / "model")
    best, same = load_model(one / "model").state_dict(), load_model(other / "model").state_dict()
    assert all(torch.equal(best[name], same[name]) for name in best)


def stop_now() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def stop_at_every_batch(trainer: FoldTrainer, batch: int) -> None:
    """For ``before_batch`` of `train`."""
    stop_now()
