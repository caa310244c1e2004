"""A calibration fitted to a local set of graded findings: refused, or measured before and after."""

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
