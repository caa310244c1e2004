"""Convert published checkpoints to model folders.

Every parameter of a file must fit the recipe's network in name and shape. Otherwise nothing is
written: the first ten missing, unknown and misshapen parameters are named, and the others counted.
The prefixes `module.` (DataParallel) and `_orig_mod.` (torch.compile) are removed from the names.

With `--recipe team-two-stage` the whole release of the two-stage networks is converted: FILE is the
folder that holds `wkdir_final` and `wkdir_final2`. Files that are missing, left over or do not fit
are named; the exit code is then 1 if a file is missing or does not fit. If interrupted, rerun it to
resume.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import tyro

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """Options of `lumbargrade import-weights`."""

    file: tyro.conf.Positional[Path]
    """checkpoint file (.pth or .pt), or folder of the two-stage release"""
    recipe: str
    """recipe of the checkpoint; `lumbargrade recipes` lists them. A two-stage network of the team:
    `team-two-stage/<network>`; their whole release: `team-two-stage`"""
    out: Path
    """model folder to write; for a whole release the folder of all models"""
    fold: int = -1
    """fold that the model was not trained on, 0 to 4; -1 if not known: `grade` and `submit` can use
    such a model, `validate` cannot. File names of the two-stage release say it"""


def run(options: Options) -> int:
    from lumbargrade.models.published import import_published
    from lumbargrade.team_two_stage.members import RECIPE
    from lumbargrade.team_two_stage.model_files import import_released

    if options.recipe == RECIPE:
        return _import_release(options)
    if options.recipe.startswith(f"{RECIPE}/"):
        network = options.recipe.removeprefix(f"{RECIPE}/")
        released = import_released(options.file, network, options.out, options.fold)
        fold = released.fold
    else:
        meta = import_published(options.file, options.recipe, options.out, options.fold)
        fold = meta.fold
    log.info("%s: model of %s, fold %d", options.out, options.recipe, fold)
    return 0


def _import_release(options: Options) -> int:
    from lumbargrade.domain.errors import NothingDone, UsageError
    from lumbargrade.team_two_stage.release import import_release

    if options.file.is_file():
        raise UsageError(
            f"{options.file} is a file; give --recipe {options.recipe}/<network> to import one "
            "network, or the folder of the release"
        )
    if options.fold != -1:
        raise UsageError("--fold: the file names of the release say the fold; omit it")
    result = import_release(options.file, options.out)
    for line in result.lines():
        log.info("%s", line)
    if not (result.imported or result.kept):
        raise NothingDone(f"{options.file}: no network could be imported")
    return 1 if result.failed or result.missing else 0
