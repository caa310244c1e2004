"""Tissues, and the canvas on which structures are painted.

A structure is a signed distance in mm, negative inside. The distance decides how much of a pixel
the structure covers, so that edges are as soft as the pixels are large.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.geometry import SlicePlane
from lumbargrade.domain.outlines import Structure

#: Images are float32; intermediate distances may be float64.
Image = NDArray[np.floating[Any]]

#: Rows and columns of a part of an image.
Window = tuple[slice, slice]


class Tissue(IntEnum):
    """Tissues; the integer is the index into the values given to `paint.paint`."""

    AIR = 0
    FAT = 1
    MUSCLE = 2
    MARROW = 3
    CORTEX = 4
    ANNULUS = 5
    NUCLEUS = 6
    LIGAMENT = 7
    CSF = 8
    ROOT = 9
    CORD = 10
    EPIDURAL_FAT = 11
    JOINT = 12
    VESSEL = 13
    BOWEL = 14
    KIDNEY = 15
    SKIN = 16


@dataclass(slots=True)
class Canvas:
    """A part of an image being painted, with its coordinates.

    Attributes:
        image: intensities, painted in place, (h, w).
        u, v, w: coordinates of the pixels in mm (see `anatomy`), (h, w) each.
        out: ``abs(u)``.
        values: intensity per tissue.
        softness: width of an edge, mm.
        structures: `Structure` of each pixel, painted in place with the image, (h, w).
    """

    image: Image
    u: Image
    v: Image
    w: Image
    out: Image
    values: Image
    softness: float
    structures: NDArray[np.uint8]

    def lay(
        self,
        distance: Image,
        value: float | Image,
        structure: Structure | None = Structure.OTHER,
    ) -> None:
        """Paint a tissue given its signed distance in mm; None keeps the structure below it."""
        if distance.min() > self.softness / 2:
            return
        if structure is not None:
            np.putmask(self.structures, distance < 0, np.uint8(structure))
        cover = distance * np.float32(-1 / self.softness)
        cover += np.float32(0.5)
        np.maximum(cover, 0, out=cover)
        np.minimum(cover, 1, out=cover)
        cover *= value - self.image
        self.image += cover

    def part(self, front: float, back: float, outward: float) -> tuple[Canvas, Window] | None:
        """The part with ``front <= v <= back`` and ``|u| <= outward``, on the same pixels.

        None if there is no such pixel.
        """
        near = (self.v >= front) & (self.v <= back) & (self.out <= outward)
        rows, columns = np.flatnonzero(near.any(1)), np.flatnonzero(near.any(0))
        if not rows.size:
            return None
        window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        image, u, v = self.image[window], self.u[window], self.v[window]
        w, out = self.w[window], self.out[window]
        structures = self.structures[window]
        return Canvas(image, u, v, w, out, self.values, self.softness, structures), window

    def sees(self, low: float, high: float) -> bool:
        """Whether any pixel has ``low <= |u| <= high``."""
        return bool(self.out.min() <= high and self.out.max() >= low)

    def sided(self, left: float, right: float) -> float | Image:
        """The value of ``left`` or ``right``, by the side of each pixel."""
        if self.u.min() >= 0:
            return left
        if self.u.max() <= 0:
            return right
        return np.where(self.u > 0, np.float32(left), np.float32(right))


def clip(x: Image, low: float, high: float) -> Image:
    """Limit values; `numpy.clip` takes several times as long on small arrays."""
    return np.asarray(np.minimum(np.maximum(x, low), high))


def ellipse(x: Image, y: Image, a: float | Image, b: float | Image) -> Image:
    """Approximate signed distance of an ellipse with half axes ``a`` and ``b``."""
    r = np.sqrt((x / a) ** 2 + (y / b) ** 2)
    return np.asarray((r - 1) * np.minimum(a, b), np.float32)


def box(x: Image, y: Image, a: float, b: float, corner: float = 0.0) -> Image:
    """Signed distance of a box with half sides ``a`` and ``b`` and rounded corners."""
    dx, dy = np.abs(x) - np.float32(a - corner), np.abs(y) - np.float32(b - corner)
    outside = np.sqrt(np.maximum(dx, 0) ** 2 + np.maximum(dy, 0) ** 2)
    return np.asarray(outside + np.minimum(np.maximum(dx, dy), 0) - corner, np.float32)


@dataclass(frozen=True, slots=True)
class Affine:
    """Coordinates that are affine in the pixel: ``base + x * along_x + y * along_y``, (3,) each."""

    base: NDArray[np.float64]
    along_x: NDArray[np.float64]
    along_y: NDArray[np.float64]

    @classmethod
    def of(
        cls, plane: SlicePlane, frame: NDArray[np.float64], origin: NDArray[np.float64]
    ) -> Affine:
        """Coordinates along the rows of ``frame`` from ``origin``."""
        dy, dx = plane.spacing
        return cls(
            frame @ (np.asarray(plane.position) - origin),
            frame @ np.asarray(plane.row) * dx,
            frame @ np.asarray(plane.column) * dy,
        )

    def at(self, x: Image, y: Image, part: int) -> Image:
        """One coordinate over the grid of columns x and rows y, (len(y), len(x))."""
        row = (self.base[part] + x * self.along_x[part]).astype(np.float32)
        column = (y * self.along_y[part]).astype(np.float32)
        return np.asarray(row[None, :] + column[:, None], np.float32)
