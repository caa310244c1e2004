"""The audit finds planted errors and says where the points belong; right tables pass."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lumbargrade.audit.records import Check, Suspect, settle
from lumbargrade.audit.run import audit_tables
from lumbargrade.domain.vocabulary import TARGETS, Condition, Level, Side
from lumbargrade.lsdc.corrections import Fix
from lumbargrade.lsdc.tables import LsdcTables
from made_labels import canal, edited, foraminal, made_tables

RIGHT = made_tables()
STUDY = "117"
PLACES = {(p.study_id, p.target): p for p in RIGHT.points}


def found(tables: LsdcTables) -> list[Suspect]:
    return audit_tables(tables).suspects


def spacing(study: str) -> float:
    top, end = PLACES[study, canal(Level.L1_L2)], PLACES[study, canal(Level.L5_S1)]
    return (end.y - top.y) / 4


def test_right_tables_give_no_suspects():
    for seed in range(3):
        assert not found(made_tables(seed=seed))


@settings(max_examples=30)
@given(
    st.sampled_from([t for c in (Condition.CANAL, Condition.FORAMINAL) for t in TARGETS[c]]),
    st.integers(100, 139).map(str),
    st.floats(0, 2 * np.pi),
    st.floats(1.2, 8),
)
def test_any_sagittal_point_moved_by_more_than_a_disc_is_found_and_put_back(
    target, study, angle, far
):
    away = far * spacing(study) * np.array([np.cos(angle), np.sin(angle)])
    wrong = edited(RIGHT, study, [target], lambda p: p._replace(x=p.x + away[0], y=p.y + away[1]))
    suspects = found(wrong)
    assert {(s.study_id, s.condition) for s in suspects} == {(study, target.condition)}
    assert target in suspects[0].targets
    (fix,) = [c for s in suspects for c in s.corrections if c.target == target]
    true = PLACES[study, target]
    assert np.hypot(fix.x - true.x, fix.y - true.y) < 0.25 * spacing(study)
    assert fix.instance_number == true.instance_number


@settings(max_examples=20)
@given(st.integers(0, 4), st.integers(0, 4))
def test_exchanged_levels_are_told_and_exchanged_back(a, b):
    one, two = (canal(list(Level)[i]) for i in (a, b))
    names = {one: two, two: one}
    wrong = edited(RIGHT, STUDY, [one, two], lambda p: p._replace(target=names[p.target]))
    if a == b:
        assert not found(wrong)
        return
    (suspect,) = found(wrong)
    assert suspect.check is Check.ORDER
    assert set(suspect.targets) == {one, two}
    places = {c.target: (c.x, c.y) for c in suspect.corrections}
    for target, xy in places.items():
        assert xy == pytest.approx(PLACES[STUDY, target][4:], abs=0.01)


@pytest.mark.parametrize("count", [1, 2])
def test_missing_points_get_a_place_and_a_slice(count):
    gone = [canal(level) for level in list(Level)[-count:]]
    (suspect,) = found(edited(RIGHT, STUDY, gone, lambda p: None))
    assert suspect.check is Check.MISSING
    assert [c.target for c in suspect.corrections] == gone
    for c in suspect.corrections:
        true = PLACES[STUDY, c.target]
        assert c.fix is Fix.ADD
        assert c.instance_number == true.instance_number
        assert np.hypot(c.x - true.x, c.y - true.y) < 0.4 * spacing(STUDY)


def test_a_side_named_one_level_off_is_told_from_the_other_side_and_the_canal():
    left = [foraminal(level, Side.LEFT) for level in Level]
    step = spacing(STUDY)
    wrong = edited(RIGHT, STUDY, left, lambda p: p._replace(y=p.y + step))
    (suspect,) = found(wrong)
    assert suspect.check is Check.SHIFT
    assert list(suspect.targets) == left
    assert "lower" in suspect.reason
    assert len(suspect.corrections) == 5
    for c in suspect.corrections[1:]:
        before = next(p for p in wrong.points if p.study_id == STUDY and p.target == c.target)
        assert c.y - before.y == pytest.approx(-step, rel=0.2)


def test_a_canal_row_one_level_off_is_told_from_both_foraminal_rows():
    row = list(TARGETS[Condition.CANAL])
    wrong = edited(RIGHT, STUDY, row, lambda p: p._replace(y=p.y - spacing(STUDY)))
    (suspect,) = found(wrong)
    assert (suspect.check, list(suspect.targets)) == (Check.SHIFT, row)


def test_left_and_right_on_one_slice_lead_the_side_check_and_are_dropped():
    right = [foraminal(level, Side.RIGHT) for level in Level]
    wrong = edited(RIGHT, STUDY, right, lambda p: p._replace(instance_number=4))
    first = found(wrong)[0]
    assert first.check is Check.SIDES
    assert {c.fix for c in first.corrections} == {Fix.DROP}
    assert len(first.corrections) == 10


def test_exchanged_axial_sides_and_a_stray_slice_and_a_place_outside_every_image():
    low = [t for t in TARGETS[Condition.SUBARTICULAR] if t.level is Level.L4_L5]
    wrong = edited(RIGHT, STUDY, low, lambda p: p._replace(target=p.target.mirror()))
    assert Check.SIDES in {s.check for s in found(wrong)}
    stray = edited(RIGHT, STUDY, [canal(Level.L1_L2)], lambda p: p._replace(instance_number=15))
    (suspect,) = found(stray)
    assert suspect.check is Check.INSTANCE
    assert suspect.corrections[0].instance_number == 8
    out = edited(RIGHT, STUDY, [canal(Level.L1_L2)], lambda p: p._replace(x=-20.0))
    assert Check.BOUNDS in {s.check for s in found(out)}
    sizes = {(STUDY, f"{STUDY}1"): (90, 2000)}
    assert Check.BOUNDS in {s.check for s in audit_tables(RIGHT, sizes).suspects}


def test_few_series_are_still_checked_for_what_needs_no_shape():
    few = made_tables(studies=4)
    audit = audit_tables(few)
    assert not audit.suspects
    assert all("shape not checked" in p.what for p in audit.problems)
    level = [canal(Level.L1_L2), canal(Level.L2_L3)]
    names = dict(zip(level, level[::-1], strict=True))
    wrong = edited(few, "102", level, lambda p: p._replace(target=names[p.target]))
    assert [s.check for s in found(wrong)] == [Check.ORDER]


def test_no_label_is_corrected_twice():
    right = [foraminal(level, Side.RIGHT) for level in Level]
    wrong = edited(RIGHT, STUDY, right, lambda p: p._replace(instance_number=4))
    wrong = edited(wrong, STUDY, right, lambda p: p._replace(y=p.y + spacing(STUDY)))
    keys = [c.key for corrections in settle(found(wrong)).values() for c in corrections]
    assert len(keys) == len(set(keys)) > 0
