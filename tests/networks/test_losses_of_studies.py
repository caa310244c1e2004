"""Losses over crops and studies against the definitions that they stand for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lumbargrade.domain.vocabulary import TARGETS, Condition, Grade
from lumbargrade.networks import losses
from lumbargrade.scoring.official import official_any_severe

WEIGHTS = torch.tensor([1.0, 2.0, 4.0])
CANAL = TARGETS[Condition.CANAL]

studies = st.lists(
    st.lists(st.integers(-1, 2), min_size=5, max_size=5), min_size=1, max_size=6
).filter(lambda g: np.max(g) >= 0)


@settings(max_examples=60)
@given(studies, st.integers(0, 10**6))
def test_any_severe_is_the_official_term(grades, seed):
    p = np.random.default_rng(seed).dirichlet([1, 1, 1], (len(grades), 5))
    p = np.clip(p, 1e-3, 1)
    p /= p.sum(-1, keepdims=True)
    solution, submission = {}, {}
    for i, row in enumerate(grades):
        submission[str(i)] = {t: tuple(p[i, j].tolist()) for j, t in enumerate(CANAL)}
        known = {t: Grade(g) for t, g in zip(CANAL, row, strict=True) if g >= 0}
        solution[str(i)] = known
    found = losses.any_severe_loss(torch.tensor(p[..., 2]), torch.tensor(grades), WEIGHTS)
    assert float(found) == pytest.approx(official_any_severe(solution, submission), rel=1e-4)


def test_any_severe_by_hand():
    severe = torch.tensor([[0.1, 0.6, 0.9, 0.2, 0.3], [0.2, 0.4, 0.1, 0.0, 0.0]])
    grades = torch.tensor([[0, 2, -1, 1, 0], [0, 1, -1, -1, -1]])
    # the ungraded level's 0.9 does not count; weights are 4 (a severe level) and 2 (a moderate one)
    expected = (4 * -np.log(0.6) + 2 * -np.log(0.6)) / 6
    found = losses.any_severe_loss(severe, grades, WEIGHTS)
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_any_severe_of_nothing_is_zero_with_zero_gradient():
    severe = torch.full((2, 5), 0.3, requires_grad=True)
    loss = losses.any_severe_loss(severe, torch.full((2, 5), -1), WEIGHTS)
    loss.backward()
    assert loss.item() == 0
    assert (severe.grad == 0).all()


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_any_severe_stays_finite_where_the_network_is_certain(p):
    severe = torch.full((2, 5), p, requires_grad=True)
    grades = torch.tensor([[2, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
    loss = losses.any_severe_loss(severe, grades, WEIGHTS)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(severe.grad).all()


@pytest.mark.parametrize("kind", ["jensen_shannon", "cross_entropy"])
@pytest.mark.parametrize("sigma", [0.0, 0.8])
def test_heatmaps_of_crops_lose_as_those_of_volumes(kind, sigma):
    """N crops are N volumes of one point each."""
    rng = torch.Generator().manual_seed(0)
    maps = torch.randn(4, 3, 8, 8, generator=rng).flatten(1).softmax(-1).view(4, 3, 8, 8)
    xyz = torch.rand(4, 3, generator=rng) * torch.tensor([7.0, 7.0, 2.0])
    annotated = torch.tensor([True, False, True, True])
    found = losses.crop_heatmap_loss(maps, xyz, annotated, sigma, kind)
    expected = losses.volume_heatmap_loss(
        [m[None] for m in maps], xyz[:, None, :2], xyz[:, None, 2], annotated[:, None], sigma, kind
    )
    torch.testing.assert_close(found, expected)
    off = maps.clone()
    off[1] = off[1].flip(0, 1)
    assert losses.crop_heatmap_loss(off, xyz, annotated, sigma, kind) == found
    off[0] = off[0].flip(0, 1)
    assert losses.crop_heatmap_loss(off, xyz, annotated, sigma, kind) != found


@pytest.mark.parametrize("kind", ["jensen_shannon", "cross_entropy"])
@pytest.mark.parametrize("sigma", [0.0, 0.8])
def test_crops_that_are_not_there_lose_nothing_and_have_finite_gradients(kind, sigma):
    maps = torch.zeros(2, 3, 8, 8, requires_grad=True)
    annotated = torch.zeros(2, dtype=torch.bool)
    loss = losses.crop_heatmap_loss(maps, torch.zeros(2, 3), annotated, sigma, kind)
    loss.backward()
    assert loss.item() == 0
    assert (maps.grad == 0).all()
