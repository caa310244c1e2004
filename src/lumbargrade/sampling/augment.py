"""Augment a training sample: draw everything random first, then apply it.

Maps of the plane are random similarities and homographies that keep every labelled point inside
the frame.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from lumbargrade.config import AugmentConfig
from lumbargrade.domain.geometry import FloatArray, apply_homography, fit_to_frame, scale_frame
from lumbargrade.lsdc.mean_shape import FRAME
from lumbargrade.sampling.intensity import IntensityDraw, apply_intensity, draw_intensity

#: Number of draws before a sample is left unchanged.
TRIES = 20


def align_similarity(source: FloatArray, target: FloatArray) -> FloatArray | None:
    """Find the rotation, scale and shift that map points onto others, by least squares.

    In the complex plane a similarity without reflection is ``z -> a z + b``, so the least-squares
    solution (Umeyama, PAMI 1991) is one complex division.

    Args:
        source, target: (N, 2) points x, y in the same order.

    Returns:
        3 x 3 matrix, or None if there are fewer than two distinct points.
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
    """Find the similarity that most points fit within 3 frame pixels (RANSAC).

    The published runs aligned points in this way, with OpenCV's `estimateAffinePartial2D` with its
    defaults, in single precision. Its random choices start from a fixed seed, so the same points
    give the same map. Points further off than 3 px are ignored; on the LSDC label tables the
    heights of the aligned shapes vary two to three times as much as by :func:`align_similarity`.

    Args:
        source, target: (N, 2) points x, y in the same order.

    Returns:
        3 x 3 matrix, or None if there are fewer than two distinct points.
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
    """Align points to the mean shape, then rotate, scale and recentre at random.

    The bounding box of the points is put in the middle of the frame and shifted by
    ``config.shift_min`` to ``config.shift_max``, but never nearer to the edge than
    ``config.border``.

    Args:
        rng: source of randomness.
        config: kind of alignment, ranges of scale, rotation and shift, border.
        points: (N, 2) marked points in the frame.
        mean_shape: (N, 2) where these points lie on average.

    Returns:
        3 x 3 map of the frame, or None if no draw keeps the points inside.
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
        3 x 3 map of the frame, or None if none of ``TRIES`` draws keeps the points inside.
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
    # a quadrangle that folds over itself has its horizon inside the frame
    if (corners @ matrix[2, :2] + matrix[2, 2] <= 0).any() or np.linalg.det(matrix) <= 0:
        return False
    moved = apply_homography(matrix, points)
    return bool(((moved >= border) & (moved <= FRAME - 1 - border)).all())


def _complex(points: FloatArray) -> NDArray[np.complex128]:
    return np.asarray(points[:, 0] + 1j * points[:, 1], np.complex128)


def _from_complex(a: complex, b: complex) -> FloatArray:
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag], [0, 0, 1.0]])


@dataclass(frozen=True)
class Rectangle:
    """Pixels x0 <= x < x1, y0 <= y < y1 of the network input."""

    x0: int
    y0: int
    x1: int
    y1: int


@dataclass(frozen=True, eq=False)
class AugmentDraw:
    """Everything random about one training sample.

    Attributes:
        matrix: 3 x 3, pixels of the upright volume to network input pixels.
        flip: reverse the order of the slices.
        exchange_sides: with the flip, exchange left and right points and grades.
        slices: first slice that is kept and the one after the last, before the flip; None is all.
        blackout: rectangle that is set to 0, or None.
        intensity: change of grey values.
    """

    matrix: FloatArray
    flip: bool = False
    exchange_sides: bool = False
    slices: tuple[int, int] | None = None
    blackout: Rectangle | None = None
    intensity: IntensityDraw = field(default_factory=IntensityDraw)


