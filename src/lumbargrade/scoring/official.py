"""The competition's score: tables read strictly, weighted log losses, any-severe canal.

Mean of the weighted log losses of the canal, the foramina, the recesses, and of a binary loss on
whether any canal level is severe. Sample weights are 1, 2, 4 by true grade; rows are normalised
and clipped to the float64 epsilon, as scikit-learn's ``log_loss`` does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lumbargrade.domain.errors import BadTable
from lumbargrade.domain.findings import Probabilities
from lumbargrade.domain.vocabulary import (
    FINDINGS,
    TARGETS,
    Condition,
    Grade,
    Target,
    grade_from_label,
    target_from_column,
)
from lumbargrade.files.tables import filled, read_table, real
from lumbargrade.scoring.local import (
    OFFICIAL_CLIP,
    any_severe,
    local_score,
    prevalence,
    prevalence_loss,
)

GRADE_COLUMNS = tuple(g.column for g in Grade)
SUBMISSION_COLUMNS = ("row_id", *GRADE_COLUMNS)

#: Study -> target -> grade; an ungraded target is absent.
Solution = Mapping[str, Mapping[Target, Grade]]
#: Study -> target -> probabilities.
Submission = Mapping[str, Mapping[Target, Probabilities]]


@dataclass(frozen=True)
class OfficialScore:
    """The official score and its four parts, lower is better.

    Attributes:
        score: mean of the parts.
        conditions: weighted log loss of each condition.
        any_severe: any-severe canal loss.
    """

    score: float
    conditions: Mapping[Condition, float]
    any_severe: float


def read_solution(path: Path | str) -> dict[str, dict[Target, Grade]]:
    """Read true grades in the layout of ``train.csv``; empty cells are left out.

    Raises:
        BadTable: for missing columns, unknown grades or repeated studies, naming the row.
    """
    solution: dict[str, dict[Target, Grade]] = {}
    seen: dict[str, int] = {}
    for row in read_table(path, ("study_id", *(t.column for t in FINDINGS))):
        study = row.read(filled, "study_id")
        row.require_first(seen, study, f"study_id {study}")
        solution[study] = {
            t: row.read(grade_from_label, t.column) for t in FINDINGS if row[t.column]
        }
    return solution


def split_row_id(text: str) -> tuple[str, Target]:
    """Study and finding of a submission's row.

    Raises:
        ValueError: if it does not name both.
    """
    study, _, column = text.partition("_")
    if not study:
        raise ValueError(f"{text!r} names no study")
    return study, target_from_column(column)


def read_submission(path: Path | str) -> dict[str, dict[Target, Probabilities]]:
    """Read a submission: ``row_id`` and a probability for each grade.

    Raises:
        BadTable: for missing columns, unknown or repeated rows, and values that are no
            probabilities, naming the row and the reason.
    """
    submission: dict[str, dict[Target, Probabilities]] = {}
    seen: dict[tuple[str, Target], int] = {}
    for row in read_table(path, SUBMISSION_COLUMNS):
        study, target = row.read(split_row_id, "row_id")
        row.require_first(seen, (study, target), f"row_id {row['row_id']}")
        a, b, c = (row.read(_probability, column) for column in GRADE_COLUMNS)
        if not math.isfinite(a + b + c):
            raise row.error("probabilities too large to normalise")
        if a + b + c <= 0:
            raise row.error("all three probabilities are zero")
        submission.setdefault(study, {})[target] = (a, b, c)
    return submission


def check_complete(
    submission: Submission,
    studies: Sequence[str],
    path: Path | str,
    reference: Path | str = "the solution",
) -> None:
    """Make sure that a submission has all 25 rows of every study and of no other.

    Args:
        submission: predictions.
        studies: the studies that it must have.
        path: its file, for messages.
        reference: where the studies come from, for messages.

    Raises:
        BadTable: naming the first missing or unknown row.
    """
    wanted = set(studies)
    for study, found in submission.items():
        if study not in wanted:
            row = f"{study}_{next(iter(found)).column}"
            raise BadTable(f"{path}: row {row}: study {study} is not in {reference}")
    for study in studies:
        for target in FINDINGS:
            if target not in submission.get(study, {}):
                raise BadTable(f"{path}: row {study}_{target.column} is missing")


def condition_arrays(
    solution: Solution, submission: Submission, condition: Condition
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, 3) and grades (N,) of all graded findings of a condition."""
    pairs = [
        (submission[study][target], grade)
        for study, grades in solution.items()
        for target, grade in grades.items()
        if target.condition is condition
    ]
    probabilities = np.array([p for p, _ in pairs], float).reshape(-1, 3)
    return probabilities, np.array([int(g) for _, g in pairs], int)


