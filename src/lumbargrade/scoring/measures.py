"""Measures of agreement and calibration, computed for all bootstrap resamples at once.

A bootstrap resample gives each study a whole-number weight; with weights of one, a measure is the
plain figure. Every measure takes weights (R, S) of R resamples and S studies and returns (R,)
values, nan where it is undefined, so one formula gives the figure and its interval. Tests compare
the figures with scikit-learn, which computes one resample at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lumbargrade.domain.vocabulary import Grade
from lumbargrade.scoring.local import WEIGHTS, sample_losses
from lumbargrade.scoring.resampling import RESAMPLES, SEED, percentile_interval, study_weights

Floats = NDArray[np.float64]
Measurer = Callable[[Floats], Floats]

GRADES = len(Grade)

#: Bins of the expected calibration error: of equal width, closed above, as Guo et al. (ICML 2017).
ECE_BINS = 15

_GAP = (np.arange(GRADES)[:, None] - np.arange(GRADES)) ** 2


def per_study(values: ArrayLike, codes: NDArray[np.intp], studies: int) -> Floats:
    """Sum values (N,) or (N, K) over the findings of each study, giving (S, K)."""
    columns = np.asarray(values, float).reshape(len(codes), -1)
    sums = [np.bincount(codes, column, studies) for column in columns.T]
    return np.stack(sums, axis=1).astype(float)


def one_hot(values: NDArray[np.intp], classes: int) -> Floats:
    """Return one-hot rows, (N, classes)."""
    found: Floats = np.eye(classes)[values]
    return found


def ratio(above: Floats, below: Floats) -> Floats:
    """Return the quotient; nan, without a warning, where the divisor is not positive."""
    fine = below > 0
    return np.where(fine, above / np.where(fine, below, 1.0), np.nan)


def log_loss(
    p: Floats, grades: NDArray[np.intp], codes: NDArray[np.intp], studies: int, *, weighted: bool
) -> Measurer:
    """Mean log loss, ``weighted`` by 1, 2, 4 as in the official score or with equal weights."""
    weight = WEIGHTS[grades] if weighted else np.ones(len(grades))
    sums = per_study(np.stack([sample_losses(p, grades) * weight, weight], 1), codes, studies)

    def measure(w: Floats) -> Floats:
        total = w @ sums
        return ratio(total[:, 0], total[:, 1])

    return measure


def confusion(
    p: Floats, grades: NDArray[np.intp], codes: NDArray[np.intp], studies: int
) -> Callable[[Floats], Floats]:
    """Number of findings by reference grade (row) and most probable grade (column), (R, 3, 3)."""
    cells = one_hot(GRADES * grades + p.argmax(axis=1), GRADES**2)
    sums = per_study(cells, codes, studies)
    return lambda w: np.asarray((w @ sums).reshape(-1, GRADES, GRADES))


def quadratic_kappa(matrices: Floats) -> Floats:
    """Cohen's kappa with quadratic weights of confusion matrices (R, 3, 3).

    One minus observed over expected squared distance of grades (Cohen, Psychol. Bull. 70:213,
    1968). It is nan if there is only one reference grade.
    """
    true, predicted = matrices.sum(axis=2), matrices.sum(axis=1)
    observed = (matrices * _GAP).sum(axis=(1, 2))
    expected = np.einsum("ri,ij,rj->r", true, _GAP.astype(float), predicted)
    kappa = 1 - ratio(observed * true.sum(axis=1), expected)
    return np.where((true > 0).sum(axis=1) > 1, kappa, np.nan)


def balanced_accuracy(matrices: Floats) -> Floats:
    """Mean share of correct predictions over the reference grades; nan if there is only one."""
    true = matrices.sum(axis=2)
    recall = ratio(np.einsum("rii->ri", matrices), true)
    known = (true > 0).sum(axis=1)
    return np.where(known > 1, np.nansum(recall, axis=1) / np.maximum(known, 1), np.nan)


def auroc(scores: Floats, positive: NDArray[np.bool_], codes: NDArray[np.intp]) -> Measurer:
    """Area under the ROC curve: share of pairs in which a positive outranks a negative.

    Ties count half.

    Args:
        scores: (N,) score of each finding.
        positive: (N,) whether it is positive.
        codes: (N,) index of its study.
    """
    negatives = np.flatnonzero(~positive)
    negatives = negatives[np.argsort(scores[negatives], kind="stable")]
    negative_codes, positive_codes = codes[negatives], codes[positive]
    ranked, wanted = scores[negatives], scores[positive]
    before, upto = (np.searchsorted(ranked, wanted, side) for side in ("left", "right"))

    def measure(w: Floats) -> Floats:
        below = np.zeros((len(w), len(negatives) + 1))
        np.cumsum(w[:, negative_codes], axis=1, out=below[:, 1:])
        drawn = w[:, positive_codes]
        won = (drawn * (below[:, before] + below[:, upto])).sum(axis=1) / 2
        return ratio(won, drawn.sum(axis=1) * below[:, -1])

    return measure


def _gaps(
    p: Floats, happened: Floats, codes: NDArray[np.intp], studies: int
) -> Callable[[Floats], Floats]:
    """Sum over equal-width bins of the share of findings times |mean predicted - observed|."""
    bins = np.clip(np.ceil(p * ECE_BINS).astype(int) - 1, 0, ECE_BINS - 1)
    apart = one_hot(bins, ECE_BINS) * (p - happened)[:, None]
    sums = per_study(apart, codes, studies)
    count = per_study(np.ones(len(p)), codes, studies)[:, 0]
    return lambda w: ratio(np.abs(w @ sums).sum(axis=1), w @ count)


def top_grade_error(
    p: Floats, grades: NDArray[np.intp], codes: NDArray[np.intp], studies: int
) -> Measurer:
    """Expected calibration error of the most probable grade (Guo et al., ICML 2017)."""
    right = (p.argmax(axis=1) == grades).astype(float)
    return _gaps(p.max(axis=1), right, codes, studies)


def every_grade_error(
    p: Floats, grades: NDArray[np.intp], codes: NDArray[np.intp], studies: int
) -> Measurer:
    """Expected calibration error of each grade's probability, mean over the grades.

    This is the static calibration error of Nixon et al. (CVPR Workshops 2019). Unlike the error of
    the most probable grade, it also measures grades that are rarely the most probable.
    """
    true = one_hot(grades, GRADES)
    parts = [_gaps(p[:, g], true[:, g], codes, studies) for g in range(GRADES)]
    return lambda w: np.asarray(np.mean([part(w) for part in parts], axis=0))


#: Number of bins, which have equal numbers of findings: most probabilities are near 0 or 1, so two
#: bins of equal width would contain nearly all of them.
CURVE_BINS = 10


@dataclass(frozen=True)
class ReliabilityBin:
    """A bin of findings with similar probabilities.

    Attributes:
        predicted: their mean probability.
        observed: the share of findings that are positive.
        low, high: 95% bootstrap interval of that share, resampled by study; nan if there is none.
        findings: their number.
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
    """Return mean probability and observed share in bins of equal numbers of findings.

    Equal probabilities are in the same bin, so a constant prediction has one bin.

    Args:
        p: (N,) probabilities.
        happened: (N,) whether each finding is positive.
        codes: (N,) index of its study, 0 to ``studies`` - 1.
        studies: number of studies.
        bins: largest number of bins.
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
