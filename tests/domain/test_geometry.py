"""Planes in the patient and frames in the image, against their definitions."""

from __future__ import annotations

import highdicom
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumbargrade.domain.geometry import SlicePlane, apply_homography, fit_to_frame, scale_frame


@st.composite
def planes(draw) -> SlicePlane:
    """Any plane: a random rotation, position and pixel spacing."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    position = tuple(rng.uniform(-300, 300, 3).tolist())
    spacing = tuple(rng.uniform(0.2, 2, 2).tolist())
    return SlicePlane(position, tuple(rotation[0].tolist()), tuple(rotation[1].tolist()), spacing)


@given(plane=planes(), seed=st.integers(0, 1000))
def test_plane_and_patient_round_trip(plane, seed):
    xy = np.random.default_rng(seed).uniform(-50, 700, (4, 5, 2))
    back = plane.from_patient(plane.to_patient(xy))
    np.testing.assert_allclose(back[..., :2], xy, atol=1e-7)
    np.testing.assert_allclose(back[..., 2], 0, atol=1e-7)


@given(plane=planes(), depth=st.floats(-50, 50))
def test_third_coordinate_is_the_distance_along_the_normal(plane, depth):
    point = plane.to_patient([3.0, 4.0]) + depth * plane.normal
    np.testing.assert_allclose(plane.from_patient(point), [3, 4, depth], atol=1e-7)


@given(plane=planes(), seed=st.integers(0, 1000))
def test_planes_agree_with_highdicom(plane, seed):
    xy = np.random.default_rng(seed).uniform(0, 512, (5, 2))
    expected = highdicom.spatial.ImageToReferenceTransformer(
        image_position=plane.position,
        image_orientation=(*plane.row, *plane.column),
        pixel_spacing=plane.spacing,
    )(xy + 0.5)
    np.testing.assert_allclose(plane.to_patient(xy), expected, atol=1e-3)


def test_spacing_is_rows_then_columns():
    plane = SlicePlane((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (2.0, 0.5))
    np.testing.assert_allclose(plane.to_patient((10, 10)), (5, 20, 0))


def test_sagittal_normal_points_where_row_cross_column_does():
    plane = SlicePlane((7.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, -1.0), (1.0, 1.0))
    np.testing.assert_allclose(plane.normal, (-1, 0, 0))
    assert plane.projection == -7


@pytest.mark.parametrize("shape", [(512, 512), (320, 200), (200, 320), (333, 77)])
def test_fitting_centres_the_image_and_fills_the_longer_side(shape):
    height, width = shape
    corners = np.array([[-0.5, -0.5], [width - 0.5, height - 0.5]])
    fitted = apply_homography(fit_to_frame(shape, 384), corners)
    low, high = fitted + 0.5
    assert (high - low).max() == pytest.approx(384)
    np.testing.assert_allclose(low + high, 384)
    np.testing.assert_allclose((high - low) / (width, height), 384 / max(shape))


def test_fitting_an_image_of_the_frame_size_changes_nothing():
    np.testing.assert_allclose(fit_to_frame((320, 320), 320), np.eye(3))


@given(old=st.integers(1, 1024), middle=st.integers(1, 1024), new=st.integers(1, 1024))
def test_frames_of_different_size_compose(old, middle, new):
    twice = scale_frame(middle, new) @ scale_frame(old, middle)
    np.testing.assert_allclose(twice, scale_frame(old, new), atol=1e-9)
    corner = apply_homography(scale_frame(old, new), [old - 0.5, -0.5])
    np.testing.assert_allclose(corner, [new - 0.5, -0.5], atol=1e-9)


def test_homography_divides_by_the_third_coordinate():
    matrix = np.array([[2, 0, 1], [0, 3, 2], [0, 0.1, 1.0]])
    np.testing.assert_allclose(apply_homography(matrix, [10, 10]), [21 / 2, 32 / 2])
