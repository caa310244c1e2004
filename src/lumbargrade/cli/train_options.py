"""Options of `lumbargrade train`: one recipe, one of the starter, or a table of jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import tyro

from lumbargrade.cli.places import PlaceOption
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
    starter_recipe_names,
)
from lumbargrade.domain.errors import UsageError

_SECTIONS = ("encoder", "network", "data", "crop", "augment", "loss", "train")


@dataclass(frozen=True, kw_only=True)
class _RunOptions:
    """Options of every run; the sections default to the values of the (first) recipe."""

    store: PlaceOption
    """volume store made by `lumbargrade prepare`, or its URL"""
    out: Path = Path("runs")
    """folder of runs; a run is written to OUT/NAME/foldN"""
    folds: str = "0,1,2,3,4"
    """folds to train, comma-separated, or `all`"""
    jobs: int = 1
    """number of jobs (folds) trained at the same time on this machine; slurm: at most so many at a
    time, 1: no limit"""
    processes: int = 1
    """number of processes that share every batch of a training on this machine (DDP), each on a GPU
    of its own; torchrun does the same over several machines"""
    device: str = "auto"
    """device to train on: auto, cpu, cuda or cuda:N"""
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
    given: tyro.conf.Suppress[tuple[str, ...]] = ()
    """the command line"""


@dataclass(frozen=True, kw_only=True)
class Options(_RunOptions):
    """Options of `lumbargrade train` for one recipe."""

    recipe: tyro.conf.Positional[str]
    """name of a recipe (`lumbargrade recipes` lists them) or a TOML file"""
    name: str = ""
    """name of the run; the name of the recipe if not given"""
    restart: bool = False
    """delete the earlier run in the folder and train from the start, instead of resuming it"""
    settings_of: tyro.conf.Suppress[str] = ""
    """recipe from which the defaults of the sections were taken"""


@dataclass(frozen=True, kw_only=True)
class TableOptions(_RunOptions):
    """Options of `lumbargrade train --recipes`, which trains every fold of several recipes."""

    recipes: tuple[str, ...]
    """names of recipes or TOML files; every fold of each is a job of its own. All other options
    hold for every job"""
    launcher: Literal["local", "ray", "slurm"] = "local"
    """where jobs run: local: on this machine, `--jobs` at a time; ray: on a Ray cluster whose nodes
    share the folders; slurm: as a job array, which this command only submits"""
    retries: int = 2
    """how often a job whose process or node was lost is started again; it resumes from its last
    saved state"""
    gpus: int = -1
    """GPUs of a job; -1: 1 on Ray and Slurm. If given, each job on this machine sees GPUs of
    its own"""
    cpus: int = 0
    """CPU cores of a job; 0: as many as its recipe has loading processes (train.workers), and 1"""
    memory: str = ""
    """memory of a job, such as 16GB or 16GiB"""
    ray_address: str = ""
    """Ray cluster as host:port, or `auto` on a machine of the cluster; default: that of the
    environment variable RAY_ADDRESS, else Ray is started on this machine alone"""
    slurm_time: str = "24:00:00"
    """slurm: time limit of a job; before it ends, the job saves its state, and is queued again"""
    slurm_options: tuple[str, ...] = ()
    """slurm: further options of sbatch, such as partition=gpu account=spine"""
    slurm_setup: str = ""
    """slurm: shell command to run before each job, such as 'module load cuda'"""
    dry_run: bool = False
    """list the jobs, and show the script for slurm, without starting anything"""
    json: bool = False
    """print the table of jobs as one line of JSON at the end"""


@dataclass(frozen=True, kw_only=True)
class StatusOptions:
    """Options of `lumbargrade train --status`."""

    status: bool
    """show how far the jobs of OUT are"""
    out: Path = Path("runs")
    """folder of runs"""
    json: bool = False
    """print the table as one line of JSON"""


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


AnyOptions = Options | StarterOptions | TableOptions | StatusOptions


def defaults(arguments: Sequence[str]) -> AnyOptions | None:
    """Options with the values of the given recipe, so that `--help` shows them.

    The recipe may be any argument; an unknown name counts as a recipe only in the first place.
    """
    if "--status" in arguments:
        return StatusOptions(status=True)
    known = (*recipe_names(), *starter_recipe_names())
    names = [a for a in arguments[:1] if not a.startswith("-")]
    names += [a for a in arguments if a in known or (a.endswith(".toml") and Path(a).is_file())]
    if any(a.partition("=")[0] == "--recipes" for a in arguments):
        sections = _sections(load_recipe(names[0])) if names else {}
        return TableOptions(
            store=tyro.MISSING, recipes=tyro.MISSING, given=tuple(arguments), **sections
        )
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
    return Options(
        recipe=names[0],
        store=tyro.MISSING,
        settings_of=names[0],
        given=tuple(arguments),
        **_sections(recipe),
    )


def _sections(recipe: Recipe) -> dict[str, Any]:
    return {s: getattr(recipe, s) for s in _SECTIONS}


def passed_on(options: TableOptions) -> list[str]:
    """The given arguments that each job gets too: all but those that only the launcher reads."""
    run = {f.name for f in fields(_RunOptions)}
    own = {f.name for f in fields(TableOptions)} - run | {"folds", "jobs"}
    kept, keep = [], True
    for argument in options.given:
        if argument.startswith("--"):
            keep = argument[2:].partition("=")[0].replace("-", "_") not in own
        if keep:
            kept.append(argument)
    return kept


def recipe_of(options: Options) -> Recipe:
    """The recipe with the settings of the options.

    Raises:
        UsageError: if a setting is out of range, or two contradict each other.
    """
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
    if options.processes < 1:
        raise UsageError(f"--processes {options.processes}: give 1 or more")
    return recipe


def run_folder(out: Path, recipe: Recipe, fold: int) -> Path:
    """The folder of a run."""
    return out / recipe.name / f"fold{fold}"


def parse_folds(text: str) -> list[int]:
    """Fold numbers from ``0,1`` or ``all``.

    Raises:
        UsageError: for anything that is not a list of numbers 0 to 4.
    """
    if text == "all":
        return [0, 1, 2, 3, 4]
    try:
        folds = [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--folds {text!r}: give fold numbers such as 0,1,2") from None
    if not folds or any(not 0 <= f < 5 for f in folds) or len(set(folds)) != len(folds):
        raise UsageError(f"--folds {text!r}: give folds from 0 to 4, each once")
    return folds
