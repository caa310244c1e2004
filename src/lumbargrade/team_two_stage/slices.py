"""Which slices of a series the fused networks look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: Slices that stand for a sagittal series, and those of them that show canal and foramina.
SAGITTAL_SLICES = 10
CANAL_SLICES, LEFT_SLICES, RIGHT_SLICES = slice(3, 8), slice(5, 10), slice(0, 5)

#: The one of the ten that the 2-D point networks look at.
MIDDLE = 5

#: Axial slices of each level and series.
LEVEL_SLICES = 6


def ten_slices(depth: int) -> NDArray[np.intp]:
    """Return the ten slices that stand for a sagittal series; they repeat if there are fewer."""
    at = np.round(np.arange(1, SAGITTAL_SLICES + 1) * depth / SAGITTAL_SLICES - 0.5001)
    return np.asarray(np.maximum(at, 0), np.intp)


def level_ranges(z: Sequence[float] | NDArray[np.floating], depth: int) -> NDArray[np.intp]:
    """Return the first and last axial slice of each level, (5, 2), both ends included.

    A level reaches half way to its neighbours; L1/L2 and L5/S1 as far on their outer side as on
    their inner one.

    Args:
        z: slice of each of the five levels.
        depth: slices of the series.
    """
    at = np.asarray(z, float)
    half = np.abs(np.diff(at)) / 2
    above, below = np.append(half[0], half), np.append(half, half[-1])
    ends = np.clip(np.stack([at - above, at + below], axis=1), 0, depth - 1)
    return np.asarray(np.round(ends), np.intp)


def six_of(count: int) -> NDArray[np.intp]:
    """Return the six of ``count`` slices that stand for a level; they repeat if there are fewer."""
    every = np.arange(count)
    if count <= LEVEL_SLICES:
        every = np.repeat(every, LEVEL_SLICES // count + 1)
    return np.asarray(every[np.arange(LEVEL_SLICES) * len(every) // LEVEL_SLICES], np.intp)


def with_neighbours(chosen: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Return predecessor, slice and successor (N, 3) of chosen slices, inside ``count`` slices."""
    return np.asarray(np.clip(chosen[:, None] + np.array([-1, 0, 1]), 0, count - 1))
