"""Turns a published checkpoint into one of our models.

Every parameter of the file must fit the recipe's network, by name and shape; otherwise nothing is
written, and up to ten parameters of each kind that do not fit are named, with the count of the
others. Prefixes `module.` (DataParallel) and `_orig_mod.` (torch.compile) are removed from the
names.
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
    """the experiment it comes from; see `lumbargrade recipes`"""
    out: Path
    """model folder to write"""
    fold: int = -1
    """the fold it was validated on, 0 to 4; -1 if not known (it can then grade and submit, but
    not be validated)"""


def run(options: Options) -> int:
    """Import one checkpoint."""
    from lumbargrade.models.published import import_published

    meta = import_published(options.file, options.recipe, options.out, options.fold)
    log.info("%s: model of %s, fold %d", options.out, meta.recipe.name, meta.fold)
    return 0
