"""Measurements that a reader can check, and the grades that thresholds give them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from lumbargrade.domain.point import Xyz
from lumbargrade.domain.vocabulary import Grade, Level, SeriesKind, Side


class Quantity(StrEnum):
    """What is measured; docs/measurements.md has the definitions."""

    SAC_AREA = "dural_sac_area"
    """cross-section of the dural sac on the axial slice of the disc"""
    SAC_DIAMETER = "dural_sac_diameter"
    """antero-posterior diameter of the dural sac on the axial slice of the disc"""
    SAGITTAL_SAC_DIAMETER = "sagittal_dural_sac_diameter"
    """smallest antero-posterior diameter of the dural sac beside the disc on a sagittal slice"""
    RECESS_DEPTH = "recess_depth"
    """from the disc or body to the facet, on the axial slice of the disc"""
    FORAMEN_HEIGHT = "foramen_height"
    FORAMEN_WIDTH = "foramen_width"
    FORAMEN_AREA = "foramen_area"
    DISC_HEIGHT_FRONT = "disc_height_front"
    DISC_HEIGHT_MIDDLE = "disc_height_middle"
    DISC_HEIGHT_BACK = "disc_height_back"
    DISC_HEIGHT_INDEX = "disc_height_index"
    """mean height of the disc over the depth of the upper body"""
    DISC_HEIGHT_RELATIVE = "disc_height_relative"
    """height of the disc over the usual one of its level, in a patient of this size"""
    DISC_SIGNAL = "disc_signal"
    """signal of the disc divided by that of cerebrospinal fluid beside it"""
    DISC_TO_BODY = "disc_to_body"
    """signal of the disc divided by that of the neighbouring bodies"""
    LISTHESIS = "listhesis"
    """shift of the upper body to the front (positive) or to the back (negative)"""
    LISTHESIS_SHARE = "listhesis_share"
    """listhesis over the depth of the lower body's upper endplate"""
    LORDOSIS = "lordosis"
    """angle between the upper endplates of L1 and S1, positive for lordosis"""

    @property
    def unit(self) -> str:
        """``mm``, ``mm2``, ``degrees`` or ``ratio``."""
        return _UNITS.get(self, "mm")

    @property
    def sided(self) -> bool:
        """Whether left and right are measured separately."""
        return self in _SIDED

    @property
    def has_level(self) -> bool:
        """Whether it is measured at every level; lordosis is measured once."""
        return self is not Quantity.LORDOSIS


_UNITS = {
    Quantity.SAC_AREA: "mm2",
    Quantity.FORAMEN_AREA: "mm2",
    Quantity.DISC_HEIGHT_INDEX: "ratio",
    Quantity.DISC_HEIGHT_RELATIVE: "ratio",
    Quantity.DISC_SIGNAL: "ratio",
    Quantity.DISC_TO_BODY: "ratio",
    Quantity.LISTHESIS_SHARE: "ratio",
    Quantity.LORDOSIS: "degrees",
}
_SIDED = {
    Quantity.RECESS_DEPTH,
    Quantity.FORAMEN_HEIGHT,
    Quantity.FORAMEN_WIDTH,
    Quantity.FORAMEN_AREA,
}


@dataclass(frozen=True, slots=True)
class Site:
    """What is measured where.

    Attributes:
        quantity: what is measured.
        level: the disc level; None for lordosis.
        side: the patient's side, if the quantity has one.

    Raises:
        ValueError: if the level or side is missing, or given for a quantity that has none.
    """

    quantity: Quantity
    level: Level | None = None
    side: Side | None = None

    def __post_init__(self) -> None:
        given = (self.level is not None, self.side is not None)
        if given != (self.quantity.has_level, self.quantity.sided):
            raise ValueError(f"{self.quantity}: level {self.level!r}, side {self.side!r}")

    @property
    def name(self) -> str:
        """One word for the site, for example ``left_recess_depth_l4_l5``."""
        return "_".join(p for p in (self.side, self.quantity, self.level) if p)

    def mirror(self) -> Site:
        """Return the same site in the left-right mirrored patient."""
        return Site(self.quantity, self.level, self.side.mirror() if self.side else None)


#: Everything that is measured in a study, by quantity, level and side.
SITES: tuple[Site, ...] = tuple(
    Site(quantity, level, side)
    for quantity in Quantity
    for level in (tuple(Level) if quantity.has_level else (None,))
    for side in (tuple(Side) if quantity.sided else (None,))
)


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
        line: what was measured, in patient LPS mm: the two ends of a distance, or the corners of an
            outline; empty if there is nothing to draw.
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

    @property
    def site(self) -> Site:
        return Site(self.quantity, self.level, self.side)


@dataclass(frozen=True, slots=True)
class Measurements:
    """What was measured, and why the rest was not.

    Attributes:
        found: by site.
        absent: why a site has no measurement: a clause that follows "not measured, because".

    Raises:
        ValueError: if a site is both measured and absent, or a reason is empty.
    """

    found: Mapping[Site, Measurement] = field(default_factory=dict)
    absent: Mapping[Site, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for site, reason in self.absent.items():
            if site in self.found:
                raise ValueError(f"{site.name} is both measured and absent")
            if not reason:
                raise ValueError(f"{site.name} is absent without a reason")

    @classmethod
    def joined(cls, parts: Iterable[Measurements], default: str) -> Measurements:
        """Join the measurements of several series; every site of `SITES` is in the result.

        Of several measurements of a site, the first of good quality is used, otherwise the first.

        Args:
            parts: best series first.
            default: reason for sites that no part mentions.
        """
        found: dict[Site, Measurement] = {}
        absent: dict[Site, str] = {}
        for part in parts:
            for site, one in part.found.items():
                if site not in found or one.quality is Quality.GOOD is not found[site].quality:
                    found[site] = one
            for site, reason in part.absent.items():
                absent.setdefault(site, reason)
        missing = {s: absent.get(s, default) for s in SITES if s not in found}
        return cls({s: found[s] for s in SITES if s in found}, missing)


@dataclass(frozen=True, slots=True)
class Opinion:
    """The grade that thresholds from the literature give a measurement.

    Attributes:
        grade: the grade.
        quantity: what was measured.
        value: the measurement, in the unit of the quantity.
        moderate: at this value and below, the grade is moderate or worse.
        severe: at this value and below, the grade is severe; None if no threshold is published.
        source: citation of the thresholds, short.
        quality: quality of the measurement.
        reason: the whole decision in words; it may name a second measurement.
    """

    grade: Grade
    quantity: Quantity
    value: float
    moderate: float
    severe: float | None
    source: str
    quality: Quality = Quality.GOOD
    reason: str = ""
