"""Bring volumes into one orientation, however they were stored.

An image can be stored in eight ways in the plane (transposed or not, each axis in either order),
and its slices in two orders. Networks for whole series always see the orientation in which the
sagittal LSDC series are stored: columns run to the patient's back, rows to the feet, slices from
left to right.

The turn is chosen from the slice plane in patient space, so that labels and findings keep their
sides. Pixels are only rotated by 90 degrees or mirrored, which is exact: nothing is resampled. An
oblique image gets the nearest of the eight turns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lumbargrade.domain.geometry import FloatArray, SlicePlane, apply_homography
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.domain.volume import Volume, padded

Floating = TypeVar("Floating", bound=np.floating)

LEFT: FloatArray = np.array([1.0, 0.0, 0.0])
BACK: FloatArray = np.array([0.0, 1.0, 0.0])
FEET: FloatArray = np.array([0.0, 0.0, -1.0])


@dataclass(frozen=True, eq=False, slots=True)
class Pose:
    """Patient directions (unit LPS) in which the columns and rows of an upright image run."""

    columns: FloatArray
    rows: FloatArray

    @property
    def slices(self) -> FloatArray:
        """Direction in which the slice index increases."""
        return np.asarray(np.cross(self.columns, self.rows))


SAGITTAL = Pose(BACK, FEET)
AXIAL = Pose(LEFT, BACK)


def pose_of(kind: SeriesKind | None) -> Pose:
    """Return the pose for series of a kind; sagittal if the kind is unknown."""
    return AXIAL if kind is SeriesKind.AXIAL_T2 else SAGITTAL


@dataclass(frozen=True, slots=True)
class Turn:
    """One of the eight ways to turn and mirror an image.

    Attributes:
        transpose: exchange rows and columns; this is done first.
        columns: reverse the order of the columns.
        rows: reverse the order of the rows.
    """

    transpose: bool = False
    columns: bool = False
    rows: bool = False

    @classmethod
    def to(cls, pose: Pose, plane: SlicePlane) -> Turn:
        """Return the turn that brings an image nearest to a pose.

        Only turns that give the slice normal the direction of the pose are considered, so that an
        image more than 45 degrees oblique is never mirrored.
        """

        def nearness(turn: Turn) -> float:
            row, column = turn.axes(plane)
            faces = bool(np.cross(row, column) @ pose.slices >= 0)
            return float(row @ pose.columns + column @ pose.rows) if faces else -np.inf

        return max((cls(*each) for each in product((False, True), repeat=3)), key=nearness)

    def axes(self, plane: SlicePlane) -> tuple[FloatArray, FloatArray]:
        """Return the patient directions of the columns and rows of the turned image."""
        row, column = np.array(plane.row), np.array(plane.column)
        if self.transpose:
            row, column = column, row
        return (-row if self.columns else row), (-column if self.rows else column)

    def shape(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Return (height, width) after the turn."""
        height, width = shape
        return (width, height) if self.transpose else (height, width)

    def pixels(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turn images (..., height, width); the result is a view, not a copy."""
        turned = images.swapaxes(-1, -2) if self.transpose else images
        if self.columns:
            turned = turned[..., ::-1]
        return turned[..., ::-1, :] if self.rows else turned

    def to_stored(self, shape: tuple[int, int]) -> FloatArray:
        """Return the 3 x 3 map from pixels of the turned image to pixels of the stored image.

        Args:
            shape: (height, width) as stored.
        """
        height, width = self.shape(shape)
        matrix = np.eye(3)
        if self.columns:
            matrix[0] = -1, 0, width - 1
        if self.rows:
            matrix[1] = 0, -1, height - 1
        return matrix[[1, 0, 2]] if self.transpose else matrix

    def plane(self, plane: SlicePlane, shape: tuple[int, int]) -> SlicePlane:
        """Return the plane of a slice after the turn.

        Args:
            plane: plane of the slice as stored.
            shape: (height, width) of the slice as stored.
        """
        if self == Turn():
            return plane
        row, column = (tuple(axis.tolist()) for axis in self.axes(plane))
        position = tuple(plane.to_patient(self.to_stored(shape)[:2, 2]).tolist())
        dy, dx = plane.spacing
        return SlicePlane(position, row, column, (dx, dy) if self.transpose else (dy, dx))


@dataclass(frozen=True, eq=False, slots=True)
class SliceMaps:
    """Maps from the slices of a turned, resampled or cropped stack back to its volume.

    Attributes:
        zs: int (D,) slice of the volume that each slice of the stack shows.
        matrices: (D, 3, 3) maps from pixels of each slice of the stack to native pixels.
    """

    zs: NDArray[np.intp]
    matrices: FloatArray

    def after(self, matrix: FloatArray, start: int = 0, stop: int | None = None) -> SliceMaps:
        """Return the maps after resampling slices ``start`` to ``stop``.

        Args:
            matrix: 3 x 3 map from pixels of the resampled slices to pixels of this stack.
            start, stop: the slices that are kept.
        """
        return SliceMaps(self.zs[start:stop], self.matrices[start:stop] @ matrix)

    def reversed(self) -> SliceMaps:
        """Return the maps of the slices in reverse order."""
        return SliceMaps(self.zs[::-1], self.matrices[::-1])

    def to_native(self, points: ArrayLike) -> FloatArray:
        """Convert points (P, 3), pixels and slice of the stack, to native voxels.

        A slice coordinate between two slices is interpolated if these are also neighbours in the
        volume. Otherwise the nearest slice is taken.
        """
        return self._moved(np.asarray(points, float), self.zs.astype(float), self.matrices)

    def from_native(self, voxels: ArrayLike) -> FloatArray:
        """Convert native voxels (P, 3) to pixels and slice of the stack.

        Voxels on slices that the stack lacks become NaN.
        """
        places = np.full(int(self.zs.max()) + 1, np.nan)
        places[self.zs] = np.arange(len(self.zs))
        inverse = np.full((len(places), 3, 3), np.nan)
        inverse[self.zs] = np.linalg.inv(self.matrices)
        return self._moved(np.asarray(voxels, float), places, inverse)

    @staticmethod
    def _moved(points: FloatArray, places: FloatArray, matrices: FloatArray) -> FloatArray:
        moved = np.full(points.shape, np.nan)
        z = points[:, 2]
        inside = np.clip(np.nan_to_num(z), 0, len(places) - 1)
        low = np.floor(inside).astype(int)
        high = np.minimum(low + 1, len(places) - 1)
        nearest = np.floor(inside + 0.5).astype(int)
        beside = np.abs(places[high] - places[low]) == 1
        between = places[low] + (inside - low) * (places[high] - places[low])
        moved[:, 2] = np.where(beside, between, places[nearest])
        for at in np.unique(nearest):
            there = nearest == at
            moved[there, :2] = apply_homography(matrices[at], points[there, :2])
        moved[np.isnan(z)] = np.nan
        return moved


@dataclass(frozen=True, eq=False, slots=True)
class Upright:
    """The turns and slice order that bring a volume upright.

    Every orientation group (stack) of a series is turned separately, because each may be stored
    differently. If nothing has to be turned or reversed, the volume stays exactly as it is.
    Otherwise the stacks are sorted by the position of their first slice along the patient axis
    across them, ascending: the order of a series that was stored upright.

    Attributes:
        turns: turn of each slice, in the order of the volume.
        shape: (height, width) of the upright images.
        maps: the slices in upright order, and their maps to native pixels.
        padded: whether slices differ in size, so that smaller ones are padded by reflection.
    """

    turns: tuple[Turn, ...]
    shape: tuple[int, int]
    maps: SliceMaps
    padded: bool

    @classmethod
    def of(cls, volume: Volume, pose: Pose = SAGITTAL) -> Upright:
        """Choose the turns that bring a volume to a pose, from its slice planes."""
        stacks = list(_stacks(volume, pose))
        plain = all(turn == Turn() and zs[0] <= zs[-1] for turn, zs in stacks)
        if not plain:
            axis = int(np.argmax(np.abs(pose.slices)))
            stacks.sort(key=lambda stack: _first_position(volume, *stack)[axis])
        turns = {z: turn for turn, zs in stacks for z in zs}
        in_order = tuple(turns[z] for z in range(len(volume.slices)))
        shapes = [s.shape for s in volume.slices]
        order = np.arange(len(in_order)) if plain else np.array([z for _, zs in stacks for z in zs])
        height, width = volume.pixels.shape[1:]
        if not plain:
            sizes = [turn.shape(s) for turn, s in zip(in_order, shapes, strict=True)]
            height, width = np.max(sizes, axis=0).tolist()
        matrices = np.array([turns[z].to_stored(shapes[z]) for z in order.tolist()])
        differ = len({*shapes, volume.pixels.shape[1:]}) > 1
        return cls(in_order, (height, width), SliceMaps(order, matrices), differ)

    @property
    def unchanged(self) -> bool:
        """Whether the volume is already stored upright."""
        return set(self.turns) == {Turn()} and bool((np.diff(self.maps.zs) > 0).all())

    def pixels(self, volume: Volume) -> NDArray[np.uint8]:
        """Return the upright pixels, uint8 (D, H, W); a view unless slices must be padded."""
        if self.unchanged:
            return volume.pixels
        if self.padded or len(set(self.turns)) > 1:
            return np.stack([self.image(volume, z) for z in self.maps.zs.tolist()])
        turned = self.turns[0].pixels(volume.pixels)
        steps = set(np.diff(self.maps.zs).tolist())
        if steps <= {1}:
            return turned
        return turned[::-1] if steps == {-1} else turned[self.maps.zs]

    def image(self, volume: Volume, z: int) -> NDArray[np.uint8]:
        """Return slice ``z`` of the volume upright, uint8 (H, W)."""
        if self.unchanged:
            return np.asarray(volume.pixels[z])
        height, width = volume.slices[z].shape
        turned = self.turns[z].pixels(volume.pixels[z, :height, :width])
        return np.asarray(padded(turned, *self.shape))

    def volume(self, volume: Volume) -> Volume:
        """Return the volume as if it had been stored upright."""
        if self.unchanged:
            return volume
        slices = tuple(
            replace(s, plane=self.plane(volume, z), shape=self.turns[z].shape(s.shape))
            for z in self.maps.zs.tolist()
            for s in [volume.slices[z]]
        )
        return replace(volume, pixels=self.pixels(volume), slices=slices)

    def plane(self, volume: Volume, z: int) -> SlicePlane:
        """Return the plane of the upright image of slice ``z``."""
        s = volume.slices[z]
        return self.turns[z].plane(s.plane, s.shape)

    def to_stored(self, volume: Volume, z: int) -> FloatArray:
        """Return the 3 x 3 map from pixels of the upright image of slice ``z`` to native pixels."""
        return self.turns[z].to_stored(volume.slices[z].shape)

    def points(self, voxels: NDArray[Floating]) -> NDArray[Floating]:
        """Convert native voxels (P, 3) to pixels and slice of the upright volume."""
        return voxels if self.unchanged else self.maps.from_native(voxels).astype(voxels.dtype)


def _stacks(volume: Volume, pose: Pose) -> Iterator[tuple[Turn, list[int]]]:
    """Yield each stack of a volume as its turn and its slices in upright order."""
    groups = np.array([s.group for s in volume.slices])
    for group in dict.fromkeys(groups.tolist()):
        zs = np.flatnonzero(groups == group).tolist()
        plane = volume.slices[zs[0]].plane
        turn = Turn.to(pose, plane)
        across = np.cross(*turn.axes(plane))
        step = np.subtract(volume.slices[zs[-1]].plane.position, plane.position)
        yield turn, (zs[::-1] if step @ across < 0 else zs)


def _first_position(volume: Volume, turn: Turn, zs: list[int]) -> tuple[float, float, float]:
    first = volume.slices[zs[0]]
    return turn.plane(first.plane, first.shape).position
