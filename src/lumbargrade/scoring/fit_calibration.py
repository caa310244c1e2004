"""Which calibration: chosen by held-out log loss, with an estimate that the choice did not see.

It is fitted to out-of-fold predictions, or to a local set of graded findings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lumbargrade.domain.vocabulary import Condition, Grade
from lumbargrade.scoring.agreement import Agreement, Measure, agreement
from lumbargrade.scoring.calibration import (
    COMPETITION_WEIGHTS,
    Calibration,
    Floats,
    Method,
    Triple,
    fit_calibration,
    log_loss,
    row_losses,
)
from lumbargrade.scoring.cohort import GradedFindings
from lumbargrade.scoring.measures import per_study, ratio
from lumbargrade.scoring.resampling import held_out_parts, percentile_interval, study_weights


@dataclass(frozen=True)
class CalibrationChoice:
    """A calibration fitted to all data, with what it is worth on data it was not fitted to.

    Attributes:
        calibration: the chosen one; the identity where `nested` is no better than `before`.
        before: unweighted log loss of the probabilities as they are.
        held_out: method -> log loss on parts it was not fitted to; the lowest was chosen.
        nested: log loss when each part is calibrated by what was chosen and fitted without it;
            None with fewer than two studies. `held_out` of the chosen method is a little better
            than the truth because it was chosen; this is not.
        findings: how many rows.
        nested_probabilities: (N, 3) what `nested` is the loss of: each row calibrated by what was
            chosen and fitted without its part; nan with fewer than two studies.
    """

    calibration: Calibration
    before: float
    held_out: Mapping[Method, float]
    nested: float | None
    findings: int
    nested_probabilities: Floats = field(compare=False, repr=False)


def choose_calibration(
    probabilities: ArrayLike,
    grades: ArrayLike,
    studies: ArrayLike,
    folds: ArrayLike,
    class_weights: Triple = COMPETITION_WEIGHTS,
) -> CalibrationChoice:
    """Choose a method by cross-validation and fit it to everything.

    Args:
        probabilities: (N, 3) out-of-fold probabilities.
        grades: (N,) true grades 0 to 2.
        studies: (N,) study of each row; a study is never split.
        folds: (N,) its fold.
        class_weights: of the loss that the models were trained with.
    """
    p = np.asarray(probabilities, float).reshape(-1, 3)
    y, s, f = np.asarray(grades, int), np.asarray(studies), np.asarray(folds)
    method, held_out = _choose(p, y, s, f, class_weights)
    parts = held_out_parts(s, f)
    apart = np.full(p.shape, np.nan)
    for out in parts:
        rest = ~out
        inner, _ = _choose(p[rest], y[rest], s[rest], f[rest], class_weights)
        fitted = fit_calibration(inner, p[rest], y[rest], class_weights)
        apart[out] = fitted.apply(p[out])
    before = log_loss(p, y)
    nested = log_loss(apart, y) if parts else None
    helps = nested is not None and nested < before
    calibration = fit_calibration(method, p, y, class_weights) if helps else Calibration()
    return CalibrationChoice(calibration, before, held_out, nested, len(y), apart)


def _choose(
    p: Floats,
    y: NDArray[np.int_],
    studies: NDArray[np.generic],
    folds: NDArray[np.generic],
    class_weights: Triple,
) -> tuple[Method, dict[Method, float]]:
    """The method with the lowest held-out loss, the simpler one on a tie; identity without data."""
    parts = held_out_parts(studies, folds)
    if not parts:
        return Method.IDENTITY, {}
    found = {}
    for method in Method:
        losses = np.empty(len(y))
        for out in parts:
            fitted = fit_calibration(method, p[~out], y[~out], class_weights)
            losses[out] = row_losses(fitted.apply(p[out]), y[out])
        found[method] = float(losses.mean())
    return min(found, key=lambda method: found[method]), found


FEWEST_STUDIES = 50
FEWEST_OF_A_GRADE = 10


@dataclass(frozen=True)
class Recalibration:
    """What came of fitting one condition.

    Attributes:
        condition: the condition.
        studies: how many it has.
        counts: findings of each true grade.
        refused: why nothing was fitted; empty where something was.
        choice: the fitted calibration and its losses; None where refused.
        graded: the findings; their ``probabilities`` are those shown before, their ``calibrated``
            ones those after, each by a calibration fitted to other studies. None where refused.
        measures: of ``graded``; None where refused.
        gain: log loss before less after, with its interval: the same studies before and after.
    """

    condition: Condition
    studies: int
    counts: tuple[int, int, int]
    refused: str = ""
    choice: CalibrationChoice | None = None
    graded: GradedFindings | None = None
    measures: Agreement | None = None
    gain: Measure | None = None

    @property
    def before(self) -> float:
        """Unweighted log loss of the probabilities that were shown before; nan where refused."""
        if self.graded is None:
            return float("nan")
        return log_loss(self.graded.probabilities, self.graded.grades)

    @property
    def after(self) -> float:
        """The same by calibrations fitted to other studies."""
        if self.graded is None:
            return float("nan")
        return log_loss(self.graded.calibrated, self.graded.grades)

    @property
    def helps(self) -> bool:
        """Whether findings of studies it was not fitted to are predicted better than before."""
        return self.after < self.before

    @property
    def calibration(self) -> Calibration | None:
        """What to use from now on; None where it should stay as it was."""
        return self.choice.calibration if self.choice is not None and self.helps else None


def recalibrate(
    graded: GradedFindings,
    *,
    fewest_studies: int = FEWEST_STUDIES,
    fewest_of_a_grade: int = FEWEST_OF_A_GRADE,
) -> dict[Condition, Recalibration]:
    """Fit a calibration of the models' own probabilities for each condition that is there.

    The method (none, class weights undone, temperature, vector scaling) is chosen by
    cross-validation over studies, and what it is worth is measured by a second one around the
    choice. It counts as a help only where it does better than what was shown before: calibrated
    probabilities where the results have them, else the models' own.

    Args:
        graded: findings with their truth.
        fewest_studies: a condition with fewer studies is refused.
        fewest_of_a_grade: a condition with fewer findings of any grade is refused.
    """
    found = {}
    for condition in Condition:
        mine = graded.of(condition)
        if len(mine):
            found[condition] = _one(condition, mine, fewest_studies, fewest_of_a_grade)
    return found


def _one(
    condition: Condition, mine: GradedFindings, fewest_studies: int, fewest_of_a_grade: int
) -> Recalibration:
    codes, studies = mine.study_codes
    a, b, c = np.bincount(mine.grades, minlength=len(Grade)).tolist()
    counts = (a, b, c)
    if reasons := _too_small(studies, counts, fewest_studies, fewest_of_a_grade):
        return Recalibration(condition, studies, counts, refused=reasons)
    choice = choose_calibration(mine.probabilities, mine.grades, codes, np.zeros(len(mine), int))
    shown = mine.calibrated if mine.is_calibrated else mine.probabilities
    # a choice that does no better than the models' own probabilities is not used
    kept = choice.nested is None or choice.nested >= choice.before
    after = mine.probabilities if kept else choice.nested_probabilities
    both = replace(mine, probabilities=shown, calibrated=after)
    return Recalibration(
        condition,
        studies,
        counts,
        choice=choice,
        graded=both,
        measures=agreement(both),
        gain=_gain(both),
    )


def _gain(both: GradedFindings) -> Measure:
    """Mean loss of probabilities less that of calibrated ones, bootstrapped by study in pairs."""
    codes, studies = both.study_codes
    before, after = (row_losses(p, both.grades) for p in (both.probabilities, both.calibrated))
    sums = per_study(np.stack([before - after, np.ones(len(both))], axis=1), codes, studies)
    drawn = [w @ sums for w in study_weights(studies, len(both))]
    values = np.concatenate([ratio(total[:, 0], total[:, 1]) for total in drawn])
    low, high = percentile_interval(values, studies)
    note = "" if np.isfinite(low) else "no interval: too few studies"
    return Measure(float((before - after).mean()), low, high, note)


def _too_small(
    studies: int, counts: tuple[int, int, int], fewest_studies: int, fewest_of_a_grade: int
) -> str:
    reasons = []
    if studies < fewest_studies:
        reasons.append(f"{studies} studies, at least {fewest_studies} are needed")
    rare = {g: n for g, n in zip(Grade, counts, strict=True) if n < fewest_of_a_grade}
    if rare:
        numbers = ", ".join(f"{n} {g.label.lower()}" for g, n in rare.items())
        reasons.append(f"{numbers} findings, at least {fewest_of_a_grade} of each are needed")
    return "; ".join(reasons)
