"""Predict studies out of fold; report local scores, point errors and ensembles.

Every model predicts the studies of its own fold, which it was not trained on; a model that was
trained on one of them is refused. If a recipe has published scores, they are shown beside the new
ones. OUT gets oof.csv (a row per study, condition and level), oof-points.csv (points on which a
second stage trains), scores.csv, points.csv, metrics.csv (kappa, AUROC and calibration with
bootstrap intervals over studies) and a page with pictures and reliability diagrams.

Released two-stage networks read DICOM files instead of a store: give --data and, for set 8620,
--folds. Every study is predicted by the grading networks of its fold. OUT then gets oof.csv and
scores.csv.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

from lumbargrade.cli.places import PlaceOption

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """Options of `lumbargrade validate`."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """model or run folders; every model in them takes part"""
    store: PlaceOption | None = None
    """volume store that the runs were trained on, or its URL"""
    data: Path | None = None
    """only for released two-stage networks: folder in the LSDC layout, with the training images"""
    folds: Path | None = None
    """only for released two-stage networks of set 8620: folds_t2s_each.csv of the published code"""
    two_stage_set: Literal["8620", "666"] = "8620"
    """which set of the released two-stage networks"""
    networks: list[str] = field(default_factory=list)
    """of the released two-stage networks, validate only these: groups (fused, t1, t2, axial) or
    names of networks"""
    as_published: list[str] = field(default_factory=list)
    """faults of the published two-stage code to reproduce, or all"""
    logits: Path | None = None
    """folder that keeps what each released two-stage network says of each study, to resume"""
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
    from lumbargrade.grading.two_stage import split
    from lumbargrade.lsdc.store import VolumeStore
    from lumbargrade.report.text import json_line
    from lumbargrade.report.validation import write_validation
    from lumbargrade.validation.assessment import assess
    from lumbargrade.validation.out_of_fold import predict_out_of_fold

    if options.pictures < 0:
        raise UsageError(f"--pictures {options.pictures}: give 0 or more")
    released, others = split(find_models(options.runs))
    if released:
        if others:
            raise UsageError(f"{others[0]} is no released two-stage network; validate it alone")
        return _validate_released(options, released)
    if options.store is None or options.data is not None or options.folds is not None:
        raise UsageError(
            "give --store, the store that the runs were trained on; --data and --folds are for "
            "released two-stage networks"
        )
    store = VolumeStore.open(options.store)
    require_writable(options.out / "oof.csv")
    folds = predict_out_of_fold(
        others,
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


def _validate_released(options: Options, released: list[Path]) -> int:
    from lumbargrade.domain.errors import UsageError
    from lumbargrade.files.tables import write_table
    from lumbargrade.files.writing import require_writable
    from lumbargrade.grading.predictions_file import write_predictions
    from lumbargrade.grading.two_stage import TwoStageUse
    from lumbargrade.report.text import json_line, text_table
    from lumbargrade.validation.two_stage import predict_held_out

    if options.data is None or options.store is not None or options.guides:
        raise UsageError(
            "released two-stage networks are validated on DICOM files: give --data, a folder in "
            "the LSDC layout, and omit --store and --guides"
        )
    require_writable(options.out / "oof.csv")
    use = TwoStageUse(
        options.two_stage_set,
        tuple(options.networks),
        tuple(options.as_published),
        options.logits,
    )
    held_out = predict_held_out(released, options.data, options.folds, options.device, use)
    header = ["", "studies", "canal", "foraminal", "subarticular", "any severe", "mean"]
    rows = held_out.rows()
    write_predictions(
        options.out / "oof.csv", held_out.predictions, held_out.folds, held_out.grades
    )
    write_table(options.out / "scores.csv", header, rows)
    print(text_table(header, rows))
    for study, why in held_out.failed.items():
        log.error("study %s: %s", study, why)
    log.info("wrote the results to %s", options.out)
    if options.json:
        print(json_line({"scores": [dict(zip(header, row, strict=True)) for row in rows]}))
    return 1 if held_out.failed else 0
