"""Volumes the same way up whatever the scanner, an archive or a viewer stored.

The same image can be stored in eight ways in the plane (transposed or not, each axis in either
order) and its slices in two orders. Networks of whole series see one of these sixteen, the one in
which sagittal series of the LSDC data are stored:

* sagittal: columns to the patient's back, rows to the feet, slices from left to right.

Which turn brings an image there is decided from its plane in the patient, so that labels and
findings, which are in patient terms, keep their sides. Pixels are turned by quarters and mirrored,
which is exact: nothing is resampled. An oblique image is brought to the nearest of the eight.
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
    """How an upright image lies: patient directions (unit LPS) of its columns and rows."""

    columns: FloatArray
    rows: FloatArray

    @property
    def slices(self) -> FloatArray:
        """Direction in which the slices follow each other."""
        return np.asarray(np.cross(self.columns, self.rows))


SAGITTAL = Pose(BACK, FEET)
AXIAL = Pose(LEFT, BACK)


def pose_of(kind: SeriesKind | None) -> Pose:
    """How series of a kind are seen; sagittal where the kind is unknown."""
    return AXIAL if kind is SeriesKind.AXIAL_T2 else SAGITTAL


@dataclass(frozen=True, slots=True)
class Turn:
    """One of the eight ways to turn and mirror an image: transposed first, then reversed.

    Attributes:
        transpose: exchange rows and columns.
        columns: then reverse the order of the columns.
        rows: and that of the rows.
    """

    transpose: bool = False
    columns: bool = False
    rows: bool = False

    @classmethod
    def to(cls, pose: Pose, plane: SlicePlane) -> Turn:
        """The turn that brings an image as near to a pose as a turn can.

        Only turns after which the image faces the way of the pose count, so that an image more
        than 45 degrees oblique is never mirrored.
        """

        def nearness(turn: Turn) -> float:
            row, column = turn.axes(plane)
            faces = bool(np.cross(row, column) @ pose.slices >= 0)
            return float(row @ pose.columns + column @ pose.rows) if faces else -np.inf

        return max((cls(*each) for each in product((False, True), repeat=3)), key=nearness)

    def axes(self, plane: SlicePlane) -> tuple[FloatArray, FloatArray]:
        """Patient directions of the columns and the rows of the turned image."""
        row, column = np.array(plane.row), np.array(plane.column)
        if self.transpose:
            row, column = column, row
        return (-row if self.columns else row), (-column if self.rows else column)

    def shape(self, shape: tuple[int, int]) -> tuple[int, int]:
        """(height, width) after the turn."""
        height, width = shape
        return (width, height) if self.transpose else (height, width)

    def pixels(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A turned view of images (..., height, width); nothing is copied."""
        turned = images.swapaxes(-1, -2) if self.transpose else images
        if self.columns:
            turned = turned[..., ::-1]
        return turned[..., ::-1, :] if self.rows else turned

    def to_stored(self, shape: tuple[int, int]) -> FloatArray:
        """The 3 x 3 map from pixels of the turned image to pixels of the one that is stored.

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
        """Where the turned image of a slice lies.

        Args:
            plane: of the slice as stored.
            shape: its (height, width) as stored.
        """
        if self == Turn():
            return plane
        row, column = (tuple(axis.tolist()) for axis in self.axes(plane))
        position = tuple(plane.to_patient(self.to_stored(shape)[:2, 2]).tolist())
        dy, dx = plane.spacing
        return SlicePlane(position, row, column, (dx, dy) if self.transpose else (dy, dx))


@dataclass(frozen=True, eq=False, slots=True)
class SliceMaps:
    """Where the slices of a stack come from, when a volume was turned, resampled or cut.

    Attributes:
        zs: int (D,) slice of the volume that each slice of the stack shows.
        matrices: (D, 3, 3) maps from pixels of each slice of the stack to native pixels.
    """

    zs: NDArray[np.intp]
    matrices: FloatArray

    def after(self, matrix: FloatArray, start: int = 0, stop: int | None = None) -> SliceMaps:
        """The maps of some of the slices, resampled: ``matrix`` leads from the result here."""
        return SliceMaps(self.zs[start:stop], self.matrices[start:stop] @ matrix)

    def reversed(self) -> SliceMaps:
        """The maps of the slices in opposite order."""
        return SliceMaps(self.zs[::-1], self.matrices[::-1])

    def to_native(self, points: ArrayLike) -> FloatArray:
        """Points (P, 3), pixels and slice of the stack, as native voxels.

        Slice coordinates between two slices that are neighbours in the volume, too, are
        interpolated; others are taken to the nearest slice.
        """
        return self._moved(np.asarray(points, float), self.zs.astype(float), self.matrices)

    def from_native(self, voxels: ArrayLike) -> FloatArray:
        """Native voxels (P, 3) as pixels and slice of the stack; NaN on a slice it lacks."""
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
            mine = nearest == at
            moved[mine, :2] = apply_homography(matrices[at], points[mine, :2])
        moved[np.isnan(z)] = np.nan
        return moved


@dataclass(frozen=True, eq=False, slots=True)
class Upright:
    """How a volume is brought upright.

    Every orientation group (stack) of a series is turned on its own, since each may be stored in
    its own way. Where nothing has to be turned or reversed, the volume stays exactly as it is.
    Otherwise its stacks follow each other by the place of their first slice along the patient
    axis across them, ascending, as the reader orders the stacks of a series that is stored upright.

    Attributes:
        turns: of each slice of the volume, in its order.
        shape: (height, width) of the upright images.
        maps: the slices in upright order, and their maps to native pixels.
        padded: whether slices differ in size, so that smaller ones are continued at the edges.
    """

    turns: tuple[Turn, ...]
    shape: tuple[int, int]
    maps: SliceMaps
    padded: bool

    @classmethod
    def of(cls, volume: Volume, pose: Pose = SAGITTAL) -> Upright:
        """Decide from the planes of a volume how it is brought to a pose."""
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
        """Whether the volume is upright as it is stored."""
        return set(self.turns) == {Turn()} and bool((np.diff(self.maps.zs) > 0).all())

    def pixels(self, volume: Volume) -> NDArray[np.uint8]:
        """The volume upright, uint8 (D, H, W); a view where no slice has to be padded anew."""
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
        """Slice ``z`` of the volume upright, uint8 (H, W)."""
        if self.unchanged:
            return np.asarray(volume.pixels[z])
        height, width = volume.slices[z].shape
        turned = self.turns[z].pixels(volume.pixels[z, :height, :width])
        return np.asarray(padded(turned, *self.shape))

    def volume(self, volume: Volume) -> Volume:
        """The volume as if it had been stored upright."""
        if self.unchanged:
            return volume
        slices = tuple(
            replace(s, plane=self.plane(volume, z), shape=self.turns[z].shape(s.shape))
            for z in self.maps.zs.tolist()
            for s in [volume.slices[z]]
        )
        return replace(volume, pixels=self.pixels(volume), slices=slices)

    def plane(self, volume: Volume, z: int) -> SlicePlane:
        """Where the upright image of slice ``z`` lies."""
        s = volume.slices[z]
        return self.turns[z].plane(s.plane, s.shape)

    def to_stored(self, volume: Volume, z: int) -> FloatArray:
        """The 3 x 3 map from pixels of the upright image of slice ``z`` to native ones."""
        return self.turns[z].to_stored(volume.slices[z].shape)

    def points(self, voxels: NDArray[Floating]) -> NDArray[Floating]:
        """Native voxels (P, 3) as pixels and slice of the upright volume."""
        return voxels if self.unchanged else self.maps.from_native(voxels).astype(voxels.dtype)


def _stacks(volume: Volume, pose: Pose) -> Iterator[tuple[Turn, list[int]]]:
    """Each stack of a volume: how it is turned, and its slices in upright order."""
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
