"""How well predictions agree with the truth: every measure with its bootstrap interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.vocabulary import Grade
from lumbargrade.scoring.bootstrap import (
    FEWEST_STUDIES,
    RESAMPLES,
    SEED,
    percentile_interval,
    study_weights,
)
from lumbargrade.scoring.cohort import GradedFindings
from lumbargrade.scoring.measures import (
    GRADES,
    Floats,
    Measurer,
    auroc,
    balanced_accuracy,
    confusion,
    every_grade_error,
    log_loss,
    quadratic_kappa,
    top_grade_error,
)

#: Measure -> what it is, in the order in which they are shown.
MEASURES: dict[str, str] = {
    "weighted_log_loss": "log loss with weights 1, 2, 4 by true grade",
    "log_loss": "log loss, every finding alike",
    "kappa": "Cohen's kappa with quadratic weights",
    "auroc_moderate": "AUROC, moderate or severe against normal/mild",
    "auroc_severe": "AUROC, severe against the others",
    "balanced_accuracy": "mean over grades of the share found",
    "ece": "expected calibration error of the most probable grade",
    "ece_every_grade": "expected calibration error, mean over the three grades",
}
#: What a calibration is meant to improve; also given for calibrated probabilities, where there are.
OF_CALIBRATION = ("log_loss", "ece", "ece_every_grade")
CALIBRATED = "_calibrated"


@dataclass(frozen=True)
class Measure:
    """A figure with its 95% interval.

    Attributes:
        value: the figure; nan where it is undefined.
        low, high: percentile bootstrap interval by study; nan where none is given.
        note: why the value or the interval is missing, else empty.
    """

    value: float
    low: float
    high: float
    note: str = ""


@dataclass(frozen=True)
class Agreement:
    """All measures of some findings.

    Attributes:
        studies, findings: how many.
        counts: findings of each true grade.
        confusion: findings by true grade (row) and most probable grade (column).
        measures: by name, see ``MEASURES``; with ``_calibrated`` of calibrated probabilities.
    """

    studies: int
    findings: int
    counts: tuple[int, int, int]
    confusion: tuple[tuple[int, ...], ...]
    measures: Mapping[str, Measure]


def agreement(graded: GradedFindings, *, resamples: int = RESAMPLES, seed: int = SEED) -> Agreement:
    """Measure agreement and calibration.

    Grades are the most probable ones as the models gave them. What is said of calibration is said
    of these probabilities, and, where every finding has calibrated ones, of those too.

    The interval of a calibration error lies high where findings are few: chance alone opens gaps
    in the bins, and a resample adds to them.
    """
    codes, studies = graded.study_codes
    p, grades = graded.probabilities, graded.grades
    matrix = confusion(p, grades, codes, studies)
    measurers = _measurers(graded, codes, studies)
    once = np.ones((1, studies))
    values = {name: float(m(once)[0]) for name, m in measurers.items()}
    plain = matrix(once)
    values |= {name: float(of(plain)[0]) for name, of in _OF_MATRIX.items()}
    drawn: dict[str, list[Floats]] = {name: [] for name in values}
    wanted = resamples if studies >= FEWEST_STUDIES else 0
    for w in study_weights(studies, len(graded), resamples=wanted, seed=seed):
        matrices = matrix(w)
        for name in values:
            of_matrix = _OF_MATRIX.get(name)
            drawn[name].append(of_matrix(matrices) if of_matrix else measurers[name](w))
    counts = np.bincount(grades, minlength=GRADES).tolist()
    return Agreement(
        studies=studies,
        findings=len(graded),
        counts=(counts[0], counts[1], counts[2]),
        confusion=tuple(tuple(int(n) for n in row) for row in plain[0]),
        measures={
            name: _measure(name, values[name], drawn[name], studies, counts)
            for name in sorted(values, key=_place)
        },
    )


_OF_MATRIX = {"kappa": quadratic_kappa, "balanced_accuracy": balanced_accuracy}


def _measurers(
    graded: GradedFindings, codes: NDArray[np.intp], studies: int
) -> dict[str, Measurer]:
    p, grades = graded.probabilities, graded.grades
    found: dict[str, Measurer] = {
        "weighted_log_loss": log_loss(p, grades, codes, studies, weighted=True),
        "auroc_moderate": auroc(p[:, 1] + p[:, 2], grades >= Grade.MODERATE, codes),
        "auroc_severe": auroc(p[:, 2], grades == Grade.SEVERE, codes),
    }
    sets = {"": p} | ({CALIBRATED: graded.calibrated} if graded.is_calibrated else {})
    for suffix, q in sets.items():
        found[f"log_loss{suffix}"] = log_loss(q, grades, codes, studies, weighted=False)
        found[f"ece{suffix}"] = top_grade_error(q, grades, codes, studies)
        found[f"ece_every_grade{suffix}"] = every_grade_error(q, grades, codes, studies)
    return found


def _place(name: str) -> tuple[int, bool]:
    plain = name.removesuffix(CALIBRATED)
    return list(MEASURES).index(plain), plain != name


def _measure(
    name: str, value: float, drawn: list[Floats], studies: int, counts: list[int]
) -> Measure:
    nan = float("nan")
    if not np.isfinite(value):
        return Measure(nan, nan, nan, _why_undefined(name, counts))
    if not drawn:
        return Measure(value, nan, nan, f"no interval: fewer than {FEWEST_STUDIES} studies")
    low, high = percentile_interval(np.concatenate(drawn), studies)
    if not np.isfinite(low):
        return Measure(value, nan, nan, "no interval: a grade stands in too few studies")
    return Measure(value, low, high)


def _why_undefined(name: str, counts: list[int]) -> str:
    if not sum(counts):
        return "nothing graded"
    if name == "auroc_severe":
        return "no severe grade" if not counts[Grade.SEVERE] else "every grade is severe"
    if name == "auroc_moderate":
        mild = counts[Grade.NORMAL_MILD]
        return "no normal/mild grade" if not mild else "every grade is normal/mild"
    only = [g.label for g in Grade if counts[g]]
    return f"every grade is {only[0].lower()}" if len(only) == 1 else "undefined"
