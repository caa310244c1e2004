"""Random plane maps of the training frame that keep every marked point inside it.

All lengths are pixels of a square frame of ``FRAME`` x ``FRAME``, pixel centres at integers.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from lumbargrade.config import AugmentConfig
from lumbargrade.dataset.shapes import FRAME
from lumbargrade.domain.geometry import FloatArray, apply_homography

#: How often parameters are redrawn before a sample is left as it is.
TRIES = 20


def align_similarity(source: FloatArray, target: FloatArray) -> FloatArray | None:
    """The rotation, scale and shift that bring points nearest to others, by least squares.

    In the complex plane a similarity without reflection is ``z -> a z + b``, so the least-squares
    solution (Umeyama, PAMI 1991) is one complex division.

    Args:
        source, target: (N, 2) points x, y in the same order.

    Returns:
        3 x 3 matrix, or None where fewer than two distinct points leave it undetermined.
    """
    if len(source) < 2:
        return None
    s, t = _complex(source), _complex(target)
    spread = float((np.abs(s - s.mean()) ** 2).sum())
    if spread < 1e-9:
        return None
    a = (np.conj(s - s.mean()) * (t - t.mean())).sum() / spread
    b = t.mean() - a * s.mean()
    return _from_complex(complex(a), complex(b))


def align_by_consensus(source: FloatArray, target: FloatArray) -> FloatArray | None:
    """The similarity that most points agree with to 3 frame pixels (RANSAC).

    The published runs aligned points in this way: by OpenCV's `estimateAffinePartial2D` with its
    defaults, in single precision. Its random choices start from a fixed seed, so the same points
    give the same map. Points further off than 3 px do not count; on the LSDC label tables the
    heights of the aligned shapes vary two to three times as much as by :func:`align_similarity`.

    Args:
        source, target: (N, 2) points x, y in the same order.

    Returns:
        3 x 3 matrix, or None where fewer than two distinct points leave it undetermined.
    """
    if len(source) < 2:
        return None
    found, _ = cv2.estimateAffinePartial2D(source.astype(np.float32), target.astype(np.float32))
    if found is None or not np.isfinite(found).all():
        return None
    return np.vstack([found, [0.0, 0.0, 1.0]])


_ALIGNMENTS = {"least_squares": align_similarity, "ransac": align_by_consensus}


def draw_similarity(
    rng: np.random.Generator, config: AugmentConfig, points: FloatArray, mean_shape: FloatArray
) -> FloatArray | None:
    """Align to the mean shape, then turn, scale and recentre at random.

    The bounding box of the points is put in the middle of the frame and shifted by
    ``config.shift_min`` to ``config.shift_max``, but never nearer to the edge than
    ``config.border``.

    Args:
        rng: source of randomness.
        config: kind of alignment, ranges of scale, rotation and shift, border.
        points: (N, 2) marked points in the frame.
        mean_shape: (N, 2) where these points lie on average.

    Returns:
        3 x 3 map of the frame, or None where no draw keeps the points inside.
    """
    aligned = _ALIGNMENTS[config.alignment](points, mean_shape)
    if aligned is None:
        return None
    middle = (FRAME - 1) / 2
    for _ in range(TRIES):
        scale = 1 + rng.uniform(config.scale_min, config.scale_max)
        angle = np.deg2rad(rng.uniform(-config.rotation, config.rotation))
        turned = _from_complex(scale * complex(np.cos(angle), np.sin(angle)), 0j) @ aligned
        moved = apply_homography(turned, points)
        low, high = moved.min(axis=0), moved.max(axis=0)
        room = (FRAME - 1 - 2 * config.border - (high - low)) / 2
        if (room < 0).any():
            continue
        least, most = (np.clip(v, -room, room) for v in (config.shift_min, config.shift_max))
        turned[:2, 2] += middle - (low + high) / 2 + rng.uniform(least, most)
        return turned
    return None


def draw_homography(
    rng: np.random.Generator, config: AugmentConfig, points: FloatArray
) -> FloatArray | None:
    """Move the four corners of the frame at random, until every point stays inside.

    Args:
        rng: source of randomness.
        config: ``corners``, the largest move as a share of the frame, and
            ``homography_border``.
        points: (N, 2) marked points in the frame.

    Returns:
        3 x 3 map of the frame, or None where no draw of ``TRIES`` keeps the points inside.
    """
    last = FRAME - 1.0
    corners = np.array([[0, 0], [last, 0], [last, last], [0, last]])
    for _ in range(TRIES):
        moved = corners + rng.uniform(-config.corners, config.corners, (4, 2)) * FRAME
        matrix: FloatArray = np.asarray(
            cv2.getPerspectiveTransform(corners.astype(np.float32), moved.astype(np.float32)), float
        )
        if _keeps_inside(matrix, corners, points, config.homography_border):
            return matrix
    return None


def _keeps_inside(
    matrix: FloatArray, corners: FloatArray, points: FloatArray, border: float
) -> bool:
    # a quadrangle that folds over has its horizon inside the frame
    if (corners @ matrix[2, :2] + matrix[2, 2] <= 0).any() or np.linalg.det(matrix) <= 0:
        return False
    moved = apply_homography(matrix, points)
    return bool(((moved >= border) & (moved <= FRAME - 1 - border)).all())


def _complex(points: FloatArray) -> NDArray[np.complex128]:
    return np.asarray(points[:, 0] + 1j * points[:, 1], np.complex128)


def _from_complex(a: complex, b: complex) -> FloatArray:
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag], [0, 0, 1.0]])
