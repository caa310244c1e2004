"""How far predicted points are from true ones, in pixels, slices and millimetres."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

#: Distances at which shares are given, pixels, slices or millimetres.
WITHIN = (1, 2, 3, 5)


@dataclass(frozen=True)
class PointErrors:
    """Errors of N points.

    Attributes:
        count: N.
        within: axis (``x``, ``y`` in mask pixels, ``z`` in slices) -> share within 1, 2, 3, 5.
        within_mm: share of points within 1, 2, 3, 5 mm in space.
        median_mm, p90_mm: median and 90th percentile of the distance in space, mm.
    """

    count: int
    within: Mapping[str, tuple[float, ...]]
    within_mm: tuple[float, ...]
    median_mm: float
    p90_mm: float


def point_errors(
    predicted: ArrayLike, true: ArrayLike, predicted_mm: ArrayLike, true_mm: ArrayLike
) -> PointErrors:
    """Compare points.

    Args:
        predicted, true: (N, 3) x and y in mask pixels, z in slices.
        predicted_mm, true_mm: (N, 3) patient LPS, mm.
    """
    off = np.abs(np.asarray(predicted, float) - np.asarray(true, float))
    distance = np.linalg.norm(np.asarray(predicted_mm, float) - np.asarray(true_mm, float), axis=1)
    if not len(distance):
        nothing = (float("nan"),) * len(WITHIN)
        return PointErrors(0, dict.fromkeys("xyz", nothing), nothing, float("nan"), float("nan"))
    return PointErrors(
        count=len(distance),
        within={axis: _shares(off[:, i]) for i, axis in enumerate("xyz")},
        within_mm=_shares(distance),
        median_mm=float(np.median(distance)),
        p90_mm=float(np.percentile(distance, 90)),
    )


def _shares(errors: np.ndarray) -> tuple[float, ...]:
    return tuple(float((errors <= limit).mean()) for limit in WITHIN)
