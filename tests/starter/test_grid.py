"""The starter's grids: the same for every storage, and every pixel keeps its place."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lumbargrade.domain.upright import AXIAL, SAGITTAL, Pose, Turn
from lumbargrade.domain.vocabulary import TARGETS, Condition
from lumbargrade.domain.volume import Volume, VolumeSlice
from lumbargrade.starter.grid import (
    AXIAL_MM,
    AXIAL_SIZE,
    SAGITTAL_MM,
    AxialCrop,
    SagittalGrid,
    coarse,
    fine,
    flatten,
    neighbours,
)
from made_stacks import make_series, make_stack, stored, turned

TURNS = [Turn(*each) for each in product((False, True), repeat=3)]
SHAPE, SPACING = (230, 180), (0.7, 0.9)


def axes_of(pose: Pose) -> NDArray[np.float64]:
    return np.stack([pose.columns, pose.rows, pose.slices], axis=1)


def blob(slices: list[VolumeSlice], places: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Bright round spots of 3 mm at places (LPS mm) on grey."""
    rows, columns = np.mgrid[0 : slices[0].shape[0], 0 : slices[0].shape[1]]
    images = []
    for s in slices:
        lps = s.plane.to_patient(np.stack([columns, rows], -1))
        image = np.full(s.shape, 30.0)
        for place in places:
            image += 220 * np.exp(-((lps - place) ** 2).sum(-1) / 2 / 3.0**2)
        images.append(np.clip(np.rint(image), 0, 255).astype(np.uint8))
    return np.stack(images)


def made(pose: Pose, angles: tuple[float, float, float] = (0, 0, 0)) -> Volume:
    axes = turned(*angles) @ axes_of(pose)
    slices = make_stack(axes, (3, -4, 5), 3, 4.0, shape=SHAPE, spacing=SPACING)
    place = slices[1].plane.to_patient([(70.0, 90.0), (120.5, 60.25)])
    return make_series(slices, pixels=blob(slices, place))


def centroid(image: NDArray[np.generic], near: NDArray[np.float64]) -> NDArray[np.float64]:
    rows, columns = np.mgrid[0 : image.shape[0], 0 : image.shape[1]]
    weight = np.clip(image.astype(float) - 40, 0, None)
    weight *= np.hypot(columns - near[0], rows - near[1]) < 9
    return np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("turn", TURNS)
def test_a_series_on_the_grid_is_the_same_however_it_is_stored(turn: Turn, backwards: bool) -> None:
    first = made(SAGITTAL, (3, -5, 4))
    grid = SagittalGrid.of(first)
    assert grid.grey.shape == (3, 128, 128)  # 161 mm by 162 mm
    assert not grid.grey[:, 108:].any()
    assert grid.grey[:, :107, :108].all()
    assert all(np.array_equal(grid.field(k), grid.grey[k] > 0) for k in range(3))
    other = SagittalGrid.of(stored(first, turn, backwards=backwards))
    assert np.array_equal(other.grey, grid.grey)
    assert np.array_equal(other.field(1), grid.field(1))
    points = np.random.default_rng(0).uniform(0, (100, 100, 2), (7, 3))
    np.testing.assert_allclose(other.to_patient(points), grid.to_patient(points), atol=1e-9)
    np.testing.assert_allclose(other.from_patient(other.to_patient(points)), points, atol=1e-6)


def test_a_spot_lies_where_it_was() -> None:
    volume = made(SAGITTAL, (3, -5, 4))
    grid = SagittalGrid.of(volume)
    for x, y in ((70.0, 90.0), (120.5, 60.25)):
        place = volume.slices[1].plane.to_patient((x, y))
        at = grid.from_patient(place[None])[0]
        found = centroid(grid.grey[1], at)
        np.testing.assert_allclose(found, at[:2], atol=0.05)
        point = grid.point(TARGETS[Condition.CANAL][0], [*found, 1.0])
        np.testing.assert_allclose(point.voxel, (x, y, 1), atol=0.1)
        np.testing.assert_allclose(point.patient, place, atol=0.1)
        assert point.instance_number == 2


@given(st.sampled_from(TURNS), st.floats(-20, 20), st.integers(0, 2))
def test_an_axial_crop_lies_around_its_point_however_it_is_stored(
    turn: Turn, angle: float, z: int
) -> None:
    first = made(AXIAL, (angle, 0, 2))
    centre = first.slices[1].plane.to_patient((70.0, 90.0))
    crop = AxialCrop.around(first, z, centre)
    assert crop.grey.shape == (AXIAL_SIZE, AXIAL_SIZE)
    middle = np.full(2, (AXIAL_SIZE - 1) / 2)
    np.testing.assert_allclose(crop.from_patient(centre)[0], middle, atol=1e-6)
    if z == 1:
        np.testing.assert_allclose(centroid(crop.grey, middle), middle, atol=0.1)
    other = AxialCrop.around(stored(first, turn, backwards=False), z, centre)
    assert np.abs(other.grey.astype(int) - crop.grey).max() <= 1  # rounding of the centre
    points = np.random.default_rng(z).uniform(0, AXIAL_SIZE, (5, 2))
    np.testing.assert_allclose(other.to_patient(points), crop.to_patient(points), atol=1e-6)
    np.testing.assert_allclose(crop.from_patient(crop.to_patient(points)), points, atol=1e-6)
    apart = crop.to_patient([[10.0, 20.0], [11.0, 20.0], [10.0, 21.0]])
    assert np.linalg.norm(apart[1] - apart[0]) == pytest.approx(AXIAL_MM)
    assert apart[1, 0] > apart[0, 0]  # columns run to the left
    assert apart[2, 1] > apart[0, 1]  # rows run to the back
    point = crop.point(TARGETS[Condition.SUBARTICULAR][0], (12.0, 34.0))
    assert point.instance_number == z + 1
    assert point.z == z


