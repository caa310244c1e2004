"""How likely a network finds the points of a condition at each place of a series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.geometry import FloatArray
from lumbargrade.domain.vocabulary import Condition, Side


@dataclass(frozen=True, eq=False, slots=True)
class HeatMaps:
    """Heat maps of points in some slices of a series, all levels in one map.

    They show where points are seen, not why a grade was given.

    Attributes:
        series_id: the series.
        shows: whose points each map of the second axis shows; no side means both.
        zs: (K,) index of each slice in the volume.
        maps: uint8 (K, P, h, w) on a grid, heights times 255.
        to_native: (K, 3, 3) affine maps from pixels (x, y) of a map to native pixels of the slice.
    """

    series_id: str
    shows: Sequence[tuple[Condition, Side | None]]
    zs: NDArray[np.intp]
    maps: NDArray[np.uint8]
    to_native: FloatArray
