"""What fills a submission: no other constant scores better on the grades it was counted in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from lumbargrade.domain.findings import Probabilities
from lumbargrade.domain.vocabulary import (
    FINDINGS,
    TARGETS,
    Condition,
    Grade,
    Target,
    target_from_column,
)
from lumbargrade.scoring.fill import Constants, fill_constants, published_fill, training_fill
from lumbargrade.scoring.local import Grades, prevalence
from lumbargrade.scoring.official import OfficialScore, official_score
from lumbargrade.scoring.submissions import Solution, read_solution

CANAL = TARGETS[Condition.CANAL]


def score(truth: Solution, constants: Constants) -> OfficialScore:
    """The official score of a submission in which nothing was predicted."""
    return official_score(truth, dict.fromkeys(truth, constants))


def canal_parts(truth: Solution, constants: Constants) -> float:
    found = score(truth, constants)
    return found.conditions[Condition.CANAL] + found.any_severe


def by_target(table: Mapping[str, Sequence[float]]) -> dict[Target, Probabilities]:
    return {target_from_column(column): (a, b, c) for column, (a, b, c) in table.items()}


#: What the package holds.
FILL = by_target(published_fill())


def table(seed: int, studies: int, ungraded: float) -> dict[str, dict[Target, Grade]]:
    """Drawn grades; three studies have every finding at one grade, so that each grade occurs."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet([1.0, 0.5, 0.3], size=len(FINDINGS))
    found = {
        str(s): {
            t: Grade(int(rng.choice(3, p=p)))
            for t, p in zip(FINDINGS, shares, strict=True)
            if rng.random() >= ungraded
        }
        for s in range(studies)
    }
    return found | {f"all{g}": dict.fromkeys(FINDINGS, g) for g in Grade}


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def with_canal(constants: Constants, logits: np.ndarray) -> dict[Target, tuple[float, ...]]:
    rows = softmax(logits.reshape(len(CANAL), 3)).tolist()
    return {**constants, **{t: tuple(row) for t, row in zip(CANAL, rows, strict=True)}}


@pytest.mark.parametrize("ungraded", [0.0, 0.4])
@pytest.mark.parametrize("seed", range(4))
def test_a_numerical_optimiser_finds_no_better_canal_constants(seed: int, ungraded: float) -> None:
    """Started in many places, because the sum of both losses has several local minima."""
    truth = table(seed, 25, ungraded)
    ours = fill_constants(truth)
    rng = np.random.default_rng(seed)
    starts = [np.log([ours[t] for t in CANAL]).ravel()]
    starts += [rng.normal(0, 1.5, 3 * len(CANAL)) for _ in range(2)]
    found = [
        minimize(
            lambda logits: canal_parts(truth, with_canal(ours, logits)),  # type: ignore[arg-type]
            start,
            method="SLSQP",
        ).fun
        for start in starts
    ]
    assert canal_parts(truth, ours) <= min(found) + 1e-9
    assert min(found) == pytest.approx(canal_parts(truth, ours), abs=1e-4)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 40), st.sampled_from([0.0, 0.2, 0.8]))
def test_no_small_change_lowers_the_official_score(
    seed: int, studies: int, ungraded: float
) -> None:
    truth = table(seed, studies, ungraded)
    ours = fill_constants(truth)
    least = score(truth, ours).score
    rng = np.random.default_rng(seed)
    logits = np.log([ours[t] for t in FINDINGS])
    for size in (1e-3, 0.05, 0.5):
        for which in (slice(None), rng.integers(len(FINDINGS))):
            moved = logits.copy()
            moved[which] += rng.normal(0, size, moved[which].shape)
            rows = dict(zip(FINDINGS, map(tuple, softmax(moved).tolist()), strict=True))
            assert score(truth, rows).score >= least - 1e-12  # type: ignore[arg-type]


def test_the_highest_level_is_raised_because_any_severe_asks_for_it() -> None:
    """Ten studies, each severe at another level: none is likely alone, one of them is certain."""
    truth = {
        str(s): {t: Grade.SEVERE if i == s % 5 else Grade.NORMAL_MILD for i, t in enumerate(CANAL)}
        for s in range(10)
    }
    severe = [fill_constants(truth)[t][Grade.SEVERE] for t in CANAL]
    plain = [prevalence(truth, weighted=True)[t][Grade.SEVERE] for t in CANAL]
    assert max(severe) > 0.75 > max(plain)
    assert sum(p == max(severe) for p in severe) == 1


@pytest.mark.parametrize(
    "truth",
    [
        {},
        {"1": {}},
        {"1": {CANAL[0]: Grade.SEVERE}},
        {"1": dict.fromkeys(FINDINGS, Grade.NORMAL_MILD)},
    ],
    ids=["no study", "nothing graded", "one finding", "one grade"],
)
def test_a_grade_that_was_never_given_keeps_a_probability(truth: Grades) -> None:
    found = fill_constants(truth)
    assert list(found) == list(FINDINGS)
    for row in found.values():
        assert min(row) > 0.01
        assert sum(row) == pytest.approx(1)
    if not any(truth.values()):
        assert found[CANAL[0]] == pytest.approx((1 / 7, 2 / 7, 4 / 7))


