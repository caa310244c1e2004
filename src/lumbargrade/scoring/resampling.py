"""Studies drawn again: bootstrap intervals, and held-out parts of out-of-fold data."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2000
SEED = 2024

#: Fewer studies than this get no interval: percentile intervals of so few are far too narrow.
FEWEST_STUDIES = 10

#: No interval where more than this share of resamples leaves a figure undefined, for example
#: because the only study with a severe grade was not drawn.
MOST_UNDEFINED = 0.05

#: Resamples x findings that are held in memory at once.
_CELLS = 4_000_000


def study_weights(
    studies: int, findings: int, *, resamples: int = RESAMPLES, seed: int = SEED
) -> Iterator[NDArray[np.float64]]:
    """How often each study was drawn in each resample, some resamples at a time.

    Args:
        studies: how many there are, S.
        findings: how many findings they have; bounds the size of a part.
        resamples: how many in all.
        seed: of the draw; equal seeds draw equally, however the parts are cut.

    Yields:
        (R, S), every row adding up to S.
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
    """Percentile interval of the resamples' values (R,); nan where none can be given.

    None is given for fewer than ``FEWEST_STUDIES`` studies, nor where more than ``MOST_UNDEFINED``
    of the values are nan; below that share nan is left out.
    """
    defined = values[np.isfinite(values)]
    if studies < FEWEST_STUDIES or len(defined) < (1 - MOST_UNDEFINED) * len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


#: Parts when the data is of few folds.
PARTS = 5

#: Fewer folds than this leave so little to fit to that the estimate says more of that than of the
#: fit; studies are then parted instead. Every prediction is out of fold either way.
FEW_FOLDS = 4

Mask = NDArray[np.bool_]


def held_out_parts(studies: ArrayLike, folds: ArrayLike) -> list[Mask]:
    """Masks (N,) of rows to hold out in turn; together they cover every row once.

    One part per fold, so that a part was predicted by other models than the rest; rows of fewer
    folds than ``FEW_FOLDS`` are parted by study. All rows of a study are in one part.

    Args:
        studies: (N,) study ids.
        folds: (N,) the fold of each row's study.

    Returns:
        At least two masks, or none where there are fewer than two studies.
    """
    studies, folds = np.asarray(studies), np.asarray(folds)
    labels = folds
    if len(np.unique(folds)) < FEW_FOLDS:
        names, number = np.unique(studies, return_inverse=True)
        if len(names) < 2:
            return []
        labels = number % PARTS
    return [labels == label for label in np.unique(labels)]
