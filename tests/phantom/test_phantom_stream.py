"""The training stream: the same sample for a number, and labels that agree with the anatomy."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lumbargrade.domain.geometry import SlicePlane
from lumbargrade.domain.outlines import SEGMENT_OF, Mark, Segment, Structure
from lumbargrade.domain.vocabulary import Condition, Level, Side, Target
from lumbargrade.phantom import stream
from lumbargrade.phantom.acquisition import Look, _warp, draw_values
from lumbargrade.phantom.anatomy import BODIES, L1, LEVEL_CELL, SACRUM, Anatomy, sample_anatomy
from lumbargrade.phantom.paint import paint, paint_slices
from lumbargrade.phantom.ranges import Draws
from lumbargrade.phantom.render import T1, T2, contrast_values
from lumbargrade.phantom.stream import OUTSIDE, axial_sample, sagittal_sample
from lumbargrade.phantom.tissue import Tissue

VALUES = contrast_values(T2)


def _anatomy(seed: int) -> Anatomy:
    return sample_anatomy(np.random.default_rng(seed))


def _sagittal(place: np.ndarray, pixels: int, spacing: float = 1.0) -> SlicePlane:
    """A sagittal plane with a place at its middle pixel."""
    half = spacing * (pixels // 2)
    corner = place + np.array([0, -half, half])
    return SlicePlane(tuple(corner), (0, 1, 0), (0, 0, -1), (spacing, spacing))


def _across(anatomy: Anatomy, level: Level, spacing: float, pixels: int) -> SlicePlane:
    """The axial plane through the middle of a disc, around its canal point."""
    index = LEVEL_CELL[level]
    frame = anatomy.bodies[index].frame + anatomy.bodies[index + 1].frame
    up, left = frame[2] / np.linalg.norm(frame[2]), frame[0]
    left = left - up * (left @ up)
    left /= np.linalg.norm(left)
    back = np.cross(up, left)
    middle = anatomy.landmark(Target(Condition.CANAL, level))
    corner = middle - (left + back) * spacing * (pixels // 2)
    return SlicePlane(tuple(corner), tuple(left), tuple(back), (spacing, spacing))


def _equal(a: object, b: object) -> bool:
    return all(np.array_equal(getattr(a, n), getattr(b, n)) for n in type(a).__slots__)


@pytest.mark.parametrize("draw", [sagittal_sample, axial_sample])
def test_a_sample_depends_on_seed_and_number_alone(draw):
    first = draw(3, 5)
    others = [draw(3, 6), draw(4, 5), draw(5, 3)]
    assert _equal(draw(3, 5), first)
    for other in others:
        assert not _equal(other, first)


@pytest.mark.parametrize("number", range(6))
def test_nothing_is_shown_or_labelled_outside_the_field(number):
    sample = sagittal_sample(0, number)
    outside = sample.structures == OUTSIDE
    assert (outside == (sample.segments == OUTSIDE)).all()
    assert (outside == outside[0]).all(), "all slices have the same field"
    assert not sample.images[outside].any()
    assert not sample.marks[outside[:, None, ::2, ::2].repeat(len(Mark), 1)].any()
    seen = sample.structures[~outside]
    assert seen.max() < Structure.FACET
    assert (seen == Structure.BODY).any()
    assert sample.images[~outside].std() > 10


def test_some_fields_end_inside_the_sample():
    assert any((sagittal_sample(0, n).structures == OUTSIDE).any() for n in range(6))


@given(st.integers(0, 30), st.sampled_from(list(Level)), st.floats(25, 220))
@settings(max_examples=25)
def test_the_label_of_the_sac_has_the_area_of_the_measure(seed, level, area):
    anatomy = _anatomy(seed)
    cells = list(anatomy.cells)
    cell = cells[LEVEL_CELL[level]]
    cells[LEVEL_CELL[level]] = replace(
        cell, sac_area=area, wide_area=max(cell.wide_area, 1.03 * area), hernia=(0.0, 0.0, 0.0)
    )
    anatomy = replace(anatomy, cells=tuple(cells), sac_end=SACRUM + 2.5)
    painted = paint(anatomy, _across(anatomy, level, 0.5, 96), (96, 96), VALUES)
    seen = (painted.structures == Structure.SAC).sum() * 0.25
    assert seen == pytest.approx(area, rel=0.12, abs=3)


@given(st.integers(0, 60), st.integers(0, len(BODIES) - 2))
def test_discs_bodies_and_segments_are_labelled_at_their_places(seed, index):
    anatomy = _anatomy(seed)
    upper, lower = anatomy.bodies[index], anatomy.bodies[index + 1]
    disc = anatomy.locate(index, 0, -0.25 * (upper.depth * (1 - upper.taper) + lower.depth), 0)
    painted = paint(anatomy, _sagittal(disc, 9), (9, 9), VALUES)
    assert painted.structures[4, 4] == (Structure.DISC if index < SACRUM else Structure.SACRUM)
    name = f"{BODIES[index]}_{BODIES[index + 1]}"
    other = Segment.HIGHER if index < L1 else Segment.LOWER
    assert painted.segments[4, 4] == Segment.__members__.get(name, other)
    painted = paint(anatomy, _sagittal(lower.centre + lower.frame[2], 9), (9, 9), VALUES)
    assert painted.structures[4, 4] == (Structure.BODY if index + 1 < SACRUM else Structure.SACRUM)


@given(st.integers(0, 60), st.sampled_from(list(Level)))
def test_segments_of_levels_are_around_their_canal_points(seed, level):
    anatomy = _anatomy(seed)
    place = anatomy.landmark(Target(Condition.CANAL, level))
    painted = paint(anatomy, _sagittal(place, 9), (9, 9), VALUES)
    assert painted.segments[4, 4] == SEGMENT_OF[level]


def test_foramina_are_labelled_at_their_points():
    found = []
    for seed in range(30):
        anatomy = _anatomy(seed)
        for level in Level:
            for side in Side:
                place = anatomy.landmark(Target(Condition.FORAMINAL, level, side))
                painted = paint(anatomy, _sagittal(place, 9), (9, 9), VALUES)
                found.append((painted.structures[2:7, 2:7] == Structure.FORAMEN).any())
    assert np.mean(found) > 0.97


def test_slices_painted_together_are_those_painted_alone():
    anatomy = _anatomy(7)
    middle = anatomy.bodies[L1 + 2].wall
    planes = [_sagittal(middle + np.array([x, 0, 0]), 150) for x in (-14.0, 0.0, 12.0)]
    together = paint_slices(anatomy, planes, (150, 150), VALUES)
    for k, plane in enumerate(planes):
        alone = paint(anatomy, plane, (150, 150), VALUES)
        np.testing.assert_allclose(together.image[k], alone.image, atol=1e-5)
        assert (together.structures[k] == alone.structures).mean() > 0.9999
        assert (together.segments[k] == alone.segments).mean() > 0.9999


def _look(warp: tuple[np.ndarray, np.ndarray] | None, fat: bool = False) -> Look:
    shading = np.ones((150, 150), np.float32)
    return Look(
        values=VALUES, blur=0.3, step=1.0, noise=0.0, texture=0.0, shading=shading, gamma=1.0,
        clip=(0.0, 100.0), fat=VALUES * 0.5 if fat else None, warp=warp,
    )  # fmt: skip


def test_labels_of_a_thick_slice_are_those_of_its_middle():
    anatomy = _anatomy(7)
    plane = _sagittal(anatomy.bodies[L1 + 2].wall, 150)
    (thin,) = stream.paint_parts(anatomy, [plane], (150, 150), _look(None), (0.0,))
    (thick,) = stream.paint_parts(anatomy, [plane], (150, 150), _look(None), (-3.0, 0.0, 3.0))
    assert (thick.structures == thin.structures).mean() > 0.9999
    assert (thick.segments == thin.segments).mean() > 0.9999
    assert np.abs(thick.image - thin.image).mean() > 0.005


@given(st.integers(0, 1000), st.floats(20, 130), st.floats(20, 130), st.floats(0, 2.2))
def test_a_mark_moves_with_the_image(seed, x, y, size):
    warp = _warp(np.random.default_rng(seed), (150, 150), size)
    rows, columns = np.mgrid[:150, :150]
    blob = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8).astype(np.float32)
    seen = cv2.remap(blob, *warp, cv2.INTER_LINEAR)
    place = [float((seen * axis).sum() / seen.sum()) for axis in (columns, rows)]
    moved = stream._unwarped(warp, np.array([x]), np.array([y]))
    assert np.hypot(moved[0][0] - place[0], moved[1][0] - place[1]) < 1


@given(st.floats(-30, 30), st.floats(-30, 30), st.floats(0, 10))
def test_a_mark_peaks_at_its_place_and_falls_with_the_distance_of_the_slice(right, down, away):
    plane = SlicePlane((0, 0, 0), (0, 1, 0), (0, 0, -1), (1.5, 1.5))
    place = np.array([[away, 1.5 * (75 + right), -1.5 * (75 + down)]])
    heat = np.zeros((2, 75, 75), np.float32)
    stream._draw_marks(heat, plane, (1,), place, _look(None), np.array([5.0]), 4.0)
    strength = np.exp(-0.5 * (away / 5) ** 2)
    assert not heat[0].any()
    assert 0.85 * strength < heat.max() <= strength + 1e-6
    row, column = np.unravel_index(heat[1].argmax(), (75, 75))
    assert abs(2 * column + 0.5 - (75 + right)) <= 1.01
    assert abs(2 * row + 0.5 - (75 + down)) <= 1.01


def test_marks_lie_in_their_structures_in_samples():
    wanted = {Mark.DISC: Structure.DISC, Mark.BODY: Structure.BODY}
    hits: dict[Mark, list[bool]] = {mark: [] for mark in wanted}
    for number in range(8):
        sample = sagittal_sample(1, number)
        for mark, structure in wanted.items():
            peaks = sample.marks[1, mark]
            local = (peaks == cv2.dilate(peaks, np.ones((5, 5)))) & (peaks > 0.8)
            seen = sample.structures[1, ::2, ::2][local]
            allowed = (structure, Structure.SACRUM)
            hits[mark] += np.isin(seen[seen != OUTSIDE], allowed).tolist()
    for found in hits.values():
        assert len(found) > 10
        assert np.mean(found) > 0.85, "the peak is up to half a coarse pixel off"


@pytest.mark.parametrize("number", range(6))
def test_the_left_recess_is_on_the_left(number):
    left, right = axial_sample(2, number).recesses
    if min(left.max(), right.max()) < 0.1:
        pytest.skip("the slice is too far from the disc")
    columns = [np.unravel_index(m.argmax(), m.shape)[1] for m in (left, right)]
    assert columns[0] - columns[1] > 6, "columns run to the patient's left, 1.5 mm each"
    assert abs(np.mean(columns) - 31.5) < 12


def test_axial_labels_are_indices_of_the_axial_structures():
    seen = set()
    for number in range(4):
        sample = axial_sample(6, number)
        seen |= set(np.unique(sample.structures).tolist())
        assert sample.image.dtype == np.uint8
        assert sample.image.shape == sample.structures.shape == stream.AXIAL_SHAPE
    assert seen == set(range(len(stream.AXIAL_STRUCTURES)))


def test_contrasts_have_every_order_of_fat_and_fluid():
    rng = np.random.default_rng(0)
    values = np.array([draw_values(Draws(rng, "image")) for _ in range(400)])
    assert (values >= 0).all()
    assert (values[:, Tissue.AIR] <= 0.01).all()
    brighter = values[:, Tissue.CSF] > values[:, Tissue.FAT]
    assert 0.3 < brighter.mean() < 0.8
    assert contrast_values(T1)[Tissue.CSF] < contrast_values(T1)[Tissue.FAT]
