"""Mean shapes of the labelled points, by generalised Procrustes analysis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lumbargrade.dataset.rows import SeriesRow
from lumbargrade.domain.geometry import FloatArray, apply_homography, fit_to_frame

#: Side of the square frame in which mean shapes are given, pixels.
FRAME = 512


def mean_shape(shapes: ArrayLike, *, iterations: int = 50, tolerance: float = 1e-10) -> FloatArray:
    """The mean of point sets that differ by shift, rotation and size.

    Generalised Procrustes (Gower 1975): centre every shape, scale it to unit size, turn and scale
    it onto the current mean, average, repeat. The result is given back the mean position, mean
    orientation and mean size of the shapes, so it can be drawn in their frame.

    Args:
        shapes: (N, P, 2) points without NaN; N >= 1, P >= 2, not all points of a shape equal.

    Returns:
        (P, 2) in the frame of ``shapes``.

    Raises:
        ValueError: if there is no shape, or the points of one coincide.
    """
    points = np.asarray(shapes, float)
    if points.ndim != 3 or points.shape[0] == 0 or points.shape[2] != 2:
        raise ValueError(f"expected (N, P, 2) points with N > 0, got {points.shape}")
    # A planar similarity is one complex factor, so alignment needs no SVD.
    z: NDArray[np.complex128] = points[..., 0] + 1j * points[..., 1]
    centres = z.mean(axis=1)
    z = z - centres[:, None]
    sizes = np.linalg.norm(z, axis=1)
    if not (sizes > 0).all():
        raise ValueError("the points of a shape coincide")
    z = z / sizes[:, None]
    upright = z.mean(axis=0)
    mean = upright / np.linalg.norm(upright)
    for _ in range(iterations):
        factors = (z.conj() @ mean)[:, None]
        new = (z * factors).mean(axis=0)
        new = new / np.linalg.norm(new)
        moved = float(np.linalg.norm(new - mean))
        mean = new
        if moved < tolerance:
            break
    # No step turns the mean, so it stands as the average of the shapes stood.
    mean = mean * sizes.mean() + centres.mean()
    return np.stack([mean.real, mean.imag], axis=-1)


def fit_similarity(source: ArrayLike, target: ArrayLike) -> FloatArray:
    """The 3 x 3 least-squares similarity (shift, rotation, size) taking (P, 2) to (P, 2)."""
    a, b = np.asarray(source, float), np.asarray(target, float)
    za, zb = a[:, 0] + 1j * a[:, 1], b[:, 0] + 1j * b[:, 1]
    ca, cb = za.mean(), zb.mean()
    factor = np.vdot(za - ca, zb - cb) / np.vdot(za - ca, za - ca).real
    shift = cb - factor * ca
    return np.array(
        [
            [factor.real, -factor.imag, shift.real],
            [factor.imag, factor.real, shift.imag],
            [0.0, 0.0, 1.0],
        ]
    )


def frame_shapes(rows: Iterable[SeriesRow], sizes: Mapping[int, tuple[int, int]]) -> FloatArray:
    """The in-plane points of all rows that have every point, in the 512 frame, (N, P, 2).

    Args:
        sizes: series id -> (height, width) of its volume.
    """
    shapes = [
        apply_homography(fit_to_frame(sizes[row.series_id], FRAME), row.points[:, :2])
        for row in rows
        if np.isfinite(row.points).all()
    ]
    return np.array(shapes)
