"""Fit calibrations to your own graded findings, and measure losses before and after."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lumbargrade.domain.vocabulary import Condition, Grade
from lumbargrade.scoring.agreement import Agreement, Measure, agreement
from lumbargrade.scoring.calibration import (
    Calibration,
    CalibrationChoice,
    choose_calibration,
    log_loss,
    row_losses,
)
from lumbargrade.scoring.cohort import GradedFindings
from lumbargrade.scoring.measures import per_study, ratio
from lumbargrade.scoring.resampling import percentile_interval, study_weights

FEWEST_STUDIES = 50
FEWEST_OF_A_GRADE = 10


@dataclass(frozen=True)
class Recalibration:
    """Result of fitting one condition.

    Attributes:
        condition: the condition.
        studies: its number of studies.
        counts: its number of findings of each reference grade.
        refused: why nothing was fitted; empty if a calibration was fitted.
        choice: the fitted calibration and its losses; None if refused.
        graded: the findings; ``probabilities`` are those shown before, ``calibrated`` those shown
            after, each by a calibration fitted to other studies. None if refused.
        measures: agreement of ``graded``; None if refused.
        gain: log loss before minus log loss after, with the interval of this difference; None if
            refused.
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
        """Unweighted log loss of the probabilities that were shown before; nan if refused."""
        if self.graded is None:
            return float("nan")
        return log_loss(self.graded.probabilities, self.graded.grades)

    @property
    def after(self) -> float:
        """The same with calibrations fitted to other studies; nan if refused."""
        if self.graded is None:
            return float("nan")
        return log_loss(self.graded.calibrated, self.graded.grades)

    @property
    def helps(self) -> bool:
        """Whether the loss on studies that it was not fitted to is lower than before."""
        return self.after < self.before

    @property
    def calibration(self) -> Calibration | None:
        """The calibration to use; None if nothing should be changed."""
        return self.choice.calibration if self.choice is not None and self.helps else None


def recalibrate(
    graded: GradedFindings,
    *,
    fewest_studies: int = FEWEST_STUDIES,
    fewest_of_a_grade: int = FEWEST_OF_A_GRADE,
) -> dict[Condition, Recalibration]:
    """Fit a calibration of the uncalibrated probabilities for each condition that has findings.

    The method (none, class weights divided out, temperature, vector scaling) is chosen by
    cross-validation over studies, and its loss is measured by an outer cross-validation. A
    calibration is used only if its loss is lower than that of the probabilities shown before:
    calibrated ones if the results have them, otherwise uncalibrated ones.

    Args:
        graded: findings with their reference grades.
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
    # a calibration that is not better than the uncalibrated probabilities is not used
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
    """Mean decrease of the log loss by calibration, with a bootstrap interval by study."""
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
