"""What a prediction that never looks at an image would score: the bar to beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lumbargrade.domain.findings import Probabilities
from lumbargrade.domain.vocabulary import FINDINGS, Condition, Grade, Target
from lumbargrade.scoring.local import WEIGHTS, local_score

Grades = Mapping[Any, Mapping[Target, Grade]]


def prevalence(grades: Grades, *, weighted: bool = False) -> dict[Target, Probabilities]:
    """Share of each grade per finding, one added to every count so that none is zero.

    Args:
        grades: study -> target -> grade.
        weighted: count each finding with its sample weight 1, 2, 4: the best constant prediction
            under the weighted log loss.
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
    """Weighted log loss on ``test`` of predicting the prevalence in ``training``."""
    constant = prevalence(training, weighted=weighted)
    pairs = [
        (constant[t], g)
        for found in test.values()
        for t, g in found.items()
        if t in constant and t.condition is condition
    ]
    return local_score([p for p, _ in pairs], [int(g) for _, g in pairs]).weighted
