"""Official and local scores: the golden case, scikit-learn, and what follows from definitions."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import log_loss

from lumbargrade.domain.vocabulary import FINDINGS, Condition, Grade, Level, Target
from lumbargrade.scoring.local import (
    OFFICIAL_CLIP,
    any_severe,
    local_score,
    prevalence,
    prevalence_loss,
)
from lumbargrade.scoring.official import condition_arrays, official_any_severe, official_score
from lumbargrade.scoring.submissions import read_solution, read_submission

CANAL = [Target(Condition.CANAL, level) for level in Level]


@pytest.fixture(scope="module")
def golden(shared: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    folder = shared / "reference" / "metric"
    expected = json.loads((folder / "expected.json").read_text())
    return read_solution(folder / "train.csv"), read_submission(folder / "submission.csv"), expected


def test_official_score_of_the_golden_case(golden) -> None:
    solution, submission, expected = golden
    score = official_score(solution, submission)
    assert score.score == pytest.approx(1.084031405897342, rel=0, abs=1e-14)
    assert score.score == pytest.approx(expected["official_score"], rel=0, abs=1e-14)
    assert score.score == pytest.approx((sum(score.conditions.values()) + score.any_severe) / 4)


@pytest.mark.parametrize(
    ("name", "condition"),
    [
        ("local_nfn", Condition.FORAMINAL),
        ("local_ss", Condition.SUBARTICULAR),
        ("local_scs", Condition.CANAL),
    ],
)
def test_local_scores_of_the_golden_case(golden, name: str, condition: Condition) -> None:
    solution, submission, expected = golden
    score = local_score(*condition_arrays(solution, submission, condition))
    assert score.weighted == pytest.approx(expected[name]["weighted"], rel=1e-12)
    assert score.per_grade == pytest.approx(expected[name]["per_grade"], rel=1e-12)


@st.composite
def graded_rows(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Rows of non-negative numbers, zeros and small numbers among them, that do not sum to 1."""
    n = draw(st.integers(1, 30))
    value = st.sampled_from([0.0, 1e-300, 1e-17, 1e-15]) | st.floats(0, 10, allow_subnormal=False)
    p = draw(arrays(float, (n, 3), elements=value))
    p[p.sum(axis=1) < 1e-290] = 1.0
    return p, draw(arrays(int, n, elements=st.integers(0, 2)))


@given(graded_rows())
def test_weighted_score_is_scikit_learns(rows: tuple[np.ndarray, np.ndarray]) -> None:
    p, y = rows
    weight = np.array([1, 2, 4])[y]
    normalised = p / p.sum(axis=1, keepdims=True)
    theirs = log_loss(y, normalised, sample_weight=weight, labels=[0, 1, 2])
    assert local_score(p, y, OFFICIAL_CLIP).weighted == pytest.approx(theirs, rel=1e-9, abs=1e-12)


@given(graded_rows())
def test_weighted_score_is_made_of_the_grades_scores(rows: tuple[np.ndarray, np.ndarray]) -> None:
    p, y = rows
    score = local_score(p, y)
    share = np.bincount(y, minlength=3) * [1, 2, 4]
    parts = sum(s * w for s, w in zip(score.per_grade, share, strict=True) if w)
    assert score.weighted == pytest.approx(parts / share.sum())
    assert [math.isnan(s) for s in score.per_grade] == [not w for w in share]


def test_nothing_graded_has_no_score() -> None:
    score = local_score([], [])
    assert math.isnan(score.weighted)
    assert all(map(math.isnan, score.per_grade))
    assert math.isnan(any_severe(np.full((2, 5), 0.3), np.full((2, 5), -1)))


@given(
    arrays(float, (6, 5), elements=st.floats(0.001, 0.999)),
    arrays(int, (6, 5), elements=st.integers(-1, 1)),
)
def test_any_severe_is_scikit_learns_over_the_largest_level(p: np.ndarray, y: np.ndarray) -> None:
    y[0] = [0, -1, -1, -1, 1]
    studies = [(p[i][y[i] >= 0].max(), int((y[i] == 1).any())) for i in range(6) if max(y[i]) >= 0]
    highest, label = np.array([s[0] for s in studies]), np.array([s[1] for s in studies])
    theirs = log_loss(label, highest, sample_weight=np.where(label, 4, 1), labels=[0, 1])
    grades = np.where(y == 1, Grade.SEVERE, y)
    assert any_severe(p, grades) == pytest.approx(theirs)
    assert any_severe(np.where(y < 0, np.nan, p), grades) == any_severe(p, grades)
    assert any_severe(np.where(y < 0, np.nan, p), np.abs(grades)) == any_severe(p, grades)


