"""Blend weights: analytic cases, never worse than a member, honest about what was fitted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from lumbargrade.scoring.blend_weights import Origin, blend_loss, choose_weights, fit_weights, mix
from lumbargrade.scoring.local import local_score


def members(
    noise: tuple[float, ...], n: int = 300, seed: int = 0, missing: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Members of one truth, each with its own noise: probabilities, grades, studies, folds."""
    rng = np.random.default_rng(seed)
    logits = rng.normal([1.0, 0.0, -0.5], 1.5, (n, 3))
    truth = softmax(logits, axis=1)
    y = (rng.random((n, 1)) > truth.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    p = np.array([softmax(logits + rng.normal(0, s, (n, 3)), axis=1) for s in noise])
    lost = rng.random((len(noise), n)) < missing
    lost[0] = False
    p[lost] = np.nan
    studies = np.arange(n) // 5
    return p, y, studies, studies % 5


def test_a_perfect_member_gets_all_the_weight() -> None:
    y = np.array([0, 1, 2, 0, 2] * 4)
    perfect = np.eye(3)[y]
    poor = np.full((20, 3), 1 / 3)
    assert fit_weights([poor, perfect], y) == pytest.approx([0, 1])


def test_two_halves_of_the_truth_weigh_the_same() -> None:
    """Each member knows half of the rows; by symmetry the best weights are equal."""
    y = np.zeros(40, int)
    sure, unsure = [0.9, 0.05, 0.05], [0.1, 0.45, 0.45]
    a = np.array([sure, unsure] * 20)
    b = np.array([unsure, sure] * 20)
    assert fit_weights([a, b], y) == pytest.approx([0.5, 0.5], abs=1e-3)


def test_the_best_weight_of_two_constants_is_the_analytic_one() -> None:
    """Mixing (1, 0, 0) and (0, 1, 0): the weight is the weighted share of the first grade."""
    y = np.array([0] * 30 + [1] * 10)  # weighted 30 : 20
    a, b = np.tile([1.0, 0, 0], (40, 1)), np.tile([0.0, 1, 0], (40, 1))
    assert fit_weights([a, b], y) == pytest.approx([0.6, 0.4], abs=1e-4)


@settings(max_examples=25)
@given(
    st.integers(0, 10**6),
    st.lists(st.floats(0.1, 3), min_size=1, max_size=4),
    st.sampled_from([0.0, 0.3]),
)
def test_fitted_weights_are_on_the_simplex_and_beat_every_member_on_their_data(
    seed: int, noise: list[float], missing: float
) -> None:
    p, y, _, _ = members(tuple(noise), 60, seed, missing)
    w = fit_weights(p, y)
    assert (w >= 0).all()
    assert w.sum() == pytest.approx(1)
    loss = blend_loss(w, p, y)
    for single in np.eye(len(noise)):
        assert loss <= blend_loss(single, p, y) + 1e-5
    assert loss <= blend_loss(np.ones(len(noise)), p, y) + 1e-5


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.lists(st.floats(0.05, 1), min_size=3, max_size=3))
def test_a_mixture_is_a_distribution_over_the_members_that_are_there(
    seed: int, weights: list[float]
) -> None:
    p, *_ = members((0.5, 1.0, 2.0), 40, seed, missing=0.5)
    mixed = mix(weights, p)
    assert np.allclose(mixed.sum(axis=1), 1)
    alone = np.isnan(p[1:, :, 0]).all(axis=0)
    assert np.allclose(mixed[alone], p[0, alone])
    both = ~np.isnan(p[1, :, 0]) & np.isnan(p[2, :, 0])
    a, b = weights[0], weights[1]
    assert np.allclose(mixed[both], (a * p[0, both] + b * p[1, both]) / (a + b))


def test_a_row_of_members_without_weight_is_their_mean_and_of_no_member_is_missing() -> None:
    lacking = [np.nan] * 3
    p = np.array([[lacking, lacking], [[1, 0, 0], lacking], [[0, 1, 0], lacking]])
    mixed = mix([1, 0, 0], p)
    assert mixed[0] == pytest.approx([0.5, 0.5, 0])
    assert np.isnan(mixed[1]).all()


def test_members_that_complement_each_other_are_blended_and_the_gain_is_honest() -> None:
    p, y, studies, folds = members((0.8, 0.8, 4.0), 1500)
    choice = choose_weights(p, y, studies, folds)
    assert choice.origin is Origin.FITTED
    assert min(choice.weights[:2]) > 0.2
    assert choice.nested is not None
    assert choice.fitted is not None
    assert choice.blend == choice.nested
    assert choice.fitted <= choice.nested < min(choice.members)


@pytest.mark.parametrize("seed", range(8))
def test_a_blend_is_never_reported_worse_than_its_best_member(seed: int) -> None:
    p, y, studies, folds = members((0.3, 3.0), 40, seed)
    choice = choose_weights(p, y, studies, folds)
    assert choice.blend <= min(choice.members)
    if choice.origin is Origin.SINGLE:
        assert choice.weights[choice.best_single] == 1
        assert choice.blend == min(choice.members)


def test_a_copy_of_a_member_gains_nothing_so_one_is_enough() -> None:
    p, y, studies, folds = members((0.5,), 100)
    choice = choose_weights(np.concatenate([p, p]), y, studies, folds)
    assert choice.origin is Origin.SINGLE


def test_fixed_weights_are_used_as_they_are() -> None:
    p, y, studies, folds = members((0.5, 2.0), 100)
    choice = choose_weights(p, y, studies, folds, fixed=(3, 1))
    assert choice.weights == (0.75, 0.25)
    assert choice.origin is Origin.FIXED
    assert choice.nested is None
    assert choice.blend == pytest.approx(local_score(0.75 * p[0] + 0.25 * p[1], y).weighted)


def test_one_member_or_one_study_is_not_fitted() -> None:
    p, y, studies, folds = members((0.5, 2.0), 100)
    alone = choose_weights(p[:1], y, studies, folds)
    assert (alone.weights, alone.origin, alone.nested) == ((1.0,), Origin.SINGLE, None)
    one = choose_weights(p, y, np.zeros(100), np.zeros(100))
    assert one.origin in (Origin.SINGLE, Origin.EQUAL)
    assert one.nested is None


def test_a_member_is_scored_on_its_own_findings_and_on_all() -> None:
    p, y, studies, folds = members((0.5, 0.5), 200, missing=0.4)
    choice = choose_weights(p, y, studies, folds)
    there = np.isfinite(p[1, :, 0])
    assert choice.counts == (200, there.sum())
    assert choice.own[1] == pytest.approx(local_score(p[1, there], y[there]).weighted)
    filled = np.where(there[:, None], p[1], p[0])
    assert choice.members[1] == pytest.approx(local_score(filled, y).weighted)
