"""One anatomy: grades follow from geometry, are as common as in LSDC, and points are anatomical."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumbargrade.domain.vocabulary import FINDINGS, TARGETS, Condition, Grade, Level, Side, Target
from lumbargrade.phantom.anatomy import (
    BODIES,
    L1,
    LEVEL_CELL,
    SACRUM,
    cell_coordinates,
    sample_anatomy,
)
from lumbargrade.phantom.severity import PREVALENCE, SCALES, draw_measure, grade


def _anatomy(seed: int):
    return sample_anatomy(np.random.default_rng(seed))


@pytest.mark.parametrize("condition", list(Condition))
@pytest.mark.parametrize("level", list(Level))
def test_grades_are_as_common_as_in_the_real_table(condition, level):
    rng = np.random.default_rng(5)
    n = 4000
    grades = np.array([grade(condition, draw_measure(rng, condition, level)) for _ in range(n)])
    for wanted, expected in zip(
        (Grade.MODERATE, Grade.SEVERE), PREVALENCE[condition][level], strict=True
    ):
        spread = np.sqrt(expected * (1 - expected) / n)
        assert abs((grades == wanted).mean() - expected) < 4.5 * spread + 1e-9


def test_prevalence_is_that_of_the_lsdc_table(shared):
    pandas = pytest.importorskip("pandas")
    table = pandas.read_csv(shared / "realdata" / "rsna2024" / "train.csv")
    for condition, levels in PREVALENCE.items():
        for level, expected in levels.items():
            columns = [t.column for t in TARGETS[condition] if t.level is level]
            values = table[columns].stack().dropna()
            for label, share in zip(("Moderate", "Severe"), expected, strict=True):
                assert (values == label).mean() == pytest.approx(share, abs=6e-4)


@given(st.sampled_from(list(Condition)), st.floats(0, 300))
def test_worse_geometry_is_never_a_better_grade(condition, measure):
    assert grade(condition, measure) >= grade(condition, measure + 5)


@pytest.mark.parametrize("condition", list(Condition))
def test_measures_reach_up_to_the_thresholds_from_both_sides(condition):
    scale = SCALES[condition]
    rng = np.random.default_rng(0)
    for threshold, worse, better in (
        (scale.moderate, Grade.MODERATE, Grade.NORMAL_MILD),
        (scale.severe, Grade.SEVERE, Grade.MODERATE),
    ):
        below = max(scale.draw(rng, worse) for _ in range(2000))
        above = min(scale.draw(rng, better) for _ in range(2000))
        assert below < threshold <= above
        assert above - below < 0.08 * threshold


def test_changing_one_measure_changes_that_grade_alone():
    anatomy = _anatomy(1)
    before = anatomy.grades()
    index = LEVEL_CELL[Level.L3_L4]
    cell = anatomy.cells[index]
    narrow = replace(cell.sides[Side.LEFT], fat_area=5.0)
    cells = list(anatomy.cells)
    cells[index] = replace(cell, sides={**cell.sides, Side.LEFT: narrow})
    after = replace(anatomy, cells=tuple(cells)).grades()
    target = Target(Condition.FORAMINAL, Level.L3_L4, Side.LEFT)
    assert after[target] is Grade.SEVERE
    assert {t for t in FINDINGS if t != target and before[t] is not after[t]} == set()


def test_left_and_right_are_independent():
    pairs = []
    for seed in range(400):
        sides = _anatomy(seed).cells[LEVEL_CELL[Level.L4_L5]].sides
        pairs.append([sides[s].fat_area for s in Side] + [sides[s].recess_depth for s in Side])
    correlation = np.corrcoef(np.array(pairs).T)
    assert abs(correlation[0, 1]) < 0.2
    assert abs(correlation[2, 3]) < 0.2


@given(
    st.integers(0, 50),
    st.integers(0, len(BODIES) - 2),
    st.floats(-20, 20),
    st.floats(-25, 30),
    st.floats(-10, 10),
)
def test_locate_is_the_inverse_of_cell_coordinates(seed, index, u, v, w):
    anatomy = _anatomy(seed)
    place = anatomy.locate(index, u, v, w)
    assert cell_coordinates(anatomy, index, place) == pytest.approx((u, v, w), abs=0.02)


@pytest.mark.parametrize("seed", range(12))
def test_points_lie_where_they_belong(seed):
    anatomy = _anatomy(seed)
    canal = [anatomy.landmark(t) for t in TARGETS[Condition.CANAL]]
    gaps = np.linalg.norm(np.diff(canal, axis=0), axis=1)
    assert 20 < np.median(gaps) < 42, "levels stand a vertebra apart"
    assert (gaps > 10).all(), "also across a collapsed body"
    assert (gaps < 45).all()
    for condition in (Condition.FORAMINAL, Condition.SUBARTICULAR):
        for target in TARGETS[condition]:
            here, across = anatomy.landmark(target), anatomy.landmark(target.mirror())
            middle = anatomy.landmark(Target(Condition.CANAL, target.level))
            apart = (here - across)[0] * (1 if target.side is Side.LEFT else -1)
            low, high = (18, 42) if condition is Condition.FORAMINAL else (14, 22)
            assert low < apart < high, "left lies towards +x by twice its distance from the middle"
            assert np.linalg.norm(here - middle) < 30


def test_the_chain_is_lordotic_and_stands_upright():
    for seed in range(60):
        anatomy = _anatomy(seed)
        heights = [b.centre[2] for b in anatomy.bodies]
        assert heights == sorted(heights, reverse=True)
        first, sacrum = anatomy.bodies[L1].frame[2], anatomy.bodies[SACRUM].frame[2]
        lordosis = np.degrees(np.arctan2(-sacrum[1], sacrum[2]) - np.arctan2(-first[1], first[2]))
        assert 5 < lordosis < 115
        for body in anatomy.bodies:
            np.testing.assert_allclose(body.frame @ body.frame.T, np.eye(3), atol=1e-12)
            assert np.linalg.det(body.frame) == pytest.approx(1)
