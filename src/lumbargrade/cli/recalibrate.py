"""Fit the calibration of probabilities to your own graded studies, without training.

RESULTS were written by `grade`, `submit` or `validate`; LABELS holds the reference grades of the
studies, as for `evaluate`. A method is chosen and fitted for each condition. The page compares
before and after by cross-validation, never on studies that were fitted. If calibration does not
improve a condition, the condition stays as it was. Use the result with `grade --calibration OUT`.

A condition is refused if it has fewer than 50 studies, or fewer than 10 findings of any grade: the
log odds of a grade with n findings have a standard error of about 1 / sqrt(n), which for 10
findings is a factor of 1.4. The exit code is then 1.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import tyro

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """Options of `lumbargrade recalibrate`."""

    results: tyro.conf.Positional[Path]
    """folder or file of results: findings.csv, findings.json, a submission or oof.csv"""
    labels: tyro.conf.Positional[Path]
    """CSV of reference grades, as for `evaluate`"""
    out: Path = Path("calibration.toml")
    """calibration file to write; a page that compares before and after is written beside it"""
    minimum_studies: int = 50
    """refuse a condition with fewer studies than this"""
    minimum: int = 10
    """refuse a condition with fewer findings of any grade than this"""
    json: bool = False
    """also print the results as one JSON object, in the last line, for scripts"""


def run(options: Options) -> int:
    from lumbargrade.domain.errors import NothingDone, UsageError
    from lumbargrade.files.writing import require_writable
    from lumbargrade.grading.results import read_results
    from lumbargrade.lsdc.cohort_labels import read_labels
    from lumbargrade.report.evaluation import log_unpaired, paired
    from lumbargrade.report.recalibration import (
        RecalibrationResult,
        require_fitted,
        write_recalibration,
    )
    from lumbargrade.report.text import json_line
    from lumbargrade.scoring.recalibration import recalibrate

    if options.minimum < 1 or options.minimum_studies < 2:
        raise UsageError(
            f"--minimum {options.minimum} --minimum-studies {options.minimum_studies}: "
            "give at least 1 and 2"
        )
    labels = read_labels(options.labels)
    results = read_results(options.results)
    require_writable(options.out)
    cohort = paired(results, labels, options.labels)
    log_unpaired(log, cohort, results, options.labels)
    if not len(cohort.predicted):
        raise NothingDone(
            f"{results.path}: no model prediction of a finding with a reference grade"
        )
    conditions = recalibrate(
        cohort.predicted,
        fewest_studies=options.minimum_studies,
        fewest_of_a_grade=options.minimum,
    )
    require_fitted(conditions)
    result = RecalibrationResult(options.out, conditions, results.recipes)
    write_recalibration(result)
    print(result.text())
    for one in result.refused:
        log.error("%s refused: %s", one.condition.value, one.refused)
    log.info("wrote the calibration %s and the page %s", options.out, result.page)
    if options.json:
        print(json_line(result.as_dict()))
    return 1 if result.refused or cohort.unpaired else 0
