"""Held-out parts of out-of-fold data, for estimates of what was fitted to it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

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
