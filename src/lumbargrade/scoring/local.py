"""Local scores, which selected the published runs, and the score of prevalence as a baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lumbargrade.domain.findings import Probabilities
from lumbargrade.domain.vocabulary import FINDINGS, GRADE_WEIGHTS, Condition, Grade, Target

# Each loss clips probabilities away from 0 and 1. The clips differ because the published figures
# that the losses are compared with use different ones.

#: Official score: scikit-learn's `log_loss` clips at the epsilon of its array's type, here float64.
OFFICIAL_CLIP = float(np.finfo(float).eps)
#: Any-severe loss: the published scripts give `log_loss` float32 arrays, so it clips at the epsilon
#: of that type (a certain and wrong study costs 15.9; with float64 it would be 36).
ANY_SEVERE_CLIP = float(np.finfo(np.float32).eps)
#: Local loss: the published scripts do not clip, so a zero for the reference grade makes their loss
#: infinite. Ours is clipped and stays finite: it differs only for rows that give the reference
#: grade a lower probability than this; each costs 34.5.
LOCAL_CLIP = 1e-15

WEIGHTS = np.array([GRADE_WEIGHTS[g] for g in Grade], float)


@dataclass(frozen=True)
class LocalScore:
    """Weighted log loss of one condition.

    Attributes:
        weighted: mean log loss with sample weights 1, 2, 4 by reference grade.
        per_grade: mean log loss of the samples of each grade; nan if there are none.
    """

    weighted: float
    per_grade: tuple[float, float, float]


def sample_losses(
    probabilities: ArrayLike,
    grades: ArrayLike,
    clip: float = LOCAL_CLIP,
    highest: float | None = None,
) -> np.ndarray:
    """Return the log loss of each sample, (N,); rows are normalised, then clipped.

    Args:
        probabilities: (N, 3), non-negative.
        grades: (N,) 0 to 2.
        clip: the smallest probability.
        highest: the largest probability; 1 - clip by default.
    """
    p = np.asarray(probabilities, float).reshape(-1, len(Grade))
    y = np.asarray(grades, int)
    true = p[np.arange(len(y)), y] / p.sum(axis=1)
    losses: np.ndarray = -np.log(np.clip(true, clip, 1 - clip if highest is None else highest))
    return losses


def local_score(
    probabilities: ArrayLike, grades: ArrayLike, clip: float = LOCAL_CLIP
) -> LocalScore:
    """Return the weighted log loss of probabilities (N, 3) for grades (N,) 0 to 2; nan if N is 0.

    Examples:
        A severe finding counts four times as much as a normal one.

        >>> local_score([[0.8, 0.1, 0.1], [0.2, 0.3, 0.5]], [0, 2])
        LocalScore(weighted=0.599..., per_grade=(0.223..., nan, 0.693...))
    """
    y = np.asarray(grades, int)
    losses = sample_losses(probabilities, y, clip)
    weights = WEIGHTS[y]
    per_grade = [float(losses[y == g].mean()) if (y == g).any() else float("nan") for g in Grade]
    weighted = float((losses * weights).sum() / weights.sum()) if len(y) else float("nan")
    return LocalScore(weighted, (per_grade[0], per_grade[1], per_grade[2]))


def any_severe(
    severe_probabilities: ArrayLike, grades: ArrayLike, *, official: bool = False
) -> float:
    """Return the any-severe loss: log loss of each study's largest P(severe) over graded levels.

    A study is positive if any of these levels is severe. In the published scripts, studies with a
    severe level have weight 4 and others 1. In the official score, the weight of a study follows
    its worst grade, and the clip differs (see ``OFFICIAL_CLIP``).

    Args:
        severe_probabilities: (S, L) probability of severe per study and level.
        grades: (S, L) 0 to 2, or -1 where not graded. Levels without a grade or a probability are
            excluded, and so are studies without any other level.
        official: compute it as the official score does, not as the published scripts do.

    Returns:
        The mean over studies; nan if nothing is graded.
    """
    p, y = np.asarray(severe_probabilities, float), np.asarray(grades, int)
    y = np.where(np.isfinite(p), y, -1)
    graded = (y >= 0).any(axis=1)
    if not graded.any():
        return float("nan")
    p, y = p[graded], y[graded]
    highest, worst = np.where(y >= 0, p, -np.inf).max(axis=1), y.max(axis=1)
    clip = OFFICIAL_CLIP if official else ANY_SEVERE_CLIP
    highest = np.clip(highest, clip, 1 - clip)
    severe = worst == Grade.SEVERE
    losses = np.where(severe, -np.log(highest), -np.log1p(-highest))
    weights = WEIGHTS[worst] if official else np.where(severe, WEIGHTS[Grade.SEVERE], 1.0)
    return float((losses * weights).sum() / weights.sum())


Grades = Mapping[Any, Mapping[Target, Grade]]


def prevalence(grades: Grades, *, weighted: bool = False) -> dict[Target, Probabilities]:
    """Return the share of each grade by target; every count is increased by one to avoid zeros.

    Args:
        grades: study -> target -> grade.
        weighted: count each finding with its sample weight 1, 2, 4, which gives the best constant
            prediction under the weighted log loss.
    """
    counts = {t: np.ones(len(Grade)) for t in FINDINGS}
    for found in grades.values():
        for target, grade in found.items():
            counts[target][grade] += 1
    result = {}
    for target, count in counts.items():
        share = count * WEIGHTS if weighted else count
        a, b, c = (share / share.sum()).tolist()
        result[target] = (a, b, c)
    return result


def prevalence_loss(
    training: Grades, test: Grades, condition: Condition, *, weighted: bool = False
) -> float:
    """Return the weighted log loss on ``test`` if the prevalence in ``training`` is predicted."""
    constant = prevalence(training, weighted=weighted)
    pairs = [
        (constant[t], g)
        for found in test.values()
        for t, g in found.items()
        if t in constant and t.condition is condition
    ]
    return local_score([p for p, _ in pairs], [int(g) for _, g in pairs]).weighted
