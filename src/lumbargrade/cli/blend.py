"""Blend out-of-fold predictions: weights per condition, calibration, one file for submit and grade.

Each OOF is an oof.csv that `validate` wrote (or its folder), with oof.json beside it; it becomes a
member of the blend, called by its folder's name or as NAME=OOF says. Weights minimise the weighted
log loss; they are kept only where predictions of studies that they were not fitted to are better
than the best member. Files in which a model took part that was trained on the study are refused.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import tyro

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """Options of `lumbargrade blend`."""

    oof: tyro.conf.Positional[tuple[str, ...]]
    """out-of-fold files, or the folders of `validate`; NAME=FILE names a member"""
    out: Path = Path("blend.toml")
    """the blend file"""
    weights: list[str] = field(default_factory=list)
    """fixed weights, one per member (0.75 0.25), or for some conditions (foraminal=0.7,0.3)"""
    json: bool = False
    """print one JSON object as the last line"""


def run(options: Options) -> int:
    from lumbargrade.domain.errors import UsageError
    from lumbargrade.files.writing import require_writable
    from lumbargrade.grading.blend_file import write_blend
    from lumbargrade.report.blend import blend_as_dict, blend_text
    from lumbargrade.report.text import json_line
    from lumbargrade.scoring.blend_weights import fixed_weights
    from lumbargrade.validation.fit_blend import find_member, fit_blend, read_member

    if not options.oof:
        raise UsageError("give at least one out-of-fold file")
    found = [find_member(text) for text in options.oof]
    fixed = fixed_weights(options.weights, len(found))
    require_writable(options.out)
    members = [read_member(path, name) for name, path in found]
    for member in members:
        models = len(member.record.models)
        log.info("%s: %d predictions of %d models", member.name, len(member.rows), models)
    fit = fit_blend(members, fixed)
    write_blend(options.out, fit.blend())
    print(blend_text(fit))
    log.info("blend in %s", options.out)
    if options.json:
        print(json_line(blend_as_dict(fit, str(options.out))))
    return 0
