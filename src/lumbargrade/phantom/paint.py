"""An anatomy and a plane to an image: every structure painted where the plane cuts it.

What a tissue looks like is the caller's: `paint` takes one value per `Tissue`, which makes any
contrast, or a map of labels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.geometry import SlicePlane
from lumbargrade.phantom.anatomy import Anatomy
from lumbargrade.phantom.surroundings import paint_surroundings
from lumbargrade.phantom.tissue import Affine, Canvas, Image, Window
from lumbargrade.phantom.vertebra import paint_cell

#: How far from the mid-line, in front of and behind the posterior wall a cell is painted, mm.
REACH = (44.0, -46.0, 66.0)

_COARSE = 6


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
