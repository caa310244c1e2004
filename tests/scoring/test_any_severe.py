"""The any-severe correction: what it may change, and that it is kept only where it helps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumbargrade.domain.vocabulary import TARGETS, Condition, Grade
from lumbargrade.scoring.any_severe import (
    AnySevere,
    Rule,
    canal_parts,
    choose_any_severe,
    fit_any_severe,
)
from lumbargrade.scoring.official import condition_arrays, official_any_severe

CANAL = TARGETS[Condition.CANAL]
corrections = st.one_of(
    st.builds(AnySevere, st.just(Rule.UNION), st.floats(0, 1)),
    st.builds(AnySevere, st.just(Rule.SHIFT), st.floats(0, 4)),
)


def made(studies: int, seed: int, *, together: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (S, 5, 3) and grades drawn from them: levels independent, or all alike."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet([2.0, 1.0, 1.0], (studies, 1 if together else 5))
    u = rng.random((studies, 1 if together else 5, 1))
    y = (u > p.cumsum(axis=2)).sum(axis=2).clip(0, 2)
    return np.broadcast_to(p, (studies, 5, 3)).copy(), np.broadcast_to(y, (studies, 5)).copy()


def folds(n: int) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(n), np.arange(n) % 5


def test_parts_are_those_of_the_official_score() -> None:
    p, y = made(40, 3)
    y[np.random.default_rng(0).random(y.shape) < 0.2] = -1
    y[7] = -1
    solution = {
        str(s): {t: Grade(g) for t, g in zip(CANAL, row, strict=True) if g >= 0}
        for s, row in enumerate(y)
    }
    submission = {str(s): dict(zip(CANAL, map(tuple, row), strict=True)) for s, row in enumerate(p)}
    parts = canal_parts(p, y)
    assert parts.any_severe == pytest.approx(official_any_severe(solution, submission))
    q, grades = condition_arrays(solution, submission, Condition.CANAL)
    assert len(q) == (y >= 0).sum()
    log = -np.log(q[np.arange(len(q)), grades])
    assert parts.canal == pytest.approx(np.average(log, weights=2.0**grades))


@given(st.integers(0, 10**6), corrections)
def test_only_the_highest_level_is_raised_and_stays_a_distribution(
    seed: int, correction: AnySevere
) -> None:
    p, _ = made(12, seed)
    p[0, 1] = np.nan
    p[1] = np.nan
    q = correction.apply(p)
    assert np.array_equal(np.isnan(q), np.isnan(p))
    assert np.allclose(np.nansum(q, axis=2)[2:], 1)
    for s in range(12):
        if s == 1:
            continue
        top = np.nanargmax(p[s, :, 2])
        rest = np.arange(5) != top
        assert np.array_equal(q[s, rest], p[s, rest], equal_nan=True)
        assert q[s, top, 2] >= p[s, top, 2] - 1e-12
        assert q[s, top, 0] * p[s, top, 1] == pytest.approx(q[s, top, 1] * p[s, top, 0])


@given(st.integers(0, 10**6), corrections, st.integers(0, 4))
def test_a_more_severe_level_never_lowers_the_any_severe_probability(
    seed: int, correction: AnySevere, level: int
) -> None:
    p, _ = made(1, seed)
    more = p.copy()
    more[0, level] = 0.9 * p[0, level] + 0.1 * np.array([0, 0, 1])
    low, high = correction.apply(p)[..., 2].max(), correction.apply(more)[..., 2].max()
    assert high >= low - 1e-12


def test_the_default_and_a_certain_level_are_left_alone() -> None:
    p, _ = made(5, 0)
    assert np.array_equal(AnySevere().apply(p), p)
    p[0, 2] = [0, 0, 1]
    assert np.array_equal(AnySevere(Rule.SHIFT, 1.0).apply(p)[0], p[0])


def test_full_union_is_the_probability_of_independent_levels() -> None:
    p, _ = made(3, 1)
    q = AnySevere(Rule.UNION, 1.0).apply(p)
    assert q[..., 2].max(axis=1) == pytest.approx(1 - (1 - p[..., 2]).prod(axis=1))


@pytest.mark.parametrize(("rule", "strength"), [("union", 1.5), ("shift", -1), ("none", 0.1)])
def test_a_strength_out_of_range_is_refused(rule: str, strength: float) -> None:
    with pytest.raises(ValueError, match="strength"):
        AnySevere(Rule(rule), strength)


def test_independent_levels_are_corrected_and_it_helps_on_other_studies() -> None:
    p, y = made(1000, 0)
    choice = choose_any_severe(p, y, *folds(1000))
    assert choice.correction.rule is not Rule.NONE
    assert choice.nested is not None
    assert choice.nested.mean < choice.before.mean
    fresh, truth = made(1000, 1)
    assert canal_parts(choice.correction.apply(fresh), truth).mean < canal_parts(fresh, truth).mean


def test_levels_that_say_the_same_need_no_correction() -> None:
    p, y = made(400, 0, together=True)
    # all is as it should be: the highest level is as likely severe as any level
    choice = choose_any_severe(p, y, *folds(400))
    if choice.correction.rule is not Rule.NONE:  # weighted studies ask for a little
        assert choice.nested is not None
        assert choice.nested.mean < choice.before.mean


@given(st.integers(0, 10**6), st.sampled_from(list(Rule)))
def test_a_fit_is_never_worse_on_its_own_studies(seed: int, rule: Rule) -> None:
    p, y = made(15, seed)
    fitted = fit_any_severe(rule, p, y)
    assert canal_parts(fitted.apply(p), y).mean <= canal_parts(p, y).mean + 1e-12


def test_nothing_graded_and_a_single_study_change_nothing() -> None:
    p, y = made(10, 0)
    assert choose_any_severe(p, np.full_like(y, -1), *folds(10)).correction == AnySevere()
    one = choose_any_severe(p[:1], y[:1], *folds(1))
    assert one.correction == AnySevere()
    assert one.nested is None
    assert one.before == canal_parts(p[:1], y[:1])
