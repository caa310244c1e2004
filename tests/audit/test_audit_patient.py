"""In the patient a level has one height and left is left, whichever series marks it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from lumbargrade.audit.between_series import check_patient
from lumbargrade.audit.records import Check
from lumbargrade.domain.vocabulary import TARGETS, Condition, Level, Side, Target
from lumbargrade.lsdc.store_tables import StoredPoint

STUDY = "7"


def placed(points=None) -> list[StoredPoint]:
    """A curved, tilted spine of 30 mm discs; every condition marks it within 2 mm."""
    rng = np.random.default_rng(0)
    found = []
    for k, condition in enumerate(Condition):
        for i, target in enumerate(TARGETS[condition]):
            level, side = i % 5, i // 5
            x = 0.0 if not condition.sided else (12.0, -12.0)[side]
            centre = [4 * (level - 2) + x, 5 * (level - 2) ** 2, -30.0 * level]
            patient = tuple((np.array(centre) + rng.uniform(-2, 2, 3)).tolist())
            instance = 5 * level if condition is Condition.SUBARTICULAR else 4 + 6 * side
            voxel = (50.0, 50.0 + level, 0.0)
            point = StoredPoint(target, str(k), instance, voxel, patient, study_id=STUDY)
            found.append(point)
    return found


def named(points: list[StoredPoint], names: dict[Target, Target]) -> list[StoredPoint]:
    return [replace(p, target=names.get(p.target, p.target)) for p in points]


def test_right_labels_give_no_suspects():
    assert not check_patient(placed())


def test_an_axial_point_at_the_height_of_another_level_names_that_level():
    one = Target(Condition.SUBARTICULAR, Level.L4_L5, Side.LEFT)
    two = Target(Condition.SUBARTICULAR, Level.L3_L4, Side.LEFT)
    (suspect,) = check_patient(named(placed(), {one: two, two: one}))
    assert suspect.check is Check.PATIENT
    assert set(suspect.targets) == {one, two}
    assert "the canal point of that level, at the height of L" in suspect.reason


@pytest.mark.parametrize("condition", [Condition.FORAMINAL, Condition.SUBARTICULAR])
def test_exchanged_sides_are_told_and_exchanged_back(condition):
    names = {t: t.mirror() for t in TARGETS[condition]}
    (suspect,) = check_patient(named(placed(), names))
    assert suspect.condition is condition
    assert len(suspect.targets) == len(suspect.corrections) == 10
    assert "mm to the right of the right point" in suspect.reason


def test_a_canal_row_one_level_off_is_the_suspect_when_all_others_contradict_it():
    end = Target(Condition.CANAL, Level.L5_S1)
    names = {Target(Condition.CANAL, a): Target(Condition.CANAL, b) for a, b in pairwise(Level)}
    (suspect,) = check_patient(named([p for p in placed() if p.target != end], names))
    assert suspect.condition is Condition.CANAL
    assert [t.level for t in suspect.targets] == list(Level)[1:]
    assert "above all other points of that level" in suspect.reason


def test_points_already_flagged_are_neither_judged_nor_used_as_reference():
    one, two = (Target(Condition.CANAL, level) for level in (Level.L2_L3, Level.L3_L4))
    wrong = named(placed(), {one: two, two: one})
    (suspect,) = check_patient(wrong)
    assert suspect.targets == (one, two)
    assert not check_patient(wrong, {("0", one), ("0", two)})


def test_points_without_a_place_and_studies_without_a_canal_row_are_passed_over():
    assert not check_patient([replace(p, patient=None) for p in placed()])
    assert not check_patient([p for p in placed() if p.target.condition is not Condition.CANAL])
