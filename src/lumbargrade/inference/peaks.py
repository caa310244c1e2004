"""Points from heatmaps: the highest peaks, and peaks that keep the levels in order.

Coordinates are indices: pixel and slice centres are integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.geometry import FloatArray

#: Number of candidate peaks per level.
CANDIDATES = 4

#: Smallest distance of a level below the previous level, elements of the heatmap.
STEP = 1.0

_SMALLEST = float(np.finfo(np.float32).tiny)


class Peaks(NamedTuple):
    """The K highest peaks of each of P heatmaps, with their log mass."""

    points: FloatArray
    """(P, K, spatial) x, y(, z)"""
    log_mass: FloatArray
    """(P, K), -inf if there is no further peak"""


def peak_index(heatmaps: NDArray[Any], radius: int) -> FloatArray:
    """Return the mean coordinates within ``radius`` of each heatmap's highest element.

    If a heatmap has several peaks, for example two neighbouring levels, its overall mean lies
    between them. This function uses only the highest peak.

    Args:
        heatmaps: (P, [D,] h, w), not negative.
        radius: half size of the neighbourhood along each dimension, elements.

    Returns:
        (P, spatial), in the order x, y, z.
    """
    return find_peaks(heatmaps, radius, 1).points[:, 0]


def find_peaks(heatmaps: NDArray[Any], radius: int, count: int = CANDIDATES) -> Peaks:
    """Find the highest peaks one after another, removing each before the next.

    Args:
        heatmaps: (P, [D,] h, w), not negative, each summing to 1.
        radius: half size of a peak along each dimension, elements.
        count: number of peaks K.
    """
    sizes = heatmaps.shape[1:]
    points = np.zeros((len(heatmaps), count, len(sizes)))
    mass = np.zeros((len(heatmaps), count))
    for i, heatmap in enumerate(heatmaps):
        rest = np.array(heatmap)
        for k in range(count):
            peak = np.unravel_index(int(rest.argmax()), sizes)
            starts = [max(0, int(at) - radius) for at in peak]
            near = tuple(
                slice(start, int(at) + radius + 1) for start, at in zip(starts, peak, strict=True)
            )
            part = rest[near].astype(np.float64)
            mass[i, k] = part.sum()
            points[i, k] = _mean_index(part / np.maximum(mass[i, k], _SMALLEST), starts)
            rest[near] = 0
    with np.errstate(divide="ignore"):
        return Peaks(points, np.log(mass))


def _mean_index(weights: FloatArray, starts: Sequence[int]) -> list[float]:
    """Return the mean coordinates of a part of a heatmap, x first."""
    found = []
    for axis in reversed(range(weights.ndim)):
        others = tuple(a for a in range(weights.ndim) if a != axis)
        index = starts[axis] + np.arange(weights.shape[axis])
        found.append(float(weights.sum(axis=others) @ index))
    return found


def ordered_points(
    heatmaps: NDArray[Any], radius: int, chains: Sequence[Sequence[int]]
) -> FloatArray:
    """Choose one peak per heatmap so that the points of each chain run from top to bottom.

    Args:
        heatmaps: (P, [D,] h, w), not negative, each summing to 1.
        radius: half size of a peak along each dimension, elements.
        chains: indices of heatmaps, top to bottom; each heatmap is in one chain.

    Returns:
        (P, spatial), x, y(, z). If no candidates of a chain are in order, each highest peak.
    """
    peaks = find_peaks(heatmaps, radius)
    result = peaks.points[:, 0].copy()
    for chain in chains:
        rows = list(chain)
        chosen = _best_in_order(peaks.points[rows, :, 1], peaks.log_mass[rows])
        for index, candidate in zip(chain, chosen, strict=True):
            result[index] = peaks.points[index, candidate]
    return result


def _best_in_order(y: FloatArray, log_mass: FloatArray) -> list[int]:
    """Return the candidate of each level, from (L, K), for the most probable descending chain."""
    best, back = log_mass[0], []
    for level in range(1, len(y)):
        below = y[level][:, None] - y[level - 1][None, :] >= STEP
        reached = np.where(below, best[None, :], -np.inf)
        before = reached.argmax(axis=1)
        best = np.take_along_axis(reached, before[:, None], axis=1)[:, 0] + log_mass[level]
        back.append(before)
    if not np.isfinite(best.max()):
        return [0] * len(y)
    chosen = [int(best.argmax())]
    for before in reversed(back):
        chosen.append(int(before[chosen[-1]]))
    return chosen[::-1]
