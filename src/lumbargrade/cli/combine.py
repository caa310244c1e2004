"""Blend submission files by condition: weighted means of their probabilities, row by row.

The files may come from anywhere, for example from another team's notebook. They are checked as by
the command `score`: 25 rows of every study, and the same studies in all files. If no weights are
given, all files count the same; if some conditions have weights, the others are taken from the
first file alone. OUT.json holds the names and sha256 of the files, and the weights.
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
    (foraminal=0.75,0.25); the latter has priority; weights need not add up to 1"""
    out: Path = Path("combined.csv")
    """the submission"""
    truth: Path | None = None
    """true grades in the layout of train.csv: also print the official score of every file"""
    json: bool = False
    """print one JSON object as the last line"""


def run(options: Options) -> int:
    from lumbargrade.domain.errors import UsageError
    from lumbargrade.domain.vocabulary import Condition
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
        raise UsageError(f"give two or more submissions, not {len(options.files)}")
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
            words = condition.value.replace("_", " ")
            log.info("%s: no weights given, taken from %s alone", words, files[0].path)
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
    """Refuse an output that would replace an input, or lie beside another submission's findings."""
    from lumbargrade.domain.errors import UsageError
    from lumbargrade.report.submission import findings_path, summary_path

    for path in (out, summary_path(out)):
        if path.resolve() in [p.resolve() for p in inputs]:
            raise UsageError(f"--out {out} would replace the input {path}; choose another --out")
    if findings_path(out).exists():
        raise UsageError(
            f"{findings_path(out)} belongs to an earlier submission of that name and would be taken"
            " for the findings of this one; choose another --out"
        )
