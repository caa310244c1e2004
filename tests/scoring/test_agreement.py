"""Agreement and calibration: scikit-learn's figures, perfect predictions, undefined measures."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import (
    balanced_accuracy_score,
    cohen_kappa_score,
    confusion_matrix,
    log_loss,
    roc_auc_score,
)

from cohorts import drawn
from lumbargrade.domain.vocabulary import Condition, Grade, Level, Side
from lumbargrade.scoring.agreement import CALIBRATED, MEASURES, agreement, break_down
from lumbargrade.scoring.cohort import GradedFindings
from lumbargrade.scoring.local import local_score
from lumbargrade.scoring.measures import auroc, confusion, quadratic_kappa, reliability_curve
from lumbargrade.scoring.resampling import study_weights

NAN = float("nan")


def graded_of(p: np.ndarray, y: np.ndarray, studies: np.ndarray | None = None) -> GradedFindings:
    names = np.arange(len(y)) if studies is None else studies
    return GradedFindings(
        names.astype(np.str_),
        np.zeros(len(y), np.intp),
        p,
        y.astype(np.intp),
        np.full(p.shape, NAN),
    )


@st.composite
def findings(draw: st.DrawFn) -> GradedFindings:
    """Few findings, many equal probabilities, grades that may be missing."""
    n = draw(st.integers(1, 40))
    p = draw(arrays(float, (n, 3), elements=st.sampled_from([0.1, 0.2, 0.5, 1.0])))
    y = draw(arrays(int, n, elements=st.integers(0, 2)))
    studies = draw(arrays(int, n, elements=st.integers(0, 6)))
    return graded_of(p / p.sum(axis=1, keepdims=True), y, studies)


def theirs(g: GradedFindings) -> dict[str, float]:
    """Scikit-learn's figures; nan where it has none."""
    p, y = g.probabilities, g.grades
    top = p.argmax(axis=1)
    found = {"log_loss": log_loss(y, p, labels=[0, 1, 2])}
    one = len(set(y.tolist())) == 1
    for name, positive, scores in (
        ("auroc_moderate", y >= 1, p[:, 1] + p[:, 2]),
        ("auroc_severe", y == 2, p[:, 2]),
    ):
        both = 0 < positive.sum() < len(y)
        found[name] = roc_auc_score(positive, scores) if both else NAN
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class that is predicted but not true
        found["balanced_accuracy"] = NAN if one else balanced_accuracy_score(y, top)
        kappa = cohen_kappa_score(y, top, labels=[0, 1, 2], weights="quadratic")
    found["kappa"] = NAN if one else kappa
    return found


@given(findings())
def test_every_figure_is_scikit_learns(g: GradedFindings) -> None:
    ours = agreement(g)
    for name, value in theirs(g).items():
        assert ours.measures[name].value == pytest.approx(value, nan_ok=True, abs=1e-12), name
    weighted = local_score(g.probabilities, g.grades).weighted
    assert ours.measures["weighted_log_loss"].value == pytest.approx(weighted)
    matrix = confusion_matrix(g.grades, g.probabilities.argmax(axis=1), labels=[0, 1, 2])
    assert ours.confusion == tuple(map(tuple, matrix.tolist()))
    assert ours.counts == tuple(np.bincount(g.grades, minlength=3))


@given(findings(), st.integers(0, 99))
def test_a_resample_weighs_as_if_its_studies_stood_there_that_often(
    g: GradedFindings, seed: int
) -> None:
    codes, studies = g.study_codes
    (w,) = study_weights(studies, len(g), resamples=1, seed=seed)
    times = w[0, codes].astype(int)
    repeated = g.where(np.repeat(np.arange(len(g)), times))
    p, y = g.probabilities, g.grades
    kappa = quadratic_kappa(confusion(p, y, codes, studies)(w))[0]
    area = auroc(p[:, 1] + p[:, 2], y >= 1, codes)(w)[0]
    expected = theirs(repeated) if len(repeated) else {"kappa": NAN, "auroc_moderate": NAN}
    assert kappa == pytest.approx(expected["kappa"], nan_ok=True, abs=1e-12)
    assert area == pytest.approx(expected["auroc_moderate"], nan_ok=True, abs=1e-12)


@settings(max_examples=20)
@given(st.permutations(range(12)))
def test_the_order_of_studies_changes_no_figure(order: list[int]) -> None:
    g = drawn(12)
    rows = (np.array(order)[:, None] * 25 + np.arange(25)).ravel()
    one, other = agreement(g, resamples=20), agreement(g.where(rows), resamples=20)
    for name in MEASURES:
        assert other.measures[name].value == pytest.approx(one.measures[name].value)
        assert other.measures[name].low == pytest.approx(one.measures[name].low)


def test_a_perfect_prediction_has_the_best_figures() -> None:
    g = drawn()
    perfect = graded_of(np.eye(3)[g.grades], g.grades, np.repeat(np.arange(60), 25))
    values = {name: m.value for name, m in agreement(perfect, resamples=10).measures.items()}
    best = {"kappa": 1, "auroc_moderate": 1, "auroc_severe": 1, "balanced_accuracy": 1}
    assert values == pytest.approx({**dict.fromkeys(MEASURES, 0.0), **best}, abs=1e-12)


def test_one_grade_alone_leaves_what_needs_two_undefined_and_says_why() -> None:
    g = drawn()
    mild = agreement(g.where(g.grades == 0))
    for name in ("kappa", "auroc_moderate", "auroc_severe", "balanced_accuracy"):
        assert math.isnan(mild.measures[name].value)
        assert math.isnan(mild.measures[name].low)
    assert mild.measures["kappa"].note == "every grade is normal/mild"
    assert mild.measures["auroc_severe"].note == "no severe grade"
    assert math.isfinite(mild.measures["log_loss"].low)


