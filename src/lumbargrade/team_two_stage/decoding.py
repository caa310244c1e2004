"""From outputs of the first stage to levels and points, in the published units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lumbargrade.team_two_stage.volumes import SIDE

Values = NDArray[np.float64]

#: Scale of the 3-D networks with several outputs per view: x, y / 4 and z / 16 are fractions.
_COARSE = np.array([4.0, 4.0, 16.0])


def flat_points(output: NDArray[np.floating]) -> Values:
    """Return the five (x, y), pixels of the 512 frame, of a sagittal 2-D network."""
    return np.asarray(output, float).reshape(5, 2) * SIDE


def fractional_points(output: NDArray[np.floating]) -> Values:
    """Return (x, y, z) fractions of frame and depth, (5 or 10, 3), of a network of one series."""
    return np.asarray(output, float).reshape(-1, 3)


def joint_t2_points(output: NDArray[np.floating]) -> Values:
    """Return the T2 points (5, 3), as fractions, of the network of both sagittal series."""
    return np.asarray(np.asarray(output, float).reshape(3, 5, 3)[0] / _COARSE)


def axial_level_slices(output: NDArray[np.floating], depth: int) -> Values:
    """Return the slice of each level, (5,), of the axial 3-D network: mean of left and right."""
    z = np.asarray(output, float).reshape(2, 5, 3)[..., 2] * (depth / _COARSE[2])
    return np.asarray(np.round(z.mean(axis=0)))


def placed(fractions: Values, depth: int) -> Values:
    """Return points as whole pixels of the 512 frame and slices, rounded half to even."""
    return np.asarray(np.round(fractions * (SIDE, SIDE, depth)))


def levels_of_series(
    logits: NDArray[np.floating], lengths: Sequence[int], *, published_windows: bool
) -> Values:
    """Decode the axial level network.

    Args:
        logits: (Z, 2, 5): slices of all series one after the other, left and right, levels.
        lengths: slices of each series; they sum to Z.
        published_windows: see `Faults.third_series_window`.

    Returns:
        (S, 2, 5, 2): for each series, side and level the slice as a fraction of the series'
        slices, and the confidence.
    """
    p = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
    index = np.concatenate([np.arange(n) for n in lengths])[:, None, None]
    starts = np.concatenate([[0], lengths if published_windows else np.cumsum(lengths)])
    found = []
    for start, length in zip(starts, lengths, strict=False):
        seen = slice(start, start + length)
        mean = (p[seen] * index[seen]).sum(axis=0) / p[seen].sum(axis=0)
        z = np.clip(mean, 0, length - 1) / length
        found.append(np.stack([z, p[seen].max(axis=0)], axis=-1))
    return np.array(found)


def best_series(confidence: Values, *, rounded: bool) -> NDArray[np.intp]:
    """Return the series (2, 5) that shows each side and level; the first of equal ones.

    Args:
        confidence: (S, 2, 5).
        rounded: see `Faults.rounded_confidence`.
    """
    return np.asarray((np.round(confidence) if rounded else confidence).argmax(axis=0))
