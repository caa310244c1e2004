"""Heatmaps are distributions whose expected coordinates are pixel indices."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lumbargrade.networks.heatmap import expected_index, pooled, spatial_softmax
from lumbargrade.networks.losses import gaussian_truth

sizes = st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 7))


@given(sizes, st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_a_single_voxel_is_its_own_expected_place(shape: tuple[int, int, int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    z, y, x = (int(torch.randint(0, n, (), generator=generator)) for n in shape)
    heatmap = torch.zeros(shape)
    heatmap[z, y, x] = 1
    assert expected_index(heatmap, spatial=3).tolist() == [x, y, z]
    assert expected_index(heatmap.sum(0), spatial=2).tolist() == [x, y]


@given(sizes, st.floats(-1e4, 1e4))
@settings(max_examples=40, deadline=None)
def test_softmax_sums_to_one_and_ignores_a_constant(
    shape: tuple[int, int, int], constant: float
) -> None:
    logits = torch.randn(2, 4, *shape, generator=torch.Generator().manual_seed(0))
    heatmaps = spatial_softmax(logits, spatial=3)
    torch.testing.assert_close(heatmaps.sum((2, 3, 4)), torch.ones(2, 4))
    shifted = spatial_softmax(logits + constant, spatial=3)
    torch.testing.assert_close(shifted, heatmaps, atol=1e-3, rtol=1e-2)


def test_half_precision_logits_are_normalised_in_fp32() -> None:
    heatmaps = spatial_softmax(torch.zeros(1, 64, 320, 320, dtype=torch.float16), spatial=3)
    assert heatmaps.dtype == torch.float32
    torch.testing.assert_close(heatmaps.sum(), torch.tensor(1.0))


def test_pooling_is_the_mean_of_the_features_under_the_heatmap() -> None:
    generator = torch.Generator().manual_seed(1)
    heatmaps = spatial_softmax(torch.randn(2, 3, 4, 5, generator=generator), spatial=2)
    features = torch.randn(2, 7, 4, 5, generator=generator)
    slow = torch.stack(
        [
            torch.stack([(features[b] * heatmaps[b, p]).sum((1, 2)) for p in range(3)])
            for b in range(2)
        ]
    )
    torch.testing.assert_close(pooled(heatmaps, features), slow)
    torch.testing.assert_close(pooled(heatmaps, torch.ones(2, 1, 4, 5)), torch.ones(2, 3, 1))


def test_a_mean_lies_between_humps():
    truth = gaussian_truth(torch.tensor([[10.3, 20.6], [10.3, 40.6]]), (64, 48), (1.0, 1.0))
    two = (0.6 * truth[0] + 0.4 * truth[1]).expand(1, 1, 64, 48)
    mean = expected_index(two, 2)[0, 0].tolist()
    assert mean == pytest.approx([10.3, 0.6 * 20.6 + 0.4 * 40.6], abs=0.01)
