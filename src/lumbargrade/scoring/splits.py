"""Held-out parts of out-of-fold data, for estimates of what was fitted to it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Parts when all the data is of one fold.
PARTS = 5

Mask = NDArray[np.bool_]


def held_out_parts(studies: ArrayLike, folds: ArrayLike) -> list[Mask]:
    """Masks (N,) of rows to hold out in turn; together they cover every row once.

    One part per fold, so that a part was predicted by other models than the rest; rows of one fold
    only are parted by study. All rows of a study are in one part.

    Args:
        studies: (N,) study ids.
        folds: (N,) the fold of each row's study.

    Returns:
        At least two masks, or none where there are fewer than two studies.
    """
    studies, folds = np.asarray(studies), np.asarray(folds)
    labels = folds
    if len(np.unique(folds)) < 2:
        names, number = np.unique(studies, return_inverse=True)
        if len(names) < 2:
            return []
        labels = number % PARTS
    return [labels == label for label in np.unique(labels)]
