"""Measurements that a reader can check, and the grades that thresholds give them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from lumbargrade.domain.point import Xyz
from lumbargrade.domain.vocabulary import Grade, Level, SeriesKind, Side


class Quantity(StrEnum):
    """What is measured."""

    SAC_AREA = "dural_sac_area"
    """cross-section of the dural sac on the axial slice of the disc"""
    SAC_DIAMETER = "dural_sac_diameter"
    """antero-posterior diameter of the dural sac at the height of the disc"""
    DISC_HEIGHT_FRONT = "disc_height_front"
    DISC_HEIGHT_MIDDLE = "disc_height_middle"
    DISC_HEIGHT_BACK = "disc_height_back"
    DISC_SIGNAL = "disc_signal"
    """mean signal of the disc divided by that of cerebrospinal fluid in the same series"""
    FORAMEN_HEIGHT = "foramen_height"
    FORAMEN_WIDTH = "foramen_width"
    RECESS_DEPTH = "recess_depth"
    LISTHESIS = "listhesis"
    """shift of the upper body to the front (positive) or to the back (negative)"""
    LORDOSIS = "lordosis"
    """angle between the upper endplates of L1 and S1, positive for lordosis"""

    @property
    def unit(self) -> str:
        """``mm``, ``mm2``, ``degrees`` or ``ratio``."""
        return _UNITS.get(self, "mm")


_UNITS = {
    Quantity.SAC_AREA: "mm2",
    Quantity.DISC_SIGNAL: "ratio",
    Quantity.LORDOSIS: "degrees",
}


class Quality(StrEnum):
    """Whether a measurement can be relied on."""

    GOOD = "good"
    DOUBTFUL = "doubtful"


@dataclass(frozen=True, slots=True)
class Measurement:
    """A number taken from the images, with the place where it was taken.

    Attributes:
        quantity: what was measured; it has the unit.
        level: the level; None for a quantity of the whole spine.
        side: the side; None for a quantity of the middle.
        value: in the unit of the quantity.
        view: kind of the series.
        series_id: the series.
        instance_number: the slice; -1 if it was taken from several slices.
        quality: whether it can be relied on.
        remark: why it is doubtful; empty if it is good.
        line: what was measured, as native voxels (x, y, z) of the series: the two ends of a
            distance, or the corners of an outline.
        closed: whether the line is an outline, whose last corner joins the first.

    Raises:
        ValueError: if the value is not finite, or a doubtful measurement has no remark.
    """

    quantity: Quantity
    level: Level | None
    side: Side | None
    value: float
    view: SeriesKind
    series_id: str
    instance_number: int
    quality: Quality = Quality.GOOD
    remark: str = ""
    line: tuple[Xyz, ...] = ()
    closed: bool = False

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"{self.quantity}: not a finite number: {self.value}")
        if (self.quality is Quality.DOUBTFUL) != bool(self.remark):
            raise ValueError(f"{self.quantity}: quality {self.quality} with remark {self.remark!r}")


@dataclass(frozen=True, slots=True)
class Opinion:
    """The grade that thresholds from the literature give a measurement.

    Attributes:
        grade: the grade.
        quantity: what was measured.
        value: the measurement, in the unit of the quantity.
        moderate: at this value and below, the grade is moderate or worse.
        severe: at this value and below, the grade is severe.
        source: citation of the thresholds, short.
        quality: quality of the measurement.
    """

    grade: Grade
    quantity: Quantity
    value: float
    moderate: float
    severe: float
    source: str
    quality: Quality = Quality.GOOD
