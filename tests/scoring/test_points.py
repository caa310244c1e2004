"""Point errors against cases that can be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lumbargrade.scoring.points import NOT_FOUND, WITHIN, mean_errors, point_errors

SPAN = st.floats(-20, 20)


def test_shares_by_hand() -> None:
    true = np.zeros((4, 3))
    pixels = np.array([[0.5, 0, 0], [-2, 4, 1], [2.5, -6, 2], [9, 0, -1]])
    mm = np.array([[3, 4, 0], [0, 0, 1], [0, 2, 0], [30, 40, 0]])
    errors = point_errors(pixels, true, mm, true)
    assert errors.count == 4
    assert errors.within["x"] == (0.25, 0.5, 0.75, 0.75)
    assert errors.within["y"] == (0.5, 0.5, 0.5, 0.75)
    assert errors.within["z"] == (0.75, 1, 1, 1)
    assert errors.within_mm == (0.25, 0.5, 0.5, 0.75)
    assert errors.median_mm == pytest.approx(3.5)
    assert errors.p90_mm == pytest.approx(5 + 0.7 * 45)
    assert math.isnan(errors.in_plane_median_mm)


def test_in_plane_error_leaves_the_normal_out() -> None:
    """Along the normal of an oblique slice a point may be far off and still right in the plane."""
    normal = np.array([0.0, 0.6, 0.8])
    across = np.array([0.0, 0.8, -0.6])
    found = np.array([10 * normal, 1.9 * across + 7 * normal])
    zeros = np.zeros((2, 3))
    errors = point_errors(zeros, zeros, found, zeros, np.tile(normal, (2, 1)))
    assert errors.in_plane_within_mm == (0.5, 1, 1, 1)
    assert errors.in_plane_median_mm == pytest.approx(0.95)
    assert errors.in_plane_p90_mm == pytest.approx(1.71)
    assert errors.within_mm == (0, 0, 0, 0)


@given(arrays(float, (7, 3), elements=SPAN), arrays(float, (7, 3), elements=SPAN))
def test_shares_grow_with_the_limit_and_in_plane_is_never_further(
    a: np.ndarray, b: np.ndarray
) -> None:
    normals = np.tile([0.0, 0.0, 1.0], (7, 1))
    errors = point_errors(a, b, a, b, normals)
    for shares in (*errors.within.values(), errors.within_mm, errors.in_plane_within_mm):
        assert len(shares) == len(WITHIN)
        assert list(shares) == sorted(shares)
    assert all(
        p >= s - 1e-12 for p, s in zip(errors.in_plane_within_mm, errors.within_mm, strict=True)
    )
    assert errors.in_plane_median_mm <= errors.median_mm + 1e-9


def test_a_missing_prediction_is_outside_every_limit() -> None:
    found, true = np.array([[0.0, 0, 0], [np.nan, 0, 0]]), np.zeros((2, 3))
    errors = point_errors(found, true, found, true)
    assert errors.within["x"] == (0.5,) * 4
    assert errors.within_mm == (0.5,) * 4


def test_distances_to_points_that_were_not_found_are_infinite_never_a_stand_in() -> None:
    true = np.zeros((10, 3))
    found = np.tile([3.0, 4.0, 0.0], (10, 1))
    found[-1] = NOT_FOUND
    few = point_errors(found, true, found, true)
    assert few.median_mm == pytest.approx(5)
    assert few.p90_mm == math.inf
    assert few.within_mm == (0, 0, 0, 0.9)
    found[4:] = NOT_FOUND
    normals = np.tile([0.0, 0.0, 1.0], (10, 1))
    most = point_errors(found, true, found, true, normals)
    assert (most.median_mm, most.in_plane_median_mm) == (math.inf, math.inf)
    assert mean_errors([few, most]).median_mm == math.inf


def test_no_points_give_nan() -> None:
    none = np.empty((0, 3))
    errors = point_errors(none, none, none, none, none)
    assert errors.count == 0
    assert math.isnan(errors.median_mm)
    assert all(map(math.isnan, errors.within_mm))
