"""Train a network of the starter for a given time on one GPU and all cores.

``python -m benchmarks.starter_gpu --minutes 8 --out RUN`` times the stream of phantoms and a step,
chooses the number of steps that fit into the time, trains with `lumbargrade.training.stream`, and
prints what it measured as JSON. The run in RUN can be resumed, evaluated and exported like any
other.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lumbargrade.config import StarterRecipe, load_any_recipe, require_starter_in_range
from lumbargrade.files.cpus import usable_cpus
from lumbargrade.phantom import stream
from lumbargrade.training.phantom_items import Items, Phantoms, item_maker, phantom_loader
from lumbargrade.training.stream import StreamTrainer

#: Share of the time that is left for the evaluation, the saved states and a slower moment.
RESERVE = 0.1
#: Number of timed steps, after as many untimed ones.
TIMED = 10


@dataclass(frozen=True)
class Pace:
    """What was measured before training.

    Attributes:
        series: series per second that the workers render.
        step: seconds of a training step.
    """

    series: float
    step: float

    def steps(self, seconds: float, batch_size: int) -> int:
        """Return how many steps fit into a time; rendering and training overlap."""
        return max(1, int(seconds / max(batch_size / self.series, self.step)))


def paced(trainer: StreamTrainer, phantoms: Phantoms) -> Pace:
    """Time the stream and a step; the trainer's network is changed."""
    recipe, config = trainer.recipe, trainer.config
    warm = max(1, config.workers) * 2  # batches that the workers prepare ahead
    size = config.batch_size
    batches = [range(i * size, (i + 1) * size) for i in range(warm + TIMED)]
    make = item_maker(recipe.task, phantoms, config)
    items: Items | None = None
    start = 0.0
    for i, batch in enumerate(phantom_loader(make, config.seed, batches, config.workers)):
        items = batch
        if i == warm - 1:
            start = time.perf_counter()
    series = TIMED * size / (time.perf_counter() - start)
    assert items is not None
    for i in range(2 * TIMED):
        if i == TIMED:
            _wait(trainer.device)
            start = time.perf_counter()
        trainer.step(items.to(trainer.device), 1e-4, 0)
    _wait(trainer.device)
    return Pace(series, (time.perf_counter() - start) / TIMED)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main(arguments: Sequence[str] | None = None, phantoms: Phantoms = stream) -> int:
    """Measure, train and print; the exit code is 0 if training reached its last step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="starter/sagittal")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=max(1, usable_cpus() - 1))
    parser.add_argument("--evaluation-series", type=int, default=100)
    parser.add_argument("--device", default="auto")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    begin = time.perf_counter()
    recipe = load_any_recipe(given.recipe)
    assert isinstance(recipe, StarterRecipe)
    settings = replace(
        recipe.train,
        batch_size=given.batch_size,
        workers=given.workers,
        evaluate_every=0,
        evaluation_series=given.evaluation_series,
        slices=3,  # phantoms are scarcer than time on the card
        amp="bf16",
        log_minutes=0.25,
        save_minutes=2.0,
        ema_decay=0.99,
    )
    recipe = replace(recipe, train=settings)
    require_starter_in_range(recipe)
    pace = paced(StreamTrainer(recipe, phantoms, given.out, given.device), phantoms)
    left = 60 * given.minutes - (time.perf_counter() - begin)
    steps = pace.steps(left * (1 - RESERVE), given.batch_size)
    recipe = replace(recipe, train=replace(settings, steps=steps))
    trainer = StreamTrainer(recipe, phantoms, given.out, given.device)
    finished = trainer.run()
    print(
        json.dumps(
            {
                "recipe": recipe.name,
                "workers": given.workers,
                "series_per_second": round(pace.series, 1),
                "step_seconds": round(pace.step, 4),
                "steps": steps,
                "minutes": round((time.perf_counter() - begin) / 60, 2),
                "finished": finished,
            }
        )
    )
    return 0 if finished else 1


if __name__ == "__main__":
    sys.exit(main())
