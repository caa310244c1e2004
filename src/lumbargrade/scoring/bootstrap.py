"""Bootstrap by study: how far a figure would move had other studies of the kind been read.

Findings of one study are alike, so studies are drawn, not findings: with replacement, as many as
there are, and every finding of a study comes as often as its study was drawn (the cluster
bootstrap; Field and Welsh, J. R. Stat. Soc. B 69:369, 2007). Intervals are percentiles of the
resamples.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

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