@pytest.fixture(scope="module")
def lsdc(shared: Path) -> Solution:
    return read_solution(shared / "realdata" / "rsna2024" / "train.csv")


def test_packaged_constants_are_those_of_the_lsdc_table(lsdc: Solution) -> None:
    computed = fill_constants(lsdc)
    for target in FINDINGS:
        assert FILL[target] == pytest.approx(computed[target], abs=6e-7)


def test_filling_the_lsdc_table_loses_less_than_prevalence_in_every_part(lsdc: Solution) -> None:
    shares = {}
    for target in FINDINGS:
        count = np.bincount([g[target] for g in lsdc.values() if target in g], minlength=3)
        shares[target] = tuple((count / count.sum()).tolist())
    before, after = score(lsdc, shares), score(lsdc, FILL)
    assert all(after.conditions[c] < before.conditions[c] for c in Condition)
    assert after.any_severe < before.any_severe
    subarticular = Condition.SUBARTICULAR
    assert before.conditions[subarticular] == pytest.approx(1.077, abs=5e-4)
    assert after.conditions[subarticular] == pytest.approx(0.951, abs=5e-4)
    gain = before.conditions[subarticular] - after.conditions[subarticular]
    assert gain / 4 == pytest.approx(0.031, abs=5e-4)
    # what a submission with the foramina alone gains
    foraminal = Condition.FORAMINAL
    rest = before.conditions[foraminal] - after.conditions[foraminal]
    assert before.score - after.score - rest / 4 == pytest.approx(0.12, abs=5e-3)


def test_filling_the_lsdc_table_is_within_a_ten_thousandth_of_the_optimum(lsdc: Solution) -> None:
    """Of each condition, and of the canal with any severe, found numerically."""
    ours = FILL
    for condition in (Condition.FORAMINAL, Condition.SUBARTICULAR):
        losses, weight = 0.0, 0.0
        for target in TARGETS[condition]:
            count = np.bincount([g[target] for g in lsdc.values() if target in g], minlength=3)
            w = count * [1, 2, 4]
            losses, weight = losses - (w * np.log(w / w.sum())).sum(), weight + w.sum()
        assert score(lsdc, ours).conditions[condition] == pytest.approx(losses / weight, abs=1e-6)
    # every level is graded in a study or none, so only the largest severe probability M counts
    weighted = np.array(
        [
            np.bincount([g[t] for g in lsdc.values() if t in g], minlength=3) * [1, 2, 4]
            for t in CANAL
        ]
    )
    share = weighted[:, 2] / weighted.sum(axis=1)
    rest = weighted[:, :2] / weighted[:, :2].sum(axis=1, keepdims=True)
    best = np.inf
    for bound in np.linspace(0.35, 0.47, 25):
        severe = np.minimum(share, bound)
        severe[share.argmax()] = bound
        rows = np.column_stack([rest * (1 - severe)[:, None], severe]).tolist()
        constants = {**ours, **dict(zip(CANAL, map(tuple, rows), strict=True))}
        best = min(best, canal_parts(lsdc, constants))  # type: ignore[arg-type]
    assert canal_parts(lsdc, ours) <= best + 1e-6
    assert canal_parts(lsdc, ours) == pytest.approx(best, abs=1e-4)


def carrying(share: float, *keys: str) -> dict[str, dict[str, Probabilities]]:
    """Provenance of a model that carries the same row for every finding."""
    table = {t.column: (share, 0.9 - share, 0.1) for t in FINDINGS}
    return dict.fromkeys(keys or ("prevalence",), table)


def test_a_submission_is_filled_with_the_mean_of_the_constants_that_models_carry() -> None:
    found = training_fill([carrying(0.5, "prevalence", "fill"), carrying(0.7, "fill"), {}])
    assert list(found) == list(FINDINGS)
    for constant in found.values():
        assert constant == pytest.approx((0.6, 0.3, 0.1))


def test_a_model_that_carries_only_prevalence_is_filled_by_its_weighted_shares() -> None:
    older = [0.5 / 1.7, 0.8 / 1.7, 0.4 / 1.7]  # 0.5, 0.4, 0.1 with the weights 1, 2, 4
    for constant in training_fill([carrying(0.5)]).values():
        assert constant == pytest.approx(older)
    both = training_fill([carrying(0.5), carrying(0.7, "fill")])
    for constant in both.values():
        assert constant == pytest.approx(
            [(a + b) / 2 for a, b in zip(older, (0.7, 0.2, 0.1), strict=True)]
        )


def test_published_models_are_filled_with_the_constants_of_the_lsdc_table() -> None:
    found = training_fill([{}])
    for target, constant in found.items():
        assert constant == pytest.approx(published_fill()[target.column], abs=2e-6)
