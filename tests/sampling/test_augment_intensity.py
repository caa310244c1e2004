"""Changes of grey values against plain arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import median_filter
from scipy.stats import norm

from lumbargrade.config import AugmentConfig
from lumbargrade.sampling.intensity import (
    GaussianBlur,
    IntensityDraw,
    MedianBlur,
    MotionBlur,
    Noise,
    apply_intensity,
    draw_intensity,
)


def picture(depth: int = 3, size: int = 40) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (depth, size, size), dtype=np.uint8)


@pytest.mark.parametrize(("contrast", "brightness"), [(1.2, -0.2), (0.8, 0.2), (1.0, 0.1)])
def test_brightness_and_contrast_are_a_clipped_line(contrast, brightness):
    image, before = picture(), picture()
    apply_intensity(IntensityDraw(contrast, brightness), image)
    for new, old in zip(image.ravel()[:500], before.ravel()[:500], strict=True):
        assert new == min(255, max(0, round(float(old) * contrast + 255 * brightness)))


def test_nothing_drawn_changes_nothing():
    image = picture()
    apply_intensity(IntensityDraw(), image)
    assert (image == picture()).all()


def test_median_is_taken_slice_by_slice():
    image = picture()
    apply_intensity(IntensityDraw(filter=MedianBlur(5)), image)
    for new, old in zip(image, picture(), strict=True):
        assert (new[2:-2, 2:-2] == median_filter(old, 5)[2:-2, 2:-2]).all()


@pytest.mark.parametrize("angle", np.linspace(0, np.pi, 9))
@pytest.mark.parametrize("size", [3, 5])
def test_motion_blur_moves_no_point(angle, size):
    kernel = MotionBlur(size, angle).kernel().astype(float)
    assert kernel.sum() == pytest.approx(1)
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-6)


def test_motion_blur_along_a_row_is_the_mean_of_the_row():
    kernel = MotionBlur(5, 0.0).kernel()
    assert kernel[2].sum() == pytest.approx(1)
    assert kernel[2].min() > 0.1


@pytest.mark.parametrize("chosen", [MotionBlur(5, 0.7), GaussianBlur(5), MedianBlur(3)])
def test_blur_keeps_a_flat_picture_and_calms_a_noisy_one(chosen):
    flat = np.full((2, 30, 30), 77, np.uint8)
    apply_intensity(IntensityDraw(filter=chosen), flat)
    assert (flat == 77).all()
    noisy = picture()
    apply_intensity(IntensityDraw(filter=chosen), noisy)
    assert noisy.std() < 0.8 * picture().std()


def test_noise_is_the_rounded_gaussian():
    """Every count of the histogram agrees with the normal distribution of its bin."""
    sigma, count = 5.0, 1_000_000
    image = np.full((1, 1000, 1000), 128, np.uint8)
    Noise(sigma, seed=1).apply(image)
    found = np.bincount(image.ravel(), minlength=256)
    value = np.arange(256) - 128
    share = norm.cdf((value + 0.5) / sigma) - norm.cdf((value - 0.5) / sigma)
    assert (np.abs(found - share * count) < 5 * np.sqrt(share * count) + 20).all()


def test_noise_saturates_and_slices_differ():
    image = np.zeros((2, 50, 50), np.uint8)
    Noise(7.0, seed=3).apply(image)
    assert image.max() < 40
    assert (image[0] != image[1]).any()


def test_noise_of_a_size_not_divisible_by_four():
    image = np.full((1, 3, 7), 100, np.uint8)
    Noise(4.0, seed=2).apply(image)
    assert (image != 100).any()


def test_draws_follow_their_probabilities_and_limits():
    draws = [draw_intensity(np.random.default_rng(s), AugmentConfig()) for s in range(2000)]
    changed = [d for d in draws if d.contrast != 1]
    assert len(changed) / 2000 == pytest.approx(0.75, abs=0.04)
    assert all(0.8 <= d.contrast <= 1.2 and abs(d.brightness) <= 0.2 for d in draws)
    filters = [type(d.filter) for d in draws if d.filter is not None]
    assert len(filters) / 2000 == pytest.approx(0.5, abs=0.04)
    for kind in (MotionBlur, MedianBlur, GaussianBlur, Noise):
        assert filters.count(kind) / len(filters) == pytest.approx(0.25, abs=0.05)
