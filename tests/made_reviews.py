"""Reviews of results, as `report.html` saves them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lumbargrade.domain.vocabulary import FINDINGS, Grade, Level
from lumbargrade.grading.graded import GradedStudy
from lumbargrade.grading.review_file import FORMAT, LevelText, Review, ReviewedFinding, Status
from lumbargrade.grading.reviewing import shifted

READER, TIME = "A. Reader", "2026-03-01T09:30:00Z"


def review_of(
    result: GradedStudy,
    after: Mapping[str, Grade | None] | None = None,
    *,
    shift: int = 0,
    comment: str = "motion",
    texts: Mapping[Level, str] | None = None,
) -> Review:
    """A review that decides about some findings and leaves the others unreviewed.

    Args:
        result: what is reviewed.
        after: finding, as named after the shift -> the reader's grade; None: not assessable.
        shift: levels by which the reader moves the names.
        comment: on each of these findings.
        texts: the reader's words.
    """
    prediction = shifted(result.prediction, shift) if shift else result.prediction
    moved = replace(result, prediction=prediction)
    lines = []
    for target in FINDINGS:
        before = name_of(moved.grade(target))
        line = (Status.UNREVIEWED, before, before, "", "", "")
        if after is not None and target.column in after:
            new = name_of(after[target.column])
            status = Status.ACCEPTED if new == before else Status.OVERRULED
            line = (status, before, new, READER, TIME, comment)
        lines.append(ReviewedFinding(target.column, *line))
    words = tuple(LevelText(level, text) for level, text in (texts or {}).items())
    found = (result.version, result.prediction.study_id, result.fingerprint)
    return Review(FORMAT, *found, READER, TIME, shift, "", tuple(lines), words)


def name_of(grade: Grade | None) -> str | None:
    return None if grade is None else grade.column
