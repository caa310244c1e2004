"""Convert a published checkpoint to a model folder.

Every parameter of the file must fit the recipe's network in name and shape. Otherwise nothing is
written: the first ten missing, unknown and misshapen parameters are named, and the others counted.
The prefixes `module.` (DataParallel) and `_orig_mod.` (torch.compile) are removed from the names.
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
    """checkpoint file (.pth) with a state_dict"""
    recipe: str
    """recipe of the checkpoint; `lumbargrade recipes` lists them"""
    out: Path
    """model folder to write"""
    fold: int = -1
    """fold that the model was not trained on, 0 to 4; -1 if not known: `grade` and `submit` can use
    such a model, `validate` cannot"""


def run(options: Options) -> int:
    from lumbargrade.models.published import import_published

    meta = import_published(options.file, options.recipe, options.out, options.fold)
    log.info("%s: model of %s, fold %d", options.out, meta.recipe.name, meta.fold)
    return 0
