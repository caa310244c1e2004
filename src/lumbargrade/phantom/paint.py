"""Paint the image of an anatomy on a plane: every structure that the plane cuts.

`paint` takes one value per `Tissue`, so the caller can paint any contrast, or a map of labels. The
surroundings of the spine (skin, fat, muscles, vessels, kidneys, bowel, pelvis) are smooth, so they
are painted at half resolution; their coordinates are LPS mm relative to the posterior wall of the
bodies at the same height.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.geometry import SlicePlane
from lumbargrade.domain.outlines import Segment
from lumbargrade.phantom.anatomy import BODIES, L1, Anatomy
from lumbargrade.phantom.tissue import Affine, Canvas, Image, Tissue, ellipse
from lumbargrade.phantom.vertebra import paint_cell

#: Extent of a painted cell: largest abs(u), smallest v and largest v, mm.
REACH = (44.0, -56.0, 76.0)

#: Extent of a segment: largest abs(u), smallest v and largest v, mm.
SEGMENT_REACH = (24.0, -46.0, 35.0)

_COARSE = 6
_HALF = 2


@dataclass(frozen=True, slots=True)
class Painted:
    """A painted plane.

    Attributes:
        image: float32 (rows, columns).
        structures: `Structure` of each pixel, uint8.
        segments: `Segment` of each pixel of the spine, uint8.
    """

    image: Image
    structures: NDArray[np.uint8]
    segments: NDArray[np.uint8]


def segment_of(index: int) -> Segment:
    """Return the segment of a cell."""
    return Segment(int(np.clip(index - L1 + Segment.L1_L2, Segment.HIGHER, Segment.LOWER)))


def paint(anatomy: Anatomy, plane: SlicePlane, shape: tuple[int, int], values: Image) -> Painted:
    """Paint a plane through an anatomy, without blur, noise or shading.

    Args:
        anatomy: the patient.
        plane: where the slice lies.
        shape: (rows, columns).
        values: intensity per `Tissue`, (17,).
    """
    painted = paint_slices(anatomy, [plane], shape, values)
    return Painted(painted.image[0], painted.structures[0], painted.segments[0])


def paint_slices(
    anatomy: Anatomy, planes: Sequence[SlicePlane], shape: tuple[int, int], values: Image
) -> Painted:
    """Paint several planes of the same spacing together; the results are (D, rows, columns).

    The pixels of a cell are painted as one list, whatever slice they are from: slices are small,
    and the time of a call would be longer than that of its arithmetic.
    """
    image = np.stack([_surroundings(anatomy, plane, shape, values) for plane in planes])
    structures, segments = np.zeros((2, *image.shape), np.uint8)
    flat, flat_structures, flat_segments = (a.reshape(-1) for a in (image, structures, segments))
    softness = max(0.9 * min(planes[0].spacing), 0.7)
    frames = np.array([b.frame for b in anatomy.bodies])
    origins = np.array([b.wall for b in anatomy.bodies])
    places = [Affine.of(plane, frames, origins) for plane in planes]
    windows = [_windows(place, shape).tolist() for place in places]
    for index in range(len(anatomy.cells)):
        found = [
            _cell_pixels(place, index, cells[index], k, shape)
            for k, (place, cells) in enumerate(zip(places, windows, strict=True))
            if cells[index][1] > cells[index][0]
        ]
        if not found:
            continue
        at, above, below = (np.concatenate(parts, -1) for parts in zip(*found, strict=True))
        share = below[2] / np.maximum(below[2] - above[2], np.float32(1e-3))
        u, v = below[:2] + share * (above[:2] - below[:2])
        out = np.abs(u)
        inside = (out < REACH[0]) & (v > REACH[1]) & (v < REACH[2])
        kept = np.flatnonzero(inside)
        if not kept.size:
            continue
        at, above, below = at[kept], above[:, kept], below[:, kept]
        u, v, out = u[kept], v[kept], out[kept]
        length, origin = anatomy.cell_lengths(index)
        w = (share[kept] - np.float32(origin)) * np.float32(length)
        canvas = Canvas(flat[at], u, v, w, out, values, softness, np.zeros(at.size, np.uint8))
        paint_cell(anatomy, index, canvas, above, below)
        flat[at] = canvas.image
        flat_structures[at] = canvas.structures
        near = (out < SEGMENT_REACH[0]) & (v > SEGMENT_REACH[1]) & (v < SEGMENT_REACH[2])
        flat_segments[at[near]] = segment_of(index)
    return Painted(image, structures, segments)


def _windows(place: Affine, shape: tuple[int, int]) -> NDArray[np.intp]:
    """Bounding boxes of the cells in an image, found on a coarse grid.

    Returns:
        First and last + 1 row, first and last + 1 column, (cells, 4); zeros if there is no pixel.
    """
    x = np.arange(0, shape[1] + _COARSE, _COARSE, dtype=np.float32)
    y = np.arange(0, shape[0] + _COARSE, _COARSE, dtype=np.float32)
    margin = 6.0
    u, v, w = np.moveaxis(place.grid(x, y), 1, 0)
    near = (w[:-1] < margin) & (w[1:] > -margin) & (np.abs(u[1:]) < REACH[0] + 12)
    near &= (v[1:] > REACH[1] - 25) & (v[1:] < REACH[2] + 25)
    ends = []
    for axis, size in ((2, shape[0]), (1, shape[1])):
        seen = near.any(axis)
        first, last = seen.argmax(1), seen.shape[1] - 1 - seen[:, ::-1].argmax(1)
        ends += [np.maximum(first - 1, 0) * _COARSE, np.minimum((last + 1) * _COARSE, size)]
    return np.asarray(np.where(near.any((1, 2)), ends, 0).T)


_Pixels = tuple[NDArray[np.intp], Image, Image]


def _cell_pixels(
    place: Affine, index: int, window: list[int], k: int, shape: tuple[int, int]
) -> _Pixels:
    """The pixels of slice ``k`` between the middles of two bodies, in a window.

    Returns:
        Their flat indices in all slices, (n,), and their places in the frames of the upper and the
        lower body, (3, n) each.
    """
    top, bottom, left, right = window
    x = np.arange(left, right, dtype=np.float32)
    y = np.arange(top, bottom, dtype=np.float32)
    grid = Affine(place.matrix[index : index + 2]).grid(x, y)
    upper, lower = grid.reshape(2, 3, -1)
    at = np.flatnonzero((upper[2] < 0) & (lower[2] >= 0))
    rows, columns = np.divmod(at, right - left)
    flat = (k * shape[0] + top + rows) * shape[1] + left + columns
    return flat, upper[:, at], lower[:, at]


def _surroundings(
    anatomy: Anatomy, plane: SlicePlane, shape: tuple[int, int], values: Image
) -> Image:
    """Paint everything except vertebrae, discs, foramina and canal; float32 of ``shape``."""
    y = np.arange(0, shape[0] + _HALF, _HALF, dtype=np.float32)
    x = np.arange(0, shape[1] + _HALF, _HALF, dtype=np.float32)
    px, py, pz = Affine.of(plane, np.eye(3), np.zeros(3)).grid(x, y)
    walls = np.array([b.wall for b in anatomy.bodies])[::-1]
    places = (np.arange(len(BODIES)) - BODIES.index("T10"))[::-1]
    spine_x, spine_y, order = _along(pz, walls[:, 2], [walls[:, 0], walls[:, 1], places])
    u, v = px - spine_x, py - spine_y
    canvas = Canvas(
        np.full(u.shape, values[Tissue.FAT], np.float32),
        *(u, v, order, np.abs(u), values, 2.2 * max(min(plane.spacing), 0.8)),
        np.zeros(u.shape, np.uint8),
    )
    _front(canvas, anatomy, plane)
    _muscles(canvas, anatomy, plane)
    _pelvis(canvas)
    _skin(canvas, anatomy, py, pz, walls)
    _belly(canvas, anatomy, py, pz, walls)
    size = (u.shape[1] * _HALF, u.shape[0] * _HALF)
    return _enlarge(canvas.image, size)[: shape[0], : shape[1]].copy()


def _along(pz: Image, heights: Image, curves: list[NDArray[Any]]) -> list[Image]:
    """Look up curves over height at every pixel, from tables with steps of 0.25 mm."""
    low, step = float(heights[0]), 0.25
    knots = np.arange(low, float(heights[-1]) + step, step)
    at = np.clip((pz - low) * (1 / step), 0, len(knots) - 1).astype(np.int32)
    return [np.interp(knots, heights, c).astype(np.float32)[at] for c in curves]


def _enlarge(image: Image, size: tuple[int, int]) -> Image:
    """Double the size and keep pixel 0 in place (cv2.resize would shift by half a pixel)."""
    matrix = np.array([[0.5, 0, 0], [0, 0.5, 0]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(image, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE),
        np.float32,
    )


def _blobs(rng: np.random.Generator, shape: tuple[int, ...], size: int) -> Image:
    """A smooth random field, about -1 to 1, with features of ``size`` pixels."""
    small = (shape[0] // size + 3, shape[1] // size + 3)
    field = rng.standard_normal(small).astype(np.float32)
    return np.asarray(cv2.resize(field, shape[::-1], interpolation=cv2.INTER_CUBIC), np.float32)


def _texture_rng(anatomy: Anatomy, plane: SlicePlane) -> np.random.Generator:
    """Generator for the small shapes of a plane; the same plane always gives the same shapes."""
    place = round(plane.projection * 10) & 0xFFFF
    return np.random.default_rng([anatomy.seed, place])


def _front(canvas: Canvas, anatomy: Anatomy, plane: SlicePlane) -> None:
    """Paint bowel, great vessels and kidneys."""
    u, v, order, values = canvas.u, canvas.v, canvas.w, canvas.values
    depth = anatomy.bodies[L1 + 2].depth
    rng = _texture_rng(anatomy, plane)
    bowel = 0.7 * _blobs(rng, u.shape, 11) + 0.5 * _blobs(rng, u.shape, 5)
    fat = anatomy.front_fat
    inside = np.clip((-v - depth - 4 - fat) / 6, 0, 1)
    shade = values[Tissue.BOWEL] * (1 + 0.25 * bowel)
    gas = np.clip((bowel - 1.4) * 3, 0, 1)
    fatty = np.clip((-bowel - 0.2) * 1.1, 0, 0.7)
    shade = shade + fatty * (values[Tissue.FAT] - shade)
    shade = shade + gas * (values[Tissue.AIR] - shade)
    canvas.image += inside * (shade - canvas.image)
    vessel = float(values[Tissue.VESSEL])
    split = np.clip((order - 6.6) * 14, 0, 30)
    end = np.float32(9) * (order > 8.5)
    wind = u - anatomy.vessels
    aorta = ellipse(np.abs(wind - 3) - split, v + depth + 6 + 0.5 * fat, 8.5, 8.0) + end
    canvas.lay(aorta, vessel)
    cava = ellipse(wind + 20 + 0.6 * split, v + depth + 4 + 0.4 * fat, 9.5, 7.5) + end
    canvas.lay(cava, vessel)
    if anatomy.bladder:
        size = 14 + anatomy.seed % 23
        bladder = ellipse(v + 52 + size, (order - 9.6) * 20, size, 0.8 * size)
        canvas.lay(np.maximum(bladder, canvas.out - size), float(values[Tissue.KIDNEY]))
    long = np.sqrt(np.clip(1 - ((order - 3.9) / 1.7) ** 2, 0.001, 1))
    kidney = ellipse(canvas.out - 66, v + 18, 22 * long, 27 * long)
    canvas.lay(kidney, float(values[Tissue.KIDNEY]))
    canvas.lay(ellipse(canvas.out - 60, v + 19, 7 * long, 12 * long), float(values[Tissue.FAT]))


def _muscles(canvas: Canvas, anatomy: Anatomy, plane: SlicePlane) -> None:
    """Paint psoas, quadratus and back muscles, with fat strands."""
    v, order, out, values = canvas.v, canvas.w, canvas.out, canvas.values
    rng = _texture_rng(anatomy, plane)
    strands = np.clip(_blobs(rng, v.shape, 3) - 1.6 + 1.3 * anatomy.fatty, 0, 1)
    muscle = values[Tissue.MUSCLE] + strands * 0.8 * (values[Tissue.FAT] - values[Tissue.MUSCLE])
    size = np.clip((order - 1.6) / 4, 0.05, 1) * anatomy.muscle
    psoas = ellipse(out - 26 - 14 * size, v + 17 + 6 * size, 6 + 13 * size, 8 + 16 * size)
    canvas.lay(psoas, muscle)
    quadratus = ellipse(out - 62, v - 8, 22, 9) + np.float32(9) * (order > 7.2)
    canvas.lay(quadratus, muscle)
    big = anatomy.muscle * np.clip((11.5 - order) / 4, 0.15, 1)
    back = ellipse(out - 34, v - 40, 33 * np.sqrt(big), 24 * big)
    canvas.lay(back, muscle)
    inner = ellipse(out - 16, v - 36, 14.5, 22 * big)
    canvas.lay(inner, muscle)


def _belly(
    canvas: Canvas,
    anatomy: Anatomy,
    py: Image,
    pz: Image,
    walls: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> None:
    """Paint fat, skin and the air in front of the belly."""
    values = canvas.values
    _, back, height = map(float, walls[len(walls) // 2])
    line = back - 34 - anatomy.belly + 14 * ((pz - height) / 110) ** 2
    line = line + 0.0022 * (anatomy.belly + 40) * canvas.out**2 / 40
    before = py - line
    wall = np.maximum(before - anatomy.belly_fat, -before)
    canvas.lay(wall, float(values[Tissue.FAT]))
    canvas.lay(np.abs(before - anatomy.belly_fat - 4) - 4, float(values[Tissue.MUSCLE]))
    canvas.lay(np.abs(before) - 1.2, float(values[Tissue.SKIN]))
    canvas.lay(before, float(values[Tissue.AIR]))


def _pelvis(canvas: Canvas) -> None:
    """Paint the iliac wings."""
    v, order, out, values = canvas.v, canvas.w, canvas.out, canvas.values
    if order.max() < 7.0 or not canvas.sees(40, 200):
        return
    tilted = out - 62 - 0.55 * (v + 10)
    wing = np.maximum(np.abs(tilted) - 7, np.abs(v + 2) - 38)
    wing = np.maximum(wing, (7.3 - order) * 20)
    canvas.lay(wing, float(values[Tissue.CORTEX]))
    canvas.lay(wing + 2.0, float(values[Tissue.MARROW]))


def _skin(
    canvas: Canvas,
    anatomy: Anatomy,
    py: Image,
    pz: Image,
    walls: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> None:
    """Paint fat between muscle and skin, skin, and the air behind it."""
    values = canvas.values
    ys = walls[:, 1]
    flat = ys.mean() + 0.6 * (ys - ys.mean())
    room = np.where(np.arange(len(ys)) < 3, 32.0, anatomy.back + anatomy.fat * 0.5)
    surface = flat + np.max(ys + room - flat)
    (line,) = _along(pz, walls[:, 2], [surface])
    furrow = 7 * np.exp(-((canvas.u / 16) ** 2)) + 5 * np.clip((canvas.out - 50) / 60, 0, 2) ** 2
    behind = py - (line - furrow.astype(np.float32))
    fascia = -behind - np.float32(anatomy.fat)
    canvas.lay(fascia, float(values[Tissue.FAT]))
    canvas.lay(np.abs(behind + 1) - 1.2, float(values[Tissue.SKIN]))
    canvas.lay(-behind, float(values[Tissue.AIR]))
