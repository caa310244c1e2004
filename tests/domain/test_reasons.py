"""Why a finding is absent: in plain words, joined without repeating, never beside a grade."""

from __future__ import annotations

import pytest

from lumbargrade.domain.findings import Finding, StudyPrediction
from lumbargrade.domain.reasons import by_reason, joined, named, no_series, no_slice
from lumbargrade.domain.views import LevelCut
from lumbargrade.domain.vocabulary import FINDINGS, TARGETS, Condition, Level, SeriesKind

CANAL, SUBARTICULAR = TARGETS[Condition.CANAL], TARGETS[Condition.SUBARTICULAR]
P = (0.2, 0.3, 0.5)


def test_reasons_are_clauses() -> None:
    kinds = (SeriesKind.AXIAL_T2, SeriesKind.SAGITTAL_T1)
    assert no_series(kinds) == "no usable Sagittal T1 or Axial T2 series"
    far = no_slice(Level.L4_L5, LevelCut((), 12.34))
    assert far == "no axial slice cuts L4/L5 (the nearest slice is 12.3 mm away)"
    outside = no_slice(Level.L1_L2, LevelCut((), None))
    assert outside == "no axial slice cuts L1/L2 (no slice has the level in its field of view)"


def test_reasons_of_several_models_are_joined_each_once() -> None:
    assert joined(["a", "b", "a"]) == "a; b"
    assert joined([joined(["a", "b"]), "b", "c"]) == "a; b; c"
    assert by_reason({CANAL[0]: "a", CANAL[1]: "b", CANAL[2]: "a"}) == {
        "a": [CANAL[0], CANAL[2]],
        "b": [CANAL[1]],
    }


def test_findings_are_named_by_condition_sides_and_levels() -> None:
    assert named(FINDINGS) == (
        "spinal canal stenosis, left and right neural foraminal narrowing, "
        "left and right subarticular stenosis"
    )
    both = [t for t in SUBARTICULAR if t.level in (Level.L4_L5, Level.L5_S1)]
    assert named(reversed(both)) == "left and right subarticular stenosis at L4/L5, L5/S1"
    uneven = [*SUBARTICULAR[:5], SUBARTICULAR[5]]
    assert named(uneven) == "left subarticular stenosis, right subarticular stenosis at L1/L2"
    assert named([]) == ""


def test_a_target_is_graded_or_absent_and_never_both() -> None:
    found = {CANAL[0]: Finding(CANAL[0], P)}
    with pytest.raises(ValueError, match="spinal_canal_stenosis_l1_l2 is both graded and absent"):
        StudyPrediction("1", found, absent={CANAL[0]: "no slice"})
    with pytest.raises(ValueError, match="absent without a reason"):
        StudyPrediction("1", found, absent={CANAL[1]: ""})
    one = StudyPrediction("1", found, absent={CANAL[1]: "no slice"})
    changed = one.without({CANAL[0]: "implausible", CANAL[1]: "implausible"})
    assert changed.findings == {}
    assert changed.absent == dict.fromkeys(CANAL[:2], "implausible")
    assert one.findings == found
