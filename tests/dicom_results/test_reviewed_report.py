"""The report of a reviewed result, made from the earlier report without the images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from made_results import IMAGES, SERIES_UID, STUDY_UID, all_placed, origin, placed, required_program

from lumbargrade.dicom_results.read_report import read_report
from lumbargrade.dicom_results.structured_report import write_report
from lumbargrade.dicom_results.write import rewrite_objects
from lumbargrade.domain.errors import BadDicom
from lumbargrade.domain.vocabulary import FINDINGS, Grade, Level
from lumbargrade.grading.graded import GradedStudy, ImageLine, SeriesLine
from lumbargrade.grading.review_file import LevelText, Review, ReviewedFinding, Status
from lumbargrade.grading.reviewing import reviewed

NAMES = [f.column for f in FINDINGS]
WHEN = "2026-03-01T09:30:00+01:00"


def graded(frames: bool = False) -> GradedStudy:
    """A result with everything placed except the first finding, which is not graded."""
    result = all_placed()
    findings = {t: placed(t) for t in FINDINGS[1:]}
    prediction = replace(result.prediction, findings=findings, absent={FINDINGS[0]: "too poor"})
    images = [ImageLine(n, f"{SERIES_UID}.{1 if frames else n}") for n in range(1, IMAGES + 1)]
    series = SeriesLine(SERIES_UID, None, IMAGES, 9, 9, images=tuple(images))
    return replace(result, prediction=prediction, series=(series,))


def review_of(before: GradedStudy, *, complete: bool = True) -> Review:
    """A review that overrules two findings, grades the one that is not, and accepts the rest."""
    lines = []
    for target in FINDINGS:
        grade = before.grade(target)
        now = grade.column if grade is not None else None
        after, status = now, Status.ACCEPTED
        if target.column in (NAMES[0], NAMES[3], NAMES[8]):
            after, status = Grade.MODERATE.column, Status.OVERRULED
        if not complete and target.column == NAMES[-1]:
            lines.append(ReviewedFinding(NAMES[-1], Status.UNREVIEWED, now, now, "", "", ""))
            continue
        line = ReviewedFinding(target.column, status, now, after, "Reader^A", WHEN, "see image 3")
        lines.append(line)
    texts = (LevelText(Level.L4_L5, "Severe stenosis."),)
    head = (1, before.version, STUDY_UID, before.fingerprint, "Reader^A", WHEN, 0, "A summary.")
    return Review(*head, tuple(lines), texts)


@pytest.mark.parametrize("frames", [False, True], ids=["images", "frames"])
def test_reviewed_report_is_made_from_the_earlier_one(tmp_path: Path, frames: bool) -> None:
    before = graded(frames)
    write_report(tmp_path / "first.dcm", before, origin(frames))
    after = reviewed(before, review_of(before))
    rewrite_objects(tmp_path, after, tmp_path / "first.dcm")
    first, second = read_report(tmp_path / "first.dcm"), read_report(tmp_path / "sr.dcm")
    assert second.verified
    assert second.evidence == first.evidence
    assert second.fingerprint != first.fingerprint
    for target in FINDINGS:
        was, now = first.findings[target], second.findings[target]
        assert now.grade is after.grade(target)
        overruled = target.column in (NAMES[0], NAMES[3], NAMES[8])
        assert now.status is (Status.OVERRULED if overruled else Status.ACCEPTED)
        assert now.before is (was.grade if overruled else None)
        assert (now.image, now.xy, now.tracking_uid) == (was.image, was.xy, was.tracking_uid)
        assert now.probabilities == was.probabilities
    assert second.findings[FINDINGS[0]].grade is Grade.MODERATE


def test_reviewed_report_names_reader_and_predecessor(tmp_path: Path) -> None:
    before = graded()
    write_report(tmp_path / "first.dcm", before, origin())
    rewrite_objects(tmp_path, reviewed(before, review_of(before)), tmp_path / "first.dcm")
    first, data = (pydicom.dcmread(tmp_path / name) for name in ("first.dcm", "sr.dcm"))
    (observer,) = data.VerifyingObserverSequence
    assert observer.VerifyingObserverName == "Reader^A"
    assert str(observer.VerificationDateTime) == "20260301093000+0100"
    assert data.PreliminaryFlag == "FINAL"
    series = data.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    reference = series.ReferencedSOPSequence[0]
    assert reference.ReferencedSOPInstanceUID == first.SOPInstanceUID != data.SOPInstanceUID
    text = str(data)
    assert "Severe stenosis." in text
    assert "A summary." in text
    said = required_program("dciodvfy")(tmp_path / "sr.dcm")
    assert "Error" not in said


def test_incomplete_review_verifies_nothing(tmp_path: Path) -> None:
    before = graded()
    after = reviewed(before, review_of(before, complete=False))
    write_report(tmp_path / "sr.dcm", after, origin())
    report = read_report(tmp_path / "sr.dcm")
    assert not report.verified
    assert report.findings[FINDINGS[-1]].status is Status.UNREVIEWED
    assert report.dataset.PreliminaryFlag == "PRELIMINARY"


def test_report_of_another_study_is_refused(tmp_path: Path) -> None:
    before = graded()
    write_report(tmp_path / "first.dcm", before, origin())
    line = replace(before.series[0], images=(ImageLine(1, "9.9.9"),))
    with pytest.raises(BadDicom, match="no image in common"):
        rewrite_objects(tmp_path, replace(before, series=(line,)), tmp_path / "first.dcm")
