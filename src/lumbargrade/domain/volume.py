"""A series as a stack of uint8 slices, each of which knows where it lies in the patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lumbargrade.domain.geometry import FloatArray, SlicePlane
from lumbargrade.domain.vocabulary import SeriesKind


@dataclass(frozen=True, slots=True)
class VolumeSlice:
    """What is known of one slice of a volume.

    Attributes:
        instance_number: DICOM InstanceNumber (LSDC file name).
        plane: its place in the patient.
        group: index of the orientation group (stack) inside the series.
        shape: (height, width) of the image before padding to the volume's size.
        file: name of the source file, relative to the series folder.
        sop_instance_uid: of the source image, empty where unknown.
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
        kind: which of the three kinds, or None where unknown.
        frame_of_reference: FrameOfReferenceUID, empty where unknown.
    """

    pixels: NDArray[np.uint8]
    slices: tuple[VolumeSlice, ...]
    study_id: str
    series_id: str
    kind: SeriesKind | None = None
    frame_of_reference: str = ""

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or len(self.slices) != self.pixels.shape[0]:
            raise ValueError(
                f"series {self.series_id}: {len(self.slices)} slices for array {self.pixels.shape}"
            )

    def slice_of_instance(self, instance_number: int) -> int:
        """Index z of an instance number.

        Raises:
            KeyError: if no slice has that instance number.
        """
        for z, s in enumerate(self.slices):
            if s.instance_number == instance_number:
                return z
        raise KeyError(f"series {self.series_id} has no instance {instance_number}")

    def to_patient(self, xyz: ArrayLike) -> FloatArray:
        """Voxels ``(..., 3)`` = (x, y, z) to LPS mm; fractional z interpolates inside its group.

        Between two groups, and outside the volume, the nearest slice's plane is used.
        """
        points = np.asarray(xyz, float)
        flat = points.reshape(-1, 3)
        out = np.empty_like(flat)
        for i, (x, y, z) in enumerate(flat):
            z = float(np.clip(z, 0, len(self.slices) - 1))
            low = int(np.floor(z))
            high = min(low + 1, len(self.slices) - 1)
            if self.slices[low].group != self.slices[high].group:
                low = high = round(z)
            t = z - low if high != low else 0.0
            a = self.slices[low].plane.to_patient((x, y))
            b = self.slices[high].plane.to_patient((x, y))
            out[i] = (1 - t) * a + t * b
        return out.reshape(points.shape)

    def from_patient(self, lps: ArrayLike) -> FloatArray:
        """LPS mm ``(..., 3)`` to voxels (x, y, z): the inverse of :meth:`to_patient`.

        The group whose nearest slice is nearest to the point is used; z is fractional between the
        two slices around the point and clamped to the ends of that group.
        """
        points = np.asarray(lps, float)
        flat = points.reshape(-1, 3)
        out = np.empty_like(flat)
        for i, p in enumerate(flat):
            local = np.array([s.plane.from_patient(p) for s in self.slices])
            nearest = int(np.argmin(np.abs(local[:, 2])))
            z = float(nearest)
            for other in (nearest - 1, nearest + 1):
                if not 0 <= other < len(self.slices):
                    continue
                if self.slices[other].group != self.slices[nearest].group:
                    continue
                a, b = local[nearest, 2], local[other, 2]
                if a != b and a * b <= 0:
                    z = nearest + (other - nearest) * a / (a - b)
                    break
            t = abs(z - nearest)
            neighbour = nearest if t == 0 else nearest + int(np.sign(z - nearest))
            out[i, :2] = (1 - t) * local[nearest, :2] + t * local[neighbour, :2]
            out[i, 2] = z
        return out.reshape(points.shape)
