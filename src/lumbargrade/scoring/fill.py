"""Constants that minimise the official score, for findings that no model predicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from lumbargrade.domain.findings import Probabilities
from lumbargrade.domain.vocabulary import FINDINGS, TARGETS, Condition, Grade, Target
from lumbargrade.files.tables import finite, parse_table
from lumbargrade.scoring.local import WEIGHTS, Grades

#: Target -> probabilities that `submit` writes if no model predicts it.
Constants = Mapping[Target, Probabilities]
#: The same by column name of the finding, as in models and package data.
ConstantsByColumn = Mapping[str, Sequence[float]]

Floats = NDArray[np.float64]


def fill_constants(grades: Grades) -> dict[Target, Probabilities]:
    """The constants that minimise the official score on these grades, one for each finding.

    The official score is the mean of four parts. A foraminal or subarticular constant enters one of
    them; its optimum is w(k)P(k), normalised: the share of each grade times its sample weight. The
    canal constants enter two: `best_canal_severe` gives the share of severe; the rest of a level is
    divided among the other grades as w(k)P(k).

    A grade that a finding never has is counted once, because a constant of zero would cost far too
    much on the first study with that grade. The result is the exact optimum if each finding has
    all three grades.

    Args:
        grades: study -> target -> grade; an ungraded target is absent.

    Returns:
        Probabilities of the 25 findings; each is above 0 and each row sums to 1.
    """
    counts = {t: np.zeros(len(Grade)) for t in FINDINGS}
    for found in grades.values():
        for target, grade in found.items():
            counts[target][grade] += 1
    weighted = {t: np.maximum(count, 1) * WEIGHTS for t, count in counts.items()}
    severe = {t: w[Grade.SEVERE] / w.sum() for t, w in weighted.items()}
    canal = TARGETS[Condition.CANAL]
    table = np.array([[found.get(t, -1) for t in canal] for found in grades.values()], int)
    shares = best_canal_severe(
        np.array([weighted[t] for t in canal]), table.reshape(-1, len(canal))
    )
    severe.update(zip(canal, shares.tolist(), strict=True))
    return {t: _row(weighted[t], severe[t]) for t in FINDINGS}


def best_canal_severe(weighted: Floats, grades: NDArray[np.int_]) -> Floats:
    """Return the severe probabilities of the canal levels that minimise canal + any-severe loss.

    Both losses have the same weight in the official score. The any-severe loss uses the largest
    severe probability over the graded levels of each study.

    An order of the levels by severe probability determines which level each study uses. The sum of
    both losses is then one binary log loss per level, and its minimum under that order is the
    isotonic regression of the levels' severe shares (Barlow and Brunk 1972). The lowest of the
    minima over all orders of the five levels is the global minimum.

    Args:
        weighted: (L, 3) count of each grade times its sample weight; all above 0.
        grades: (S, L) 0 to 2, or -1 where not graded.

    Returns:
        (L,) probabilities, each above 0 and below 1.
    """
    levels = len(weighted)
    total = weighted.sum()
    severe, other = weighted[:, Grade.SEVERE] / total, weighted[:, : Grade.SEVERE].sum(1) / total
    grades = grades[(grades >= 0).any(axis=1)]
    worst = grades.max(axis=1, initial=-1)
    weights = WEIGHTS[worst] / max(WEIGHTS[worst].sum(), 1.0)
    best, least = np.zeros(levels), np.inf
    for order in map(np.array, permutations(range(levels))):
        taken = order[(grades[:, order] >= 0).argmax(axis=1)]
        a = severe + np.bincount(taken, weights * (worst == Grade.SEVERE), levels)
        b = other + np.bincount(taken, weights * (worst != Grade.SEVERE), levels)
        share = np.empty(levels)
        share[order] = isotonic_regression(
            (a / (a + b))[order], weights=(a + b)[order], increasing=False
        ).x
        loss = -float((a * np.log(share) + b * np.log1p(-share)).sum())
        if loss < least:
            best, least = share, loss
    return best


def _row(weighted: Floats, severe: float) -> Probabilities:
    a, b = ((1 - severe) * weighted[: Grade.SEVERE] / weighted[: Grade.SEVERE].sum()).tolist()
    return a, b, severe


def training_fill(provenances: Iterable[Mapping[str, Any]]) -> Constants:
    """Return the constants that minimise the official score on the models' training data.

    Training computes them (`fill_constants`) and stores them in the model as ``fill``; they are
    averaged over the models. An older model stores only the share P(k) of each grade, as
    ``prevalence``; its constants are w(k)P(k), normalised, which ignores the any-severe part. If no
    model stores either (imported published files), the constants of the LSDC data are used.

    Args:
        provenances: `ModelMeta.provenance` of each model.
    """
    tables: list[ConstantsByColumn] = [
        p.get("fill") or _weighted(p["prevalence"])
        for p in provenances
        if {"fill", "prevalence"} & p.keys()
    ]
    tables = tables or [published_fill()]
    result = {}
    for target in FINDINGS:
        mean = np.mean([table[target.column] for table in tables], axis=0)
        a, b, c = (mean / mean.sum()).tolist()  # tables are rounded
        result[target] = (a, b, c)
    return result


def published_fill() -> ConstantsByColumn:
    """Read the constants that minimise the official score on the 1,975 LSDC training studies."""
    name, columns = "lsdc_fill.csv", [g.column for g in Grade]
    text = (resources.files("lumbargrade") / "scoring/data" / name).read_text("utf-8")
    rows = parse_table(text, ("finding", *columns), name)
    return {row["finding"]: [row.read(finite, c) for c in columns] for row in rows}


def _weighted(prevalence: ConstantsByColumn) -> dict[str, list[float]]:
    weighted = {column: np.array(shares) * WEIGHTS for column, shares in prevalence.items()}
    return {column: (w / w.sum()).tolist() for column, w in weighted.items()}
