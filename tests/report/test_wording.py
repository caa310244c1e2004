"""The words of a draft report: strict reading, drafts per level, the whole text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from lumbargrade.cli.main import main
from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.findings import Finding, StudyPrediction
from lumbargrade.domain.measurement import Opinion, Quality, Quantity
from lumbargrade.domain.vocabulary import FINDINGS, Condition, Grade, Level, Side, Target
from lumbargrade.grading.graded import GradedStudy
from lumbargrade.grading.review_file import LevelText, Review, ReviewedFinding, Status
from lumbargrade.grading.reviewing import reviewed
from lumbargrade.report.wording import default_wording, draft, read_wording, report_text

SHIPPED = Path("src/lumbargrade/report/wording.toml")
MODERATE, SEVERE = Grade.MODERATE, Grade.SEVERE
CANAL, FORAMEN, RECESS = Condition.CANAL, Condition.FORAMINAL, Condition.SUBARTICULAR
AREA = Opinion(SEVERE, Quantity.SAC_AREA, 61.4, 100.0, 75.0, "A 1985")


def at(condition: Condition, side: Side | None = None) -> Target:
    return Target(condition, Level.L4_L5, side)


def graded(
    grades: Mapping[Target, Grade], *absent: Target, opinion: Opinion | None = None
) -> GradedStudy:
    findings = {}
    for target in FINDINGS:
        shares = [0.1, 0.1, 0.1]
        shares[grades.get(target, Grade.NORMAL_MILD)] = 0.8
        if target not in absent:
            mine = opinion if target.condition is CANAL else None
            findings[target] = Finding(target, tuple(shares), opinion=mine)
    why = dict.fromkeys(absent, "no series")
    return GradedStudy(StudyPrediction("1", findings, absent=why), (), False, "x")


def l4_l5(study: GradedStudy, **changes: object) -> str:
    return draft(replace(default_wording(), **changes), study)[Level.L4_L5]


def test_a_level_says_what_is_reported_and_nothing_else() -> None:
    assert l4_l5(graded({})) == "No moderate or severe stenosis."
    found = {at(CANAL): SEVERE, at(FORAMEN, Side.LEFT): MODERATE}
    assert l4_l5(graded(found)) == (
        "Severe spinal canal stenosis, moderate left neural foraminal narrowing."
    )
    assert l4_l5(graded(found), report_from="severe") == "Severe spinal canal stenosis."
    mild = l4_l5(graded({}), report_from="normal_mild")
    assert mild.startswith("Normal or mild spinal canal stenosis, normal or mild bilateral sub")


def test_equal_sides_share_a_phrase_and_others_do_not() -> None:
    sides = {at(RECESS, Side.LEFT): MODERATE, at(RECESS, Side.RIGHT): MODERATE}
    assert l4_l5(graded(sides)) == "Moderate bilateral subarticular stenosis."
    sides[at(RECESS, Side.LEFT)] = SEVERE
    assert l4_l5(graded(sides)) == (
        "Moderate right subarticular stenosis, severe left subarticular stenosis."
    )


def test_a_good_measurement_is_mentioned() -> None:
    canal = {at(CANAL): SEVERE}
    said = "Severe spinal canal stenosis (dural sac area 61 mm²)."
    assert l4_l5(graded(canal, opinion=AREA)) == said
    doubtful = replace(AREA, quality=Quality.DOUBTFUL)
    assert l4_l5(graded(canal, opinion=doubtful)) == "Severe spinal canal stenosis."


def test_what_has_no_grade_is_not_assessed() -> None:
    lost = at(RECESS, Side.LEFT), at(RECESS, Side.RIGHT), at(FORAMEN, Side.LEFT)
    assert l4_l5(graded({at(CANAL): SEVERE}, *lost)) == (
        "Severe spinal canal stenosis. Not assessed: bilateral lateral recess, left neural foramen."
    )
    everything = [t for t in FINDINGS if t.level is Level.L4_L5]
    assert l4_l5(graded({}, *everything)) == (
        "Not assessed: spinal canal, bilateral lateral recess, bilateral neural foramen."
    )


def review_of(study: GradedStudy, target: Target, after: Grade, reader: str) -> Review:
    now = "2026-03-01T09:30:00Z"
    lines = []
    for t in FINDINGS:
        before = study.grade(t)
        column = None if before is None else before.column
        done = t == target
        status = Status.OVERRULED if done else Status.UNREVIEWED
        signed = (reader, now) if done else ("", "")
        lines.append(
            ReviewedFinding(t.column, status, column, after.column if done else column, *signed, "")
        )
    texts = (LevelText(Level.L1_L2, "My own words."),)
    return Review(1, "0", "1", "x", reader, now, 0, "Summary.", tuple(lines), texts)


def test_the_text_of_a_reviewed_report_has_the_readers_words() -> None:
    study = graded({})
    plain = report_text(default_wording(), study)
    assert plain.startswith("MRI of the lumbar spine")
    assert "No reader has reviewed it." in plain
    told = reviewed(study, review_of(study, at(CANAL), SEVERE, "A. Reader"))
    text = report_text(default_wording(), told)
    assert "L1/L2: My own words.\n" in text
    assert "L4/L5: Severe spinal canal stenosis.\n" in text
    assert "\nSummary.\n" in text
    assert "1 of 25 findings reviewed by A. Reader, 2026-03-01." in text


def test_the_shipped_file_is_the_default_and_may_be_copied(tmp_path: Path) -> None:
    copy = tmp_path / "words.toml"
    copy.write_bytes(SHIPPED.read_bytes())
    assert read_wording(copy) == default_wording()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('severe = "severe"', "", "severe"),
        ('left = "left"', 'left = "left"\nup = "up"', "up"),
        ("{grade} spinal", "{level} spinal", "unknown name {level}"),
        ("{grade} spinal", "{grade!r} spinal", "unknown name"),
        ("{grade} spinal", "{{grade}} spinal", "braces only around a name"),
        ("{grade} spinal", "{grade spinal", "findings.spinal_canal_stenosis"),
        ('report_from = "moderate"', 'report_from = "bad"', "unknown grade 'bad'"),
        ("dural_sac_area =", "dural_area =", "unknown quantity 'dural_area'"),
        ('title = "', f'title = "{"x" * 400}', "more than 400"),
        ('language = "en"', "language = 3", "language"),
        ("[grades]", "[grades", "not valid TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_and_key(
    tmp_path: Path, old: str, new: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "words.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UsageError) as refused:
        read_wording(path)
    assert said in str(refused.value)
    assert str(path) in str(refused.value)
    study = tmp_path / "study"
    study.mkdir()
    out = str(tmp_path / "out")
    assert main(["grade", str(study), "--out", out, "--wording", str(path)]) == 2
    assert str(path) in capsys.readouterr().err
