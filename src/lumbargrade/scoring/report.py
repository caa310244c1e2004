"""All scores of a submission in one plain structure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lumbargrade.domain.errors import BadTable
from lumbargrade.domain.findings import Probabilities
from lumbargrade.domain.vocabulary import Condition, Grade, Target
from lumbargrade.scoring.baseline import prevalence, prevalence_loss
from lumbargrade.scoring.local import any_severe, local_score
from lumbargrade.scoring.official import (
    Solution,
    Submission,
    check_complete,
    condition_arrays,
    official_any_severe,
    official_score,
)

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
        "local": _local_any_severe(truth, submission),
        "prevalence": official_any_severe(truth, _constant(truth, constants[False])),
        "weighted_prevalence": official_any_severe(truth, _constant(truth, constants[True])),
    }
    return {"official": score.score, "studies": len(truth), "parts": parts}


def _constant(
    truth: Solution, values: Mapping[Target, Probabilities]
) -> dict[str, Mapping[Target, Probabilities]]:
    return dict.fromkeys(truth, values)


def _local_any_severe(truth: Solution, submission: Submission) -> float:
    canal = [t for t in next(iter(submission.values())) if t.condition is Condition.CANAL]
    severe = [[submission[s][t][2] / sum(submission[s][t]) for t in canal] for s in truth]
    labels = [[int(g[t] is Grade.SEVERE) if t in g else -1 for t in canal] for g in truth.values()]
    return any_severe(np.array(severe), np.array(labels))
