"""Augmentation of a training sample: everything random is drawn first, then applied.

A draw holds one composed matrix from upright pixels to the network input: the image is interpolated
once (more often only where ``data.frame`` asks for it), and points follow by the same matrix.
Global random state is never touched.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lumbargrade.config import AugmentConfig
from lumbargrade.dataset.intensity import IntensityDraw, apply_intensity, draw_intensity
from lumbargrade.dataset.shapes import FRAME
from lumbargrade.dataset.similarity import draw_homography, draw_similarity
from lumbargrade.domain.geometry import FloatArray, apply_homography, fit_to_frame, scale_frame


@dataclass(frozen=True)
class Rectangle:
    """Pixels x0 <= x < x1, y0 <= y < y1 of the network input."""

    x0: int
    y0: int
    x1: int
    y1: int


@dataclass(frozen=True, eq=False)
class AugmentDraw:
    """All that is random about one training sample.

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
    """Similarity, homography or nothing; nothing, too, where no draw keeps the points inside."""
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
    """``count`` neighbouring slices, or more where the points need them, that hold all points."""
    if not 0 < count < depth or not len(points):
        return None
    first, last = (int(np.clip(np.rint(z), 0, depth - 1)) for z in _range(points[:, 2]))
    count = max(count, last - first + 1)
    start = int(rng.integers(max(0, last - count + 1), min(first, depth - count) + 1))
    return start, start + count


def _range(values: FloatArray) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _draw_blackout(rng: np.random.Generator, size: int, top: float) -> Rectangle | None:
    """A rectangle of random size and place that ends above the row of the topmost point."""
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
    """Points (P, 3) of an upright volume of ``depth`` slices as the sample has them.

    Which point belongs to which target is not changed here: see ``exchange_sides``.
    """
    moved = np.array(points, np.float32)
    moved[:, :2] = apply_homography(draw.matrix, points[:, :2])
    start, stop = draw.slices or (0, depth)
    moved[:, 2] -= start
    if draw.flip:
        moved[:, 2] = stop - start - 1 - moved[:, 2]
    return moved
