"""A series as a stack of uint8 slices with their positions in the patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lumbargrade.domain.geometry import FloatArray, SlicePlane, triple
from lumbargrade.domain.point import Point
from lumbargrade.domain.vocabulary import SeriesKind, Target

#: Slice coordinates this close to halfway between two slices count as halfway.
_MIDWAY = 1e-6


@dataclass(frozen=True, slots=True)
class VolumeSlice:
    """Metadata of one slice of a volume.

    Attributes:
        instance_number: in the LSDC layout the number in the file name, which the LSDC tables use;
            otherwise DICOM InstanceNumber.
        plane: its plane in the patient.
        group: index of its orientation group (stack) in the series.
        shape: (height, width) of the image before padding to the volume's size.
        file: name of the source file, relative to the series folder.
        sop_instance_uid: SOPInstanceUID of the source image, empty if unknown.
    """

    instance_number: int
    plane: SlicePlane
    group: int
    shape: tuple[int, int]
    file: str = ""
    sop_instance_uid: str = ""


@dataclass(frozen=True, slots=True)
class Volume:
    """All slices of a series in spatial order, group after group.

    Attributes:
        pixels: uint8 (D, H, W); may be memory-mapped.
        slices: one per index of the first axis.
        study_id, series_id: as in the tables (or the DICOM UIDs).
        kind: one of the three kinds, or None if unknown.
        frame_of_reference: FrameOfReferenceUID, empty if unknown.
        files: the file of each slice, for models that read stored values; empty if unknown. Files
            that were fetched from a URL are gone when the study has been read.
    """

    pixels: NDArray[np.uint8]
    slices: tuple[VolumeSlice, ...]
    study_id: str
    series_id: str
    kind: SeriesKind | None = None
    frame_of_reference: str = ""
    files: tuple[Path, ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or len(self.slices) != self.pixels.shape[0]:
            raise ValueError(
                f"series {self.series_id}: {len(self.slices)} slices for array {self.pixels.shape}"
            )

    def slice_of_instance(self, instance_number: int) -> int:
        """Return the slice index z of an instance number.

        Raises:
            KeyError: if no slice has that instance number.
        """
        for z, s in enumerate(self.slices):
            if s.instance_number == instance_number:
                return z
        raise KeyError(f"series {self.series_id} has no instance {instance_number}")

    def nearest_slices(self, z: ArrayLike) -> NDArray[np.intp]:
        """Return the index of the slice nearest to each slice coordinate (N,).

        Coordinates beyond the volume give the first or last slice. Halfway between two slices, the
        one further to the patient's left, back or head is taken, so that the choice does not depend
        on the order of the slices.
        """
        last = len(self.slices) - 1
        inside = np.clip(np.nan_to_num(np.asarray(z, float)), 0, last)
        low = np.floor(inside).astype(int)
        high = np.minimum(low + 1, last)
        position = np.array([s.plane.position for s in self.slices], float)
        step = position[high] - position[low]
        along = step[np.arange(len(step)), np.abs(step).argmax(axis=1)]
        beyond = inside - low - 0.5
        upper = np.where(np.abs(beyond) < _MIDWAY, along > 0, beyond > 0)
        return np.asarray(np.where(upper, high, low))

    def to_patient(self, xyz: ArrayLike) -> FloatArray:
        """Convert voxels ``(..., 3)`` = (x, y, z) to LPS mm.

        A fractional z is interpolated inside its group. Between two groups, and outside the volume,
        the plane of the nearest slice is used. NaN stays NaN.
        """
        points = np.asarray(xyz, float)
        flat = points.reshape(-1, 3)
        last = len(self.slices) - 1
        z = np.clip(np.nan_to_num(flat[:, 2]), 0, last)
        low = np.floor(z).astype(int)
        high = np.minimum(low + 1, last)
        groups = np.array([s.group for s in self.slices])
        nearest = np.rint(z).astype(int)
        across = groups[low] != groups[high]
        low, high = np.where(across, nearest, low), np.where(across, nearest, high)
        t = np.where(high > low, z - low, 0.0)[:, None]
        planes = _Planes.of(self.slices)
        out = (1 - t) * planes.to_patient(flat, low) + t * planes.to_patient(flat, high)
        out[np.isnan(flat[:, 2])] = np.nan
        return np.asarray(out.reshape(points.shape))

    def in_slices(self, lps: ArrayLike) -> FloatArray:
        """Convert LPS mm (N, 3) to x px, y px and signed distance mm in every slice, (N, D, 3).

        Distances are positive along the slice normal (row x column).
        """
        return _Planes.of(self.slices).from_patient(np.asarray(lps, float).reshape(-1, 3))

    def corners(self) -> FloatArray:
        """Return the four corners (pixel edges) of every slice's image, LPS mm (D, 4, 3)."""
        edges = [
            s.plane.to_patient([(x, y) for y in (-0.5, h - 0.5) for x in (-0.5, w - 0.5)])
            for s in self.slices
            for h, w in [s.shape]
        ]
        return np.asarray(edges)

    def from_patient(self, lps: ArrayLike) -> FloatArray:
        """Convert LPS mm ``(..., 3)`` to voxels (x, y, z): the inverse of :meth:`to_patient`.

        The group whose image is nearest to the point is used. The distance is to the rectangle of
        the image, not to its infinite plane, because tilted stacks cross. z is fractional between
        the two slices around the point and clamped to the ends of the group. Slices of a group must
        be in spatial order, ascending or descending.
        """
        points = np.asarray(lps, float)
        flat = points.reshape(-1, 3)
        planes = _Planes.of(self.slices)
        local = planes.from_patient(flat)
        groups = np.array([s.group for s in self.slices])
        nearest = np.argmin(np.nan_to_num(planes.distance(local), nan=0.0), axis=1)
        out = np.empty_like(flat)
        for group in np.unique(groups[nearest]):
            chosen = groups[nearest] == group
            out[chosen] = _between_slices(local[chosen], planes, np.flatnonzero(groups == group))
        return out.reshape(points.shape)


