"""A marked or predicted point, in a series and in the patient."""

from __future__ import annotations

from dataclasses import dataclass

from lumbargrade.domain.vocabulary import Target

Xyz = tuple[float, float, float]

#: Coordinates that mean "no point".
NOWHERE: Xyz = (float("nan"),) * 3


@dataclass(frozen=True, slots=True)
class Point:
    """Where a target lies in one series.

    Attributes:
        target: what the point marks.
        series_id: the series (LSDC series id, or SeriesInstanceUID for other data).
        instance_number: instance of the slice nearest to the point; -1 if unknown.
        voxel: column and row in pixels of that instance (pixel centres at integers), and the
            (fractional) slice index in the volume.
        patient: the point in patient LPS millimetres, or None if the geometry is unknown.
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