def test_a_crop_beyond_the_image_is_black_there() -> None:
    volume = made(AXIAL)
    crop = AxialCrop.around(volume, 0, volume.slices[0].plane.to_patient((0.0, 0.0)))
    assert not crop.grey[:63].any()
    assert not crop.grey[:, :63].any()
    assert crop.grey[64:, 64:].all()


def test_fine_structure_is_averaged_not_skipped() -> None:
    """A checkerboard of single pixels becomes an even grey."""
    slices = make_stack(axes_of(SAGITTAL), shape=(300, 300), spacing=(0.5, 0.5))
    board = np.indices((5, 300, 300)).sum(0) % 2 * 200
    grid = SagittalGrid.of(make_series(slices, pixels=board.astype(np.uint8)))
    assert np.abs(grid.grey[:, 2:98, 2:98].astype(int) - 100).max() <= 2


def test_stacks_of_different_size_share_a_grid_and_are_no_neighbours() -> None:
    one = make_stack(axes_of(SAGITTAL), (0, 0, 0), 3, shape=(100, 80), spacing=(1.0, 1.0))
    two = make_stack(
        axes_of(SAGITTAL), (40, 0, 0), 2, shape=(200, 240), spacing=(0.75, 0.75), group=1, first=4
    )
    pixels = np.zeros((5, 200, 240), np.uint8)
    pixels[:3, :100, :80] = 50
    pixels[3:] = 90
    grid = SagittalGrid.of(make_series([*one, *two], pixels=pixels))
    assert grid.grey.shape == (5, 128, 128)
    assert (grid.grey[:3] > 0).sum() == 3 * 67 * 53
    assert (grid.grey[3:] > 0).sum() == 2 * 100 * 120
    points = np.array([[10.0, 20, 1], [50, 60, 4]])
    want = [one[1].plane.to_patient([15.25, 30.25]), two[1].plane.to_patient([100.5, 120.5])]
    np.testing.assert_allclose(grid.to_patient(points), want, atol=1e-9)
    assert neighbours(grid.groups).tolist() == [
        [0, 0, 1],
        [0, 1, 2],
        [1, 2, 2],
        [3, 3, 4],
        [3, 4, 4],
    ]


def test_a_single_slice_is_seen_three_times() -> None:
    assert neighbours([0]).tolist() == [[0, 0, 0]]


@given(st.floats(0.3, 3.0), st.integers(0, 40), st.integers(0, 40))
def test_flatten_removes_shading_and_ignores_the_border(gain: float, top: int, left: int) -> None:
    rng = np.random.default_rng(1)
    scene = rng.uniform(0.2, 1.0, (120, 100)).astype(np.float32)
    rows = np.linspace(0, 1, 120, dtype=np.float32)[:, None]
    flat = flatten(scene, SAGITTAL_MM)
    assert flat.dtype == np.float32
    assert flat.mean() == pytest.approx(0.45, abs=0.03)
    shaded = flatten(scene * np.exp(-1.5 * rows) * np.float32(gain), SAGITTAL_MM)
    raw = np.exp(-1.5 * 0.75)  # lower to upper quarter before
    assert shaded[-30:].mean() / shaded[:30].mean() > raw**0.25
    bordered = np.pad(scene, ((top, 7), (left, 3)))
    inside = flatten(bordered, SAGITTAL_MM)
    np.testing.assert_allclose(inside[top : top + 120, left : left + 100], flat, atol=1e-5)
    inside[top : top + 120, left : left + 100] = 0
    assert not inside.any()


def test_a_black_image_stays_black() -> None:
    assert not flatten(np.zeros((32, 32), np.uint8), SAGITTAL_MM).any()


@given(st.sampled_from([1, 2, 4]), st.floats(-10, 200))
def test_output_maps_and_grid_have_the_same_corners(stride: int, at: float) -> None:
    assert fine(-0.5, stride) == pytest.approx(-0.5)
    assert coarse(fine(at, stride), stride) == pytest.approx(at)


def test_a_slice_of_another_kind_of_orientation_is_still_read() -> None:
    """An axial series whose kind is unknown gives a grid, without an error."""
    volume = replace(made(AXIAL), kind=None)
    assert SagittalGrid.of(volume).grey.shape[0] == 3
