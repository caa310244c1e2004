"""Predict a data set in the LSDC layout and write the submission: 25 rows per study.

Several models are averaged: folds, encoders, and several series of one kind. What no model
predicts gets the training prevalence; how many rows that were, and why, stands in the log and in
OUT.json. What the models said of each finding, with its place, stands in OUT.findings.csv.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path

import tyro

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """Options of `lumbargrade submit`."""

    data: tyro.conf.Positional[Path]
    """folder in the LSDC layout, with test_images or train_images"""
    models: list[Path] = field(default_factory=list)
    """model or run folders; every model below them takes part"""
    guides: list[Path] = field(default_factory=list)
    """models that only place points, for models of crops (two_stage, subarticular) to start from"""
    out: Path = Path("submission.csv")
    """the submission"""
    split: str = "auto"
    """test, train, or auto: test where the folder has a test table"""
    flip: bool = True
    """average with the mirrored volume where a task has sides"""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N"""
    json: bool = False
    """print one JSON object as the last line"""


def run(options: Options) -> int:
    from lumbargrade.domain.errors import UsageError
    from lumbargrade.domain.files import require_writable
    from lumbargrade.outputs.submission import write_submission
    from lumbargrade.prediction.members import find_models, load_member, training_prevalence
    from lumbargrade.prediction.studies import LsdcStudies, predict_studies
    from lumbargrade.training.device import choose_device

    if not options.models:
        raise UsageError("give --models, the folders of the models to use")
    device = choose_device(options.device)
    studies = LsdcStudies.open(options.data, options.split)
    require_writable(options.out)
    members = [load_member(path, device) for path in find_models(options.models)]
    guides = [load_member(path, device) for path in find_models(options.guides)]
    for member in (*members, *guides):
        log.info("model %s fold %d", member.meta.recipe.name, member.meta.fold)
    predictions = list(
        predict_studies(studies, members, device=device, flip=options.flip, guides=guides)
    )
    prevalence = training_prevalence([m.meta for m in members])
    summary = write_submission(options.out, predictions, prevalence)
    for prediction in predictions:
        for problem in prediction.problems:
            log.error("%s", problem)
    log.info("%s", summary.text())
    if options.json:
        print(json.dumps(summary.as_dict()))
    return 1 if any(q.fatal for p in predictions for q in p.problems) else 0
