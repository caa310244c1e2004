"""Write a model to a file that other programs read.

`--to pth` writes a checkpoint with the parameter names of the published system, for its code or
for `lumbargrade import-weights`. This works only for one-stage foraminal and canal models with the
structure of a published network. The file holds weights but no settings: settings that change how
the network's output is read are logged if they differ from the published ones.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """Options of `lumbargrade export`."""

    model: tyro.conf.Positional[Path]
    """folder of the model to export"""
    out: Path
    """file to write"""
    to: Literal["pth"] = "pth"
    """kind of file; pth: a checkpoint as the published system's code saves it"""


def run(options: Options) -> int:
    from lumbargrade.models.checkpoint import read_meta
    from lumbargrade.models.published import export_published, unsaved_settings

    published = export_published(options.model, options.out)
    meta = read_meta(options.model)
    log.info("%s: weights of %s, fold %d", options.out, meta.recipe.name, meta.fold)
    log.info("to read it, use import-weights --recipe %s --fold %d", published.name, meta.fold)
    for setting in unsaved_settings(meta.recipe, published):
        log.warning(
            "this setting is not stored in the file and differs from that of %s: %s",
            published.name,
            setting,
        )
    return 0
