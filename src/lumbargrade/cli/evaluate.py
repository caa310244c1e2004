"""Measure the agreement of results with the reference grades of your own cohort.

RESULTS were written by `grade`, `submit` or `validate`. LABELS is a table like train.csv, or one
with a row per finding. The page shows log loss, weighted kappa, AUROC, calibration and confusion
with bootstrap intervals over studies, for each condition, level and side and for other columns of
LABELS (--groups), beside the published agreement of human readers. OUT gets the page, metrics.csv
and metrics.json.

If the results have calibrated probabilities, these and the models' own are both measured, and the
grades are those of the calibrated ones. Findings that are not graded or that `submit` filled are
counted but not measured. Studies that only RESULTS or only LABELS have are named, and the exit code
is then 1.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import tyro

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """Options of `lumbargrade evaluate`."""

    results: tyro.conf.Positional[Path]
    """folder or file of results: findings.csv, findings.json, a submission or oof.csv"""
    labels: tyro.conf.Positional[Path]
    """CSV of reference grades: study_id and any of the 25 columns of train.csv, or study_id,
    condition, level, side and grade; other columns describe the study, for --groups"""
    out: Path = Path("evaluation")
    """folder for the page and the tables"""
    groups: list[str] = field(default_factory=list)
    """columns of LABELS, such as vendor, each value of which is also measured alone; numbers, such
    as ages, are grouped by quartile"""
    score_filled: bool = False
    """also measure the rows that `submit` filled with a constant"""
    json: bool = False
    """also print the results as one JSON object, in the last line, for scripts"""


def run(options: Options) -> int:
    from lumbargrade.files.writing import require_writable
    from lumbargrade.grading.results import read_results
    from lumbargrade.lsdc.cohort_labels import groups_of, read_labels
    from lumbargrade.report.evaluation import evaluate, log_unpaired, write_evaluation
    from lumbargrade.report.page import PAGE_FILE
    from lumbargrade.report.text import json_line

    labels = read_labels(options.labels)
    groups = groups_of(labels, options.groups)
    results = read_results(options.results, score_filled=options.score_filled)
    require_writable(options.out / PAGE_FILE)
    found = evaluate(results, labels, options.labels, groups)
    log_unpaired(log, found.cohort, results, options.labels)
    for condition, _, not_graded, missing in found.counts():
        if not_graded or missing:
            log.warning(
                "%s: of the findings with reference grades, %d are not graded (not measured) and "
                "%d are not in the results",
                condition.value,
                not_graded,
                missing,
            )
    write_evaluation(options.out, found)
    print(found.text())
    log.info("open %s", options.out / PAGE_FILE)
    if options.json:
        print(json_line(found.as_dict()))
    return 1 if found.cohort.unpaired else 0
