"""A grade is contradicted where every file finds it unlikely; the least sure file decides."""

from __future__ import annotations

from lumbargrade.audit.grades import check_grades
from lumbargrade.domain.findings import Finding, StudyPrediction
from lumbargrade.domain.point import Point
from lumbargrade.domain.vocabulary import Condition, Grade, Level, Target

ONE, TWO = (Target(Condition.CANAL, level) for level in (Level.L1_L2, Level.L2_L3))
GRADES = {"5": {ONE: Grade.SEVERE, TWO: Grade.NORMAL_MILD}, "6": {ONE: Grade.NORMAL_MILD}}


def file(**severe: float) -> dict[str, StudyPrediction]:
    """Predictions of ONE by study (``s5``): this probability of severe, the rest normal."""
    place = Point(ONE, "77", 3, (10.0, 20.0, 2.0))
    return {
        name[1:]: StudyPrediction(name[1:], {ONE: Finding(ONE, (1 - p, 0.0, p), place)})
        for name, p in severe.items()
    }


def test_a_label_that_every_file_finds_unlikely_is_a_suspect_with_its_series():
    (suspect,) = check_grades([file(s5=0.01, s6=0.02), file(s5=0.04, s6=0.5)], GRADES)
    assert (suspect.study_id, suspect.series_id, suspect.targets) == ("5", "77", (ONE,))
    assert suspect.score == 0.05 / 0.04
    assert "labelled Severe" in suspect.reason
    assert "at most 4.0%, and Normal/Mild 96%" in suspect.reason


def test_one_file_that_agrees_or_says_nothing_clears_a_label():
    assert not check_grades([file(s5=0.01), file(s5=0.4)], GRADES)
    assert not check_grades([file(s5=0.01), {}], GRADES)
    assert not check_grades([], GRADES)


def test_the_most_contradicted_come_first_and_the_list_has_an_end():
    said = [file(s5=0.02, s6=0.999)]
    assert [s.study_id for s in check_grades(said, GRADES)] == ["6", "5"]
    assert [s.study_id for s in check_grades(said, GRADES, most=1)] == ["6"]
