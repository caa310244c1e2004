"""Fit discs and vertebral bodies in an outlined sagittal slice.

A disc is a region with principal axes; a body is a quadrilateral, fitted to all of its pixels by
least squares, so that a jagged outline moves its corners little.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import least_squares
from scipy.special import expit

from lumbargrade.domain.geometry import FloatArray
from lumbargrade.domain.outlines import Segment, Structure
from lumbargrade.domain.point import Xyz
from lumbargrade.domain.vocabulary import Level, Side
from lumbargrade.starter.outlined import (
    Image,
    Moments,
    Outlined,
    chords,
    distances_to,
    heights_along,
    moments_of,
    pointing,
    region_at,
)

#: Largest distance from a point to the structure that it marks, mm.
REACH = 8.0
#: A disc reaches at most this far from its centre, mm.
DISC_RADIUS = 28.0
#: A disc, sac or foramen is in one piece if this share of its pixels is connected.
CONNECTED = 0.8
#: How much of a body next to a disc is fitted if the body's other end is unknown, mm.
_STUMP = 16.0
#: Smallest soft Dice of a body and the quadrilateral fitted to it, for good and for any use.
_FIT_GOOD, _FIT_USABLE = 0.90, 0.75
#: Sizes of bodies in a sagittal slice, mm. Smaller or larger ones are not measured.
_BODY_DEPTH = (16.0, 60.0)
#: Smallest height of a body in front and at the back, mm; a wedge without a wall is no body.
_BODY_HEIGHT = 5.0
#: Smallest area of a disc in a sagittal slice, mm2; about 5 x 3 pixels.
_DISC_AREA = 35.0


@dataclass(frozen=True, slots=True)
class Landmarks:
    """Named points of a study, LPS mm, in the space of the series that is measured.

    Attributes:
        discs: centres of discs; those of the neighbours of the graded levels help.
        canals: middle of the sac at the height of each disc.
        foramina: centre of each foramen.
    """

    discs: Mapping[Segment, Xyz]
    canals: Mapping[Level, Xyz]
    foramina: Mapping[tuple[Level, Side], Xyz] = field(default_factory=dict)


class Absent(Exception):
    """Something cannot be measured; the text is a clause that follows "because"."""


@dataclass(frozen=True, eq=False, slots=True)
class Disc:
    """A disc in a sagittal slice: its region, centre, and unit directions (2,)."""

    region: Image
    centre: FloatArray
    back: FloatArray
    head: FloatArray
    remark: str


@dataclass(frozen=True, eq=False, slots=True)
class Body:
    """A quadrilateral fitted to a body: corners (2,) mm; NaN where an end is unknown."""

    front_top: FloatArray
    back_top: FloatArray
    back_bottom: FloatArray
    front_bottom: FloatArray
    remark: str


@dataclass(frozen=True, eq=False, slots=True)
class MidPlane:
    """The mid-plane of a disc: its front end (2,), unit directions, and its length, mm."""

    front: FloatArray
    back: FloatArray
    head: FloatArray
    length: float


class Vertebrae:
    """The discs and bodies of one slice; each is fitted once.

    Args:
        at: an upright sagittal slice with BODY, SACRUM and DISC.
        marks: where the discs are.
    """

    def __init__(self, at: Outlined, marks: Landmarks) -> None:
        self.at = at
        self.marks = marks
        self._discs: dict[Segment, Disc | str] = {}
        self._bodies: dict[Segment, Body | str] = {}

    def disc(self, segment: Segment) -> Disc | str:
        """Return a disc, or why it cannot be measured."""
        if segment not in self._discs:
            try:
                self._discs[segment] = _fit_disc(self.at, self.marks, segment)
            except Absent as missing:
                self._discs[segment] = str(missing)
        return self._discs[segment]

    def body(self, below: Segment) -> Body | str:
        """Return the body above the disc of a segment, or why it cannot be measured.

        Only the end next to a known disc is fitted. The lower end of S1 is not: the sacrum is one
        region.
        """
        if below not in self._bodies:
            above = Segment(below - 1)
            top = self.disc(above)
            bottom = self.disc(below) if below is not Segment.S1_S2 else ""
            ends = [None if isinstance(end, str) else end for end in (top, bottom)]
            try:
                if isinstance(top, str) and isinstance(bottom, str):
                    raise Absent(bottom or top)
                self._bodies[below] = _fit_body(self.at, ends[0], ends[1], body_name(below))
            except Absent as missing:
                self._bodies[below] = str(missing)
        return self._bodies[below]

    def mid_plane(self, segment: Segment, disc: Disc) -> MidPlane:
        """Return the mid-plane of a disc.

        It runs between the endplates of the neighbouring bodies if both are known, otherwise along
        the disc's own axis, as far as the disc is outlined.
        """
        upper, lower = self.body(segment), self.body(Segment(segment + 1))
        if isinstance(upper, str) or isinstance(lower, str):
            across = chords(
                disc.region,
                self.at.mm,
                disc.centre,
                disc.back,
                offsets=[0.0],
                reach=DISC_RADIUS,
                band=2.0,
            )
            front, rear = across.ends(0)
        else:
            front = (upper.front_bottom + lower.front_top) / 2
            rear = (upper.back_bottom + lower.back_top) / 2
        length = float(np.linalg.norm(rear - front))
        back = (rear - front) / length
        return MidPlane(front, back, np.array([back[1], -back[0]]), length)


def _fit_disc(at: Outlined, marks: Landmarks, segment: Segment) -> Disc:
    """Return a disc of a slice.

    Raises:
        Absent: if it is not outlined, is too small, or is cut by the edge of the image.
    """
    label = segment.label
    if segment not in marks.discs:
        raise Absent(f"the disc {label} was not found")
    point, _ = at.from_patient(marks.discs[segment])
    probability = _own_part(at, marks, segment)
    region = region_at(probability, point, at.mm, REACH)
    if region is None:
        raise Absent(f"no disc is outlined at {label}")
    moments = moments_of(region, at.mm)
    if moments.area < _DISC_AREA:
        raise Absent(f"the outline of the disc {label} covers only {moments.area:.0f} mm2")
    if at.cut(region):
        raise Absent(f"the disc {label} is cut by the edge of the image")
    whole = (probability > 0.5).sum()
    split = (region > 0.5).sum() < CONNECTED * whole
    back = pointing(moments.axes[0], (1.0, 0.0))
    if moments.variances[0] < 2.5 * moments.variances[1]:
        raise Absent(f"the outline of the disc {label} is not that of a disc")
    remark = f"the outline of the disc {label} is in pieces" if split else ""
    return Disc(region, moments.centre, back, np.array([back[1], -back[0]]), remark)


def _own_part(at: Outlined, marks: Landmarks, segment: Segment) -> Image:
    """Return the probability of discs where the disc of a segment is the nearest, (H, W)."""
    disc = at.probability(Structure.DISC)
    rows, columns = np.indices(disc.shape) * at.mm
    distances = {
        s: distances_to(at.from_patient(p)[0], columns, rows) for s, p in marks.discs.items()
    }
    own = distances[segment]
    nearest = np.minimum.reduce(list(distances.values()))
    return np.where((own <= nearest) & (own < DISC_RADIUS), disc, 0.0)


def body_name(below: Segment) -> str:
    """Return the name of the body above a disc, for example ``L5`` above L5/S1."""
    return below.label.split("/")[0]


def _fit_body(at: Outlined, top: Disc | None, bottom: Disc | None, name: str) -> Body:
    """Fit a quadrilateral to a body between two discs, or to the end of a body at one disc.

    Raises:
        Absent: if the body is not outlined, cut by the edge, or not like a quadrilateral.
    """
    bone = at.probability(Structure.BODY, Structure.SACRUM)
    rows, columns = np.indices(bone.shape) * at.mm
    window = np.ones(bone.shape, bool)
    for disc, sign in ((top, -1.0), (bottom, 1.0)):
        if disc is not None:
            height = sign * heights_along(disc.centre, disc.head, columns, rows)
            window &= height > 0
            if top is None or bottom is None:
                window &= height < _STUMP
    known = [d for d in (top, bottom) if d is not None]
    heads = np.mean([d.head for d in known], axis=0)
    head = heads / np.linalg.norm(heads)
    if top is not None and bottom is not None:
        expected = (top.centre + bottom.centre) / 2
    else:
        expected = known[0].centre + head * (10.0 if top is None else -10.0)
    region = region_at(np.where(window, bone, 0.0), expected, at.mm, REACH)
    if region is None:
        raise Absent(f"no body is outlined at {name}")
    if at.cut(region):
        raise Absent(f"{name} is cut by the edge of the image")
    moments = moments_of(region, at.mm)
    fit = _Quadrilateral(moments, head, (top is not None, bottom is not None))
    near = (distances_to(moments.centre, columns, rows) < 45) & window
    points = np.column_stack([columns[near], rows[near]])
    # pixels of other regions belong to other bodies
    own = np.asarray(region[near], float)
    dice = fit.fit(points, own)
    body = fit.body(top=top is not None, bottom=bottom is not None)
    ends = [body[1] - body[0]] if top is not None else []
    ends += [body[2] - body[3]] if bottom is not None else []
    depth = float(np.mean([np.linalg.norm(e) for e in ends]))
    heights = [np.linalg.norm(body[3] - body[0]), np.linalg.norm(body[2] - body[1])]
    flat = min(heights) < _BODY_HEIGHT  # False if an end is unknown
    if dice < _FIT_USABLE or flat or not _BODY_DEPTH[0] <= depth <= _BODY_DEPTH[1]:
        raise Absent(f"the outline of {name} is not that of a vertebral body")
    remark = "" if dice >= _FIT_GOOD else f"the outline of {name} is uneven"
    return Body(*body, remark)


class _Quadrilateral:
    """Four soft edges (top, back, bottom, front) fitted to a region by least squares.

    An edge is the angle of its outward normal and its distance from the region's centre. A pixel
    is inside with the product of a logistic function of its distance to each edge. Ends that are
    not known (outside the window) have no edge.
    """

    #: Width of the logistic edge, mm: first wide, to find the edges from afar, then as sharp as the
    #: pixels allow.
    SOFTNESS = (1.5, 0.5)
    #: Largest turn of an edge from its start, radians.
    TURN = 0.7

    def __init__(self, moments: Moments, head: FloatArray, ends: tuple[bool, bool]) -> None:
        back = np.array([-head[1], head[0]])
        off = moments.axes * np.sqrt(3 * np.maximum(moments.variances, 0.1))[:, None]
        self.centre = moments.centre
        normals = [head, back, -head, -back]
        self.used = [0, 1, 2, 3]
        if not ends[0]:
            self.used.remove(0)
        if not ends[1]:
            self.used.remove(2)
        self.angles = np.array([np.arctan2(n[1], n[0]) for n in normals])
        self.distances = np.array([np.abs(off @ n).max() for n in normals])

    def fit(self, points: FloatArray, target: FloatArray) -> float:
        """Move the edges; return the soft Dice of region and quadrilateral."""
        off = points - self.centre
        start = np.concatenate([self.angles[self.used], self.distances[self.used]])
        n = len(self.used)
        low = np.concatenate([start[:n] - self.TURN, np.full(n, -10.0)])
        high = np.concatenate([start[:n] + self.TURN, np.full(n, 60.0)])
        values = start
        for softness in self.SOFTNESS:
            result = least_squares(
                lambda v, s=softness: self._inside(v, off, s)[0] - target,
                np.clip(values, low + 1e-6, high - 1e-6),
                jac=lambda v, s=softness: self._jacobian(v, off, s),
                bounds=(low, high),
                max_nfev=40,
            )
            values = result.x
        self.angles[self.used], self.distances[self.used] = values[:n], values[n:]
        model = self._inside(values, off, self.SOFTNESS[-1])[0]
        return float(2 * (model * target).sum() / (model**2 + target**2).sum())

    def _inside(
        self, values: FloatArray, off: FloatArray, softness: float
    ) -> tuple[FloatArray, FloatArray]:
        """Return the product of the edges (P,) and each edge (n, P)."""
        n = len(self.used)
        normals = np.array([np.cos(values[:n]), np.sin(values[:n])])
        edges = expit((values[n:, None] - normals.T @ off.T) / softness)
        return np.asarray(edges.prod(axis=0)), np.asarray(edges)

    def _jacobian(self, values: FloatArray, off: FloatArray, softness: float) -> FloatArray:
        n = len(self.used)
        product, edges = self._inside(values, off, softness)
        tangents = np.array([-np.sin(values[:n]), np.cos(values[:n])])
        slope = product * (1 - edges) / softness
        return np.concatenate([-slope * (tangents.T @ off.T), slope]).T

    def body(
        self, *, top: bool, bottom: bool
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Return front top, back top, back bottom and front bottom (2,); NaN if unknown."""
        nowhere = np.full(2, np.nan)
        return (
            self._corner(3, 0) if top else nowhere,
            self._corner(0, 1) if top else nowhere,
            self._corner(1, 2) if bottom else nowhere,
            self._corner(2, 3) if bottom else nowhere,
        )

    def _corner(self, one: int, other: int) -> FloatArray:
        angles, distances = self.angles[[one, other]], self.distances[[one, other]]
        normals = np.column_stack([np.cos(angles), np.sin(angles)])
        return np.asarray(self.centre + np.linalg.solve(normals, distances))
