"""Volumes brought upright: exact, the nearest of eight turns, and every point kept in place."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lumbargrade.domain.geometry import SlicePlane
from lumbargrade.domain.upright import AXIAL, SAGITTAL, Pose, Turn, Upright
from lumbargrade.domain.volume import Volume, VolumeSlice
from made_stacks import make_series, make_stack, stored, turned

TURNS = [Turn(*each) for each in product((False, True), repeat=3)]
POSES = [pytest.param(p, id=n) for p, n in ((SAGITTAL, "sagittal"), (AXIAL, "axial"))]
ANGLES = st.tuples(*[st.floats(-25, 25)] * 3)


def axes_of(pose: Pose) -> NDArray[np.float64]:
    return np.stack([pose.columns, pose.rows, pose.slices], axis=1)


def upright_volume(
    pose: Pose, angles: tuple[float, float, float] = (0, 0, 0), *, seed: int = 0
) -> Volume:
    """Noise, already upright; not square, nor are its pixels."""
    axes = turned(*angles) @ axes_of(pose)
    slices = make_stack(axes, (3, -4, 5), 5, 4.0, shape=(17, 12), spacing=(0.5, 0.8))
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 17, 12), np.uint8)
    return make_series(slices, pixels=pixels)


@pytest.mark.parametrize("pose", POSES)
@given(ANGLES, st.sampled_from(TURNS), st.booleans(), st.integers(0, 99))
def test_every_storage_comes_back_to_the_very_same_pixels_and_places(
    pose: Pose, angles: tuple[float, float, float], turn: Turn, backwards: bool, seed: int
) -> None:
    first = upright_volume(pose, angles, seed=seed)
    other = stored(first, turn, backwards=backwards)
    upright = Upright.of(other, pose)
    assert np.array_equal(upright.pixels(other), first.pixels)
    assert upright.shape == (17, 12)
    points = np.random.default_rng(seed).uniform(0, (11, 16, 4), (6, 3))
    native = upright.maps.to_native(points)
    np.testing.assert_allclose(other.to_patient(native), first.to_patient(points), atol=1e-9)
    np.testing.assert_allclose(upright.points(native), points, atol=1e-9)
    for z, slice_ in enumerate(first.slices):
        at = int(upright.maps.zs[z])
        assert other.slices[at].instance_number == slice_.instance_number
        assert np.array_equal(upright.image(other, at), first.pixels[z])
        plane = upright.plane(other, at)
        assert plane.spacing == slice_.plane.spacing
        np.testing.assert_allclose(plane.position, slice_.plane.position, atol=1e-9)
        np.testing.assert_allclose(plane.row, slice_.plane.row)
        np.testing.assert_allclose(plane.column, slice_.plane.column)


@pytest.mark.parametrize("pose", POSES)
@given(st.floats(-44.9, 44.9), st.sampled_from([0, 1, 2]), st.sampled_from(TURNS))
def test_a_series_up_to_45_degrees_oblique_is_upright_and_its_storages_are_found(
    pose: Pose, angle: float, axis: int, turn: Turn
) -> None:
    angles = [0.0, 0.0, 0.0]
    angles[axis] = angle
    first = upright_volume(pose, (angles[0], angles[1], angles[2]))
    assert Upright.of(first, pose).unchanged
    other = stored(first, turn, backwards=False)
    assert np.array_equal(Upright.of(other, pose).pixels(other), first.pixels)


@given(st.floats(46, 89), st.sampled_from(TURNS))
def test_beyond_45_degrees_a_series_is_turned_by_a_quarter_and_never_mirrored(
    angle: float, turn: Turn
) -> None:
    first = upright_volume(SAGITTAL, (angle, 0, 0))
    other = stored(first, turn, backwards=False)
    upright = Upright.of(other)
    plane = upright.plane(other, 0)
    assert plane.normal @ SAGITTAL.slices > 0.99
    assert plane.row[1] > 0.69
    assert plane.column[2] < -0.69


def test_what_is_upright_is_left_as_it_is_and_what_is_not_is_a_view() -> None:
    first = upright_volume(SAGITTAL)
    assert Upright.of(first).pixels(first) is first.pixels
    points = np.array([[1, 2, 3]], np.float32)
    assert Upright.of(first).points(points) is points
    for turn, backwards in product(TURNS, (False, True)):
        other = stored(first, turn, backwards=backwards)
        assert np.shares_memory(Upright.of(other).pixels(other), other.pixels)


def test_points_that_are_not_known_stay_unknown() -> None:
    other = stored(upright_volume(SAGITTAL), TURNS[3], backwards=True)
    upright = Upright.of(other)
    points = np.array([[1, 2, 3], [np.nan] * 3, [4, 5, 0]])
    assert np.isnan(upright.points(points)[1]).all()
    assert np.isnan(upright.maps.to_native(points)[1]).all()
    assert np.isfinite(upright.points(points)[[0, 2]]).all()
    part = upright.maps.after(np.eye(3), 1, 3)
    assert np.isnan(part.from_native(upright.maps.to_native([[1, 1, 4]]))).any()


def two_stacks() -> Volume:
    """Sagittal slices in two stacks of different orientation and size, as a reader orders them."""
    stacks: list[VolumeSlice] = []
    rng, images = np.random.default_rng(1), []
    for group, (angle, shape) in enumerate(((0, (17, 12)), (8, (11, 14)))):
        axes = turned(0, 0, angle) @ axes_of(SAGITTAL)
        middle = (-20 + 40 * group, 0, 0)
        first = 1 + 3 * group
        stacks += make_stack(axes, middle, 3, 4.0, shape=shape, group=group, first=first)
        small = rng.integers(0, 256, (3, *shape), np.uint8)
        pad = (0, 17 - shape[0]), (0, 14 - shape[1])
        images += [np.pad(i, pad, mode="reflect") for i in small]
    return make_series(stacks, pixels=np.stack(images))


def part(volume: Volume, group: int) -> list[int]:
    return [z for z, s in enumerate(volume.slices) if s.group == group]


@given(st.sampled_from(TURNS), st.sampled_from(TURNS), st.booleans(), st.booleans())
def test_every_stack_is_turned_on_its_own_and_padded_where_it_was(
    one: Turn, other: Turn, backwards: bool, exchanged: bool
) -> None:
    """Stacks of different size, each stored in its own way, in either order."""
    whole = two_stacks()
    images, slices = [], []
    for group in (1, 0) if exchanged else (0, 1):
        turn = (one, other)[group]
        zs = part(whole, group)
        for z in zs[::-1] if backwards else zs:
            s = whole.slices[z]
            h, w = s.shape
            images.append(turn.pixels(whole.pixels[z, :h, :w]))
            plane = turn.plane(s.plane, s.shape)
            slices.append(replace(s, plane=plane, shape=turn.shape(s.shape)))
    height, width = np.max([i.shape for i in images], axis=0)
    same = [
        np.pad(i, ((0, height - i.shape[0]), (0, width - i.shape[1])), mode="reflect")
        for i in images
    ]
    volume = make_series(slices, pixels=np.stack(same))
    upright = Upright.of(volume)
    if exchanged and upright.unchanged:
        return  # a volume that is upright keeps the order of its stacks
    assert np.array_equal(upright.pixels(volume), whole.pixels)
    points = np.array([[3.0, 4.0, z] for z in (0, 0.5, 1.25, 2, 3, 4.75, 5)])
    native = upright.maps.to_native(points)
    np.testing.assert_allclose(volume.to_patient(native), whole.to_patient(points), atol=1e-9)
    np.testing.assert_allclose(upright.points(native), points, atol=1e-9)


def test_midway_between_two_slices_the_choice_does_not_depend_on_their_order() -> None:
    for pose in (SAGITTAL, AXIAL):
        for count in (4, 5):
            slices = make_stack(axes_of(pose), (0, 0, 0), count, 4.0)
            volume = make_series(slices)
            other = stored(volume, Turn(columns=True), backwards=True)
            z = np.array([0.5, 1.5, 2.5, 0.2, 1.7, -3, 99, 2 - 1e-12])
            one = [volume.slices[i].instance_number for i in volume.nearest_slices(z)]
            back = other.nearest_slices(count - 1 - z)
            assert [other.slices[i].instance_number for i in back] == one
    # to the left of the patient, the head
    assert volume.nearest_slices([1.5]).tolist() == [2]
    assert make_series(make_stack(axes_of(SAGITTAL))).nearest_slices([1.5]).tolist() == [1]


def test_an_image_that_does_not_lie_in_the_plane_of_the_pose_is_turned_all_the_same() -> None:
    plane = SlicePlane((0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1))
    assert Turn.to(SAGITTAL, plane) in TURNS
