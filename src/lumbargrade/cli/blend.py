"""Fit the weights and calibration of a blend of models, from their out-of-fold predictions.

Each OOF is an oof.csv that `validate` wrote, or its folder; oof.json must lie beside it. It becomes
a member of the blend, named after its folder, or NAME with NAME=OOF. The weights of each condition
minimise the weighted log loss. They are kept only if they beat the best member on studies that they
were not fitted to. A file is refused if it holds predictions by a model that was trained on the
predicted study. `submit --blend` and `grade --blend` use the result.
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
    """out-of-fold files, or result folders of `validate`; NAME=FILE names the member"""
    out: Path = Path("blend.toml")
    """blend file to write"""
    weights: list[str] = field(default_factory=list)
    """use these weights instead of fitting them: one per member for all conditions (0.75 0.25), or
    for one condition (foraminal=0.7,0.3)"""
    json: bool = False
    """also print the results as one JSON object, in the last line, for scripts"""


def run(options: Options) -> int:
    from lumbargrade.domain.errors import UsageError
    from lumbargrade.files.writing import require_writable
    from lumbargrade.grading.blend_file import write_blend
    from lumbargrade.report.blend import BlendResult
    from lumbargrade.report.text import json_line
    from lumbargrade.scoring.blend_weights import fixed_weights
    from lumbargrade.validation.fit_blend import find_member, fit_blend, read_member

    if not options.oof:
        raise UsageError("no out-of-fold file; give at least one")
    found = [find_member(text) for text in options.oof]
    fixed = fixed_weights(options.weights, len(found))
    require_writable(options.out)
    members = [read_member(path, name) for name, path in found]
    for member in members:
        models = len(member.record.models)
        log.info("%s: %d predictions of %d models", member.name, len(member.rows), models)
    fit = fit_blend(members, fixed)
    write_blend(options.out, fit.blend())
    result = BlendResult(options.out, fit)
    print(result.text())
    log.info("wrote the blend %s", options.out)
    if options.json:
        print(json_line(result.as_dict()))
    return 0
