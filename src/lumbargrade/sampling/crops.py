"""Crops around a point: a few neighbouring slices, resampled in mm, always in one orientation.

A crop has the same orientation however the scanner stored the slices:

* sagittal: columns to the back, rows downwards, slices from medial to lateral;
* axial: columns to the lateral side, rows to the back, slices from top to bottom.

"Medial" and "lateral" depend on the side of the crop. A crop of the right side is mirrored, so that
it looks like a crop of the left side and one network reads both sides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lumbargrade.domain.geometry import FloatArray, SlicePlane
from lumbargrade.domain.upright import AXIAL, BACK, FEET, LEFT, SAGITTAL, Pose, Upright
from lumbargrade.domain.vocabulary import Side
from lumbargrade.domain.volume import Volume
from lumbargrade.sampling.series import warp_volume


@dataclass(frozen=True, slots=True)
class CropGrid:
    """Size of a crop.

    Attributes:
        size: side in pixels.
        mm: side in millimetres.
        neighbours: slices on each side of the one in the middle.
    """

    size: int
    mm: float
    neighbours: int

    @property
    def slices(self) -> int:
        return 2 * self.neighbours + 1

    @property
    def spacing(self) -> float:
        """Millimetres per pixel."""
        return self.mm / self.size


@dataclass(frozen=True, slots=True)
class View:
    """The orientation of a crop: patient directions of its columns, rows and slices.

    Attributes:
        pose: the pose of an upright slice; a crop has this pose or is its mirror image.
        columns, rows, slices: unit LPS.
    """

    pose: Pose
    columns: FloatArray
    rows: FloatArray
    slices: FloatArray

    @classmethod
    def sagittal(cls, side: Side) -> View:
        return cls(SAGITTAL, BACK, FEET, _lateral(side))

    @classmethod
    def axial(cls, side: Side) -> View:
        return cls(AXIAL, _lateral(side), BACK, FEET)


def _lateral(side: Side) -> FloatArray:
    return LEFT if side is Side.LEFT else np.negative(LEFT)


@dataclass(frozen=True, eq=False, slots=True)
class Crop:
    """A crop of D slices, each S x S pixels.

    Attributes:
        image: uint8 (D, S, S); slices that do not exist are black.
        valid: bool (D,), False for slices beyond the end of the stack.
        zs: int (D,) slice index in the volume; -1 for slices that do not exist.
        to_native: (D, 3, 3), crop pixels to native pixels of each slice.
        series_id: the series that it was cut from.
    """

    image: NDArray[np.uint8]
    valid: NDArray[np.bool_]
    zs: NDArray[np.int64]
    to_native: FloatArray
    series_id: str

    def reversed(self) -> Crop:
        """Return the slices in opposite order: the crop of the other side of a midline point."""
        return Crop(
            self.image[::-1], self.valid[::-1], self.zs[::-1], self.to_native[::-1], self.series_id
        )


def empty_crop(grid: CropGrid) -> Crop:
    """Return a crop without a valid slice, for a place where none could be cut."""
    count = grid.slices
    return Crop(
        np.zeros((count, grid.size, grid.size), np.uint8),
        np.zeros(count, bool),
        np.full(count, -1),
        np.tile(np.eye(3), (count, 1, 1)),
        "",
    )


def cut_crop(
    volume: Volume,
    middle: int,
    centre: ArrayLike,
    grid: CropGrid,
    view: View,
    *,
    offset: tuple[float, float] = (0.0, 0.0),
    turn: float = 0.0,
    zoom: float = 1.0,
) -> Crop:
    """Cut a crop around a point.

    Slices are turned upright before they are resampled, so the crop is the same to the pixel in
    whatever orientation they are stored.

    Args:
        volume: the series.
        middle: index of the middle slice; neighbours come from its stack.
        centre: (3,) LPS mm; every slice is centred on the point's projection into it.
        grid: size.
        view: its orientation.
        offset: moves the crop along its columns and rows, mm.
        turn: rotation in the plane, degrees.
        zoom: magnification.
    """
    crop = empty_crop(grid)
    zs, valid = crop.zs.copy(), crop.valid.copy()
    to_native, image = crop.to_native.copy(), crop.image.copy()
    upright = Upright.of(volume, view.pose)
    for place, z in enumerate(_neighbours(volume, middle, grid.neighbours, view.slices)):
        if z < 0:
            continue
        plane = upright.plane(volume, z)
        matrix = _crop_to_upright(plane, centre, grid, view, offset, turn, zoom)
        zs[place], valid[place], to_native[place] = z, True, upright.to_stored(volume, z) @ matrix
        pixels = upright.image(volume, z)[None]
        image[place] = warp_volume(pixels, np.asarray(np.linalg.inv(matrix), float), grid.size)[0]
    return Crop(image, valid, zs, to_native, volume.series_id)


def _neighbours(volume: Volume, middle: int, count: int, direction: FloatArray) -> list[int]:
    """Return indices of the slices around the middle one; -1 beyond the end of the stack."""
    group = volume.slices[middle].group
    stack = [z for z, s in enumerate(volume.slices) if s.group == group]
    normal = volume.slices[middle].plane.normal
    across = normal if normal @ direction >= 0 else -normal
    along = [float(np.asarray(volume.slices[z].plane.position) @ across) for z in stack]
    stack = [stack[i] for i in np.argsort(along, kind="stable")]
    at = stack.index(middle)
    return [stack[i] if 0 <= i < len(stack) else -1 for i in range(at - count, at + count + 1)]


def _crop_to_upright(
    plane: SlicePlane,
    centre: ArrayLike,
    grid: CropGrid,
    view: View,
    offset: tuple[float, float],
    turn: float,
    zoom: float,
) -> FloatArray:
    """Return the 3 x 3 map from crop pixels to pixels of an upright slice in ``plane``.

    The crop's axes are those of the slice or their mirror image, so the crop stays in the slice's
    plane.
    """
    row, column = np.asarray(plane.row), np.asarray(plane.column)
    u = row if view.columns @ view.pose.columns > 0 else -row
    v = column if view.rows @ view.pose.rows > 0 else -column
    dy, dx = plane.spacing
    native = np.array([[u @ row / dx, v @ row / dx], [u @ column / dy, v @ column / dy]])
    angle = np.deg2rad(turn)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = native @ rotation * (grid.spacing / zoom)
    origin = plane.from_patient(centre)[:2] + native @ np.asarray(offset, float)
    middle = np.full(2, (grid.size - 1) / 2)
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = linear, origin - linear @ middle
    return matrix
