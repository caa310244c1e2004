"""The whole system at small scale on synthetic studies.

Makes phantom studies, prepares a store, trains a canal and a foraminal network over folds,
validates them out of fold, predicts held-out studies, scores the submission against the
prevalence baseline and writes an HTML page with pictures. Each step is one of the other commands,
printed as it runs. A demo that was interrupted goes on where it stopped.
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

from lumbargrade.domain.errors import LumbargradeError

log = logging.getLogger(__name__)

RECIPES = ("cpu-small/foraminal", "cpu-small/canal")

#: Held-out phantoms are numbered from here, far from the training studies of the same seed.
HELD_OUT_FIRST = 100_000


@dataclass(frozen=True)
class Options:
    """Options of `lumbargrade demo`."""

    out: Path = Path("demo")
    """folder for everything the demo makes"""
    studies: int = 120
    """phantom studies to train and validate on"""
    held_out: int = 40
    """phantom studies that only the finished models see"""
    folds: str = "0,1"
    """folds to train"""
    epochs: int = 0
    """epochs per fold; 0 leaves it to the recipes"""
    seed: int = 1
    """seed of the phantoms"""
    jobs: int = 2
    """trainings at the same time, one thread each"""


def run(options: Options) -> int:
    from lumbargrade.outputs.demo import write_demo_page

    start = time.perf_counter()
    out = options.out
    data, held_out, store, runs = (out / n for n in ("data", "held-out", "store", "runs"))
    seed = str(options.seed)
    _step("phantom", data, "--studies", options.studies, "--seed", seed)
    _step(
        *("phantom", held_out, "--studies", options.held_out, "--seed", seed),
        *("--split", "test", "--first", HELD_OUT_FIRST),
    )
    _step("prepare", data, "--out", store)
    _train(options, store, runs)
    _step("validate", runs, "--store", store, "--out", out / "validation")
    submission = out / "submission.csv"
    _step("submit", held_out, "--models", runs, "--out", submission)
    _step("score", submission, held_out / "solution.csv")
    page = write_demo_page(out, data / "train.csv", held_out, runs)
    minutes = (time.perf_counter() - start) / 60
    log.info("demo done in %.1f min; open %s", minutes, page.resolve())
    return 0


def _command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "lumbargrade.cli.main", *map(str, arguments)]


def _step(*arguments: object) -> None:
    """Run one command in a process of its own.

    Raises:
        LumbargradeError: if it fails; what it said stands above.
    """
    line = shlex.join(["lumbargrade", *map(str, arguments)])
    log.info("\n$ %s", line)
    done = subprocess.run(_command(*arguments))
    if done.returncode > 1 or done.returncode < 0:
        raise LumbargradeError(f"`{line}` failed with exit code {done.returncode}")


def _train(options: Options, store: Path, runs: Path) -> None:
    """Train every fold of both recipes, the longer ones first, `jobs` at a time."""
    epochs = ("--train.epochs", options.epochs) if options.epochs else ()
    common = ("--store", store, "--out", runs, "--train.threads", 1, "--train.workers", 0)
    work = [
        ("train", recipe, *common, "--folds", fold, *epochs)
        for recipe in RECIPES
        for fold in options.folds.split(",")
    ]
    with ThreadPoolExecutor(options.jobs) as pool:
        for waiting in [pool.submit(_step, *arguments) for arguments in work]:
            waiting.result()
