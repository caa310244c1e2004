"""The official score of the competition.

It is the mean of four losses: the weighted log losses of canal, foraminal and subarticular
findings, and the any-severe loss, a binary loss on whether any canal level is severe. Sample
weights are 1, 2, 4 by reference grade; rows are normalised and clipped to the float64 epsilon, as
in scikit-learn's ``log_loss``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lumbargrade.domain.errors import BadTable
from lumbargrade.domain.findings import Probabilities
from lumbargrade.domain.vocabulary import (
    TARGETS,
    Condition,
    Target,
)
from lumbargrade.scoring.local import (
    OFFICIAL_CLIP,
    any_severe,
    local_score,
    prevalence,
    prevalence_loss,
)
from lumbargrade.scoring.submissions import (
    Solution,
    Submission,
    SubmissionFile,
    check_complete,
)


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


def condition_arrays(
    solution: Solution, submission: Submission, condition: Condition
) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities (N, 3) and grades (N,) of all graded findings of a condition."""
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
        One study with only normal grades, each predicted with probability 0.9.

        >>> from lumbargrade.domain.vocabulary import FINDINGS, Grade
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
    """Return P(severe) and grade by study and level, (S, 5); nan and -1 where not graded."""
    pairs = [(grades, submission[study]) for study, grades in solution.items()]
    canal = TARGETS[Condition.CANAL]
    severe = [[p[t][2] / sum(p[t]) if t in g else np.nan for t in canal] for g, p in pairs]
    grades = [[g.get(t, -1) for t in canal] for g, _ in pairs]
    return np.array(severe).reshape(-1, len(canal)), np.array(grades, int).reshape(-1, len(canal))


def official_any_severe(solution: Solution, submission: Submission) -> float:
    """Return the any-severe loss as the official score computes it."""
    return any_severe(*canal_arrays(solution, submission), official=True)


ANY_SEVERE = "any_severe_canal"


def score_report(
    truth: Solution, submission: Submission, training: Solution, origin: Path | str
) -> dict[str, Any]:
    """Return official and local scores and prevalence baselines.

    Args:
        truth: reference grades.
        submission: predictions of exactly the same studies.
        training: grades whose prevalence is the baseline.
        origin: path of the submission, for messages.

    Returns:
        ``official``, ``studies``, and ``parts``: name -> official, local, prevalence,
        weighted_prevalence (losses, lower is better).

    Raises:
        BadTable: if rows are missing or unknown, or there is no study to score.
    """
    if not truth:
        raise BadTable(f"{origin}: no study to score; give reference grades of its studies")
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


@dataclass(frozen=True)
class CombinedScores:
    """Official scores of submissions and of their blend; lower is better.

    Attributes:
        truth: path of the reference grades.
        studies: number of studies that were scored.
        files: for each file ``official``, its official score, and the official loss of each part.
        combined: the same for the blended submission.
    """

    truth: str
    studies: int
    files: Sequence[Mapping[str, float]]
    combined: Mapping[str, float]


def score_combined(
    truth: Solution, origin: Path, files: Sequence[SubmissionFile], rows: Submission
) -> CombinedScores:
    """Score each file and the blended submission on the studies of the files.

    Args:
        truth: reference grades, possibly of more studies.
        origin: file of the reference grades, for messages.
        files: the submissions.
        rows: the blended submission.

    Raises:
        BadTable: if a study of the files is not in `origin`, or none of them has a grade.
    """
    check_complete(rows, [s for s in rows if s in truth], files[0].path, origin)
    known = {study: grades for study, grades in truth.items() if study in rows}
    if not any(known.values()):
        raise BadTable(f"{origin}: no study of the submissions has a grade; give another file")

    def score(submission: Submission) -> dict[str, float]:
        report = score_report(known, submission, known, origin)
        parts = {name: part["official"] for name, part in report["parts"].items()}
        return {**parts, "official": report["official"]}

    return CombinedScores(str(origin), len(known), [score(f.rows) for f in files], score(rows))
