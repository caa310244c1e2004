"""The field's words: 25 findings, their spellings, and what mirroring does to them."""

from __future__ import annotations

import csv
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumbargrade.domain.vocabulary import (
    FINDINGS,
    TARGETS,
    Condition,
    Grade,
    Level,
    Side,
    Target,
    grade_from_label,
    mirror,
    target_from_column,
    target_from_labels,
)

target_sets = st.sampled_from([FINDINGS, *TARGETS.values()])


def test_there_are_25_findings_each_once() -> None:
    assert len(FINDINGS) == len(set(FINDINGS)) == 25


def test_findings_stand_in_the_order_of_the_sample_submission(shared: Path) -> None:
    table = shared / "realdata" / "rsna2024" / "sample_submission.csv"
    with table.open() as lines:
        columns = [row["row_id"].split("_", 1)[1] for row in csv.DictReader(lines)]
    assert [t.column for t in FINDINGS] == columns[:25]


@given(target_sets)
def test_mirroring_is_an_involution_that_keeps_condition_and_level(targets) -> None:
    order = mirror(targets)
    assert [order[order[i]] for i in range(len(targets))] == list(range(len(targets)))
    for i, target in enumerate(targets):
        twin = targets[order[i]]
        assert (twin.condition, twin.level) == (target.condition, target.level)
        assert (twin == target) == (target.side is None)


def test_mirroring_needs_both_sides() -> None:
    left = [t for t in TARGETS[Condition.FORAMINAL] if t.side is Side.LEFT]
    with pytest.raises(ValueError, match="not closed"):
        mirror(left)


def test_network_order_is_left_from_the_top_then_right() -> None:
    names = [(t.side, t.level) for t in TARGETS[Condition.FORAMINAL]]
    assert names == [(s, v) for s in (Side.LEFT, Side.RIGHT) for v in Level]


@given(st.sampled_from(FINDINGS))
def test_every_spelling_of_the_tables_is_read_back(target: Target) -> None:
    assert target_from_column(target.column) == target
    assert target_from_labels(target.coordinate_label, target.level.label) == target
    assert target_from_labels(target.sided_condition, target.level.value) == target


def test_grades_read_back_and_unknown_words_are_named() -> None:
    assert [grade_from_label(g.label) for g in Grade] == list(Grade)
    assert [g.label for g in Grade] == ["Normal/Mild", "Moderate", "Severe"]
    with pytest.raises(ValueError, match="'Mild'"):
        grade_from_label("Mild")
    with pytest.raises(ValueError, match="unknown condition"):
        target_from_labels("Disc Herniation", "L1/L2")


@pytest.mark.parametrize("condition", list(Condition))
def test_a_side_is_needed_exactly_where_left_and_right_are_graded(condition: Condition) -> None:
    sides = [None, Side.LEFT, Side.RIGHT]
    for side, _ in permutations(sides, 2):
        if condition.sided == (side is not None):
            assert Target(condition, Level.L1_L2, side).side == side
        else:
            with pytest.raises(ValueError, match="side"):
                Target(condition, Level.L1_L2, side)
