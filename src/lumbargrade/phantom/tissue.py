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
    """Pixels being painted, with their coordinates: a grid, or any selection of pixels.

    Attributes:
        image: intensities, painted in place.
        u, v, w: coordinates of the pixels in mm (see `anatomy`), in the shape of the image.
        out: ``abs(u)``.
        values: intensity per tissue.
        softness: width of an edge, mm.
        structures: `Structure` of each pixel, painted in place with the image.
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

    def part(self, front: float, back: float, outward: float) -> Part | None:
        """The pixels (of a flat canvas) with ``front <= v <= back`` and ``|u| <= outward``.

        None if there is no such pixel.
        """
        near = self.v >= front
        near &= self.v <= back
        near &= self.out <= outward
        at = np.flatnonzero(near)
        if not at.size:
            return None
        canvas = Canvas(
            image=self.image[at],
            u=self.u[at],
            v=self.v[at],
            w=self.w[at],
            out=self.out[at],
            values=self.values,
            softness=self.softness,
            structures=self.structures[at],
        )
        return Part(canvas, self, at)

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


@dataclass(frozen=True, slots=True)
class Part:
    """Pixels taken from a flat canvas, to be painted and put back.

    Attributes:
        canvas: the pixels.
        whole: the canvas that they were taken from.
        at: their indices in it.
    """

    canvas: Canvas
    whole: Canvas
    at: NDArray[np.intp]

    def put_back(self) -> None:
        """Copy the painted pixels into the canvas that they were taken from."""
        self.whole.image[self.at] = self.canvas.image
        self.whole.structures[self.at] = self.canvas.structures


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
    """Coordinates in a frame that are affine in the pixel, (x, y, 1) to mm.

    Attributes:
        matrix: (..., 3, 3), one per frame.
    """

    matrix: NDArray[np.float64]

    @classmethod
    def of(
        cls, plane: SlicePlane, frames: NDArray[np.float64], origins: NDArray[np.float64]
    ) -> Affine:
        """Coordinates along the rows of ``frames`` (..., 3, 3) from ``origins`` (..., 3)."""
        dy, dx = plane.spacing
        steps = np.asarray(plane.row) * dx, np.asarray(plane.column) * dy
        base = np.asarray(plane.position) - origins
        turned = np.einsum("...ij,...j->...i", frames, base)
        return cls(np.stack([frames @ steps[0], frames @ steps[1], turned], -1))

    def grid(self, x: Image, y: Image) -> Image:
        """Coordinates over a grid of columns x and rows y, (..., 3, len(y), len(x))."""
        m = self.matrix.astype(np.float32)[..., None, None]
        along = m[..., 0, :, :] * x + m[..., 2, :, :]
        return np.asarray(along + m[..., 1, :, :] * y[:, None])
