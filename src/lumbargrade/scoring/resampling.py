"""Bootstrap intervals by study, and held-out parts of out-of-fold data."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2000
SEED = 2024

#: With fewer studies there is no interval, because percentile intervals are then far too narrow.
FEWEST_STUDIES = 10

#: There is no interval if a figure is undefined in more than this share of the resamples, for
#: example because the only study with a severe grade was not drawn.
MOST_UNDEFINED = 0.05

#: Largest number of resamples x findings in memory at once.
_CELLS = 4_000_000


def study_weights(
    studies: int, findings: int, *, resamples: int = RESAMPLES, seed: int = SEED
) -> Iterator[NDArray[np.float64]]:
    """Draw bootstrap resamples, and yield how often each study was drawn, in batches.

    Args:
        studies: number of studies, S.
        findings: number of their findings; limits the size of a batch.
        resamples: total number of resamples.
        seed: seed of the draw, which does not depend on the batches.

    Yields:
        (R, S) for R resamples; every row adds up to S.
    """
    rng = np.random.default_rng(seed)
    step = max(1, _CELLS // max(studies, findings, 1))
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(studies, size=(rows, studies))
        drawn += studies * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * studies)
        yield counts.reshape(rows, studies).astype(float)


def percentile_interval(
    values: NDArray[np.float64], studies: int, *, level: float = 0.95
) -> tuple[float, float]:
    """Return the percentile interval of values (R,) of resamples, or nan if there is none.

    There is none with fewer than ``FEWEST_STUDIES`` studies or if more than ``MOST_UNDEFINED`` of
    the values are nan; otherwise nan is excluded.
    """
    defined = values[np.isfinite(values)]
    if studies < FEWEST_STUDIES or len(defined) < (1 - MOST_UNDEFINED) * len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


#: Number of parts if the data has few folds.
PARTS = 5

#: With fewer folds, holding out a fold leaves too little data to fit to, so the data is divided by
#: study instead. Every prediction is out of fold in both cases.
FEW_FOLDS = 4

Mask = NDArray[np.bool_]


def held_out_parts(studies: ArrayLike, folds: ArrayLike) -> list[Mask]:
    """Return masks (N,) of rows to hold out in turn; every row is in exactly one mask.

    Each fold is one part, so that a part was predicted by other models than the rest. With fewer
    folds than ``FEW_FOLDS``, the rows are divided by study. All rows of a study are in one part.

    Args:
        studies: (N,) study ids.
        folds: (N,) the fold of each row's study.

    Returns:
        At least two masks, or none if there are fewer than two studies.
    """
    studies, folds = np.asarray(studies), np.asarray(folds)
    labels = folds
    if len(np.unique(folds)) < FEW_FOLDS:
        names, number = np.unique(studies, return_inverse=True)
        if len(names) < 2:
            return []
        labels = number % PARTS
    return [labels == label for label in np.unique(labels)]
