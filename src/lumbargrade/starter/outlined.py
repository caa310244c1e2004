"""One slice with the probabilities of its structures, and lengths and areas measured in it.

Positions in a slice are mm from the centre of its first pixel, (x, y) along columns and rows. The
probability of a pixel counts as the share of the pixel that the structure covers, so lengths and
areas are finer than pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import map_coordinates

from lumbargrade.domain.geometry import FloatArray, SlicePlane
from lumbargrade.domain.outlines import Structure
from lumbargrade.domain.point import Xyz
from lumbargrade.domain.vocabulary import SeriesKind

Image = NDArray[np.floating[Any]]
Line = tuple[Xyz, ...]

#: Distance between samples along a measured line, mm.
STEP = 0.25


@dataclass(frozen=True, eq=False, slots=True)
class Outlined:
    """One slice and its structures.

    Attributes:
        probabilities: (H, W) each.
        plane: where the pixels lie in the patient; pixels are square. Columns run to the back and
            rows to the feet in sagittal slices; to the patient's left and back in axial slices.
        kind: kind of the series.
        series_id: the series.
        instance_number: the image.
        field: bool (H, W), the pixels that the image covers.
        image: (H, W) intensities without coil shading, or None if they are not needed.
    """

    probabilities: Mapping[Structure, Image]
    plane: SlicePlane
    kind: SeriesKind
    series_id: str
    instance_number: int
    field: NDArray[np.bool_]
    image: Image | None = None

    @property
    def mm(self) -> float:
        """Side of a pixel, mm."""
        return self.plane.spacing[0]

    def stored(self) -> NDArray[np.uint8]:
        """Return the probabilities times 255, (P, H, W)."""
        return np.rint(np.stack(list(self.probabilities.values())) * 255).astype(np.uint8)

    def probability(self, *structures: Structure) -> Image:
        """Return the probability of any of the structures, (H, W)."""
        return np.asarray(sum(np.asarray(self.probabilities[s], float) for s in structures))

    def to_patient(self, points: ArrayLike) -> Line:
        """Convert positions in the slice (P, 2), mm, to LPS mm."""
        lps = self.plane.to_patient(np.asarray(points, float).reshape(-1, 2) / self.mm)
        return tuple((float(x), float(y), float(z)) for x, y, z in lps)

    def from_patient(self, lps: ArrayLike) -> tuple[FloatArray, float]:
        """Convert LPS mm (3,) to a position in the slice (2,) and the distance to its plane, mm."""
        x, y, away = self.plane.from_patient(lps).tolist()
        return np.array([x, y]) * self.mm, away

    def direction(self, lps: ArrayLike) -> FloatArray:
        """Return the unit direction (2,) in the slice of a patient direction (3,)."""
        axes = np.array([self.plane.row, self.plane.column])
        flat = axes @ np.asarray(lps, float)
        return np.asarray(flat / max(float(np.linalg.norm(flat)), 1e-9))

    def cut(self, region: Image) -> bool:
        """Whether a region reaches the edge of the image."""
        inner = cv2.erode(self.field.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0)
        return bool(((region > 0.5) & (inner == 0)).any())


def plane_of(corners: ArrayLike) -> SlicePlane:
    """Return the plane of a grid from the LPS mm of pixels (0, 0), (1, 0) and (0, 1), (3, 3)."""
    origin, right, below = np.asarray(corners, float)
    row, column = right - origin, below - origin
    dx, dy = float(np.linalg.norm(row)), float(np.linalg.norm(column))
    return SlicePlane(_xyz(origin), _xyz(row / dx), _xyz(column / dy), (dy, dx))


def region_at(probability: Image, at: ArrayLike, mm: float, reach: float) -> Image | None:
    """Return the probability inside the connected region nearest to a position, 0 elsewhere.

    Pixels above one half are connected. The soft edge around them belongs to the region.

    Args:
        probability: (H, W).
        at: (2,) mm.
        mm: side of a pixel.
        reach: largest distance to the region, mm.
    """
    _, labels = cv2.connectedComponents((probability > 0.5).astype(np.uint8), connectivity=4)
    rows, columns = np.nonzero(labels)
    if not rows.size:
        return None
    x, y = np.asarray(at, float)
    distance = np.hypot(columns * mm - x, rows * mm - y)
    nearest = int(distance.argmin())
    if distance[nearest] > reach:
        return None
    label = labels[rows[nearest], columns[nearest]]
    near = cv2.dilate((labels == label).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return np.where(near & ((labels == label) | (labels == 0)), probability, 0.0)


@dataclass(frozen=True, eq=False, slots=True)
class Moments:
    """Area in mm2, centroid (2,), and principal axes: variances (2,) and unit rows (2, 2)."""

    area: float
    centre: FloatArray
    variances: FloatArray
    axes: FloatArray


def moments_of(region: Image, mm: float) -> Moments:
    """Return the moments of a region; the first axis is the longest. Its mass must be positive."""
    rows, columns = np.nonzero(region > 0)
    weights = np.asarray(region, float)[rows, columns]
    points = np.column_stack([columns, rows]) * mm
    centre = np.average(points, axis=0, weights=weights)
    off = points - centre
    covariance = (off * weights[:, None]).T @ off / weights.sum()
    values, vectors = np.linalg.eigh(covariance)
    return Moments(float(weights.sum() * mm**2), centre, values[::-1], vectors.T[::-1])


@dataclass(frozen=True, eq=False, slots=True)
class Chords:
    """Lengths of a structure along parallel lines.

    Attributes:
        offsets: (M,) position of each line across the direction, mm.
        lengths: (M,) mm of the structure on each line.
        middles: (M,) centre of the structure on each line along the direction, mm; NaN if none.
        centre, along, across: (2,) origin and unit directions.
    """

    offsets: FloatArray
    lengths: FloatArray
    middles: FloatArray
    centre: FloatArray
    along: FloatArray
    across: FloatArray

    def ends(self, index: int) -> FloatArray:
        """Return both ends (2, 2) of the structure on a line, mm; they are its length apart."""
        middle = self.centre + self.across * self.offsets[index] + self.along * self.middles[index]
        half = self.along * self.lengths[index] / 2
        return np.array([middle - half, middle + half])


def chords(
    probability: Image,
    mm: float,
    centre: ArrayLike,
    along: ArrayLike,
    *,
    offsets: ArrayLike,
    reach: float,
    band: float,
) -> Chords:
    """Measure a structure along parallel lines.

    Args:
        probability: (H, W).
        mm: side of a pixel.
        centre: (2,) mm.
        along: unit direction (2,) of the lines.
        offsets: (M,) mm from the centre along the normal of the direction (turned from x to y).
        reach: lines reach this far from the centre to both sides, mm.
        band: each length is the mean over a band of this width, mm.
    """
    origin, direction = np.asarray(centre, float), np.asarray(along, float)
    across = np.array([-direction[1], direction[0]])
    lines = np.asarray(offsets, float)
    within = np.linspace(-band / 2, band / 2, max(1, round(band / STEP) + 1))
    t = np.arange(-reach, reach + STEP / 2, STEP)
    at = lines[:, None, None] + within[:, None]
    points = origin + at[..., None] * across + t[:, None] * direction
    values = sampled(probability, mm, points).mean(axis=1)
    total = values.sum(axis=1)
    middles = (values * t).sum(axis=1) / np.where(total > 0, total, np.nan)
    return Chords(lines, total * STEP, middles, origin, direction, across)


def sampled(image: Image, mm: float, points: FloatArray) -> FloatArray:
    """Return the value of an image at positions (..., 2), mm; 0 outside."""
    at = np.moveaxis(points[..., ::-1] / mm, -1, 0)
    return np.asarray(map_coordinates(np.asarray(image, float), at, order=1, cval=0.0))


def outline(region: Image, mm: float) -> FloatArray:
    """Return the outline of a region at one half, (P, 2) mm, closed; it lies between pixels."""
    factor = 4
    height, width = region.shape
    pad = np.pad(np.asarray(region, np.float32), 1)
    matrix = np.array([[1 / factor, 0, 0], [0, 1 / factor, 0]])
    size = ((width + 1) * factor + 1, (height + 1) * factor + 1)
    fine = cv2.warpAffine(pad, matrix, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    mask = (fine > 0.5).astype(np.uint8)
    found, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not found:
        return np.empty((0, 2))
    longest = cv2.approxPolyDP(max(found, key=cv2.contourArea), 1.0, True)[:, 0]
    points = (longest / factor - 1) * mm
    return np.asarray(np.concatenate([points, points[:1]]), float)


def pointing(direction: FloatArray, to: ArrayLike) -> FloatArray:
    """Return a direction or its opposite, whichever points more to ``to``."""
    return direction if direction @ np.asarray(to, float) >= 0 else -direction


def distances_to(point: FloatArray, columns: FloatArray, rows: FloatArray) -> FloatArray:
    """Return the distance of positions from a point (2,), mm."""
    return np.asarray(np.hypot(columns - point[0], rows - point[1]))


def heights_along(
    origin: FloatArray, direction: FloatArray, columns: FloatArray, rows: FloatArray
) -> FloatArray:
    """Return how far positions lie from an origin (2,) along a direction (2,), mm."""
    return np.asarray((columns - origin[0]) * direction[0] + (rows - origin[1]) * direction[1])


def _xyz(values: FloatArray) -> Xyz:
    x, y, z = values.tolist()
    return x, y, z
