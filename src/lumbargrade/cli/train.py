"""Train a recipe on one or more folds.

Every key of the recipe can be changed, for example `--train.epochs 3 --data.size 256`. If
interrupted, rerun the same command to resume. The folder of each fold gets the best model,
metrics.csv, curves.png, TensorBoard events and, for every epoch, pictures of a few validation
slices. Models of the epochs in `--train.keep` are saved in kept-epochs/; `validate` and `submit`
use such a model only if its folder is given.

`--recipes R1 R2 ... --folds all` trains a table of recipes and folds, one job each, on this
machine, on a Ray cluster or as a Slurm array (`--launcher`); `--status` shows how far they are.
`lumbargrade train --recipes --help` lists the options of such a table.

The recipes starter/sagittal and starter/axial learn from an endless stream of phantoms; they need
no store and have no folds, and the run is written to OUT itself.
"""

from __future__ import annotations

import logging
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

from lumbargrade.cli.train_options import (
    AnyOptions,
    Options,
    StarterOptions,
    StatusOptions,
    TableOptions,
    defaults,
    parse_folds,
    recipe_of,
    run_folder,
)
from lumbargrade.config import (
    Recipe,
    StarterRecipe,
    load_any_recipe,
    require_starter_in_range,
)
from lumbargrade.domain.errors import TrainingFailed, UsageError
from lumbargrade.launch.ranks import is_rank, run_ranks
from lumbargrade.launch.run_status import failure_reported
from lumbargrade.launch.signals import StopSignals, ask_to_stop, leave_with_launcher

__all__ = ["Options", "defaults", "run"]

log = logging.getLogger(__name__)

#: Seconds between two looks at the signals while folds are trained in other processes.
_INTERVAL = 0.5


def run(options: AnyOptions) -> int:
    leave_with_launcher()
    if isinstance(options, StatusOptions | TableOptions):
        from lumbargrade.cli import train_table

        if isinstance(options, StatusOptions):
            return train_table.show(options)
        return train_table.run(options)
    if options.settings_of != options.recipe:
        load_any_recipe(options.recipe)  # an unknown name is reported first
        raise UsageError(
            f"recipe {options.recipe}: give the recipe first: "
            f"lumbargrade train {options.recipe} ..."
        )
    if isinstance(options, StarterOptions):
        return _train_starter(options)
    return _train_folds(options)


def _train_starter(options: StarterOptions) -> int:
    recipe = load_any_recipe(options.recipe)
    assert isinstance(recipe, StarterRecipe)
    recipe = replace(
        recipe,
        init=options.init,
        network=options.network,
        loss=options.loss,
        train=options.train,
    )
    require_starter_in_range(recipe)

    from lumbargrade.phantom import stream
    from lumbargrade.training.starter_files import export_run
    from lumbargrade.training.stream import StreamTrainer

    finished = StreamTrainer(recipe, stream, options.out, options.device).run(
        restart=options.restart
    )
    again = "the same command" + (" without --restart" if options.restart else "")
    state = "finished" if finished else f"stopped; {again} resumes it"
    log.info("%s %s (%s)", recipe.name, state, options.out)
    if not finished:
        return 1
    exported = export_run(options.out, options.out, stream)
    log.info(
        "%s: %.1f MB, probabilities within %.2g of torch's",
        exported.path,
        exported.path.stat().st_size / 1e6,
        exported.deviation,
    )
    return 0


def _train_folds(options: Options) -> int:
    from lumbargrade.training.schedule import plan_of

    recipe = recipe_of(options)
    folds = parse_folds(options.folds)
    for fold in folds:
        # Contradictory settings are reported before any fold is trained.
        plan_of(recipe.train, fold)
    if options.processes > 1 and not is_rank():
        if options.jobs > 1:
            raise UsageError("--jobs and --processes: use one of them, or --recipes with both")
        if options.processes > recipe.train.batch_size:
            raise UsageError(
                f"--processes {options.processes} with --train.batch-size "
                f"{recipe.train.batch_size}: each process needs an item of every batch; use fewer "
                "processes, or a larger batch"
            )
        command = [sys.executable, "-m", "lumbargrade", "train", *options.given]
        return run_ranks(command, options.processes)
    if options.jobs > 1 and len(folds) > 1:
        finished = _fan_out(options, recipe, folds)
    else:
        finished = _one_by_one(options, recipe, folds)
    return 0 if finished else 1


def _one_by_one(options: Options, recipe: Recipe, folds: Sequence[int]) -> bool:
    """Train folds in this process; a signal stops the current fold and those after it."""
    from lumbargrade.networks import joint
    from lumbargrade.training.processes import joined

    with joined(options.device) as device:
        if joint.rank():
            logging.getLogger().setLevel(logging.WARNING)
        return all(_train_fold(replace(options, device=device), recipe, fold) for fold in folds)


def _train_fold(options: Options, recipe: Recipe, fold: int) -> bool:
    from lumbargrade.lsdc.store import VolumeStore
    from lumbargrade.networks import joint
    from lumbargrade.report.drawing import EpochPictures
    from lumbargrade.report.plots import draw_curves
    from lumbargrade.training.loop import FoldTrainer
    from lumbargrade.training.records import METRICS_FILE

    folder = run_folder(options.out, recipe, fold)
    with failure_reported(folder):
        store = VolumeStore.open(options.store)
        hook = EpochPictures(store, folder, options.pictures) if options.pictures else None
        trainer = FoldTrainer(recipe, fold, store, folder, options.device, hook)
        result = trainer.run(restart=options.restart)
    if (folder / METRICS_FILE).exists() and joint.rank() == 0:
        draw_curves(folder / METRICS_FILE, folder / "curves.png", title=f"{recipe.name} {fold}")
    again = "the same command" + (" without --restart" if options.restart else "")
    state = "finished" if result.finished else f"stopped; {again} resumes it"
    phase = f" of phase {result.best_phase}" if result.best_phase else ""
    best = f"best {result.best:.4f} at epoch {result.best_epoch}{phase}"
    best = best if result.best_epoch else "-"
    log.info("%s fold %d %s: %s (%s)", recipe.name, fold, state, best, folder)
    return result.finished


def _fan_out(options: Options, recipe: Recipe, folds: Sequence[int]) -> bool:
    """Train each fold in its own process, `jobs` at a time.

    SIGTERM and SIGINT are passed on to all processes; no fold is started after them.
    """
    context = multiprocessing.get_context("spawn")
    waiting, finished = list(folds), []
    running: set[Future[bool]] = set()
    told = False
    with StopSignals("all folds") as signals:
        try:
            with ProcessPoolExecutor(options.jobs, context, max_tasks_per_child=1) as pool:
                while running or (waiting and not signals.asked):
                    while waiting and not signals.asked and len(running) < options.jobs:
                        running.add(pool.submit(_train_in_child, options, recipe, waiting.pop(0)))
                    if signals.asked and not told:
                        told = True
                        ask_to_stop(multiprocessing.active_children())
                    done, running = wait(running, _INTERVAL, FIRST_COMPLETED)
                    finished += [future.result() for future in done]
        except BrokenProcessPool:
            if not signals.asked:  # otherwise a signal stopped the process before it had started
                raise TrainingFailed(
                    "a training process died (possibly out of memory); see its last lines above "
                    "and rerun to resume, with fewer --jobs if memory is short"
                ) from None
    return len(finished) == len(folds) and all(finished)


def _train_in_child(options: Options, recipe: Recipe, fold: int) -> bool:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    return _train_fold(options, recipe, fold)
