"""Training samples rendered straight to arrays, without DICOM: the phantom stream.

A sample depends only on the stream's seed and its number. Anatomy, contrast, acquisition and field
are drawn from the table of ranges (`randomisation.toml`); labels are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.geometry import SlicePlane
from lumbargrade.domain.outlines import (
    AXIAL_MM,
    AXIAL_SIZE,
    AXIAL_STRUCTURES,
    SAGITTAL_MM,
    Mark,
    Structure,
)
from lumbargrade.domain.vocabulary import Condition, Level, Side, Target
from lumbargrade.phantom.acquisition import Look, acquire_slice, draw_series, store
from lumbargrade.phantom.anatomy import L1, L5, LEVEL_CELL, SACRUM, Anatomy, Vector, sample_anatomy
from lumbargrade.phantom.paint import paint_slices
from lumbargrade.phantom.ranges import Draws
from lumbargrade.phantom.tissue import Image

#: Raised when the same seed and number give another sample.
STREAM_VERSION = 8

#: Slices, rows and columns of a sagittal sample.
SAGITTAL_SHAPE = (3, 224, 160)
#: Rows and columns of an axial sample.
AXIAL_SHAPE = (AXIAL_SIZE, AXIAL_SIZE)
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
    parts = paint_parts(anatomy, planes, shape, look, _offsets(draws))
    acquired = np.empty((count, *shape), np.float32)
    images = np.zeros(SAGITTAL_SHAPE, np.uint8)
    structures, segments = np.full((2, *SAGITTAL_SHAPE), OUTSIDE, np.uint8)
    marks = np.zeros((count, len(Mark), rows // 2, columns // 2), np.float32)
    part = marks[:, :, window[0].start // 2 : window[0].stop // 2]
    part = part[..., window[1].start // 2 : window[1].stop // 2]
    kinds, places = zip(*_marks(anatomy), strict=True)
    reach = np.array([MARK_REACH[mark] for mark in kinds])
    for k, plane in enumerate(planes):
        acquired[k], structures[k][window], segments[k][window] = acquire_part(look, parts[k], rng)
        _draw_marks(part[k], plane, kinds, np.array(places), look, reach, MARK_WIDTH)
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
    (part,) = paint_parts(anatomy, [plane], AXIAL_SHAPE, look, _offsets(draws))
    image, found, _ = acquire_part(look, part, rng)
    found = np.where(found == Structure.SACRUM, np.uint8(Structure.BODY), found)
    structures = np.zeros(AXIAL_SHAPE, np.uint8)
    for index, structure in enumerate(AXIAL_STRUCTURES):
        structures[found == structure] = index
    recesses = np.zeros((2, rows // 2, columns // 2), np.float32)
    places = [anatomy.landmark(Target(Condition.SUBARTICULAR, level, side)) for side in Side]
    reach = np.full(2, RECESS_REACH)
    _draw_marks(recesses, plane, (0, 1), np.array(places), look, reach, RECESS_WIDTH)
    inside = np.ones(AXIAL_SHAPE, np.bool_)
    return AxialSample(store(look, image[None], inside)[0], structures, recesses)


def _offsets(draws: Draws) -> tuple[float, ...]:
    """Draw the thickness of slices and return `draw_offsets` for it."""
    return draw_offsets(draws, draws.number("thickness") * draws.number("interval"))


def draw_offsets(draws: Draws, thickness: float) -> tuple[float, ...]:
    """Draw the distances (mm) of the planes over whose mean a slice is painted.

    The middle one is 0; without partial volume it is the only one.
    """
    third = thickness / 3
    return (-third, 0.0, third) if draws.happens("partial_chance") else (0.0,)


@dataclass(frozen=True, slots=True)
class Part:
    """A painted slice: its image, the fat in it (if fat is shifted), and the labels, (H, W)."""

    image: Image
    fat: Image | None
    structures: NDArray[np.uint8]
    segments: NDArray[np.uint8]


def paint_parts(
    anatomy: Anatomy,
    planes: list[SlicePlane],
    shape: tuple[int, int],
    look: Look,
    offsets: tuple[float, ...],
) -> list[Part]:
    """Paint slices: images are means over the thickness, labels are those of the middle."""
    moved = [
        SlicePlane(_triple(np.asarray(p.position) + p.normal * o), p.row, p.column, p.spacing)
        for p in planes
        for o in offsets
    ]

    def mean(images: Image) -> Image:
        return np.asarray(images.reshape(len(planes), len(offsets), *shape).mean(1), np.float32)

    painted = paint_slices(anatomy, moved, shape, look.values)
    images = mean(painted.image)
    fats: Image | list[None] = [None] * len(planes)
    if look.fat is not None:
        fats = mean(paint_slices(anatomy, moved, shape, look.fat).image)
    middle = slice(len(offsets) // 2, None, len(offsets))
    labels = painted.structures[middle], painted.segments[middle]
    return [Part(*parts) for parts in zip(images, fats, *labels, strict=True)]


def acquire_part(
    look: Look, part: Part, rng: np.random.Generator
) -> tuple[Image, NDArray[np.uint8], NDArray[np.uint8]]:
    """Warp and acquire a slice: its image before scaling, its structures, its segments."""
    if look.warp is None:
        return acquire_slice(look, part.image, part.fat, rng), part.structures, part.segments
    x, y = look.warp

    def warped(array: Image | NDArray[np.uint8], how: int) -> Any:
        return cv2.remap(array, x, y, how, borderMode=cv2.BORDER_REPLICATE)

    image = warped(part.image, cv2.INTER_LINEAR)
    fat = None if part.fat is None else warped(part.fat, cv2.INTER_LINEAR)
    structures = warped(part.structures, cv2.INTER_NEAREST)
    segments = warped(part.segments, cv2.INTER_NEAREST)
    return acquire_slice(look, image, fat, rng), structures, segments


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


def _draw_marks(
    heat: NDArray[np.float32],
    plane: SlicePlane,
    channels: Sequence[int],
    places: Vector,
    look: Look,
    reach: Vector,
    width: float,
) -> None:
    """Draw marks into maps of half resolution; they fall with the distance of the slice.

    Args:
        heat: (C, h, w), drawn in place.
        plane: of the slice.
        channels: map of each mark, (P,).
        places: LPS mm, (P, 3).
        look: of the series; its warp moves the marks.
        reach: standard deviation across slices, mm, (P,).
        width: standard deviation in the plane, mm.
    """
    x, y, away = plane.from_patient(places).T
    strength = np.exp(-0.5 * (away / reach) ** 2)
    if look.warp is not None:
        x, y = _unwarped(look.warp, x, y)
    x, y, sigma = (x - 0.5) / 2, (y - 0.5) / 2, width / plane.spacing[0] / 2
    rows, columns = heat.shape[1:]
    r = int(np.ceil(3 * sigma)) + 1
    across = np.exp(-0.5 * ((np.arange(columns) - x[:, None]) / sigma) ** 2) * strength[:, None]
    down = np.exp(-0.5 * ((np.arange(rows) - y[:, None]) / sigma) ** 2)
    across, down = across.astype(np.float32), down.astype(np.float32)
    for i in np.flatnonzero(strength >= 0.05).tolist():
        left, top = int(x[i]) - r, int(y[i]) - r
        h = slice(max(left, 0), max(left + 2 * r + 2, 0))
        v = slice(max(top, 0), max(top + 2 * r + 2, 0))
        drawn = heat[channels[i], v, h]
        np.maximum(drawn, np.outer(down[i, v], across[i, h]), out=drawn)


def _unwarped(warp: tuple[Image, Image], x: Vector, y: Vector) -> tuple[Vector, Vector]:
    """Where points of the painted image lie in the warped one: warped[p] = painted[warp(p)]."""
    rows, columns = warp[0].shape
    u, v = x, y
    for _ in range(4):
        j = np.clip(np.rint(v), 0, rows - 1).astype(int)
        i = np.clip(np.rint(u), 0, columns - 1).astype(int)
        u, v = x - (warp[0][j, i] - i), y - (warp[1][j, i] - j)
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
