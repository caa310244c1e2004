"""What starting from the starter is worth: the grader trained on few studies, with and without it.

    lumbargrade phantom DATA --studies 150 --seed 811    # usual contrast; the starter saw wide
    lumbargrade prepare DATA --out STORE
    python -m benchmarks.fine_tuning STORE --out RUNS

Fold 0 validates; every run reports its best weighted log loss on it. All runs are resumable.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from lumbargrade.config import Recipe, load_recipe
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.training.initial import STARTER
from lumbargrade.training.loader import epoch_batches
from lumbargrade.training.loop import FoldTrainer


@dataclass(frozen=True)
class Options:
    """Options of the comparison."""

    store: tyro.conf.Positional[Path]
    """store of labelled studies"""
    out: Path = Path("build/fine-tuning")
    """folder of the runs"""
    few: int = 20
    """number of studies with and without the starter"""
    many: int = 100
    """number of studies without it"""
    few_epochs: int = 30
    """epochs of the runs on few studies"""
    many_epochs: int = 12
    """epochs of the run on many studies"""
    only: tuple[str, ...] = ()
    """names of the runs to train: starter, few, many; empty: all"""


def main(options: Options) -> None:
    """Train the runs and print their scores."""
    store = VolumeStore.open(options.store)
    scores = {}
    for name, count, epochs, init in (
        ("starter", options.few, options.few_epochs, STARTER),
        ("few", options.few, options.few_epochs, ""),
        ("many", options.many, options.many_epochs, ""),
    ):
        if not options.only or name in options.only:
            scores[name] = _train(store, options.out / name, count, epochs, init)
            print(name, count, "studies:", round(scores[name], 3), flush=True)
    print(json.dumps(scores))


def _train(store: VolumeStore, folder: Path, count: int, epochs: int, init: str) -> float:
    """Train the grader's recipe on ``count`` studies; return its best validation score."""
    base = load_recipe("starter/grader")
    phase = replace(base.train.phases[0], until=(epochs,), lr=(5e-4 if init else 2e-3,))
    train = replace(base.train, phases=(phase,), validate_every=3)
    recipe: Recipe = replace(base, init=init, train=train)
    trainer = FoldTrainer(recipe, 0, store, folder, "cpu")
    trainer.training_rows = trainer.training_rows[:count]
    trainer.steps = len(epoch_batches(train, len(trainer.training_rows), 0))
    return trainer.run().best


if __name__ == "__main__":
    main(tyro.cli(Options))
