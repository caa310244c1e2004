"""A marked or predicted point: what it marks, and where it lies in an image and in the patient."""

from __future__ import annotations

from dataclasses import dataclass

from lumbargrade.domain.vocabulary import Target

Xyz = tuple[float, float, float]

#: Coordinates of what has no place.
NOWHERE: Xyz = (float("nan"),) * 3


@dataclass(frozen=True, slots=True)
class Point:
    """Where a target lies in one series.

    Attributes:
        target: what is marked.
        series_id: the series (LSDC series id, or SeriesInstanceUID for other data).
        instance_number: instance of the slice nearest to the point; -1 where it is not known.
        voxel: column and row in pixels of that instance (pixel centres at integers), and the
            (fractional) slice index in the volume.
        patient: the point in patient LPS millimetres, or None where no geometry is known.
    """

    target: Target
    series_id: str
    instance_number: int
    voxel: Xyz
    patient: Xyz | None = None

    @property
    def x(self) -> float:
        return self.voxel[0]

    @property
    def y(self) -> float:
        return self.voxel[1]

    @property
    def z(self) -> float:
        return self.voxel[2]
