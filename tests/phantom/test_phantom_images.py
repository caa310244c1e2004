"""What the views show: findings are visible in every view that should show them, at the points."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lumbargrade.domain.geometry import SlicePlane
from lumbargrade.domain.vocabulary import TARGETS, Condition, Level, SeriesKind, Side, Target
from lumbargrade.phantom.acquisition import draw_values
from lumbargrade.phantom.anatomy import LEVEL_CELL, Anatomy, sample_anatomy
from lumbargrade.phantom.paint import paint
from lumbargrade.phantom.ranges import Draws
from lumbargrade.phantom.render import Contrast, acquire, contrast_values, sample_faults
from lumbargrade.phantom.study import plan_study
from lumbargrade.phantom.tissue import Tissue
from lumbargrade.phantom.wide import acquire_wide

LEVEL = Level.L3_L4


def _anatomy(sac: float = 180.0, left_fat: float = 90.0, right_fat: float = 90.0) -> Anatomy:
    anatomy = sample_anatomy(np.random.default_rng(4))
    index = LEVEL_CELL[LEVEL]
    cell = anatomy.cells[index]
    sides = {
        Side.LEFT: replace(cell.sides[Side.LEFT], fat_area=left_fat),
        Side.RIGHT: replace(cell.sides[Side.RIGHT], fat_area=right_fat),
    }
    cells = list(anatomy.cells)
    cells[index] = replace(cell, sac_area=sac, bulge=1.0, sides=sides)
    return replace(anatomy, cells=tuple(cells))


def _only(*tissues: Tissue) -> np.ndarray:
    """Values that show some tissues in white and all others in black."""
    return contrast_values(dict.fromkeys(tissues, 1.0))


def _sagittal(place: np.ndarray, spacing: float = 0.5) -> SlicePlane:
    corner = tuple(place - np.array([0, 20.0, -20.0]))
    return SlicePlane(corner, (0, 1, 0), (0, 0, -1), (spacing, spacing))


def _axial(anatomy: Anatomy, place: np.ndarray, spacing: float = 0.5) -> SlicePlane:
    index = LEVEL_CELL[LEVEL]
    frame = anatomy.bodies[index].frame + anatomy.bodies[index + 1].frame
    row = frame[0] / np.linalg.norm(frame[0])
    column = frame[1] - row * (row @ frame[1])
    column /= np.linalg.norm(column)
    corner = place - 20 * row - 20 * column
    return SlicePlane(tuple(corner), tuple(row), tuple(column), (spacing, spacing))


@pytest.mark.parametrize("view", ["sagittal", "axial"])
def test_a_narrow_sac_is_seen_in_both_views(view):
    seen = {}
    for sac in (180.0, 40.0):
        anatomy = _anatomy(sac)
        place = anatomy.locate(LEVEL_CELL[LEVEL], 0, 8, 0)
        plane = _sagittal(place) if view == "sagittal" else _axial(anatomy, place)
        image = paint(anatomy, plane, (81, 81), _only(Tissue.CSF)).image
        rows = image[36:45] if view == "sagittal" else image
        seen[sac] = float(rows.sum())
    assert seen[40.0] < 0.45 * seen[180.0]


@pytest.mark.parametrize("side", list(Side))
def test_lost_foraminal_fat_is_seen_on_its_side_alone(side):
    def fat(anatomy: Anatomy, where: Side) -> float:
        place = anatomy.landmark(Target(Condition.FORAMINAL, LEVEL, where))
        image = paint(anatomy, _sagittal(place), (81, 81), _only(Tissue.FAT)).image
        return float(image[24:57, 30:51].sum()) * 0.25

    wide = _anatomy()
    narrow = _anatomy(**{f"{side}_fat": 8.0})
    assert fat(narrow, side) < fat(wide, side) - 45, "mm2 of bright fat are gone"
    assert fat(narrow, side.mirror()) == pytest.approx(fat(wide, side.mirror()), abs=2)


def test_the_painted_fat_is_the_fat_of_the_measure():
    areas = []
    for wanted in (40.0, 70.0, 100.0):
        anatomy = _anatomy(left_fat=wanted)
        place = anatomy.landmark(Target(Condition.FORAMINAL, LEVEL, Side.LEFT))
        image = paint(anatomy, _sagittal(place, 0.25), (161, 161), _only(Tissue.FAT)).image
        areas.append(float(image[40:121, 55:106].sum()) / 16)
    assert np.diff(areas) == pytest.approx([30, 30], abs=12)


def test_a_foramen_has_a_root_in_fat_on_sagittal_and_axial():
    anatomy = _anatomy()
    target = Target(Condition.FORAMINAL, LEVEL, Side.LEFT)
    place = anatomy.landmark(target)
    for plane in (_sagittal(place), _axial(anatomy, place)):
        near = (slice(28, 53), slice(28, 53))
        assert paint(anatomy, plane, (81, 81), _only(Tissue.ROOT)).image[near].max() > 0.8
        assert paint(anatomy, plane, (81, 81), _only(Tissue.FAT)).image[near].max() > 0.8


def test_a_shallow_recess_loses_its_bright_pocket():
    index = LEVEL_CELL[LEVEL]
    bright = {}
    for depth in (6.5, 1.0):
        anatomy = _anatomy(sac=120.0)
        cell = anatomy.cells[index]
        sides = {s: replace(a, recess_depth=depth) for s, a in cell.sides.items()}
        cells = list(anatomy.cells)
        cells[index] = replace(cell, sides=sides)
        anatomy = replace(anatomy, cells=tuple(cells))
        place = anatomy.locate(index, cell.sides[Side.LEFT].recess, cell.bulge + 3, 0)
        values = _only(Tissue.EPIDURAL_FAT, Tissue.CSF)
        image = paint(anatomy, _axial(anatomy, place), (81, 81), values).image
        bright[depth] = float(image[32:49, 33:48].sum()) / 4
    assert bright[1.0] < bright[6.5] - 5


@pytest.mark.parametrize("number", range(6))
def test_one_anatomical_point_has_one_place_in_every_view(number):
    plan = plan_study(11, number)
    by_id = {s.series_id: s for s in plan.series}
    assert plan.points
    for point in plan.points:
        series = by_id[point.series_id]
        plane = series.planes[point.instance_number - 1]
        place = plan.anatomy.landmark(point.target)
        x, y, distance = plane.from_patient(place)
        assert (point.x, point.y) == pytest.approx((x, y), abs=1e-6)
        assert abs(distance) <= series.interval / 2 + 1
        back = plane.to_patient([point.x, point.y]) + distance * plane.normal
        np.testing.assert_allclose(back, place, atol=1e-3)
    for series in plan.series:
        marks = [series.mark(t, plan.anatomy.landmark(t)) for t in TARGETS[Condition.CANAL]]
        if series.kind.sagittal:
            assert all(m is not None for m in marks), "canal points are seen on T1 and T2 alike"


def test_any_contrast_can_be_rendered_and_labels_are_a_contrast():
    anatomy = _anatomy()
    place = anatomy.locate(LEVEL_CELL[LEVEL], 0, 8, 0)
    plane = _sagittal(place)
    bright, dark = (
        acquire(
            anatomy,
            plane,
            (81, 81),
            Contrast("own", _only(Tissue.CSF) * factor),
            sample_faults(np.random.default_rng(0), SeriesKind.SAGITTAL_T2),
            np.random.default_rng(1),
        )
        for factor in (1.0, 0.1)
    )
    assert bright.dtype == np.float32
    assert bright.max() > 4 * dark.max()


@pytest.mark.parametrize(
    ("ordering", "bright", "dark"),
    [
        ("t1", Tissue.FAT, Tissue.CSF),
        ("t2", Tissue.CSF, Tissue.MUSCLE),
        ("stir", Tissue.CSF, Tissue.FAT),
    ],
)
def test_a_named_ordering_of_tissues_is_kept_and_any_is_not(ordering, bright, dark):
    def first_is_brighter(name):
        draws = (Draws(np.random.default_rng(seed), "image") for seed in range(60))
        values = [draw_values(d, name) for d in draws]
        return [bool(v[bright] > v[dark]) for v in values]

    assert all(first_is_brighter(ordering))
    assert len(set(first_is_brighter("any"))) == 2


def test_a_wide_series_is_its_own_and_shows_the_same_anatomy():
    """The look differs from seed to seed; where the patient ends does not."""
    plan = plan_study(5, 0)
    series = next(s for s in plan.series if s.kind is SeriesKind.SAGITTAL_T2)
    series = replace(series, planes=series.planes[7:9], pixel=3.0)
    one, again, other = (
        np.stack(acquire_wide(plan.anatomy, series, np.random.default_rng(seed)))
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, again)
    assert one.shape == (2, *series.shape)
    assert one.min() >= 0
    assert one.max() <= 4095
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] < 0.98
    air = paint(
        plan.anatomy, series.planes[0], series.shape, contrast_values({Tissue.AIR: 1.0})
    ).image
    for image in (one[0], other[0]):
        assert np.median(image[air > 0.9]) < 0.5 * np.median(image[air < 0.1])
