"""Fit the calibration of probabilities to a local set of graded studies, without training.

RESULTS is what `grade`, `submit` or `validate` wrote for them; LABELS their true grades, as for
`evaluate`. A method is chosen and fitted for each condition; before and after are shown by
cross-validation, never on the data that was fitted. A condition stays as it was where calibration
does not help. `grade --calibration OUT` then uses it.

A condition is refused with fewer than 50 studies or fewer than 10 findings of any grade: from n
findings the log odds of a grade have a standard error of about 1 / sqrt(n), at 10 a factor of 1.4.
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
    """folder or file of results: findings.csv, findings.json, a submission, or oof.csv"""
    labels: tyro.conf.Positional[Path]
    """CSV of true grades, as for `evaluate`"""
    out: Path = Path("calibration.toml")
    """the calibration file; a page of before and after is written beside it"""
    minimum_studies: int = 50
    """a condition with fewer studies is refused"""
    minimum: int = 10
    """a condition with fewer findings of any grade is refused"""
    json: bool = False
    """print one JSON object as the last line"""


def run(options: Options) -> int:
    from lumbargrade.domain.errors import NothingDone, UsageError
    from lumbargrade.files.writing import require_writable
    from lumbargrade.grading.results import read_results
    from lumbargrade.lsdc.cohort_labels import read_labels
    from lumbargrade.report.calibration import (
        RecalibrationResult,
        require_fitted,
        write_recalibration,
    )
    from lumbargrade.report.evaluation import log_unpaired, paired
    from lumbargrade.report.text import json_line
    from lumbargrade.scoring.recalibration import recalibrate

    if options.minimum < 1 or options.minimum_studies < 2:
        raise UsageError("--minimum must be at least 1 and --minimum-studies at least 2")
    labels = read_labels(options.labels)
    results = read_results(options.results)
    require_writable(options.out)
    cohort = paired(results, labels, options.labels)
    log_unpaired(log, cohort, results, options.labels)
    if not len(cohort.predicted):
        raise NothingDone(f"no model predicted any graded finding of {results.path}")
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
    log.info("calibration in %s, before and after in %s", options.out, result.page)
    if options.json:
        print(json_line(result.as_dict()))
    return 1 if result.refused or cohort.unpaired else 0
