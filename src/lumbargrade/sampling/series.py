"""Make one network input from a sagittal volume and its labels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.geometry import FloatArray, fit_to_frame, scale_frame
from lumbargrade.domain.upright import SliceMaps, Upright
from lumbargrade.domain.vocabulary import mirror
from lumbargrade.domain.volume import Volume
from lumbargrade.lsdc.rows import SeriesRow
from lumbargrade.sampling.augment import AugmentDraw, apply_to_image, apply_to_points

#: Channels that an image of any OpenCV version can have (version 5: 128).
_MOST_CHANNELS = 128


@dataclass(frozen=True, eq=False)
class Sample:
    """A sagittal series as network input, upright in whatever orientation it is stored.

    Attributes:
        image: uint8 (D, size, size).
        points: float32 (P, 3): x, y in pixels of ``image`` and its slice index z; nan where
            not annotated.
        annotated: (P,) which points are labelled.
        grades: int8 (P,), -1 where not graded.
        maps: pixels and slices of ``image`` to native voxels and back.
        study_id, series_id: where it comes from.
    """

    image: NDArray[np.uint8]
    points: NDArray[np.float32]
    annotated: NDArray[np.bool_]
    grades: NDArray[np.int8]
    maps: SliceMaps
    study_id: str
    series_id: str


def annotated_points(row: SeriesRow) -> NDArray[np.bool_]:
    """Return which points of a row are labelled, (P,)."""
    return np.asarray(np.isfinite(row.points).all(axis=1))


def make_sample(
    volume: Volume,
    row: SeriesRow,
    *,
    size: int,
    draw: AugmentDraw | None = None,
    frame: int = 0,
) -> Sample:
    """Turn a volume upright and resize it to a square, or map it as the augmentation says.

    Args:
        volume: the series.
        row: its labels, in native voxels.
        size: side of the network input, pixels.
        draw: the augmentation, in pixels of the upright volume; None for no augmentation.
        frame: side of a square that images are resized to first and augmented in, before they are
            resized to the input, as in the published runs; 0 resamples them once.
    """
    upright, depth = Upright.of(volume), len(volume.slices)
    start, stop = (0, depth) if draw is None or draw.slices is None else draw.slices
    pixels, framed = upright.pixels(volume)[start:stop], np.eye(3)
    if frame:
        pixels, framed = fitted(pixels, frame)
    if frame:
        if draw is not None:
            inside = scale_frame(size, frame) @ draw.matrix @ np.linalg.inv(framed)
            pixels = warp_volume(pixels, inside, frame)
        image, last = fitted(pixels, size)
        draw = draw or AugmentDraw(matrix=last @ framed)
    else:
        draw = draw or AugmentDraw(matrix=fit_to_frame(upright.shape, size))
        image = warp_volume(pixels, draw.matrix, size)
    maps = upright.maps.after(np.asarray(np.linalg.inv(draw.matrix), np.float64), start, stop)
    if draw.flip:
        image, maps = np.ascontiguousarray(image[::-1]), maps.reversed()
    apply_to_image(draw, image)
    order = list(mirror(row.targets)) if draw.exchange_sides else list(range(len(row.targets)))
    return Sample(
        image=image,
        points=apply_to_points(draw, upright.points(row.points), depth)[order],
        annotated=annotated_points(row)[order],
        grades=row.grades[order],
        maps=maps,
        study_id=row.study_id,
        series_id=row.series_id,
    )


def fitted(pixels: NDArray[np.uint8], size: int) -> tuple[NDArray[np.uint8], FloatArray]:
    """Resize slices to a square as the published runs did: longer side fitted, centred on black.

    OpenCV's linear `resize` gives a whole number of pixels and never averages, and the border is
    whole pixels too, so the map may differ from `fit_to_frame` by up to half a pixel. All slices go
    through it as channels of one image: for an image of exactly twice the size, OpenCV rounds
    halves otherwise in a single plane.

    Args:
        pixels: uint8 (D, H, W).
        size: side of the square.

    Returns:
        uint8 (D, size, size), and the 3 x 3 map from pixels to pixels of the square.
    """
    height, width = pixels.shape[1:]
    scale = size / max(height, width)
    square = np.zeros((len(pixels), size, size), np.uint8)
    left = top = 0
    for first in range(0, len(pixels), _MOST_CHANNELS):
        some = pixels[first : first + _MOST_CHANNELS]
        channels = np.ascontiguousarray(np.moveaxis(some, 0, -1))
        resized = cv2.resize(channels, None, fx=scale, fy=scale)
        h, w = resized.shape[:2]
        top, left = (size - h) // 2, (size - w) // 2
        planes = np.moveaxis(resized.reshape(h, w, len(some)), -1, 0)
        square[first : first + len(some), top : top + h, left : left + w] = planes
    middle = 0.5 * scale - 0.5
    return square, np.array([[scale, 0, middle + left], [0, scale, middle + top], [0, 0, 1.0]])


def warp_volume(pixels: NDArray[np.uint8], matrix: FloatArray, size: int) -> NDArray[np.uint8]:
    """Map every slice from native pixels into a black square frame by one 3 x 3 matrix.

    Interpolation is linear. If the map shrinks the image more than twofold, blocks of pixels are
    averaged first, since linear interpolation alone would skip pixels (aliasing).

    Args:
        pixels: uint8 (D, H, W).
        matrix: native pixels to frame pixels; pixel centres at integers in both.
        size: side of the frame.

    Returns:
        uint8 (D, size, size).
    """
    block = int(1 / shrinkage(matrix, pixels.shape[1:]) + 1e-6)
    block = max(1, min(block, *pixels.shape[1:]))
    if block > 1:
        matrix = matrix @ np.linalg.inv(scale_frame(block, 1))
    affine = bool(np.abs(matrix[2, :2]).max() < 1e-12)
    warped = np.empty((len(pixels), size, size), np.uint8)
    for plane, target in zip(pixels, warped, strict=True):
        source = _block_means(plane, block) if block > 1 else np.ascontiguousarray(plane)
        if affine:
            cv2.warpAffine(
                source, matrix[:2] / matrix[2, 2], (size, size), dst=target, flags=cv2.INTER_LINEAR
            )
        else:
            cv2.warpPerspective(source, matrix, (size, size), dst=target, flags=cv2.INTER_LINEAR)
    return warped


def shrinkage(matrix: FloatArray, shape: tuple[int, ...]) -> float:
    """Return frame pixels per native pixel (root of the area ratio) in the middle of an image."""
    height, width = shape
    u, v, w = matrix @ np.array([(width - 1) / 2, (height - 1) / 2, 1.0])
    jacobian = (matrix[:2, :2] - np.outer([u / w, v / w], matrix[2, :2])) / w
    return float(np.sqrt(abs(np.linalg.det(jacobian))))


def _block_means(plane: NDArray[np.uint8], block: int) -> NDArray[np.uint8]:
    height, width = (n // block for n in plane.shape)
    whole = np.ascontiguousarray(plane[: height * block, : width * block])
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA))
