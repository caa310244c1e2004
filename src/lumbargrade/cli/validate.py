"""Out-of-fold predictions, local scores, point errors and the ensemble table.

Every model is judged on the studies of its own fold, which it has not seen; a model that has seen
one is refused. For recipes with published figures these stand beside ours. OUT gets oof.csv (one
row per study, condition and level), oof-points.csv (what a second stage trains on), scores.csv,
points.csv, metrics.csv (kappa, AUROC, calibration, with bootstrap intervals by study) and a page
with pictures and reliability diagrams.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import tyro

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """Options of `lumbargrade validate`."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """model or run folders; every model below them takes part"""
    store: Path
    """volume store the runs were trained on"""
    guides: list[Path] = field(default_factory=list)
    """models that only place points, for models of crops (two_stage, subarticular) to start from"""
    out: Path = Path("validation")
    """folder for the results"""
    flip: bool = True
    """also average with the mirrored volume (only models of sided conditions, and only if flips in
    their training exchanged left and right); oof.csv, oof-points.csv, points.csv and the pictures
    then show the averaged predictions"""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N"""
    pictures: int = 12
    """studies drawn on the page"""
    json: bool = False
    """print one JSON object as the last line"""


def run(options: Options) -> int:
    from lumbargrade.domain.errors import UsageError
    from lumbargrade.files.writing import require_writable
    from lumbargrade.grading.members import find_models
    from lumbargrade.lsdc.store import VolumeStore
    from lumbargrade.models.device import choose_device
    from lumbargrade.report.text import json_line
    from lumbargrade.report.validation import write_validation
    from lumbargrade.validation.out_of_fold import predict_out_of_fold

    if options.pictures < 0:
        raise UsageError(f"--pictures {options.pictures}: give 0 or more")
    store = VolumeStore.open(options.store)
    require_writable(options.out / "oof.csv")
    folds = predict_out_of_fold(
        find_models(options.runs),
        store,
        device=choose_device(options.device),
        flip=options.flip,
        guides=find_models(options.guides),
    )
    result = write_validation(options.out, folds, store, pictures=options.pictures)
    print(result.text())
    log.info("results in %s", options.out)
    if options.json:
        print(json_line(result.as_dict()))
    return 0
