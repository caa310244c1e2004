"""Average submission files: weighted means of their probabilities, row by row.

The files may come from anywhere, for example from another team's notebook. They must hold the same
studies, with 25 valid rows each. Without weights, all files count the same. If only some conditions
have weights, the other conditions are taken from the first file alone. OUT.json records the names
and sha256 of the files, and the weights.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tyro

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """Options of `lumbargrade combine`."""

    files: tyro.conf.Positional[tuple[Path, ...]]
    """two or more submissions of the same studies"""
    weights: list[str] = field(default_factory=list)
    """one weight per file for all conditions (0.75 0.25), or for one condition
    (foraminal=0.75,0.25), which has priority; weights need not add up to 1"""
    out: Path = Path("combined.csv")
    """submission to write"""
    truth: Path | None = None
    """reference grades in the layout of train.csv; give them to print the official scores of all
    files and of the result"""
    json: bool = False
    """also print the results as one JSON object, in the last line, for scripts"""


def run(options: Options) -> int:
    from lumbargrade.domain.errors import UsageError
    from lumbargrade.domain.vocabulary import Condition, plain_name
    from lumbargrade.files.writing import require_writable
    from lumbargrade.report.submission import write_combined
    from lumbargrade.report.text import json_line
    from lumbargrade.scoring.blend_weights import fixed_weights
    from lumbargrade.scoring.official import score_combined
    from lumbargrade.scoring.submissions import (
        condition_weights,
        mean_submission,
        read_solution,
        read_submissions,
    )

    if len(options.files) < 2:
        raise UsageError(f"{len(options.files)} submissions given; give two or more")
    given = fixed_weights(options.weights, len(options.files), "files")
    _require_free(options.out, [*options.files, *([options.truth] if options.truth else [])])
    require_writable(options.out)
    files = read_submissions(options.files)
    for i, file in enumerate(files):
        same = [f.path for f in files[:i] if f.sha256 == file.sha256]
        if same:
            log.warning("%s: same content as %s, so it counts twice", file.path, same[0])
    weights = condition_weights(given, len(files))
    for condition in Condition:
        if given and condition not in given:
            log.info(
                "%s: no weights given, taken from %s alone", plain_name(condition), files[0].path
            )
    rows = mean_submission([f.rows for f in files], weights)
    scores = None
    if options.truth is not None:
        truth = read_solution(options.truth)
        scores = score_combined(truth, options.truth, files, rows)
        log.info("scored on %d of the %d studies of %s", len(rows), len(truth), options.truth)
    summary = write_combined(options.out, files, weights, rows, scores)
    print(summary.text())
    log.info("%d rows for %d studies in %s", summary.rows, summary.studies, options.out)
    if options.json:
        print(json_line(summary.as_dict()))
    return 0


def _require_free(out: Path, inputs: Sequence[Path]) -> None:
    """Raise if the output would replace an input, or lie beside another submission's findings."""
    from lumbargrade.domain.errors import UsageError
    from lumbargrade.report.submission import findings_path, summary_path

    for path in (out, summary_path(out)):
        if path.resolve() in [p.resolve() for p in inputs]:
            raise UsageError(f"--out {out} would replace the input {path}; choose another --out")
    if findings_path(out).exists():
        raise UsageError(
            f"{findings_path(out)} holds the findings of an earlier submission and would be read as"
            " those of this one; choose another --out"
        )
