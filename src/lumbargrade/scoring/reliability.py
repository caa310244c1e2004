"""Reliability diagrams: how often a grade is true where it was predicted with a probability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lumbargrade.scoring.bootstrap import RESAMPLES, SEED, percentile_interval, study_weights
from lumbargrade.scoring.measures import Floats, one_hot, per_study, ratio

#: Bins of equal numbers of findings: most probabilities lie near 0 or 1, where bins of equal width
#: would hold nearly all of them.
CURVE_BINS = 10


@dataclass(frozen=True)
class ReliabilityBin:
    """Findings with like probabilities.

    Attributes:
        predicted: their mean probability.
        observed: the share in which the grade is true.
        low, high: 95% bootstrap interval by study of that share; nan where none is given.
        findings: how many.
    """

    predicted: float
    observed: float
    low: float
    high: float
    findings: int


def reliability_curve(
    p: Floats,
    happened: NDArray[np.bool_],
    codes: NDArray[np.intp],
    studies: int,
    *,
    bins: int = CURVE_BINS,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> list[ReliabilityBin]:
    """Mean probability and observed share in bins of equal numbers of findings.

    Equal probabilities stay in one bin, so that a constant prediction has one.

    Args:
        p: (N,) probabilities.
        happened: (N,) whether it came true.
        codes: (N,) study of each finding, 0 to ``studies`` - 1.
        studies: how many there are.
        bins: how many at most.
        resamples, seed: of the bootstrap.
    """
    if not len(p):
        return []
    edges = np.quantile(p, np.arange(1, bins) / bins, method="inverted_cdf")
    _, of_bin = np.unique(np.searchsorted(edges, p, side="left"), return_inverse=True)
    member = one_hot(of_bin, int(of_bin.max()) + 1)
    count = per_study(member, codes, studies)
    true = per_study(member * np.asarray(happened, float)[:, None], codes, studies)
    drawn = [
        ratio(w @ true, w @ count)
        for w in study_weights(studies, len(p), resamples=resamples, seed=seed)
    ]
    shares = np.concatenate(drawn)
    total = member.sum(axis=0)
    return [
        ReliabilityBin(
            float((member[:, b] * p).sum() / total[b]),
            float(true[:, b].sum() / total[b]),
            *percentile_interval(shares[:, b], studies),
            int(total[b]),
        )
        for b in range(member.shape[1])
    ]
