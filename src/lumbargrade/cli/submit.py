"""Predict a data set in the LSDC layout and write the submission, 25 rows per study.

The studies are those of the table of series descriptions. If sample_submission.csv lies beside a
test table, the studies are those of sample_submission.csv instead; studies without images are
filled. Study folders that no table lists are named.

Several models (folds, encoders) are averaged, and so are several series of one kind; a blend file
gives weights. The probabilities are those that minimise the competition's score. Findings that no
model predicts are filled with the constant that minimises the official score on the training
grades; the number of filled rows and the reasons are logged and stored in OUT.json.
OUT.findings.csv holds the models' predictions with their points.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from lumbargrade.cli.model_options import ModelOptions

if TYPE_CHECKING:
    from lumbargrade.domain.errors import Problem

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Options(ModelOptions):
    """Options of `lumbargrade submit`."""

    data: tyro.conf.Positional[Path]
    """folder in the LSDC layout, with test_images or train_images"""
    out: Path = Path("submission.csv")
    """submission to write"""
    split: str = "auto"
    """which tables and images to read: test, train, or auto (test if there is a test table)"""
    json: bool = False
    """also print the results as one JSON object, in the last line, for scripts"""


def run(options: Options) -> int:
    from lumbargrade.files.writing import require_writable
    from lumbargrade.grading.ensembles import for_submission
    from lumbargrade.grading.lsdc_studies import LsdcStudies, predict_studies
    from lumbargrade.report.submission import write_submission
    from lumbargrade.scoring.fill import training_fill

    studies = LsdcStudies.open(options.data, options.split)
    require_writable(options.out)
    predictor = options.open_trained()
    found = predict_studies(studies, predictor)
    predictions = [for_submission(prediction, predictor) for prediction in found]
    constants = training_fill(m.meta.provenance for m in predictor.members)
    summary = write_submission(options.out, predictions, constants, studies.problems)
    _log_some(studies.problems, options.out)
    for prediction in predictions:
        for problem in prediction.problems:
            log.error("%s", problem)
    log.info("%s", summary.text())
    if options.json:
        print(json.dumps(summary.as_dict()))
    problems = [*studies.problems, *(q for p in predictions for q in p.problems)]
    return 1 if any(q.fatal for q in problems) else 0


def _log_some(problems: Sequence[Problem], out: Path) -> None:
    """Log every fatal problem, and the first ten others."""
    lost, others = [q for q in problems if q.fatal], [q for q in problems if not q.fatal]
    for problem in lost:
        log.error("%s", problem)
    for problem in others[:10]:
        log.warning("%s", problem)
    if len(others) > 10:
        log.warning("... and %d more such studies; %s.json lists all", len(others) - 10, out)
