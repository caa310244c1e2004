"""Apply a reader's review to the results of a study, and write them again.

A reader accepts or overrules findings, edits the text, or moves the names of the levels in
`report.html`, and saves the review as JSON. This command writes all results with the reader's
decisions: findings.json, findings.csv, measurements.csv, report.html, report.txt and sr.dcm. The
images are not needed. A review of other results is refused.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import tyro

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of `lumbargrade review`."""

    results: tyro.conf.Positional[Path]
    """folder with the results of the study, as `grade` wrote it"""
    review: tyro.conf.Positional[Path]
    """the review that was saved in the report"""
    out: Path
    """new folder for the reviewed results"""
    json: bool = False
    """also print a summary as one JSON object, in the last line, for scripts"""


def run(options: Options) -> int:
    from lumbargrade.domain.errors import BadInput
    from lumbargrade.files.writing import atomic_folder
    from lumbargrade.grading.findings_file import read_findings
    from lumbargrade.grading.review_file import Status, read_review
    from lumbargrade.grading.reviewing import reviewed
    from lumbargrade.report.reissue import write_reviewed
    from lumbargrade.report.study import FINDINGS_FILE
    from lumbargrade.report.text import counted

    _check(options)
    review = read_review(options.review)
    before = read_findings(options.results / FINDINGS_FILE)
    try:
        graded = reviewed(before, review)
    except BadInput as error:
        raise BadInput(f"{options.review}: {error}") from None
    with atomic_folder(options.out) as folder:
        write_reviewed(folder, options.results, graded, review)
    counts = {s.value: sum(f.status is s for f in review.findings) for s in Status}
    said = ", ".join(f"{number} {status}" for status, number in counts.items())
    log.info("study %s: %s; %s", review.study_id, said, options.out)
    if review.shift:
        log.info("names of the levels moved by %+d", review.shift)
    if counts[Status.UNREVIEWED]:
        log.info(
            "%s not reviewed", counted(counts[Status.UNREVIEWED], "finding is", "findings are")
        )
    if options.json:
        told = {"study_id": review.study_id, "out": str(options.out), "shift": review.shift}
        print(json.dumps({**told, **counts, "fingerprint": graded.fingerprint}))
    return 0


def _check(options: Options) -> None:
    """Check the folders before anything is read.

    Raises:
        UsageError: if the results are no folder, or the reviewed results would replace files.
    """
    from lumbargrade.domain.errors import UsageError
    from lumbargrade.files.writing import require_place_for
    from lumbargrade.report.study import FINDINGS_FILE

    if not (options.results / FINDINGS_FILE).is_file():
        raise UsageError(
            f"{options.results}: no {FINDINGS_FILE}; give the folder of one study, as written by "
            "`lumbargrade grade`"
        )
    out = options.out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out {out} exists already and is not empty; give a new folder")
    require_place_for(out / FINDINGS_FILE if out.is_dir() else out, out)