def official_score(solution: Solution, submission: Submission) -> OfficialScore:
    """Score a complete submission (see :func:`check_complete`).

    Examples:
        One study that is normal everywhere, and a submission that is 90 % sure of that.

        >>> solution = {"1": {target: Grade.NORMAL_MILD for target in FINDINGS}}
        >>> submission = {"1": {target: (0.9, 0.06, 0.04) for target in FINDINGS}}
        >>> score = official_score(solution, submission)
        >>> round(score.score, 4), round(score.any_severe, 4)
        (0.0892, 0.0408)
    """
    conditions = {
        c: local_score(*condition_arrays(solution, submission, c), OFFICIAL_CLIP).weighted
        for c in Condition
    }
    severe = official_any_severe(solution, submission)
    parts = [*conditions.values(), severe]
    return OfficialScore(float(np.mean(parts)), conditions, severe)


def canal_arrays(solution: Solution, submission: Submission) -> tuple[np.ndarray, np.ndarray]:
    """Of each study and level, P(severe) and grade, (S, 5); -1 (and nan) where not graded."""
    pairs = [(grades, submission[study]) for study, grades in solution.items()]
    canal = TARGETS[Condition.CANAL]
    severe = [[p[t][2] / sum(p[t]) if t in g else np.nan for t in canal] for g, p in pairs]
    grades = [[g.get(t, -1) for t in canal] for g, _ in pairs]
    return np.array(severe).reshape(-1, len(canal)), np.array(grades, int).reshape(-1, len(canal))


def official_any_severe(solution: Solution, submission: Submission) -> float:
    """Any-severe loss of the canal, as the official score has it."""
    return any_severe(*canal_arrays(solution, submission), official=True)


def _probability(text: str) -> float:
    value = real(text)
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{text} is not a probability")
    return value


ANY_SEVERE = "any_severe_canal"


def score_report(
    truth: Solution, submission: Submission, training: Solution, origin: Path | str
) -> dict[str, Any]:
    """Official and local scores and prevalence baselines.

    Args:
        truth: true grades.
        submission: predictions of exactly those studies.
        training: grades that the baseline's prevalence is counted in.
        origin: path of the submission, for messages.

    Returns:
        ``official``, ``studies``, and ``parts``: name -> official, local, prevalence,
        weighted_prevalence (losses, lower is better).

    Raises:
        BadTable: if rows are missing or unknown, or there is no study to score.
    """
    if not truth:
        raise BadTable(f"{origin}: no study to score")
    check_complete(submission, list(truth), origin)
    score = official_score(truth, submission)
    parts: dict[str, dict[str, float]] = {}
    for condition in Condition:
        parts[condition.value] = {
            "official": score.conditions[condition],
            "local": local_score(*condition_arrays(truth, submission, condition)).weighted,
            "prevalence": prevalence_loss(training, truth, condition),
            "weighted_prevalence": prevalence_loss(training, truth, condition, weighted=True),
        }
    constants = {w: prevalence(training, weighted=w) for w in (False, True)}
    parts[ANY_SEVERE] = {
        "official": score.any_severe,
        "local": any_severe(*canal_arrays(truth, submission)),
        "prevalence": official_any_severe(truth, _constant(truth, constants[False])),
        "weighted_prevalence": official_any_severe(truth, _constant(truth, constants[True])),
    }
    return {"official": score.score, "studies": len(truth), "parts": parts}


def _constant(
    truth: Solution, values: Mapping[Target, Probabilities]
) -> dict[str, Mapping[Target, Probabilities]]:
    return dict.fromkeys(truth, values)
