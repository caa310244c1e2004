"""The result of the starter in files: everything reads back, and nothing contradicts itself."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from lumbargrade.domain.errors import BadInput
from lumbargrade.domain.findings import Finding, ModelSource, StudyPrediction
from lumbargrade.domain.measurement import Measurement, Opinion, Quality, Quantity
from lumbargrade.domain.numbering import Numbering
from lumbargrade.domain.vocabulary import FINDINGS, Condition, Grade, Level, SeriesKind, Side
from lumbargrade.grading.findings_file import read_findings, write_findings
from lumbargrade.grading.findings_tables import write_findings_csv, write_measurements_csv
from lumbargrade.grading.graded import GradedStudy

NUMBERING = Numbering(0.81, "one level lower", 0.15, 0.9, "sacrum seen below", 5, 0)
AREA = Opinion(Grade.SEVERE, Quantity.SAC_AREA, 61.5, 100.0, 75.0, "A 1985", reason="61 mm2")
ONE_LIMIT = Opinion(
    *(Grade.MODERATE, Quantity.FORAMEN_HEIGHT, 14.0, 15.0, None, "B 1995", Quality.DOUBTFUL)
)
MEASUREMENTS = (
    Measurement(
        *(Quantity.SAC_AREA, Level.L4_L5, None, 61.5, SeriesKind.AXIAL_T2, "7", 12),
        line=((1.0, 2.0, 3.0), (2.0, 2.5, 3.0), (1.5, 3.25, 3.0)),
        closed=True,
    ),
    Measurement(
        *(Quantity.FORAMEN_HEIGHT, Level.L5_S1, Side.LEFT, 14.0, SeriesKind.SAGITTAL_T1, "5", 4),
        *(Quality.DOUBTFUL, "unclear"),
    ),
    Measurement(Quantity.LORDOSIS, None, None, -3.5, SeriesKind.SAGITTAL_T2, "6", -1),
)


def graded() -> GradedStudy:
    """A study of the starter with one disputed finding, one with a single limit, others absent."""
    source = (ModelSource("starter/sagittal", -1),)
    canal = next(t for t in FINDINGS if t.condition is Condition.CANAL)
    foramen = next(t for t in FINDINGS if t.condition is Condition.FORAMINAL)
    findings = {
        canal: Finding(canal, (0.7, 0.2, 0.1), sources=source, opinion=AREA),
        foramen: Finding(foramen, (0.2, 0.7, 0.1), sources=source, opinion=ONE_LIMIT),
    }
    absent = {t: "no point" for t in FINDINGS if t not in findings}
    prediction = StudyPrediction(
        *("1.2.3", findings, source, (), absent, {}, MEASUREMENTS, NUMBERING)
    )
    return GradedStudy(prediction, (), False, "abc", "trained on phantoms")


def test_a_result_with_measurements_reads_back_exactly(tmp_path: Path) -> None:
    path, made = tmp_path / "findings.json", graded()
    write_findings(path, made)
    assert read_findings(path) == made
    told = json.loads(path.read_text(encoding="utf-8"))
    assert told["about"] == "trained on phantoms"
    assert told["meaning"].startswith("probabilities: not frequencies")
    assert [m["unit"] for m in told["measurements"]] == ["mm2", "mm", "degrees"]
    assert {f.target for f in made.prediction.findings.values() if f.disputed} == {
        t for t in made.prediction.findings if t.condition is Condition.CANAL
    }


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("measurements", {"unit": "cm"}, "dural_sac_area in 'cm', not in mm2"),
        ("measurements", {"quality": "poor"}, "poor"),
        ("measurements", {"remark": "odd"}, "quality good with remark"),
        ("by_measurement", {"unit": "mm"}, "dural_sac_area in 'mm', not in mm2"),
        ("by_measurement", {"grade": "worst"}, "worst"),
    ],
)
def test_measurements_that_contradict_themselves_are_refused(
    tmp_path: Path, key: str, change: dict[str, str], message: str
) -> None:
    path = tmp_path / "findings.json"
    write_findings(path, graded())
    content = json.loads(path.read_text(encoding="utf-8"))
    if key == "measurements":
        content[key][0].update(change)
    else:
        with_opinion = (f for f in content["findings"] if f[key] and f[key]["unit"] == "mm2")
        next(with_opinion)[key].update(change)
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(BadInput, match=message):
        read_findings(path)


def test_tables_have_the_grade_by_measurement_and_all_measurements(tmp_path: Path) -> None:
    made = graded()
    write_findings_csv(tmp_path / "f.csv", made)
    write_measurements_csv(tmp_path / "m.csv", made.prediction)

    def rows(name: str) -> list[dict[str, str]]:
        with (tmp_path / name).open(newline="", encoding="utf-8") as lines:
            return list(csv.DictReader(lines))

    known = {r["quantity"]: r for r in rows("f.csv") if r["quantity"]}
    assert known["dural_sac_area"]["measured_grade"] == "severe"
    assert known["dural_sac_area"]["grade"] == "normal_mild"
    assert known["foramen_height"]["severe_from"] == ""
    assert [known["foramen_height"][k] for k in ("value", "unit")] == ["14.0", "mm"]
    measured = rows("m.csv")
    assert [r["level"] for r in measured] == ["l4_l5", "l5_s1", ""]
    assert measured[1]["side"] == "left"
    assert measured[1]["remark"] == "unclear"


def test_a_numbering_is_certain_from_the_limit_on_or_if_the_user_moved_it() -> None:
    assert not NUMBERING.certain
    assert replace(NUMBERING, confidence=0.9).certain
    assert replace(NUMBERING, shift=-1).certain
