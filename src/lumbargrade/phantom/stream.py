"""Training samples rendered straight to arrays, without DICOM: the phantom stream.

A sample depends only on the stream's seed and its number. Anatomy, contrast, acquisition and field
are drawn from the table of ranges (`randomisation.toml`); labels are exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.geometry import SlicePlane
from lumbargrade.domain.outlines import Mark, Structure
from lumbargrade.domain.vocabulary import Condition, Level, Side, Target
from lumbargrade.phantom.acquisition import Look, acquire_slice, draw_series, store
from lumbargrade.phantom.anatomy import L1, L5, LEVEL_CELL, SACRUM, Anatomy, Vector, sample_anatomy
from lumbargrade.phantom.paint import Painted, paint
from lumbargrade.phantom.ranges import Draws
from lumbargrade.phantom.tissue import Image

#: Raised when the same seed and number give another sample.
STREAM_VERSION = 4

#: Slices, rows and columns of a sagittal sample, and mm of its pixels.
SAGITTAL_SHAPE, SAGITTAL_MM = (3, 224, 160), 1.5
#: Rows and columns of an axial sample, and mm of its pixels.
AXIAL_SHAPE, AXIAL_MM = (128, 128), 0.75
#: Value of labels outside the acquired field.
OUTSIDE = 255
#: Width of a mark in the plane, and across slices by mark, mm (standard deviations). Discs and
#: bodies are wide, foramina are seen on one or two slices.
MARK_WIDTH = 4.0
MARK_REACH = {Mark.CANAL: 5.0, Mark.FORAMEN: 3.0, Mark.DISC: 12.0, Mark.BODY: 12.0}
#: Width of a recess's mark, mm, and how far off the disc's plane it is still marked.
RECESS_WIDTH, RECESS_REACH = 2.5, 4.0
#: Share of axial samples through the patient's narrowest level: a sac without fluid is rare, and
#: the hardest to outline.
NARROWEST = 0.4
#: Structures of axial samples, in the order of their labels.
AXIAL_STRUCTURES = (
    *(Structure.OTHER, Structure.BODY, Structure.DISC, Structure.SAC, Structure.FACET),
)


@dataclass(frozen=True, slots=True)
class SagittalSample:
    """Neighbouring slices of a sagittal series.

    Attributes:
        images: uint8 (D, H, W), 0 outside the field.
        structures: `Structure`, uint8 (D, H, W); `OUTSIDE` outside the field.
        segments: `Segment`, uint8 (D, H, W); `OUTSIDE` outside the field.
        marks: float32 (D, 4, H / 2, W / 2), one map per `Mark`.
    """

    images: NDArray[np.uint8]
    structures: NDArray[np.uint8]
    segments: NDArray[np.uint8]
    marks: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class AxialSample:
    """One axial slice around a canal point.

    Attributes:
        image: uint8 (H, W).
        structures: index into `AXIAL_STRUCTURES`, uint8 (H, W).
        recesses: float32 (2, H / 2, W / 2): the left and the right recess.
    """

    image: NDArray[np.uint8]
    structures: NDArray[np.uint8]
    recesses: NDArray[np.float32]


def sagittal_sample(seed: int, number: int) -> SagittalSample:
    """Render sample ``number`` of a stream of sagittal slices."""
    rng = np.random.default_rng([seed, number, 11])
    anatomy, draws = sample_anatomy(rng), Draws(rng, "image")
    count, rows, columns = SAGITTAL_SHAPE
    planes, inside, pixel = _sagittal_planes(draws, anatomy)
    window, planes = _only_inside(planes, inside)
    shape = inside[window].shape
    look = draw_look(draws, anatomy, planes[count // 2], shape, pixel)
    thick = draws.number("thickness") * draws.number("interval")
    subs = (-0.3 * thick, 0.3 * thick) if draws.happens("partial_chance") else (0.0,)
    acquired = np.empty((count, *shape), np.float32)
    images = np.zeros(SAGITTAL_SHAPE, np.uint8)
    structures, segments = np.full((2, *SAGITTAL_SHAPE), OUTSIDE, np.uint8)
    marks = np.zeros((count, len(Mark), rows // 2, columns // 2), np.float32)
    part = marks[:, :, window[0].start // 2 : window[0].stop // 2]
    part = part[..., window[1].start // 2 : window[1].stop // 2]
    places = _marks(anatomy)
    for k, plane in enumerate(planes):
        acquired[k], painted = painted_slice(anatomy, plane, shape, look, subs, rng)
        structures[k][window] = painted.structures
        segments[k][window] = painted.segments
        for mark, place in places:
            _draw_mark(part[k, mark], plane, place, look, MARK_REACH[mark], MARK_WIDTH)
    images[:, window[0], window[1]] = store(look, acquired, inside[window])
    structures[:, ~inside] = segments[:, ~inside] = OUTSIDE
    marks[:, :, ~inside[::2, ::2]] = 0
    structures[structures == Structure.FACET] = Structure.OTHER
    return SagittalSample(images, structures, segments, marks)


def _only_inside(
    planes: list[SlicePlane], inside: NDArray[np.bool_]
) -> tuple[tuple[slice, slice], list[SlicePlane]]:
    """The smallest even window around the field, and the planes cut to it."""
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    top, left = int(rows[0]) // 2 * 2, int(columns[0]) // 2 * 2
    bottom, right = (int(i[-1]) // 2 * 2 + 2 for i in (rows, columns))
    moved = [
        SlicePlane(_triple(p.to_patient(np.array([left, top]))), p.row, p.column, p.spacing)
        for p in planes
    ]
    return (slice(top, bottom), slice(left, right)), moved


def axial_sample(seed: int, number: int) -> AxialSample:
    """Render sample ``number`` of a stream of axial slices."""
    rng = np.random.default_rng([seed, number, 12])
    anatomy, draws = sample_anatomy(rng), Draws(rng, "image")
    level = list(Level)[int(rng.integers(5))]
    if rng.random() < NARROWEST:
        level = min(Level, key=lambda one: anatomy.cells[LEVEL_CELL[one]].sac_area)
    plane = _axial_plane(draws, anatomy, level)
    rows, columns = AXIAL_SHAPE
    look = draw_look(draws, anatomy, plane, AXIAL_SHAPE, AXIAL_MM)
    thick = draws.number("thickness") * draws.number("interval")
    subs = (-0.3 * thick, 0.3 * thick) if draws.happens("partial_chance") else (0.0,)
    image, painted = painted_slice(anatomy, plane, AXIAL_SHAPE, look, subs, rng)
    found = painted.structures
    found = np.where(found == Structure.SACRUM, np.uint8(Structure.BODY), found)
    structures = np.zeros(AXIAL_SHAPE, np.uint8)
    for index, structure in enumerate(AXIAL_STRUCTURES):
        structures[found == structure] = index
    recesses = np.zeros((2, rows // 2, columns // 2), np.float32)
    for k, side in enumerate(Side):
        place = anatomy.landmark(Target(Condition.SUBARTICULAR, level, side))
        _draw_mark(recesses[k], plane, place, look, RECESS_REACH, RECESS_WIDTH)
    inside = np.ones(AXIAL_SHAPE, np.bool_)
    return AxialSample(store(look, image[None], inside)[0], structures, recesses)


def painted_slice(
    anatomy: Anatomy,
    plane: SlicePlane,
    shape: tuple[int, int],
    look: Look,
    subs: tuple[float, ...],
    rng: np.random.Generator,
) -> tuple[Image, Painted]:
    """Paint one slice (the mean over its thickness) and acquire it; labels are of its middle."""
    images, fats, painted = [], [], None
    for offset in subs:
        moved = SlicePlane(
            _triple(np.asarray(plane.position) + plane.normal * offset),
            plane.row,
            plane.column,
            plane.spacing,
        )
        painted = paint(anatomy, moved, shape, look.values)
        images.append(painted.image)
        if look.fat is not None:
            fats.append(paint(anatomy, moved, shape, look.fat).image)
    assert painted is not None
    image = np.asarray(np.mean(images, axis=0) if len(images) > 1 else images[0], np.float32)
    fat = np.asarray(np.mean(fats, axis=0), np.float32) if fats else None
    structures, segments = painted.structures, painted.segments
    if look.warp is not None:
        x, y = look.warp
        image = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        if fat is not None:
            fat = cv2.remap(fat, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        structures = cv2.remap(structures, x, y, cv2.INTER_NEAREST)
        segments = cv2.remap(segments, x, y, cv2.INTER_NEAREST)
    stored = acquire_slice(look, np.asarray(image, np.float32), fat, rng)
    return stored, Painted(image, np.asarray(structures), np.asarray(segments))


def _marks(anatomy: Anatomy) -> list[tuple[Mark, Vector]]:
    """The marks of a patient and their places, LPS mm."""
    found: list[tuple[Mark, Vector]] = []
    for index, cell in enumerate(anatomy.cells[: SACRUM + 1]):
        upper, lower = anatomy.bodies[index], anatomy.bodies[index + 1]
        depth = 0.5 * (upper.depth * (1 - upper.taper) + lower.depth)
        found.append((Mark.DISC, anatomy.locate(index, 0, -0.5 * depth, 0)))
        if L1 - 2 <= index <= L5:
            middle = cell.sac_front + cell.sac_axes[1]
            found.append((Mark.CANAL, anatomy.locate(index, 0, middle, 0)))
        if L1 - 1 <= index <= L5:
            for sign, side in ((1, Side.LEFT), (-1, Side.RIGHT)):
                u, v, w = cell.sides[side].root
                found.append((Mark.FORAMEN, anatomy.locate(index, sign * u, v, w)))
    found += [(Mark.BODY, body.centre) for body in anatomy.bodies[: SACRUM + 2]]
    return found


def _draw_mark(
    heat: NDArray[np.float32],
    plane: SlicePlane,
    place: Vector,
    look: Look,
    reach: float,
    width: float,
) -> None:
    """Draw a mark into a map of half resolution; it falls with the distance of the slice."""
    x, y, away = (float(c) for c in plane.from_patient(place))
    strength = np.exp(-0.5 * (away / reach) ** 2)
    if strength < 0.05:
        return
    if look.warp is not None:
        x, y = _unwarped(look.warp, x, y)
    x, y, sigma = (x - 0.5) / 2, (y - 0.5) / 2, width / plane.spacing[0] / 2
    r = int(np.ceil(3 * sigma)) + 1
    x0, x1 = max(int(x) - r, 0), min(int(x) + r + 2, heat.shape[1])
    y0, y1 = max(int(y) - r, 0), min(int(y) + r + 2, heat.shape[0])
    if x1 <= x0 or y1 <= y0:
        return
    gx = np.exp(-0.5 * ((np.arange(x0, x1) - x) / sigma) ** 2)
    gy = np.exp(-0.5 * ((np.arange(y0, y1) - y) / sigma) ** 2)
    window = heat[y0:y1, x0:x1]
    np.maximum(window, (strength * np.outer(gy, gx)).astype(np.float32), out=window)


def _unwarped(warp: tuple[Image, Image], x: float, y: float) -> tuple[float, float]:
    """Where a point of the painted image lies in the warped one: warped[p] = painted[warp(p)]."""
    u, v = x, y
    for _ in range(4):
        j = int(np.clip(round(v), 0, warp[0].shape[0] - 1))
        i = int(np.clip(round(u), 0, warp[0].shape[1] - 1))
        u, v = x - (float(warp[0][j, i]) - i), y - (float(warp[1][j, i]) - j)
    return u, v


def _sagittal_planes(
    draws: Draws, anatomy: Anatomy
) -> tuple[list[SlicePlane], NDArray[np.bool_], float]:
    """Planes of neighbouring slices, the acquired field in them, and their true mm per pixel."""
    rng = draws.rng
    count, rows, columns = SAGITTAL_SHAPE
    pixel = SAGITTAL_MM * draws.number("scale")
    down, back = _directions(draws, anatomy)
    normal = np.cross(back, down)
    walls = np.array([b.wall for b in anatomy.bodies])
    lowest = np.interp(L5 + draws.number("ends_at"), np.arange(len(walls)), walls @ down)
    field = draws.number("field")
    width = field * (1 if draws.happens("wide_chance") else draws.number("narrow_field"))
    lumbar = walls[L1 : SACRUM + 1]
    across = float(lumbar.mean(0) @ back) + rng.normal(-18, 12) + draws.number("off_centre")
    centre_down, centre_back = lowest - field / 2, across
    # the window of the sample: around the field if that is smaller, anywhere in it if it is larger
    high, wide = rows * pixel, columns * pixel
    slack = max(field - high, 0) / 2, max(width - wide, 0) / 2
    window_down = (
        centre_down + slack[0] * rng.uniform(0, 1) + (rng.uniform(-8, 8) if not slack[0] else 0)
    )
    pull = float(lumbar.mean(0) @ back) - 15 - centre_back
    window_back = centre_back + np.clip(pull + rng.normal(0, 25), -slack[1], slack[1])
    offset = rng.normal(0, 5) if rng.random() < 0.5 else rng.uniform(-28, 28)
    middle = float(lumbar.mean(0) @ normal) + offset
    interval = draws.number("interval")
    planes = []
    for k in range(count):
        corner = (
            down * (window_down - high / 2 + pixel / 2)
            + back * (window_back - wide / 2 + pixel / 2)
            + normal * (middle + (k - (count - 1) / 2) * interval)
        )
        planes.append(SlicePlane(_triple(corner), _triple(back), _triple(down), (pixel, pixel)))
    y = window_down - high / 2 + (np.arange(rows) + 0.5) * pixel - centre_down
    x = window_back - wide / 2 + (np.arange(columns) + 0.5) * pixel - centre_back
    border = draws.number("border") if draws.happens("border_chance") else 0.0
    inside = np.outer(np.abs(y) < field / 2 - border, np.abs(x) < width / 2 - border)
    if not inside.any():
        inside[:] = True
    return planes, inside, pixel


def _directions(draws: Draws, anatomy: Anatomy) -> tuple[Vector, Vector]:
    """Unit vectors along the rows' order (down) and along the columns' order (back)."""
    walls = np.array([b.wall for b in anatomy.bodies[L1 : SACRUM + 1]])
    lean = np.polyfit(walls[:, 2], walls[:, 0], 1)[0]
    turn = np.deg2rad(draws.number("rotation"))
    yaw, roll = np.deg2rad(draws.number("oblique")), np.deg2rad(draws.number("oblique"))
    down = np.array([-lean + np.tan(roll), np.sin(turn), -np.cos(turn)])
    down /= np.linalg.norm(down)
    back = np.array([np.sin(yaw), np.cos(turn), np.sin(turn)])
    back -= down * (back @ down)
    back /= np.linalg.norm(back)
    return down, back


def _axial_plane(draws: Draws, anatomy: Anatomy, level: Level) -> SlicePlane:
    """A plane through a disc."""
    index = LEVEL_CELL[level]
    frame = anatomy.bodies[index].frame + anatomy.bodies[index + 1].frame
    up = frame[2] / np.linalg.norm(frame[2])
    back = frame[1] / np.linalg.norm(frame[1])
    tilt = np.deg2rad(draws.number("axial_tilt"))
    up, back = np.cos(tilt) * up + np.sin(tilt) * back, np.cos(tilt) * back - np.sin(tilt) * up
    turn = np.deg2rad(draws.number("oblique"))
    left = np.cross(back, up)
    left = left / np.linalg.norm(left)
    left, back = (
        np.cos(turn) * left + np.sin(turn) * back,
        np.cos(turn) * back - np.sin(turn) * left,
    )
    shift = draws.number("axial_shift")
    pixel = AXIAL_MM * draws.number("scale")
    middle = anatomy.landmark(Target(Condition.CANAL, level)) + up * shift
    middle = middle + left * draws.number("axial_centre") + back * draws.number("axial_centre")
    rows, columns = AXIAL_SHAPE
    corner = middle - left * pixel * (columns - 1) / 2 - back * pixel * (rows - 1) / 2
    return SlicePlane(_triple(corner), _triple(left), _triple(back), (pixel, pixel))


def draw_look(
    draws: Draws,
    anatomy: Anatomy,
    plane: SlicePlane,
    shape: tuple[int, int],
    pixel: float,
    ordering: str | None = None,
) -> Look:
    """Draw the look of a series from distances on a coarse grid; see `draw_series`."""
    rows, columns = shape
    y, x = np.mgrid[0 : rows - 1 : 9j, 0 : columns - 1 : 9j]
    points = plane.to_patient(np.stack([x, y], -1))
    walls = np.array([b.wall for b in anatomy.bodies])[::-1]
    spine = np.interp(points[..., 2], walls[:, 2], walls[:, 1])
    skin = walls[len(walls) - L1 - 5 : len(walls) - L1, 1].mean() + anatomy.back + 0.5 * anatomy.fat
    depth = skin - points[..., 1]
    front = spine - 30 - points[..., 1]
    height = points[..., 2] - points[..., 2].mean()

    def fine(coarse: Image) -> Image:
        small = np.asarray(coarse, np.float32)
        return np.asarray(cv2.resize(small, (columns, rows), interpolation=cv2.INTER_LINEAR))

    return draw_series(draws, shape, fine(depth), fine(height), fine(front), pixel, ordering)


def _triple(vector: Vector) -> tuple[float, float, float]:
    x, y, z = (float(c) for c in vector)
    return x, y, z
