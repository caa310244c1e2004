"""Write the results of a study again after a reader's review, from the earlier results alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lumbargrade.dicom_results.structured_report import REPORT_FILE as SR_FILE
from lumbargrade.dicom_results.write import rewrite_objects
from lumbargrade.domain.errors import BadInput
from lumbargrade.files.writing import write_text
from lumbargrade.grading.findings_file import NOTICE, write_findings
from lumbargrade.grading.findings_tables import write_findings_csv, write_measurements_csv
from lumbargrade.grading.graded import GradedStudy
from lumbargrade.grading.review_file import Review, write_review
from lumbargrade.report.page import environment
from lumbargrade.report.study import FINDINGS_FILE, MEASUREMENTS_FILE, TABLE_FILE, sections_of
from lumbargrade.report.study_page import REPORT_FILE, with_review, wording_of
from lumbargrade.report.wording import Wording, default_wording, report_text

#: The report as plain text, and the review itself with a line per finding.
TEXT_FILE, REVIEW_FILE = "report.txt", "review.json"


def write_reviewed(out: Path, earlier: Path, graded: GradedStudy, review: Review) -> None:
    """Write the results of a study after a review; ``findings.json`` comes last.

    Pictures are not written again, because they show the grades and levels before the review.

    Args:
        out: gets ``findings.json``, ``findings.csv``, ``report.txt`` and ``review.json``, and
            ``measurements.csv``, ``report.html`` and ``sr.dcm`` if the earlier results have them.
        earlier: folder of the earlier results.
        graded: the results with the review applied; see `reviewed`.
        review: the review.

    Raises:
        BadInput: if a file of the earlier results is damaged.
        OSError: if the results cannot be written.
    """
    graded = replace(graded, series=tuple(replace(s, pictures={}) for s in graded.series))
    wording = default_wording()
    if (earlier / REPORT_FILE).exists():
        wording = _write_page(out / REPORT_FILE, earlier / REPORT_FILE, graded, review)
    write_text(out / TEXT_FILE, report_text(wording, graded))
    write_findings_csv(out / TABLE_FILE, graded)
    if graded.prediction.measurements:
        write_measurements_csv(out / MEASUREMENTS_FILE, graded.prediction)
    if (earlier / SR_FILE).exists():
        rewrite_objects(out, graded, earlier / SR_FILE)
    write_review(out / REVIEW_FILE, review)
    write_findings(out / FINDINGS_FILE, graded)


def _write_page(path: Path, earlier: Path, graded: GradedStudy, review: Review) -> Wording:
    """Write the page with the review and with new tables; return the words of its draft."""
    try:
        page = earlier.read_text(encoding="utf-8")
        wording = wording_of(page)
        write_text(path, with_tables(with_review(page, review), graded))
    except ValueError as error:
        raise BadInput(f"{earlier}: {error}; `lumbargrade grade` writes it again") from None
    return wording


def with_tables(page: str, graded: GradedStudy) -> str:
    """Return a page of a study with the tables of another result.

    Raises:
        ValueError: if it is not a page of `study_page.write_report`.
    """
    before, start, rest = page.partition('<section id="tables"')
    _, end, after = rest.partition('<div id="said"')
    if not start or not end:
        raise ValueError("not a report.html of this program")
    tables = (
        environment()
        .get_template("tables.html")
        .render(
            sections=sections_of(graded),
            time=graded.time,
            version=graded.version,
            notice=NOTICE,
        )
    )
    return f"{before}{tables}{end}{after}"