@given(
    arrays(np.float32, (6, 5), elements=st.sampled_from([0, 1e-30, 1e-9, 0.25, 1 - 2**-24, 1])),
    arrays(int, (6, 5), elements=st.integers(0, 1)),
)
def test_any_severe_clips_where_scikit_learn_clips_the_published_float32_arrays(
    p: np.ndarray, y: np.ndarray
) -> None:
    highest, label = p.max(axis=1), y.max(axis=1)
    weights = np.where(label, 4, 1)
    theirs = log_loss(label, highest, sample_weight=weights, labels=[0, 1])
    assert any_severe(p, 2 * y) == pytest.approx(theirs, rel=1e-5, abs=1e-6)
    assert any_severe([[0, 0], [1, 1]], [[0, 2], [0, 1]]) == pytest.approx(15.9424, abs=1e-4)


def test_the_local_loss_is_clipped_at_1e_15_and_not_before() -> None:
    """The published scripts do not clip; a zero, which they could not score, has a finite loss."""
    tiny = np.array([[1 - 1e-12, 0.0, 1e-12]])
    assert local_score(tiny, [2]).weighted == pytest.approx(-math.log(1e-12), rel=1e-9)
    assert local_score([[1.0, 0.0, 0.0]], [2]).weighted == pytest.approx(34.539, abs=1e-3)


@given(
    arrays(float, (6, 5, 3), elements=st.floats(0.01, 5)),
    arrays(int, (6, 5), elements=st.integers(-1, 2)),
)
def test_official_any_severe_is_scikit_learns(p: np.ndarray, y: np.ndarray) -> None:
    """Weight is that of the worst grade, so a moderate study weighs 2 and not 1."""
    y[0, 0] = 1
    solution = {
        str(i): {t: Grade(g) for t, g in zip(CANAL, y[i], strict=True) if g >= 0} for i in range(6)
    }
    submission = {
        str(i): {t: (r[0], r[1], r[2]) for t, r in zip(CANAL, p[i].tolist(), strict=True)}
        for i in range(6)
    }
    share = p[:, :, 2] / p.sum(axis=2)
    kept = y.max(axis=1) >= 0
    highest = np.where(y >= 0, share, -1).max(axis=1)[kept]
    worst = y.max(axis=1)[kept]
    theirs = log_loss(worst == 2, highest, sample_weight=2**worst, labels=[False, True])
    assert official_any_severe(solution, submission) == pytest.approx(theirs)


def test_an_ungraded_finding_does_not_count(golden) -> None:
    solution, submission, _ = golden
    study = next(iter(solution))
    missing = [t for t in FINDINGS if t not in solution[study]]
    assert missing, "the golden case has an empty grade in its first study"
    changed = {**submission, study: {**submission[study], missing[0]: (1.0, 0.0, 0.0)}}
    assert official_score(solution, changed) == official_score(solution, submission)


@st.composite
def solutions(draw: st.DrawFn) -> dict[str, dict[Target, Grade]]:
    grades = draw(arrays(int, (draw(st.integers(1, 8)), 5), elements=st.integers(-1, 2)))
    return {
        str(i): {t: Grade(g) for t, g in zip(CANAL, row, strict=True) if g >= 0}
        for i, row in enumerate(grades)
    }


@given(solutions())
def test_prevalence_is_positive_and_sums_to_one(grades: dict[str, dict[Target, Grade]]) -> None:
    for weighted in (False, True):
        for shares in prevalence(grades, weighted=weighted).values():
            assert min(shares) > 0
            assert sum(shares) == pytest.approx(1)


def test_prevalence_loss_by_hand() -> None:
    """Three normal and one severe, one added to each: 4/7, 1/7, 2/7; weighted 4/14, 2/14, 8/14."""
    grades = {str(i): {CANAL[0]: Grade(g)} for i, g in enumerate([0, 0, 0, 2])}
    assert prevalence(grades)[CANAL[0]] == pytest.approx((4 / 7, 1 / 7, 2 / 7))
    assert prevalence(grades, weighted=True)[CANAL[0]] == pytest.approx((4 / 14, 2 / 14, 8 / 14))
    plain = -(3 * math.log(4 / 7) + 4 * math.log(2 / 7)) / 7
    weighted = -(3 * math.log(4 / 14) + 4 * math.log(8 / 14)) / 7
    assert prevalence_loss(grades, grades, Condition.CANAL) == pytest.approx(plain)
    assert prevalence_loss(grades, grades, Condition.CANAL, weighted=True) == pytest.approx(
        weighted
    )
    assert math.isnan(prevalence_loss(grades, grades, Condition.FORAMINAL))


def test_weighted_prevalence_is_close_to_the_best_constant() -> None:
    """With many findings the added count vanishes and no other constant does better."""
    rng = np.random.default_rng(5)
    drawn = rng.choice(3, size=3000, p=[0.8, 0.15, 0.05])
    grades = {str(i): {CANAL[0]: Grade(g)} for i, g in enumerate(drawn)}
    ours = prevalence_loss(grades, grades, Condition.CANAL, weighted=True)
    others = rng.dirichlet([2, 1, 1], size=300)
    best = min(local_score(np.tile(p, (len(drawn), 1)), drawn).weighted for p in others)
    assert ours <= best + 1e-4
    assert ours < prevalence_loss(grades, grades, Condition.CANAL)