def test_no_interval_for_few_studies_or_a_grade_that_few_of_them_have() -> None:
    g = drawn(9)
    few = agreement(g).measures["kappa"]
    assert math.isfinite(few.value)
    assert math.isnan(few.low)
    assert "fewer than 10 studies" in few.note
    g = drawn(30)
    first = np.flatnonzero(g.grades == 2)[0]
    one_severe = agreement(g.where((g.grades < 2) | (np.arange(len(g)) == first)))
    assert math.isfinite(one_severe.measures["auroc_severe"].value)
    assert math.isnan(one_severe.measures["auroc_severe"].low)
    assert "too few studies" in one_severe.measures["auroc_severe"].note
    assert math.isfinite(one_severe.measures["auroc_moderate"].low)


def test_calibration_error_by_hand() -> None:
    """Two bins: at 0.9 three of four are right, at 0.6 one of two."""
    p = np.array([[0.9, 0.1, 0.0]] * 4 + [[0.4, 0.6, 0.0]] * 2)
    y = np.array([0, 0, 0, 2, 1, 0])
    value = agreement(graded_of(p, y)).measures["ece"].value
    assert value == pytest.approx(4 / 6 * 0.15 + 2 / 6 * 0.1)


def test_probabilities_that_are_frequencies_have_less_calibration_error() -> None:
    right, sharp = drawn(400), drawn(400, sharpness=3)
    for name in ("ece", "ece_every_grade", "log_loss"):
        assert agreement(right).measures[name].high < agreement(sharp).measures[name].low
    assert agreement(right).measures["ece"].value < 0.03
    assert agreement(sharp).measures["auroc_severe"].value > 0.7


def test_calibrated_probabilities_are_measured_beside_the_others() -> None:
    g = drawn(40, sharpness=3)
    both = GradedFindings(g.studies, g.targets, g.probabilities, g.grades, drawn(40).probabilities)
    plain, measures = agreement(g).measures, agreement(both).measures
    assert set(MEASURES) == set(plain)
    assert set(measures) - set(plain) == {
        m + CALIBRATED for m in MEASURES if m != "weighted_log_loss"
    }
    assert measures["log_loss"] == plain["log_loss"]
    assert measures["log_loss_calibrated"].value < measures["log_loss"].value
    top = both.calibrated.argmax(axis=1)
    shown = agreement(both)
    assert shown.shown("kappa").value == pytest.approx(
        cohen_kappa_score(g.grades, top, weights="quadratic")
    )
    assert np.array_equal(shown.confusion, confusion_matrix(g.grades, top))
    some = both.calibrated.copy()
    some[0] = NAN
    partly = GradedFindings(g.studies, g.targets, g.probabilities, g.grades, some)
    assert set(agreement(partly).measures) == set(plain)


def test_intervals_by_study_cover_the_truth() -> None:
    """Findings of a study are alike: 95% intervals by study hold in at least 50 of 60 draws."""
    truth = agreement(drawn(4000, seed=99), resamples=1).measures
    held = dict.fromkeys(("log_loss", "auroc_severe", "kappa"), 0)
    for seed in range(60):
        found = agreement(drawn(40, seed=seed).of(Condition.FORAMINAL), resamples=200).measures
        for name in held:
            held[name] += found[name].low <= truth[name].value <= found[name].high
    assert min(held.values()) >= 50, held


def test_reliability_of_frequencies_lies_on_the_diagonal_and_holds_every_finding() -> None:
    g = drawn(600)
    codes, studies = g.study_codes
    for grade in Grade:
        bins = reliability_curve(g.probabilities[:, grade], g.grades == grade, codes, studies)
        assert len(bins) == 10
        assert sum(b.findings for b in bins) == len(g)
        assert max(abs(b.predicted - b.observed) for b in bins) < 0.05
        assert all(b.low <= b.observed <= b.high for b in bins)
        assert [b.predicted for b in bins] == sorted(b.predicted for b in bins)


def test_a_constant_prediction_has_one_bin_and_none_has_none() -> None:
    codes = np.zeros(8, np.intp)
    (one,) = reliability_curve(np.full(8, 0.3), np.arange(8) < 2, codes, 1)
    assert (one.predicted, one.observed, one.findings) == (pytest.approx(0.3), 0.25, 8)
    assert math.isnan(one.low)
    assert reliability_curve(np.zeros(0), np.zeros(0, bool), codes[:0], 0) == []


def test_parts_hold_every_finding_of_their_condition_once() -> None:
    g = drawn(20)
    names = sorted(set(g.studies.tolist()))
    groups = {"vendor": {"A": names[:5], "B": names[5:], "none": []}}
    parts = break_down(g, groups, resamples=5)
    for condition, count in (
        (Condition.CANAL, 100),
        (Condition.FORAMINAL, 200),
        (Condition.SUBARTICULAR, 200),
    ):
        mine = [p for p in parts if p.condition is condition]
        by = {name: [p for p in mine if p.by == name] for name in ("all", "level", "vendor")}
        assert all(sum(p.agreement.findings for p in same) == count for same in by.values())
        assert [p.value for p in by["level"]] == [level.label for level in Level]
        assert [p.value for p in by["vendor"]] == ["A", "B"]
        sides = [p.value for p in mine if p.by == "side"]
        assert sides == ([s.value for s in Side] if condition.sided else [])
