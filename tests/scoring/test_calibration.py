"""Calibration: distributions stay distributions, weights are undone, fitting helps where it can."""

from __future__ import annotations

import json
import tomllib

import numpy as np
import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax

from lumbargrade.domain.errors import UsageError
from lumbargrade.files.structures import plain, structured
from lumbargrade.scoring.calibration import (
    COMPETITION_WEIGHTS,
    Calibration,
    Method,
    choose_calibration,
    fit_calibration,
    log_loss,
)
from lumbargrade.scoring.resampling import PARTS, held_out_parts

positive = st.floats(0.1, 8)
triples = st.tuples(positive, positive, positive)
biases = st.tuples(*[st.floats(-3, 3)] * 3)
calibrations = st.builds(Calibration, st.sampled_from(Method), triples, triples, biases)
rows = arrays(float, st.tuples(st.integers(1, 12), st.just(3)), elements=st.floats(0, 1)).map(
    lambda p: (p + 1e-3) / (p + 1e-3).sum(axis=1, keepdims=True)
)


def drawn(n: int = 4000, seed: int = 0, spread: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """True probabilities and grades drawn from them."""
    rng = np.random.default_rng(seed)
    p = softmax(rng.normal([1.5, 0, -0.5], spread, (n, 3)), axis=1)
    y = (rng.random((n, 1)) > p.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    return p, y


def by_study(n: int) -> tuple[np.ndarray, np.ndarray]:
    studies = np.arange(n) // 5
    return studies, studies % 5


@given(calibrations, rows)
def test_what_comes_out_is_a_distribution(calibration: Calibration, p: np.ndarray) -> None:
    q = calibration.apply(p)
    assert q.shape == p.shape
    assert (q >= 0).all()
    assert np.allclose(q.sum(axis=1), 1)


@given(rows)
def test_the_default_and_temperature_one_change_nothing(p: np.ndarray) -> None:
    assert np.allclose(Calibration().apply(p), p, atol=1e-12)
    one = Calibration(Method.TEMPERATURE, scale=(1.0, 1.0, 1.0), bias=(0.0, 0.0, 0.0))
    assert one.temperature == 1
    assert np.allclose(one.apply(p), p, atol=1e-12)


@given(rows, st.floats(0.1, 10))
def test_temperature_keeps_the_order_of_grades(p: np.ndarray, scale: float) -> None:
    q = Calibration(Method.TEMPERATURE, scale=(scale,) * 3).apply(p)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert (q[:, i] - q[:, j] >= -1e-12)[p[:, i] >= p[:, j]].all()


@given(rows, triples)
def test_weights_are_undone_exactly(p: np.ndarray, weights: tuple[float, float, float]) -> None:
    weighted = p * weights / (p * weights).sum(axis=1, keepdims=True)
    assert np.allclose(Calibration(class_weights=weights).apply(weighted), p, atol=1e-9)


@given(calibrations)
def test_a_calibration_survives_plain_data_and_toml(calibration: Calibration) -> None:
    data = plain(calibration)
    for same in (data, tomllib.loads(tomli_w.dumps(data)), json.loads(json.dumps(data))):
        assert structured(same, Calibration, "c.toml", "c") == calibration


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": 1}, "extra fields found .extra"),
        ({"scale": None}, "c.scale"),
        ({"scale": [1.0, 1.0]}, "c.scale"),
        ({"scale": [1.0, 0.0, 1.0]}, "scale: not positive"),
        ({"bias": [0.0, float("nan"), 0.0]}, "bias: three finite"),
        ({"class_weights": [True, 2.0, 4.0]}, "expected float, got True @ c.class_weights"),
        ({"method": "platt"}, "platt"),
    ],
)
def test_what_is_no_calibration_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        structured(plain(Calibration()) | change, Calibration, "c.toml", "c")


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 60), st.sampled_from(list(Method)[2:]))
def test_fitting_is_never_worse_than_undoing_the_weights_on_its_own_data(
    seed: int, n: int, method: Method
) -> None:
    rng = np.random.default_rng(seed)
    p, y = rng.dirichlet([1, 1, 1], n), rng.integers(0, 3, n)
    p[rng.random((n, 3)) < 0.1] = 0  # files of six decimals hold zeros
    p[p.sum(axis=1) == 0] = 1
    plain = Calibration(Method.UNWEIGHTED, COMPETITION_WEIGHTS).apply(p)
    fitted = fit_calibration(method, p, y).apply(p)
    assert log_loss(fitted, y) <= log_loss(plain, y) + 1e-12


