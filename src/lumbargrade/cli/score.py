"""Compute the official and local scores of a submission against reference grades.

A malformed submission is refused; the error names the row and the reason. For comparison, each
condition also shows the loss of a constant prediction: the prevalence of the grades, plain and
weighted 1/2/4. The weighted prevalence is close to the best constant.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro


@dataclass(frozen=True)
class Options:
    """Options of `lumbargrade score`."""

    submission: tyro.conf.Positional[Path]
    """CSV with row_id, normal_mild, moderate, severe"""
    truth: tyro.conf.Positional[Path]
    """reference grades in the layout of train.csv"""
    training: Path | None = None
    """grades from which the prevalence is counted; the reference grades if not given"""
    subset: bool = False
    """score only the studies of the submission, for a submission of fewer studies"""
    json: bool = False
    """also print the results as one JSON object, in the last line, for scripts"""


def run(options: Options) -> int:
    from lumbargrade.report.text import json_line, text_table
    from lumbargrade.scoring.official import score_report
    from lumbargrade.scoring.submissions import read_solution, read_submission

    truth = read_solution(options.truth)
    submission = read_submission(options.submission)
    if options.subset:
        truth = {study: grades for study, grades in truth.items() if study in submission}
    training = read_solution(options.training) if options.training else truth
    report = score_report(truth, submission, training, options.submission)
    rows: list[list[Any]] = [
        [name, *(line[key] for key in ("official", "local", "prevalence", "weighted_prevalence"))]
        for name, line in report["parts"].items()
    ]
    header = ["", "official", "local", "prevalence", "weighted prevalence"]
    print(text_table(header, rows))
    print(f"official score {report['official']:.6f} over {report['studies']} studies")
    if options.json:
        print(json_line(report))
    return 0
