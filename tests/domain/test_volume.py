"""Voxels to patient mm and back, for tilted, sheared and several stacks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumbargrade.domain.geometry import SlicePlane
from lumbargrade.domain.volume import Volume, VolumeSlice

SHAPE = (40, 30)


def tilted(angle: float, centre_z: float, count: int, gap: float, group: int, shear: float = 0.0):
    """An axial stack turned about the patient's x axis, in degrees, going up."""
    a = np.radians(angle)
    row, column = np.array([1.0, 0, 0]), np.array([0, np.cos(a), np.sin(a)])
    normal = np.cross(row, column)
    corner = np.array([-15.0, 0, centre_z]) - 20 * column
    return [
        VolumeSlice(
            instance_number=100 * group + i,
            plane=SlicePlane(
                tuple((corner + (i - count // 2) * (gap * normal + shear * column)).tolist()),
                tuple(row.tolist()),
                tuple(column.tolist()),
                (1.0, 1.0),
            ),
            group=group,
            shape=SHAPE,
        )
        for i in range(count)
    ]


def volume_of(slices) -> Volume:
    return Volume(np.zeros((len(slices), *SHAPE), np.uint8), tuple(slices), "1", "2")


stacks = st.builds(
    tilted,
    angle=st.floats(-35, 35),
    centre_z=st.just(0.0),
    count=st.integers(1, 9),
    gap=st.floats(0.5, 8),
    group=st.just(0),
    shear=st.floats(-2, 2),
)


@given(stack=stacks, downwards=st.booleans(), seed=st.integers(0, 1000))
def test_round_trip_in_a_tilted_or_sheared_stack(stack, downwards, seed):
    volume = volume_of(stack[::-1] if downwards else stack)
    rng = np.random.default_rng(seed)
    voxels = rng.uniform((0, 0, 0), (29, 39, max(len(stack) - 1, 1e-9)), (3, 4, 3))
    if len(stack) == 1:
        voxels[..., 2] = 0
    back = volume.from_patient(volume.to_patient(voxels))
    np.testing.assert_allclose(back, voxels, atol=1e-6)


@given(angles=st.lists(st.floats(-25, 25), min_size=2, max_size=5), seed=st.integers(0, 1000))
def test_every_slice_of_several_tilted_stacks_is_found_again(angles, seed):
    slices = [s for g, a in enumerate(angles) for s in tilted(a, 60.0 * g, 5, 4.0, g)]
    volume = volume_of(slices)
    rng = np.random.default_rng(seed)
    voxels = np.column_stack(
        [rng.uniform(0, 29, len(slices)), rng.uniform(0, 39, len(slices)), np.arange(len(slices))]
    )
    np.testing.assert_allclose(volume.from_patient(volume.to_patient(voxels)), voxels, atol=1e-6)


def test_a_point_belongs_to_the_stack_that_images_it_where_endless_planes_cross():
    # 45 mm apart and turned towards each other, so that the upper stack's planes, made endless,
    # pass nearer to the point than the lower stack's do
    lower, upper = tilted(0, 0.0, 2, 8.0, 0), tilted(69, 45.0, 5, 1.0, 1)
    volume = volume_of([*lower, *upper])
    point = np.array([0.0, -19.0, -4.0])
    distances = [abs(s.plane.from_patient(point)[2]) for s in volume.slices]
    assert np.argmin(distances) >= 2
    assert volume.from_patient(point)[2] <= 1


def test_z_between_two_stacks_takes_the_nearer_slice():
    volume = volume_of([*tilted(0, 0.0, 2, 4.0, 0), *tilted(20, 50.0, 2, 4.0, 1)])
    for z, nearest in ((1.3, 1), (1.7, 2), (-3.0, 0), (9.0, 3)):
        expected = volume.slices[nearest].plane.to_patient((5, 6))
        np.testing.assert_allclose(volume.to_patient((5, 6, z)), expected)


def test_fractional_z_lies_on_the_line_between_neighbours():
    volume = volume_of(tilted(15, 0.0, 4, 4.0, 0, shear=1.0))
    below, above = (volume.slices[z].plane.to_patient((3, 9)) for z in (1, 2))
    np.testing.assert_allclose(volume.to_patient((3, 9, 1.25)), 0.75 * below + 0.25 * above)


def test_slices_imaged_twice_do_not_hide_their_neighbours():
    once = tilted(0, 0.0, 3, 4.0, 0)
    volume = volume_of([once[0], once[1], once[1], once[2]])
    point = once[1].plane.to_patient((5, 5)) + np.array([0, 0, 1.0])
    np.testing.assert_allclose(volume.from_patient(point), (5, 5, 2.25))


def test_unknown_points_stay_unknown():
    volume = volume_of(tilted(10, 0.0, 3, 4.0, 0))
    points = np.array([[1, 1, 1], [np.nan, np.nan, np.nan]])
    assert np.isnan(volume.to_patient(points)[1]).all()
    assert np.isnan(volume.from_patient(points)[1]).all()
    assert np.isfinite(volume.from_patient(points)[0]).all()


def test_no_points_are_no_points():
    volume = volume_of(tilted(10, 0.0, 3, 4.0, 0))
    assert volume.to_patient(np.empty((0, 3))).shape == (0, 3)
    assert volume.from_patient(np.empty((0, 3))).shape == (0, 3)


def test_instances_are_found_by_number_and_unknown_ones_are_an_error():
    volume = volume_of(tilted(0, 0.0, 3, 4.0, 0))
    assert volume.slice_of_instance(2) == 2
    with pytest.raises(KeyError, match="no instance 7"):
        volume.slice_of_instance(7)


def test_a_volume_needs_one_slice_per_image():
    with pytest.raises(ValueError, match="2 slices"):
        Volume(np.zeros((3, *SHAPE), np.uint8), tuple(tilted(0, 0.0, 2, 4.0, 0)), "1", "2")
