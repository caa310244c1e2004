"""Agreement of results with the true grades of a cohort of one's own.

RESULTS is what `grade`, `submit` or `validate` wrote; LABELS is a table like train.csv, or one with
a row per finding. Log loss, weighted kappa, AUROC, calibration and confusion, with bootstrap
intervals by study, by condition, level, side and any other column of LABELS, beside the published
agreement of human readers. OUT gets a page, metrics.csv and metrics.json.

Where the results have calibrated probabilities, both these and the models' own are measured, and
the grade is the one that is shown, by the calibrated ones. What is not graded, or was filled by
`submit`, is counted and not measured. Studies that only one of the two has are named, and the exit
code is 1.
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
    """folder or file of results: findings.csv, findings.json, a submission, or oof.csv"""
    labels: tyro.conf.Positional[Path]
    """CSV with study_id and any of the 25 columns of train.csv, or study_id, condition, level,
    side, grade; other columns are properties of the study"""
    out: Path = Path("evaluation")
    """folder for the page and the tables"""
    groups: list[str] = field(default_factory=list)
    """columns of LABELS to measure by, such as vendor; numbers such as ages are cut at quartiles"""
    score_filled: bool = False
    """measure the rows of a submission that `submit` filled as well"""
    json: bool = False
    """print one JSON object as the last line"""


def run(options: Options) -> int:
    from lumbargrade.files.writing import require_writable
    from lumbargrade.grading.results import read_results
    from lumbargrade.lsdc.cohort_labels import groups_of, read_labels
    from lumbargrade.report.evaluation import PAGE_FILE, evaluate, log_unpaired, write_evaluation
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
                "%s: of the findings with a reference grade %d are not graded (not measured), "
                "%d not in the results",
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
