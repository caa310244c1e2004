"""Distances between predicted and reference points, in pixels, slices and millimetres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

#: Limits, in pixels, slices or millimetres, for the shares of points within them.
WITHIN = (1, 2, 3, 5)

#: Stand-in coordinate for points that were not found, mm. It is outside every limit but finite, so
#: that percentiles can be computed. Distances to it are reported as infinite.
NOT_FOUND = 1e9
_FARTHEST = 1e6  # mm; a larger percentile includes points that were not found

_NONE = (float("nan"),) * len(WITHIN)


@dataclass(frozen=True)
class PointErrors:
    """Errors of N points.

    Attributes:
        count: N.
        within: axis (``x``, ``y`` in mask pixels, ``z`` in slices) -> share of points within
            1, 2, 3, 5.
        within_mm: share of points within 1, 2, 3, 5 mm in space.
        median_mm, p90_mm: median and 90th percentile of the distance in space, mm; infinite if
            it belongs to a point that was not found.
        in_plane_within_mm, in_plane_median_mm, in_plane_p90_mm: the same for the distance within
            the plane of the slice; nan without normals.
    """

    count: int
    within: Mapping[str, tuple[float, ...]]
    within_mm: tuple[float, ...]
    median_mm: float
    p90_mm: float
    in_plane_within_mm: tuple[float, ...] = _NONE
    in_plane_median_mm: float = float("nan")
    in_plane_p90_mm: float = float("nan")


def point_errors(
    predicted: ArrayLike,
    true: ArrayLike,
    predicted_mm: ArrayLike,
    true_mm: ArrayLike,
    normals: ArrayLike | None = None,
) -> PointErrors:
    """Compare points. A distance equal to a limit is within it; a nan point is outside all limits.

    Args:
        predicted, true: (N, 3) x and y in mask pixels, z in slices.
        predicted_mm, true_mm: (N, 3) patient LPS, mm; `NOT_FOUND` where nothing was predicted.
        normals: (N, 3) unit normals of the slices of the true points, patient LPS; None gives no
            in-plane errors.
    """
    off = np.abs(np.asarray(predicted, float) - np.asarray(true, float))
    apart = np.asarray(predicted_mm, float) - np.asarray(true_mm, float)
    distance = np.linalg.norm(apart.reshape(-1, 3), axis=1)
    if not len(distance):
        return PointErrors(0, dict.fromkeys("xyz", _NONE), _NONE, float("nan"), float("nan"))
    errors = PointErrors(
        count=len(distance),
        within={axis: _shares(off[:, i]) for i, axis in enumerate("xyz")},
        within_mm=_shares(distance),
        median_mm=_percentile(distance, 50),
        p90_mm=_percentile(distance, 90),
    )
    if normals is None:
        return errors
    n = np.asarray(normals, float)
    in_plane = np.linalg.norm(apart - (apart * n).sum(axis=1, keepdims=True) * n, axis=1)
    return replace(
        errors,
        in_plane_within_mm=_shares(in_plane),
        in_plane_median_mm=_percentile(in_plane, 50),
        in_plane_p90_mm=_percentile(in_plane, 90),
    )


def mean_errors(folds: Sequence[PointErrors]) -> PointErrors:
    """Average the figures of the folds, all with equal weight; counts are added.

    Folds without points are excluded.

    Args:
        folds: at least one.
    """
    known = [e for e in folds if e.count] or list(folds)

    def mean(values: Sequence[Sequence[float]]) -> tuple[float, ...]:
        return tuple(np.mean(np.array(values, float), axis=0).tolist())

    def mean_number(name: str) -> float:
        return float(np.mean([getattr(e, name) for e in known]))

    return PointErrors(
        count=sum(e.count for e in folds),
        within={axis: mean([e.within[axis] for e in known]) for axis in "xyz"},
        within_mm=mean([e.within_mm for e in known]),
        median_mm=mean_number("median_mm"),
        p90_mm=mean_number("p90_mm"),
        in_plane_within_mm=mean([e.in_plane_within_mm for e in known]),
        in_plane_median_mm=mean_number("in_plane_median_mm"),
        in_plane_p90_mm=mean_number("in_plane_p90_mm"),
    )


def _percentile(distances: np.ndarray, percent: float) -> float:
    value = float(np.percentile(distances, percent))
    return float("inf") if value > _FARTHEST else value


def _shares(errors: np.ndarray) -> tuple[float, ...]:
    return tuple(float((errors <= limit).mean()) for limit in WITHIN)
