"""A reader's review of a result: grades, levels and files say what the reader decided."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from json_schemas import require_valid
from lumbargrade.domain.errors import BadInput
from lumbargrade.domain.findings import Finding, ModelSource, StudyPrediction
from lumbargrade.domain.measurement import Measurement, Quantity
from lumbargrade.domain.numbering import Numbering
from lumbargrade.domain.point import Point
from lumbargrade.domain.vocabulary import (
    FINDINGS,
    Condition,
    Grade,
    Level,
    SeriesKind,
    Target,
)
from lumbargrade.grading.findings_file import read_findings, write_findings
from lumbargrade.grading.findings_tables import write_findings_csv
from lumbargrade.grading.graded import GradedStudy, ImageLine, SeriesLine
from lumbargrade.grading.reviewing import reviewed, shifted
from made_reviews import TIME, review_of

SOURCE = (ModelSource("starter/sagittal", -1),)
UID = "1.2.3.9"
CANAL = {level: Target(Condition.CANAL, level) for level in Level}


def graded() -> GradedStudy:
    """The canal is graded at all levels: normal, moderate, severe, normal, moderate."""
    shares = ((0.8, 0.1, 0.1), (0.2, 0.7, 0.1), (0.1, 0.2, 0.7))
    findings = {
        t: Finding(t, shares[i % 3], Point(t, "6", i + 1, (1.0, 2.0, i), (0.0, 0.0, -i)), SOURCE)
        for i, t in enumerate(CANAL.values())
    }
    absent = {t: f"{t.level} not seen" for t in FINDINGS if t not in findings}
    measurements = (
        *(
            Measurement(quantity, level, None, 10.0 + i, SeriesKind.SAGITTAL_T2, "6", 1)
            for quantity in (Quantity.SAGITTAL_SAC_DIAMETER, Quantity.DISC_HEIGHT_RELATIVE)
            for i, level in enumerate(Level)
        ),
        Measurement(Quantity.LORDOSIS, None, None, 40.0, SeriesKind.SAGITTAL_T2, "6", -1),
    )
    numbering = Numbering(0.81, "one level lower", 0.15, 0.9, "sacrum seen below", 5, 0)
    prediction = StudyPrediction(
        *("1.2.3", findings, SOURCE, (), absent, {}, measurements, numbering)
    )
    images = tuple(ImageLine(n, UID + str(n)) for n in range(1, 6))
    series = (SeriesLine("6", SeriesKind.SAGITTAL_T2, 5, 8, 8, {}, images),)
    return GradedStudy(prediction, series, False, "abc", "phantoms", time=TIME)


def test_overruled_findings_have_the_grade_of_the_reader_in_every_file(tmp_path: Path) -> None:
    result = graded()
    higher, rejected, added = (
        CANAL[Level.L1_L2].column,
        CANAL[Level.L3_L4].column,
        "left_subarticular_stenosis_l4_l5",
    )
    after = {higher: Grade.SEVERE, rejected: None, added: Grade.MODERATE}
    made = reviewed(result, review_of(result, after))
    path = tmp_path / "findings.json"
    write_findings(path, made)
    require_valid(path, "findings")
    assert read_findings(path) == made
    stored = {f["finding"]: f for f in json.loads(path.read_text("utf-8"))["findings"]}
    assert [stored[higher][k] for k in ("grade", "model_grade")] == ["severe", "normal_mild"]
    assert stored[higher]["probabilities"]["normal_mild"] == 0.8
    assert stored[rejected]["grade"] is None
    assert stored[rejected]["not_graded"] == "A. Reader rejected the grade severe: motion"
    assert [stored[added][k] for k in ("grade", "model_grade")] == ["moderate", None]
    assert stored[added]["not_graded"] == "l4_l5 not seen"
    assert stored[higher]["place"]["sop_instance_uid"] == UID + "1"

    write_findings_csv(tmp_path / "findings.csv", made)
    with (tmp_path / "findings.csv").open(newline="", encoding="utf-8") as lines:
        rows = {r["finding"]: r for r in csv.DictReader(lines)}
    assert [rows[higher][k] for k in ("grade", "model_grade")] == ["severe", "normal_mild"]
    assert [rows[added][k] for k in ("grade", "review", "normal_mild")] == [
        *("moderate", "overruled", "")
    ]
    assert rows[CANAL[Level.L5_S1].column]["review"] == "unreviewed"
    assert made.fingerprint != result.fingerprint


def test_a_shift_moves_findings_points_and_measurements_to_the_next_levels(tmp_path: Path) -> None:
    result = graded()
    made = reviewed(result, review_of(result, shift=1))
    found = made.prediction
    before = result.prediction.findings
    levels = list(Level)
    for upper, lower in pairwise(levels):
        old, new = before[CANAL[upper]], found.findings[CANAL[lower]]
        assert new.probabilities == old.probabilities
        assert old.point is not None
        assert new.point == replace(old.point, target=CANAL[lower])
    assert CANAL[Level.L1_L2] not in found.findings
    assert "moved the names of the levels by +1" in found.absent[CANAL[Level.L1_L2]]
    assert (
        found.absent[Target(Condition.SUBARTICULAR, levels[1], side)] == "l1_l2 not seen"
        if (side := FINDINGS[0].side)
        else False
    )
    assert [(m.quantity, m.level, m.value) for m in found.measurements] == [
        (Quantity.SAGITTAL_SAC_DIAMETER, level, 9.0 + i) for i, level in enumerate(levels) if i > 0
    ]
    assert found.numbering is not None
    assert found.numbering.shift == 1
    assert [p.what for p in found.problems] == [
        "left out, because the reader moved the names by +1: spinal_canal_stenosis_l5_s1"
    ]
    write_findings(tmp_path / "findings.json", made)
    require_valid(tmp_path / "findings.json", "findings")
    assert read_findings(tmp_path / "findings.json") == made


def test_a_shift_and_its_opposite_lose_only_the_end(tmp_path: Path) -> None:
    result = graded().prediction
    back = shifted(shifted(result, -1), 1)
    lost = {t for t in FINDINGS if t.level is Level.L1_L2}
    assert {t: f for t, f in result.findings.items() if t not in lost} == back.findings
    assert set(back.absent) - set(result.absent) == {CANAL[Level.L1_L2]}


def test_a_review_of_another_result_is_refused() -> None:
    result = graded()
    review = review_of(result)
    with pytest.raises(BadInput, match=r"the review is of study 9, not of study 1\.2\.3"):
        reviewed(result, replace(review, study_id="9"))
    with pytest.raises(BadInput, match="fingerprint is other, that of the result is abc; open"):
        reviewed(result, replace(review, fingerprint="other"))
    with pytest.raises(BadInput, match=r"canal_stenosis_l1_l2 was not graded before, .* normal"):
        reviewed(result, replace(review, findings=review_of(result, shift=1).findings))
    again = reviewed(result, review)
    with pytest.raises(BadInput, match=r"has a review of A\. Reader already"):
        reviewed(again, replace(review, fingerprint=again.fingerprint))


def test_a_result_whose_grade_is_not_that_of_its_review_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "findings.json"
    result = graded()
    write_findings(path, reviewed(result, review_of(result)))
    content = json.loads(path.read_text("utf-8"))
    absent = next(f for f in content["findings"] if f["grade"] is None)
    absent["grade"] = "severe"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(BadInput, match="is not that of the review"):
        read_findings(path)