@dataclass(frozen=True, slots=True)
class _Planes:
    """All slice planes as arrays over slices: (D, 3), and spacing (D, 2) as (dy, dx)."""

    position: FloatArray
    row: FloatArray
    column: FloatArray
    spacing: FloatArray
    shape: FloatArray

    @classmethod
    def of(cls, slices: Sequence[VolumeSlice]) -> _Planes:
        planes = [s.plane for s in slices]
        return cls(
            np.array([p.position for p in planes], float),
            np.array([p.row for p in planes], float),
            np.array([p.column for p in planes], float),
            np.array([p.spacing for p in planes], float),
            np.array([s.shape for s in slices], float),
        )

    @property
    def normal(self) -> FloatArray:
        return np.asarray(np.cross(self.row, self.column))

    def to_patient(self, xyz: FloatArray, z: NDArray[np.int_]) -> FloatArray:
        """Convert pixels (N, 2+) of slices ``z`` (N,) to LPS mm (N, 3)."""
        along_row = (xyz[:, 0] * self.spacing[z, 1])[:, None] * self.row[z]
        along_column = (xyz[:, 1] * self.spacing[z, 0])[:, None] * self.column[z]
        return np.asarray(self.position[z] + along_row + along_column)

    def from_patient(self, lps: FloatArray) -> FloatArray:
        """Convert LPS mm (N, 3) to x px, y px, signed distance mm in every slice, (N, D, 3)."""
        dy, dx = self.spacing.T[:, :, None]
        axes = np.stack([self.row / dx, self.column / dy, self.normal], axis=1)
        offset = lps[:, None, :] - self.position
        return np.asarray(np.einsum("nds,das->nda", offset, axes))

    def distance(self, local: FloatArray) -> FloatArray:
        """Return the distance (N, D), mm, of `from_patient` points to the slices' rectangles."""
        beyond = np.maximum(-0.5 - local[..., :2], local[..., :2] - (self.shape[:, ::-1] - 0.5))
        in_plane = np.maximum(beyond, 0) * self.spacing[:, ::-1]
        return np.asarray(np.linalg.norm(np.dstack([in_plane, local[..., 2:]]), axis=-1))


def _between_slices(local: FloatArray, planes: _Planes, zs: NDArray[np.intp]) -> FloatArray:
    """Convert `from_patient` points (N, D, 3) to voxels (N, 3) of the group with slices ``zs``."""
    along = planes.position[zs] @ planes.normal[zs[0]]
    zs = zs[np.argsort(along, kind="stable")]
    distance = local[:, zs, 2]
    # the signed distance falls from slice to slice: the last one not yet passed lies below
    low = np.clip((distance >= 0).sum(axis=1) - 1, 0, max(len(zs) - 2, 0))
    high = np.minimum(low + 1, len(zs) - 1)
    each = np.arange(len(local))
    a, b = distance[each, low], distance[each, high]
    gap = np.where(a > b, a - b, 1.0)
    t = np.clip(np.where(a > b, a / gap, 0.0), 0, 1)[:, None]
    xy = (1 - t) * local[each, zs[low], :2] + t * local[each, zs[high], :2]
    z = (1 - t[:, 0]) * zs[low] + t[:, 0] * zs[high]
    return np.column_stack([xy, np.where(np.isnan(distance[:, 0]), np.nan, z)])


def padded(image: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Pad an image by reflection at the bottom and right, as in the networks' training."""
    bottom, right = height - image.shape[0], width - image.shape[1]
    if not bottom and not right:
        return image
    return np.pad(image, ((0, bottom), (0, right)), mode="reflect")


def locate(
    volume: Volume, targets: Sequence[Target], voxels: NDArray[np.floating]
) -> dict[Target, Point]:
    """Make points of a volume from native voxels (P, 3).

    They carry patient LPS mm and the nearest instance. NaN voxels get no point.
    """
    known = np.flatnonzero(np.isfinite(voxels).all(axis=1)).tolist()
    patient = volume.to_patient(voxels[known])
    nearest = volume.nearest_slices(voxels[known, 2])
    return {
        targets[i]: Point(
            targets[i],
            volume.series_id,
            volume.slices[z].instance_number,
            triple(voxels[i]),
            triple(lps),
        )
        for i, lps, z in zip(known, patient, nearest, strict=True)
    }
