"""Points of a chain of levels go down, and are each heatmap's own wherever those do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumbargrade.domain.geometry import FloatArray
from lumbargrade.inference.peaks import CANDIDATES, find_peaks, ordered_points, peak_index


def blobs(rows: list[list[tuple[int, float]]], size: int = 40) -> FloatArray:
    """A heatmap per level with humps at (row, weight), three columns apart."""
    maps = np.full((len(rows), size, size), 1e-9)
    for level, humps in enumerate(rows):
        for row, weight in humps:
            maps[level, row, 10 + level] = weight
    return maps / maps.sum(axis=(1, 2), keepdims=True)


def test_the_own_peaks_are_kept_where_they_are_in_order():
    maps = blobs([[(5, 1.0)], [(12, 1.0)], [(20, 0.7), (3, 0.3)]])
    found = ordered_points(maps, 2, [[0, 1, 2]])
    assert found == pytest.approx(peak_index(maps, 2), abs=1e-3)


def test_a_level_that_took_its_neighbours_disc_goes_to_its_second_best():
    # the second level prefers the first one's disc, by a little
    maps = blobs([[(5, 1.0)], [(5, 0.6), (12, 0.4)], [(20, 1.0)]])
    found = ordered_points(maps, 2, [[0, 1, 2]])
    assert found[:, 1].round().tolist() == [5, 12, 20]


def test_the_surer_of_two_levels_stays():
    maps = blobs([[(12, 0.6), (5, 0.4)], [(12, 0.95), (20, 0.05)]])
    found = ordered_points(maps, 2, [[0, 1]])
    assert found[:, 1].round().tolist() == [5, 12]


def test_chains_do_not_know_of_each_other():
    maps = blobs([[(20, 1.0)], [(30, 1.0)], [(5, 1.0)], [(12, 1.0)]])
    found = ordered_points(maps, 2, [[0, 1], [2, 3]])
    assert found[:, 1].round().tolist() == [20, 30, 5, 12]


def test_without_any_order_each_level_keeps_its_best():
    maps = np.zeros((2, 9, 9))
    maps[0, 8, 4] = maps[1, 0, 4] = 1.0
    assert ordered_points(maps, 4, [[0, 1]])[:, 1].tolist() == [8, 0]


@given(st.integers(0, 2**31 - 1), st.sampled_from([2, 3]))
def test_points_of_a_chain_never_go_up(seed: int, spatial: int):
    shape = (5, 3, 16, 16)[: 1 + spatial] if spatial == 3 else (5, 16, 16)
    maps = np.random.default_rng(seed).random(shape) ** 8
    maps = maps / maps.sum(axis=tuple(range(1, 1 + spatial)), keepdims=True)
    peaks = find_peaks(maps, 1)
    found = ordered_points(maps, 1, [[0, 1, 2, 3, 4]])
    for level, point in enumerate(found):
        assert np.abs(peaks.points[level] - point).sum(axis=-1).min() == 0
    steps = found[1:, 1] - found[:-1, 1]
    own = peaks.points[:, 0]
    assert (steps >= 1).all() or np.array_equal(found, own)


def test_masses_fall_and_sum_to_no_more_than_one():
    maps = blobs([[(5, 0.5), (15, 0.3), (25, 0.2)]])
    log_mass = find_peaks(maps, 2).log_mass[0]
    assert (np.diff(log_mass) <= 0).all()
    assert len(log_mass) == CANDIDATES
    assert np.exp(log_mass[:3]).tolist() == pytest.approx([0.5, 0.3, 0.2], abs=1e-4)
    assert np.exp(log_mass).sum() <= 1 + 1e-5


def test_a_peak_is_read_from_its_hump_alone():
    y, x = np.mgrid[:64, :48]
    humps = [np.exp(-((x - 10.3) ** 2 + (y - at) ** 2) / 2) for at in (20.6, 40.6)]
    two = 0.6 * humps[0] + 0.4 * humps[1]
    assert peak_index(two[None], 4)[0].tolist() == pytest.approx((10.3, 20.6), abs=0.01)


@pytest.mark.parametrize("spatial", [1, 2, 3])
def test_peaks_equal_a_slow_search(spatial):
    maps = np.random.default_rng(3).random((12, 7, 6, 5)[: 1 + spatial]).astype(np.float32)
    found = peak_index(maps, 1)
    for one, point in zip(maps, found, strict=True):
        top = np.unravel_index(one.argmax(), one.shape)
        mass, mean = 0.0, np.zeros(spatial)
        for index in np.ndindex(one.shape):
            if all(abs(i - t) <= 1 for i, t in zip(index, top, strict=True)):
                mass += float(one[index])
                mean += float(one[index]) * np.array(index)
        assert point.tolist() == pytest.approx((mean / mass)[::-1].tolist(), abs=1e-6)


def test_a_heatmap_that_is_not_finite_gives_a_point_that_is_not():
    maps = blobs([[(5, 1.0)], [(12, 1.0)]])
    maps[1] = np.nan
    found = ordered_points(maps, 2, [[0, 1]])
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()
