"""An anatomy and a plane to an image: every structure painted where the plane cuts it.

A structure is a signed distance in mm (negative inside); it covers a pixel by how far the pixel
lies inside, so that edges are as soft as the pixels are large. What a tissue looks like is the
caller's: `paint` takes one value per `Tissue`, which makes any contrast, or a map of labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.geometry import SlicePlane
from lumbargrade.phantom.anatomy import Anatomy

#: Painted in float32; distances may pass through float64.
Image = NDArray[np.floating[Any]]

#: Rows and columns of a part of an image.
Window = tuple[slice, slice]


class Tissue(IntEnum):
    """What can be seen; the integer indexes the values given to `paint`."""

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
        softness: mm over which an edge rises.
    """

    image: Image
    u: Image
    v: Image
    w: Image
    out: Image
    values: Image
    softness: float

    def lay(self, distance: Image, value: float | Image) -> None:
        """Paint a structure given its signed distance in mm."""
        if distance.min() > self.softness / 2:
            return
        cover = distance * np.float32(-1 / self.softness)
        cover += np.float32(0.5)
        np.clip(cover, 0, 1, out=cover)
        self.image += cover * (value - self.image)

    def part(self, front: float, back: float, outward: float) -> tuple[Canvas, Window] | None:
        """The part with ``front <= v <= back`` and ``|u| <= outward``, sharing its pixels.

        None where no pixel lies there.
        """
        near = (self.v >= front) & (self.v <= back) & (self.out <= outward)
        rows, columns = np.flatnonzero(near.any(1)), np.flatnonzero(near.any(0))
        if not rows.size:
            return None
        window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        image, u, v = self.image[window], self.u[window], self.v[window]
        w, out = self.w[window], self.out[window]
        return Canvas(image, u, v, w, out, self.values, self.softness), window

    def sees(self, low: float, high: float) -> bool:
        """Whether any pixel has ``low <= |u| <= high``."""
        return bool(self.out.min() <= high and self.out.max() >= low)

    def sided(self, left: float, right: float) -> float | Image:
        """A parameter that differs between the sides."""
        if self.u.min() >= 0:
            return left
        if self.u.max() <= 0:
            return right
        return np.where(self.u > 0, np.float32(left), np.float32(right))


def ellipse(x: Image, y: Image, a: float | Image, b: float | Image) -> Image:
    """Nearly the signed distance of an ellipse with half axes ``a`` and ``b``."""
    r = np.sqrt((x / a) ** 2 + (y / b) ** 2)
    return np.asarray((r - 1) * np.minimum(a, b), np.float32)


def box(x: Image, y: Image, a: float, b: float, corner: float = 0.0) -> Image:
    """Signed distance (outside: of the rounded corner) of a box with half sides a and b."""
    dx, dy = np.abs(x) - np.float32(a - corner), np.abs(y) - np.float32(b - corner)
    outside = np.sqrt(np.maximum(dx, 0) ** 2 + np.maximum(dy, 0) ** 2)
    return np.asarray(outside + np.minimum(np.maximum(dx, dy), 0) - corner, np.float32)


@dataclass(frozen=True, slots=True)
class Affine:
    """Coordinates that are affine in the pixel: ``base + x * along_x + y * along_y``, each (3,)."""

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


def paint(anatomy: Anatomy, plane: SlicePlane, shape: tuple[int, int], values: Image) -> Image:
    """What a plane through an anatomy shows, before any fault of the scanner.

    Args:
        anatomy: the patient.
        plane: where the slice lies.
        shape: (rows, columns).
        values: intensity per `Tissue`, (17,).

    Returns:
        Float32 image of ``shape``.
    """
    from lumbargrade.phantom.surroundings import paint_surroundings
    from lumbargrade.phantom.vertebra import paint_cell

    image = paint_surroundings(anatomy, plane, shape, values)
    for index in map(int, np.flatnonzero(_crossed(anatomy, plane))):
        found = _cell_canvas(anatomy, plane, index, image, values)
        if found is None:
            continue
        canvas, inside, window, frames = found
        paint_cell(anatomy, index, canvas, *frames)
        target = image[window]
        np.copyto(target, canvas.image, where=inside)
    return image


