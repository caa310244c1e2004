"""Train a recipe on one or more folds.

Every key of the recipe can be changed, for example `--train.epochs 3 --data.size 256`. If
interrupted, rerun the same command to resume. The folder of each fold gets the best model,
metrics.csv, curves.png, TensorBoard events and, for every epoch, pictures of a few validation
slices. Models of the epochs in `--train.keep` are saved in kept-epochs/; `validate` and `submit`
use such a model only if its folder is given.

The recipes starter/sagittal and starter/axial learn from an endless stream of phantoms; they need
no store and have no folds, and the run is written to OUT itself.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

import tyro

from lumbargrade.config import (
    AugmentConfig,
    CropConfig,
    DataConfig,
    EncoderConfig,
    LossConfig,
    NetworkConfig,
    Recipe,
    StarterLossConfig,
    StarterNetworkConfig,
    StarterRecipe,
    StreamConfig,
    TrainConfig,
    load_any_recipe,
    load_recipe,
    recipe_names,
    require_in_range,
    require_starter_in_range,
    starter_recipe_names,
)
from lumbargrade.domain.errors import TrainingFailed, UsageError

log = logging.getLogger(__name__)

_SECTIONS = ("encoder", "network", "data", "crop", "augment", "loss", "train")


@dataclass(frozen=True)
class Options:
    """Options of `lumbargrade train`; the sections default to the values of the recipe."""

    recipe: tyro.conf.Positional[str]
    """name of a recipe (`lumbargrade recipes` lists them) or a TOML file"""
    store: Path
    """volume store made by `lumbargrade prepare`"""
    out: Path = Path("runs")
    """folder of runs; the run is written to OUT/NAME/foldN"""
    name: str = ""
    """name of the run; the name of the recipe if not given"""
    folds: str = "0,1,2,3,4"
    """folds to train, comma-separated"""
    jobs: int = 1
    """number of folds trained at the same time, each in its own process"""
    device: str = "auto"
    """device to train on: auto, cpu, cuda or cuda:N"""
    restart: bool = False
    """delete the earlier run in the folder and train from the start, instead of resuming it"""
    pictures: int = 4
    """number of validation series drawn per epoch"""
    mean_shape: str = ""
    """same as --data.mean-shape"""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    data: DataConfig = field(default_factory=DataConfig)
    crop: CropConfig = field(default_factory=CropConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    settings_of: tyro.conf.Suppress[str] = ""
    """recipe from which the defaults of the sections were taken"""


@dataclass(frozen=True)
class StarterOptions:
    """Options of `lumbargrade train` for a recipe of the starter."""

    recipe: tyro.conf.Positional[str]
    """name of a recipe (`lumbargrade recipes` lists them) or a TOML file"""
    out: Path
    """folder of the run"""
    device: str = "auto"
    """device to train on: auto, cpu, cuda or cuda:N"""
    restart: bool = False
    """delete the earlier run in the folder and train from the start, instead of resuming it"""
    init: str = ""
    """folder of an earlier run whose weights training starts from"""
    network: StarterNetworkConfig = field(default_factory=StarterNetworkConfig)
    loss: StarterLossConfig = field(default_factory=StarterLossConfig)
    train: StreamConfig = field(default_factory=StreamConfig)
    settings_of: tyro.conf.Suppress[str] = ""
    """recipe from which the defaults of the sections were taken"""


def defaults(arguments: Sequence[str]) -> Options | StarterOptions | None:
    """Options with the values of the given recipe, so that `--help` shows them.

    The recipe may be any argument; an unknown name counts as a recipe only in the first place.
    """
    known = (*recipe_names(), *starter_recipe_names())
    names = [a for a in arguments[:1] if not a.startswith("-")]
    names += [a for a in arguments if a in known or (a.endswith(".toml") and Path(a).is_file())]
    if not names:
        return None
    recipe = load_any_recipe(names[0])
    if isinstance(recipe, StarterRecipe):
        return StarterOptions(
            names[0],
            tyro.MISSING,
            init=recipe.init,
            network=recipe.network,
            loss=recipe.loss,
            train=recipe.train,
            settings_of=names[0],
        )
    sections = {s: getattr(recipe, s) for s in _SECTIONS}
    return Options(recipe=names[0], store=tyro.MISSING, settings_of=names[0], **sections)


def parse_folds(text: str) -> list[int]:
    """Fold numbers from ``0,1``.

    Raises:
        UsageError: for anything that is not a list of numbers 0 to 4.
    """
    try:
        folds = [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--folds {text!r}: give fold numbers such as 0,1,2") from None
    if not folds or any(not 0 <= f < 5 for f in folds) or len(set(folds)) != len(folds):
        raise UsageError(f"--folds {text!r}: give folds from 0 to 4, each once")
    return folds


def run(options: Options | StarterOptions) -> int:
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

    recipe = load_recipe(options.recipe)
    short, long = options.mean_shape, options.data.mean_shape
    if short and long not in (recipe.data.mean_shape, short):
        raise UsageError(f"--mean-shape {short} and --data.mean-shape {long}: give one of them")
    recipe = replace(recipe, **{s: getattr(options, s) for s in _SECTIONS})
    recipe = replace(recipe, data=replace(recipe.data, mean_shape=short or long))
    recipe = replace(recipe, name=options.name or recipe.name)
    require_in_range(recipe)
    if options.jobs < 1:
        raise UsageError(f"--jobs {options.jobs}: give 1 or more")
    if options.pictures < 0:
        raise UsageError(f"--pictures {options.pictures}: give 0 or more")
    folds = parse_folds(options.folds)
    for fold in folds:
        # Contradictory settings are reported before any fold is trained.
        plan_of(recipe.train, fold)
    if options.jobs > 1 and len(folds) > 1:
        finished = _fan_out(options, recipe, folds)
    else:
        finished = _one_by_one(options, recipe, folds)
    return 0 if finished else 1


def _one_by_one(options: Options, recipe: Recipe, folds: Sequence[int]) -> bool:
    """Train folds in this process; a signal stops the current fold and those after it."""
    return all(_train_fold(options, recipe, fold) for fold in folds)


def _train_fold(options: Options, recipe: Recipe, fold: int) -> bool:
    from lumbargrade.lsdc.store import VolumeStore
    from lumbargrade.report.drawing import EpochPictures
    from lumbargrade.report.plots import draw_curves
    from lumbargrade.training.loop import FoldTrainer
    from lumbargrade.training.records import METRICS_FILE

    store = VolumeStore.open(options.store)
    folder = options.out / recipe.name / f"fold{fold}"
    hook = EpochPictures(store, folder, options.pictures) if options.pictures else None
    trainer = FoldTrainer(recipe, fold, store, folder, options.device, hook)
    result = trainer.run(restart=options.restart)
    if (folder / METRICS_FILE).exists():
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
    asked = False

    def pass_on(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        if sys.platform == "win32":
            return  # Ctrl-C has already reached the children; `terminate` would kill them
        for child in multiprocessing.active_children():
            child.terminate()

    before = {s: signal.signal(s, pass_on) for s in (signal.SIGTERM, signal.SIGINT)}
    context = multiprocessing.get_context("spawn")
    waiting, finished = list(folds), []
    running: set[Future[bool]] = set()
    try:
        with ProcessPoolExecutor(options.jobs, context, max_tasks_per_child=1) as pool:
            while running or (waiting and not asked):
                while waiting and not asked and len(running) < options.jobs:
                    running.add(pool.submit(_train_in_child, options, recipe, waiting.pop(0)))
                done, running = wait(running, return_when=FIRST_COMPLETED)
                finished += [future.result() for future in done]
    except BrokenProcessPool:
        if not asked:  # otherwise a signal stopped the process before it had started
            raise TrainingFailed(
                "a training process died (possibly out of memory); see its last lines above and "
                "rerun to resume, with fewer --jobs if memory is short"
            ) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return len(finished) == len(folds) and all(finished)


def _train_in_child(options: Options, recipe: Recipe, fold: int) -> bool:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    return _train_fold(options, recipe, fold)
