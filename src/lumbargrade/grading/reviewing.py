"""Apply a reader's review to the result of a study."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TypeVar

from lumbargrade.domain.errors import BadInput, Problem
from lumbargrade.domain.findings import Finding, StudyPrediction
from lumbargrade.domain.measurement import Measurement, Quantity
from lumbargrade.domain.vocabulary import FINDINGS, Level, Target
from lumbargrade.grading.graded import GradedStudy
from lumbargrade.grading.review_file import Review

_LEVELS = tuple(Level)
_Value = TypeVar("_Value")


def reviewed(graded: GradedStudy, review: Review) -> GradedStudy:
    """Return the result with the reader's decisions.

    Overruled findings have the reader's grade (`Finding.by_reader`), or are absent if the reader
    rejected them. A finding that the models did not grade stays absent; the reader's grade of it is
    in the review (`GradedStudy.grade`). The fingerprint is a new one.

    Raises:
        BadInput: if the review is of another result, or this result has a review already.
    """
    _require_same(graded, review)
    prediction = graded.prediction
    if review.shift:
        prediction = shifted(prediction, review.shift)
    moved = replace(graded, prediction=prediction)
    for target, line in review.by_target.items():
        if (grade := moved.grade(target)) is not line.before:
            now = "not graded" if grade is None else grade.column
            raise BadInput(
                f"the review says that {target.column} was {line.grade_before or 'not graded'} "
                f"before, but in the result it is {now}; export the review again"
            )
    findings: dict[Target, Finding] = {}
    rejected: dict[Target, str] = {}
    for target, finding in prediction.findings.items():
        line = review.by_target[target]
        if line.after is None:
            comment = f": {line.comment}" if line.comment else ""
            rejected[target] = f"{line.reader} rejected the grade {line.grade_before}{comment}"
        changed = line.after is not line.before
        findings[target] = replace(finding, by_reader=line.after if changed else None)
    prediction = replace(prediction, findings=findings).without(rejected)
    content = json.dumps(asdict(review), sort_keys=True)
    digest = hashlib.sha256(f"{graded.fingerprint}|{content}".encode()).hexdigest()
    return replace(graded, prediction=prediction, review=review, fingerprint=digest)


def _require_same(graded: GradedStudy, review: Review) -> None:
    study = graded.prediction.study_id
    if review.study_id != study:
        raise BadInput(f"the review is of study {review.study_id}, not of study {study}")
    if graded.review is not None:
        raise BadInput(
            f"the result of study {study} has a review of {graded.review.reader} already; apply "
            "the review to the result as it was graded"
        )
    if review.fingerprint != graded.fingerprint:
        raise BadInput(
            f"the review is of another result of study {study}: its fingerprint is "
            f"{review.fingerprint[:12]}, that of the result is {graded.fingerprint[:12]}; open the "
            "report of this result and export the review again"
        )


def shifted(prediction: StudyPrediction, shift: int) -> StudyPrediction:
    """Move the names of the levels; nothing is graded again.

    Findings, reasons, measurements and points of a level get the name of the level ``shift`` lower.
    What leaves the five levels is left out, with a note; the levels that nothing moves to are
    absent. Lordosis, and disc heights relative to the usual height of their level, are left out,
    because they depend on the names.

    Args:
        prediction: all 25 findings, graded or absent.
        shift: 1 names every disc one level lower, so that what was L4/L5 becomes L5/S1; negative:
            higher.
    """
    findings = {
        t: replace(f, target=t, point=None if f.point is None else replace(f.point, target=t))
        for t, f in _moved(prediction.findings, shift).items()
    }
    absent = _moved(prediction.absent, shift)
    why = (
        f"the reader moved the names of the levels by {shift:+d}; `grade --shift-levels {shift}` "
        "grades this level, if the images show it"
    )
    absent.update({t: why for t in FINDINGS if t not in findings and t not in absent})
    measurements = tuple(m for m in (_renamed(m, shift) for m in prediction.measurements) if m)
    lost = [t.column for t in prediction.findings if _lower(t.level, shift) is None]
    notes: tuple[Problem, ...] = ()
    if lost:
        what = f"left out, because the reader moved the names by {shift:+d}: {', '.join(lost)}"
        notes = (Problem(what, study=prediction.study_id, fatal=False),)
    numbering = prediction.numbering
    if numbering is not None:
        numbering = replace(numbering, shift=numbering.shift + shift)
    return replace(
        prediction,
        findings=findings,
        absent=absent,
        points={},
        measurements=measurements,
        numbering=numbering,
        problems=(*prediction.problems, *notes),
    )


def _moved(by_target: Mapping[Target, _Value], shift: int) -> dict[Target, _Value]:
    found = {}
    for target, value in by_target.items():
        if (level := _lower(target.level, shift)) is not None:
            found[replace(target, level=level)] = value
    return found


def _renamed(measurement: Measurement, shift: int) -> Measurement | None:
    if measurement.level is None or measurement.quantity is Quantity.DISC_HEIGHT_RELATIVE:
        return None
    level = _lower(measurement.level, shift)
    return None if level is None else replace(measurement, level=level)


def _lower(level: Level, shift: int) -> Level | None:
    """The level ``shift`` lower; None beyond the five levels."""
    index = _LEVELS.index(level) + shift
    return _LEVELS[index] if 0 <= index < len(_LEVELS) else None
