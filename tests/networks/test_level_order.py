"""Points of a chain of levels go down, and are each heatmap's own wherever those do."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lumbargrade.networks.heatmap import CANDIDATES, find_peaks, ordered_points, peak_index


def blobs(rows: list[list[tuple[int, float]]], size: int = 40) -> torch.Tensor:
    """A heatmap per level with humps at (row, weight), three columns apart."""
    maps = torch.full((len(rows), size, size), 1e-9)
    for level, humps in enumerate(rows):
        for row, weight in humps:
            maps[level, row, 10 + level] = weight
    return maps / maps.flatten(1).sum(dim=1).view(-1, 1, 1)


def test_the_own_peaks_are_kept_where_they_are_in_order():
    maps = blobs([[(5, 1.0)], [(12, 1.0)], [(20, 0.7), (3, 0.3)]])
    found = ordered_points(maps, 2, 2, [[0, 1, 2]])
    assert found == pytest.approx(peak_index(maps, 2, 2), abs=1e-3)


def test_a_level_that_took_its_neighbours_disc_goes_to_its_second_best():
    # the second level prefers the first one's disc, by a little
    maps = blobs([[(5, 1.0)], [(5, 0.6), (12, 0.4)], [(20, 1.0)]])
    found = ordered_points(maps, 2, 2, [[0, 1, 2]])
    assert found[:, 1].round().tolist() == [5, 12, 20]


def test_the_surer_of_two_levels_stays():
    maps = blobs([[(12, 0.6), (5, 0.4)], [(12, 0.95), (20, 0.05)]])
    found = ordered_points(maps, 2, 2, [[0, 1]])
    assert found[:, 1].round().tolist() == [5, 12]


def test_chains_do_not_know_of_each_other():
    maps = blobs([[(20, 1.0)], [(30, 1.0)], [(5, 1.0)], [(12, 1.0)]])
    found = ordered_points(maps, 2, 2, [[0, 1], [2, 3]])
    assert found[:, 1].round().tolist() == [20, 30, 5, 12]


def test_without_any_order_each_level_keeps_its_best():
    maps = torch.zeros(2, 9, 9)
    maps[0, 8, 4] = maps[1, 0, 4] = 1.0
    assert ordered_points(maps, 2, 4, [[0, 1]])[:, 1].tolist() == [8, 0]


@given(st.integers(0, 2**31 - 1), st.sampled_from([2, 3]))
def test_points_of_a_chain_never_go_up(seed: int, spatial: int):
    shape = (5, 3, 16, 16)[: 1 + spatial] if spatial == 3 else (5, 16, 16)
    maps = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) ** 8
    maps = maps / maps.flatten(1).sum(dim=1).view(-1, *[1] * spatial)
    peaks = find_peaks(maps, spatial, 1)
    found = ordered_points(maps, spatial, 1, [[0, 1, 2, 3, 4]])
    for level, point in enumerate(found):
        assert (peaks.points[level] - point).abs().sum(dim=-1).min() == 0
    steps = found[1:, 1] - found[:-1, 1]
    own = peaks.points[:, 0]
    assert (steps >= 1).all() or torch.equal(found, own)


def test_masses_fall_and_sum_to_no_more_than_one():
    maps = blobs([[(5, 0.5), (15, 0.3), (25, 0.2)]])
    log_mass = find_peaks(maps, 2, 2).log_mass[0]
    assert (log_mass.diff() <= 0).all()
    assert len(log_mass) == CANDIDATES
    assert log_mass[:3].exp().tolist() == pytest.approx([0.5, 0.3, 0.2], abs=1e-4)
    assert float(log_mass.exp().sum()) <= 1 + 1e-5