def draw_augmentation(
    rng: np.random.Generator,
    config: AugmentConfig,
    points: NDArray[np.floating],
    annotated: NDArray[np.bool_],
    shape: tuple[int, int],
    size: int,
    mean_shape: NDArray[np.floating],
    depth: int = 0,
) -> AugmentDraw:
    """Draw the augmentation of one sample.

    Args:
        rng: the only source of randomness.
        config: probabilities and ranges.
        points: (P, 2 or 3) x, y(, z) of the upright volume; only annotated ones are looked at.
        annotated: (P,) which points are marked.
        shape: (height, width) of the upright volume.
        size: side of the network input, pixels.
        mean_shape: (P, 2) mean place of each point in a 512 frame.
        depth: slices of the volume; needed where the recipe trains on a part of them.
    """
    flip = bool(rng.random() < config.flip)
    to_frame = fit_to_frame(shape, FRAME)
    marked = apply_homography(to_frame, np.asarray(points, float)[annotated, :2])
    moved = _draw_plane_map(rng, config, marked, np.asarray(mean_shape, float)[annotated])
    matrix = scale_frame(FRAME, size) @ moved @ to_frame
    blackout = None
    if rng.random() < config.blackout and len(marked):
        top = apply_homography(scale_frame(FRAME, size) @ moved, marked)[:, 1].min()
        blackout = _draw_blackout(rng, size, float(top))
    return AugmentDraw(
        matrix=matrix,
        flip=flip,
        exchange_sides=flip and config.flip_exchanges_sides,
        slices=_draw_slices(rng, config.slices, np.asarray(points, float)[annotated], depth),
        blackout=blackout,
        intensity=draw_intensity(rng, config),
    )


def _draw_plane_map(
    rng: np.random.Generator, config: AugmentConfig, points: FloatArray, mean_shape: FloatArray
) -> FloatArray:
    """Draw a similarity, a homography or no map; no map if no draw keeps the points inside."""
    kind = rng.random()
    found = None
    if len(points) and kind < config.similarity:
        found = draw_similarity(rng, config, points, mean_shape)
    elif len(points) and kind < config.similarity + config.homography:
        found = draw_homography(rng, config, points)
    return np.eye(3) if found is None else found


def _draw_slices(
    rng: np.random.Generator, count: int, points: FloatArray, depth: int
) -> tuple[int, int] | None:
    """Draw ``count`` neighbouring slices that hold all points, or more if the points need them."""
    if not 0 < count < depth or not len(points):
        return None
    ends = points[:, 2].min(), points[:, 2].max()
    first, last = (int(np.clip(np.rint(z), 0, depth - 1)) for z in ends)
    count = max(count, last - first + 1)
    start = int(rng.integers(max(0, last - count + 1), min(first, depth - count) + 1))
    return start, start + count


def _draw_blackout(rng: np.random.Generator, size: int, top: float) -> Rectangle | None:
    """Draw a rectangle of random size and position that ends above the topmost point."""
    rows = int(np.floor(min(top, size)))
    if rows < 2:
        return None
    height = int(rng.integers(1, rows))
    width = int(rng.integers(size // 50 + 1, size))
    x, y = int(rng.integers(0, size - width + 1)), int(rng.integers(0, rows - height + 1))
    return Rectangle(x, y, x + width, y + height)


def apply_to_image(draw: AugmentDraw, image: NDArray[np.uint8]) -> None:
    """Black out and change the grey values of a warped image (D, size, size), in place."""
    if draw.blackout is not None:
        r = draw.blackout
        image[:, r.y0 : r.y1, r.x0 : r.x1] = 0
    apply_intensity(draw.intensity, image)


def apply_to_points(
    draw: AugmentDraw, points: NDArray[np.float32], depth: int
) -> NDArray[np.float32]:
    """Map points (P, 3) of an upright volume of ``depth`` slices into the sample.

    Which point belongs to which target is not changed here: see ``exchange_sides``.
    """
    moved = np.array(points, np.float32)
    moved[:, :2] = apply_homography(draw.matrix, points[:, :2])
    start, stop = draw.slices or (0, depth)
    moved[:, 2] -= start
    if draw.flip:
        moved[:, 2] = stop - start - 1 - moved[:, 2]
    return moved
