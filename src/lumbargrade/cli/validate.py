"""Predict studies out of fold; report local scores, point errors and ensembles.

Every model predicts the studies of its own fold, which it was not trained on; a model that was
trained on one of them is refused. If a recipe has published scores, they are shown beside the new
ones. OUT gets oof.csv (a row per study, condition and level), oof-points.csv (points on which a
second stage trains), scores.csv, points.csv, metrics.csv (kappa, AUROC and calibration with
bootstrap intervals over studies) and a page with pictures and reliability diagrams.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from lumbargrade.cli.places import PlaceOption

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """Options of `lumbargrade validate`."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """model or run folders; every model in them takes part"""
    store: PlaceOption
    """volume store that the runs were trained on, or its URL"""
    guides: list[Path] = field(default_factory=list)
    """keypoint models that tell crop models (two_stage, subarticular) where to look"""
    out: Path = Path("validation")
    """folder for the results"""
    flip: bool = True
    """also predict the mirrored volume and average; this applies only to models of sided conditions
    whose training exchanged left and right with flips. oof.csv, oof-points.csv, points.csv and the
    pictures then show the averaged predictions"""
    device: str = "auto"
    """device of the models: auto, cpu, cuda or cuda:N"""
    pictures: int = 12
    """number of studies drawn on the page"""
    json: bool = False
    """also print the results as one JSON object, in the last line, for scripts"""


def run(options: Options) -> int:
    from lumbargrade.domain.errors import UsageError
    from lumbargrade.files.writing import require_writable
    from lumbargrade.grading.members import find_models
    from lumbargrade.lsdc.store import VolumeStore
    from lumbargrade.report.text import json_line
    from lumbargrade.report.validation import write_validation
    from lumbargrade.validation.assessment import assess
    from lumbargrade.validation.out_of_fold import predict_out_of_fold

    if options.pictures < 0:
        raise UsageError(f"--pictures {options.pictures}: give 0 or more")
    store = VolumeStore.open(options.store)
    require_writable(options.out / "oof.csv")
    folds = predict_out_of_fold(
        find_models(options.runs),
        store,
        device=options.device,
        flip=options.flip,
        guides=find_models(options.guides),
    )
    result = write_validation(options.out, assess(folds, store), store, pictures=options.pictures)
    print(result.text())
    log.info("wrote the results to %s", options.out)
    if options.json:
        print(json_line(result.as_dict()))
    return 0