#: How far from the mid-line, in front of and behind the posterior wall a cell is painted, mm.
REACH = (44.0, -46.0, 66.0)

_COARSE = 6


def _crossed(anatomy: Anatomy, plane: SlicePlane) -> NDArray[np.bool_]:
    """Which cells the plane meets at all, from the corners of what is painted of each."""
    reach = np.array([[u, v, 0.0] for u in (-REACH[0], REACH[0]) for v in REACH[1:]])
    normal = plane.normal
    away = np.array([reach @ (b.frame @ normal) + b.wall @ normal for b in anatomy.bodies])
    away -= plane.projection
    low = np.minimum(away[:-1].min(1), away[1:].min(1))
    high = np.maximum(away[:-1].max(1), away[1:].max(1))
    return np.asarray((low <= 1) & (high >= -1))


_Found = tuple[Canvas, NDArray[np.bool_], Window, tuple[Image, Image, Image, Image]]


def _cell_canvas(
    anatomy: Anatomy, plane: SlicePlane, index: int, image: Image, values: Image
) -> _Found | None:
    """The part of the image that lies in a cell, or None where the plane misses it."""
    upper, lower = anatomy.bodies[index], anatomy.bodies[index + 1]
    above = Affine.of(plane, upper.frame, upper.wall)
    below = Affine.of(plane, lower.frame, lower.wall)
    window = _window(above, below, image.shape)
    if window is None:
        return None
    x = np.arange(window[1].start, window[1].stop, dtype=np.float32)
    y = np.arange(window[0].start, window[0].stop, dtype=np.float32)
    wa, wb = above.at(x, y, 2), below.at(x, y, 2)
    inside = (wa < 0) & (wb >= 0)
    if not inside.any():
        return None
    share = wb / np.maximum(wb - wa, 1e-3)
    np.clip(share, 0, 1, out=share)
    ua, ub, va, vb = (f.at(x, y, k) for k in (0, 1) for f in (above, below))
    u, v = ub + share * (ua - ub), vb + share * (va - vb)
    inside &= (np.abs(u) < REACH[0]) & (v > REACH[1]) & (v < REACH[2])
    length, origin = anatomy.cell_lengths(index)
    w = (share - np.float32(origin)) * np.float32(length)
    canvas = Canvas(
        image=image[window].copy(),
        u=u,
        v=v,
        w=w,
        out=np.abs(u),
        values=values,
        softness=max(0.9 * min(plane.spacing), 0.7),
    )
    return canvas, inside, window, (wa, wb, va, vb)


def _window(above: Affine, below: Affine, shape: tuple[int, ...]) -> Window | None:
    """The bounding box of a cell in the image, found on a coarse grid."""
    x = np.arange(0, shape[1] + _COARSE, _COARSE, dtype=np.float32)
    y = np.arange(0, shape[0] + _COARSE, _COARSE, dtype=np.float32)
    margin = 6.0
    near = (above.at(x, y, 2) < margin) & (below.at(x, y, 2) > -margin)
    near &= np.abs(below.at(x, y, 0)) < REACH[0] + 12
    v = below.at(x, y, 1)
    near &= (v > REACH[1] - 25) & (v < REACH[2] + 25)
    rows, columns = np.flatnonzero(near.any(1)), np.flatnonzero(near.any(0))
    if not rows.size:
        return None
    r0, r1 = max(rows[0] - 1, 0) * _COARSE, min((rows[-1] + 1) * _COARSE, shape[0])
    c0, c1 = max(columns[0] - 1, 0) * _COARSE, min((columns[-1] + 1) * _COARSE, shape[1])
    if r1 <= r0 or c1 <= c0:
        return None
    return slice(r0, r1), slice(c0, c1)
