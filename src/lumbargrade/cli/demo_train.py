"""Train the whole system at small scale on synthetic studies.

The demo makes phantom studies, prepares a store and trains the two-stage system on the folds: one
model places points on the sagittal views, another gives all 25 grades from crops around them. It
then validates the models out of fold, predicts held-out studies, scores the submission against the
prevalence baseline and writes an HTML page with pictures. Each step is one of the other commands
and is printed. If interrupted, rerun it to resume.
"""

from __future__ import annotations

import logging
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lumbargrade.domain.errors import LumbargradeError, UsageError

log = logging.getLogger(__name__)

RECIPES = ("cpu-small/two-stage", "cpu-small/keypoints-t1", "cpu-small/keypoints-t2")

#: Number of the first held-out phantom: far from the training studies of the same seed.
HELD_OUT_FIRST = 100_000


@dataclass(frozen=True)
class Options:
    """Options of `lumbargrade demo-train`."""

    out: Path = Path("demo-train")
    """folder for all results of the demo"""
    studies: int = 200
    """number of phantom studies for training and validation"""
    held_out: int = 40
    """number of phantom studies that are predicted but not used in training"""
    folds: str = "0,1"
    """folds to train, comma-separated"""
    epochs: int = 0
    """epochs per fold; 0 takes the number of the recipes"""
    seed: int = 1
    """random seed of the phantoms"""
    jobs: int = 2
    """number of trainings at the same time, with one thread each"""


def run(options: Options) -> int:
    from lumbargrade.report.demo_train import DemoFolders, write_demo_page

    start = time.perf_counter()
    at = DemoFolders(options.out)
    seed = str(options.seed)
    steps: list[tuple[object, ...]] = [
        ("phantom", at.data, "--studies", options.studies, "--seed", seed),
        (
            *("phantom", at.held_out, "--studies", options.held_out, "--seed", seed),
            *("--split", "test", "--first", HELD_OUT_FIRST),
        ),
        ("prepare", at.data, "--out", at.store),
    ]
    trainings = _trainings(options, at.store, at.runs)
    after: list[tuple[object, ...]] = [
        ("validate", at.runs, "--store", at.store, "--out", at.validation),
        ("submit", at.held_out, "--models", at.runs, "--out", at.submission),
        ("score", at.submission, at.held_out / "solution.csv"),
    ]
    _step(*steps[0])
    _require_studies(at.data, options.folds)
    for step in steps[1:]:
        _step(*step)
    with ThreadPoolExecutor(options.jobs) as pool:
        for waiting in [pool.submit(_step, *training) for training in trainings]:
            waiting.result()
    for step in after:
        _step(*step)
    commands = [_line(*step) for step in (*steps, *trainings, *after)]
    result = write_demo_page(at, commands)
    minutes = (time.perf_counter() - start) / 60
    print(f"\n{result.text()}\n")
    print(f"demo done in {minutes:.1f} min; open {result.page.resolve()}")
    return 0


def _command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "lumbargrade.cli.main", *map(str, arguments)]


def _line(*arguments: object) -> str:
    return shlex.join(["lumbargrade", *map(str, arguments)])


def _step(*arguments: object) -> None:
    """Run one command in its own process.

    Raises:
        LumbargradeError: if it fails; the command has already printed why.
    """
    line = _line(*arguments)
    log.info("\n$ %s", line)
    done = subprocess.run(_command(*arguments))
    if done.returncode > 1 or done.returncode < 0:
        raise LumbargradeError(
            f"`{line}` failed with exit code {done.returncode}; see its message above"
        )


def _require_studies(data: Path, folds: str) -> None:
    """Check that every fold has a study; a small data set may have none in some folds.

    Raises:
        UsageError: if one has none.
    """
    from lumbargrade.lsdc.tables import assign_folds, read_grade_table

    known = sorted(set(map(str, assign_folds(read_grade_table(data / "train.csv")).values())))
    if empty := [fold for fold in folds.split(",") if fold not in known]:
        raise UsageError(
            f"--folds {folds}: the studies in {data} have none in fold {', '.join(empty)}; "
            f"increase --studies, or give --folds {','.join(known[:2])}"
        )


def _trainings(options: Options, store: Path, runs: Path) -> list[tuple[object, ...]]:
    """One training per fold and recipe; the recipe that takes longest comes first."""
    epochs = ("--train.epochs", options.epochs) if options.epochs else ()
    common = ("--store", store, "--out", runs, "--train.threads", 1, "--train.workers", 0)
    return [
        ("train", recipe, *common, "--folds", fold, *epochs)
        for recipe in RECIPES
        for fold in options.folds.split(",")
    ]
