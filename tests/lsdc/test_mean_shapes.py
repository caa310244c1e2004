"""The mean shape does not depend on where, how large and how turned the shapes lie."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lumbargrade.domain.geometry import apply_homography
from lumbargrade.lsdc.mean_shape import mean_shape
from lumbargrade.sampling.augment import align_similarity

SHAPE = np.array([[0.0, 0.0], [10.0, 40.0], [5.0, 90.0], [20.0, 130.0]])


def similarity(scale: float, degrees: float, shift: tuple[float, float]) -> np.ndarray:
    c, s = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
    return np.array([[c, -s, shift[0]], [s, c, shift[1]], [0, 0, 1]])


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_copies_of_one_shape_have_that_shape_as_mean(seed):
    rng = np.random.default_rng(seed)
    maps = [
        similarity(rng.uniform(0.5, 2), rng.uniform(-40, 40), tuple(rng.uniform(-99, 99, 2)))
        for _ in range(7)
    ]
    copies = np.array([apply_homography(m, SHAPE) for m in maps])
    mean = mean_shape(copies)
    fitted = apply_homography(align_similarity(SHAPE, mean), SHAPE)
    np.testing.assert_allclose(fitted, mean, atol=1e-8)
    np.testing.assert_allclose(mean.mean(0), copies.mean((0, 1)), atol=1e-9)
    sizes = np.linalg.norm(copies - copies.mean(1, keepdims=True), axis=(1, 2))
    np.testing.assert_allclose(np.linalg.norm(mean - mean.mean(0)), sizes.mean())


def test_one_shape_is_its_own_mean():
    np.testing.assert_allclose(mean_shape(SHAPE[None]), SHAPE, atol=1e-9)


def test_noise_around_a_shape_averages_out():
    rng = np.random.default_rng(0)
    noisy = SHAPE + rng.normal(0, 3, (2000, *SHAPE.shape))
    assert np.abs(mean_shape(noisy) - SHAPE).max() < 0.5


def test_a_similarity_is_recovered():
    truth = similarity(1.7, 25, (3, -8))
    np.testing.assert_allclose(align_similarity(SHAPE, apply_homography(truth, SHAPE)), truth)


@pytest.mark.parametrize("shapes", [np.zeros((0, 4, 2)), np.ones((2, 4, 2))])
def test_no_mean_without_shapes(shapes):
    with pytest.raises(ValueError, match=r"expected|coincide"):
        mean_shape(shapes)