def test_a_known_temperature_and_the_weights_are_found() -> None:
    p, y = drawn()
    sharp = softmax(2 * np.log(p), axis=1) * COMPETITION_WEIGHTS
    found = fit_calibration(Method.TEMPERATURE, sharp, y)
    assert found.temperature == pytest.approx(2, rel=0.1)
    assert np.abs(found.apply(sharp) - p).max() < 0.03


def test_a_known_scale_and_bias_are_found() -> None:
    p, y = drawn(20000)
    odd = softmax((np.log(p) - [0.5, -0.5, 0.0]) / [0.6, 1.0, 1.4], axis=1)
    found = fit_calibration(Method.VECTOR, odd, y, (1.0, 1.0, 1.0))
    assert log_loss(found.apply(odd), y) < log_loss(odd, y)
    assert log_loss(found.apply(odd), y) == pytest.approx(log_loss(p, y), rel=0.02)


def test_the_prior_keeps_a_fit_to_one_finding_near_no_change() -> None:
    found = fit_calibration(Method.VECTOR, [[0.2, 0.3, 0.5]], [2], (1.0, 1.0, 1.0))
    assert np.abs(np.subtract(found.scale, 1)).max() < 1
    assert np.abs(found.bias).max() < 1


def test_probabilities_of_a_weighted_loss_are_recognised() -> None:
    p, y = drawn()
    weighted = p * COMPETITION_WEIGHTS / (p * COMPETITION_WEIGHTS).sum(axis=1, keepdims=True)
    choice = choose_calibration(weighted, y, *by_study(len(y)))
    assert choice.calibration.method is not Method.IDENTITY
    assert choice.held_out[Method.UNWEIGHTED] < choice.before - 0.05
    assert choice.nested == pytest.approx(log_loss(p, y), abs=0.003)
    assert np.abs(choice.calibration.apply(weighted) - p).max() < 0.08


def test_probabilities_that_are_frequencies_are_left_as_they_are() -> None:
    p, y = drawn()
    choice = choose_calibration(p, y, *by_study(len(y)))
    assert np.abs(choice.calibration.apply(p) - p).max() < 0.05
    assert choice.nested == pytest.approx(choice.before, abs=0.003)


def test_the_nested_estimate_does_not_believe_noise() -> None:
    """Grades that nothing predicts: a fit finds a little in them, the nested estimate does not."""
    rng = np.random.default_rng(5)
    p, y = rng.dirichlet([3, 3, 3], 60), rng.integers(0, 3, 60)
    choice = choose_calibration(p, y, *by_study(60))
    fitted = fit_calibration(Method.VECTOR, p, y)
    assert choice.nested is not None
    assert choice.nested > log_loss(fitted.apply(p), y)
    if choice.nested >= choice.before:
        assert choice.calibration == Calibration()


def test_one_study_is_too_little_to_choose_from() -> None:
    choice = choose_calibration([[0.5, 0.3, 0.2]] * 5, [0] * 5, ["7"] * 5, [2] * 5)
    assert choice.calibration == Calibration()
    assert choice.nested is None
    assert choice.findings == 5


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4)), min_size=1, max_size=40))
def test_parts_hold_out_every_row_once_and_split_no_study(pairs: list[tuple[int, int]]) -> None:
    fold_of = dict(pairs)  # a study has one fold
    studies = np.array([s for s, _ in pairs])
    folds = np.array([fold_of[s] for s, _ in pairs])
    parts = held_out_parts(studies, folds)
    if len(fold_of) < 2:
        assert parts == []
        return
    assert (np.sum(parts, axis=0) == 1).all()
    assert 2 <= len(parts) <= max(PARTS, len(set(folds)))
    for study in fold_of:
        assert sum(part[studies == study].any() for part in parts) == 1


@pytest.mark.parametrize("folds", [1, 2, 3, 4, 5])
def test_many_folds_are_the_parts_and_few_folds_are_parted_by_study(folds: int) -> None:
    studies = np.arange(40)
    fold = studies // 8 % folds
    parts = held_out_parts(studies, fold)
    by_fold = {tuple(fold == f) for f in range(folds)}
    if folds >= 4:
        assert {tuple(p) for p in parts} == by_fold
    else:
        assert len(parts) == PARTS
        assert all(p.sum() == len(studies) / PARTS for p in parts)
