"""Check whether the points found in a study can belong to a lumbar spine.

A network places points in any image, so findings are only trusted if their points are plausible:
levels in order, evenly spaced on a smooth curve, left points to the left of right points, all views
at the same height, and all points inside the images. `domain.curve` has the limits for one row of
points and their sources.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from lumbargrade.domain import reasons
from lumbargrade.domain.curve import (
    ENOUGH,
    best_curve,
    fault,
    known_levels,
    levels_lower,
    spacing,
    unevenness,
)
from lumbargrade.domain.geometry import FloatArray
from lumbargrade.domain.point import Point
from lumbargrade.domain.views import find_spaces
from lumbargrade.domain.vocabulary import FINDINGS, TARGETS, Condition, Level, Side, Target
from lumbargrade.domain.volume import Volume

#: Smallest and largest distance from the right foramen to the left one, mm. The pedicles of a
#: vertebra are more than 20 mm apart (Zindrick 1987), less two half slices; it is 45 to 55 mm wide.
FORAMINA_APART = (10.0, 80.0)
#: The same for the recesses on both sides of the canal: in a narrow canal they nearly touch, and
#: they are never as far apart as the outer ends of the foramina.
RECESSES_APART = (2.0, 60.0)
#: Largest difference in height between points of two views, in levels. Half a level lies between
#: two levels, and a foramen does not lie exactly beside its disc (the audit uses the same value).
HEIGHT = 0.6
#: The same for the two foramina of a level. If a vertebra is tilted sideways (scoliosis), their
#: difference is twice that of either to the canal. A side on the wrong level differs by 1.
SIDES_HEIGHT = 0.8
#: A level is cut off if its point is closer than this to the edge of its image, mm.
EDGE = 5.0
#: Height of a vertebra, mm. If the image ends closer than this to the last point, the vertebra that
#: identifies the level (the sacrum, or the last one with a rib) is not visible.
VERTEBRA = 25.0
#: A view is uneven if its `unevenness` is above the first value (LSDC, spacing only: 4.3 at the
#: foramina in 99 of 100 studies). If two views disagree, it is the wrong one if its unevenness is
#: also larger than the other's by the second value, a factor.
UNEVEN, MORE_UNEVEN = 4.5, 2.0
#: A study is refused if this share of its sagittal points is implausible. A first stage trained for
#: minutes misplaces half of the foramina; in images without a spine the share is larger.
MOST = 0.6
_LEVELS = list(Level)
_NAMES = {
    Condition.CANAL: ("canal", "canal"),
    Condition.FORAMINAL: ("foramen", "foramina"),
    Condition.SUBARTICULAR: ("recess", "recesses"),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Result of the check of a study's points.

    Attributes:
        absent: target -> why its finding cannot be trusted.
        notes: notes for the reader about the other findings.
        refused: why no finding of the study can be trusted; empty if some can.
    """

    absent: Mapping[Target, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    refused: str = ""


def judge(places: Mapping[Target, Point], volumes: Sequence[Volume]) -> Verdict:
    """Check the points of one study.

    Args:
        places: where each target was found; points without patient coordinates are skipped.
        volumes: the series of the study. For a point in any other series, image edges and shared
            spaces are not checked.

    Returns:
        If a canal point is implausible or outside the image, or views disagree, all targets of the
        level are absent. If only the point of a foramen or recess is wrong, only its own target is.
    """
    study = _Study(places, volumes)
    refused = study.judge_rows()
    if not refused:
        study.judge_heights()
        study.judge_sides()
        refused = study.too_many()
    if refused:
        return Verdict(refused=refused)
    study.judge_edges()
    absent = {t: why for t in FINDINGS if (why := study.reason(t))}
    ends = [study.unseen(end) for end in (0, -1)]
    note = reasons.uncertain_numbering(filter(None, ends)) if any(ends) else ""
    if all(ends) and study.levels.keys() & {_LEVELS[0], _LEVELS[-1]}:
        return Verdict(refused=note)
    return Verdict(absent, (note,) if note else ())


class _Row(NamedTuple):
    """A row of points: one condition on one side, from L1/L2 down."""

    condition: Condition
    side: Side | None

    @property
    def targets(self) -> list[Target]:
        return [t for t in TARGETS[self.condition] if t.side is self.side]

    def name(self, *, many: bool = False) -> str:
        """Name the row, such as "canal", "left foramen" or "right recesses"."""
        return " ".join(filter(None, (self.side, _NAMES[self.condition][many])))


_CANAL = _Row(Condition.CANAL, None)
_FORAMINA = [_Row(Condition.FORAMINAL, side) for side in Side]
_RECESSES = [_Row(Condition.SUBARTICULAR, side) for side in Side]


class _Study:
    """The points of a study, and what is wrong with points and with whole levels."""

    def __init__(self, places: Mapping[Target, Point], volumes: Sequence[Volume]) -> None:
        self.places = {t: p for t, p in places.items() if p.patient is not None}
        self.lps = {t: np.asarray(p.patient, float) for t, p in self.places.items()}
        self.volumes = {v.series_id: v for v in volumes}
        self.spaces = find_spaces(volumes).of_series
        self.levels: dict[Level, str] = {}
        self.points: dict[Target, str] = {}

    def mark(self, target: Target, why: str) -> None:
        """Mark a point as wrong; a wrong canal point makes the whole level wrong."""
        if target.condition is Condition.CANAL:
            self.levels.setdefault(target.level, why)
        else:
            self.points.setdefault(target, why)

    def reason(self, target: Target) -> str:
        return self.levels.get(target.level) or self.points.get(target, "")

    def all_points(self, row: _Row) -> FloatArray:
        """Return all points of a row, (5, 3) LPS mm from L1/L2 down; NaN if there is none."""
        nowhere = np.full(3, np.nan)
        return np.array([self.lps.get(t, nowhere) for t in row.targets])

    def good_points(self, row: _Row) -> FloatArray:
        """Return the points of a row, with NaN for those marked as wrong."""
        wrong = [bool(self.reason(t)) for t in row.targets]
        return np.where(np.array(wrong)[:, None], np.nan, self.all_points(row))

    def inside(self, target: Target, lps: FloatArray) -> float:
        """Return the distance, mm, from a point to the edge of the image of a target.

        It is negative outside the image and infinite if the image is unknown.
        """
        place = self.places[target]
        volume = self.volumes.get(place.series_id)
        if volume is None:
            return float("inf")
        nearest = volume.slices[int(volume.nearest_slices([place.z])[0])]
        x, y, _ = nearest.plane.from_patient(lps)
        (height, width), (dy, dx) = nearest.shape, nearest.plane.spacing
        across = min(x + 0.5, width - 0.5 - x) * dx
        return float(min(across, min(y + 0.5, height - 0.5 - y) * dy))

    def shared(self, first: Target, second: Target) -> bool:
        """Return whether both targets have points in the same space."""
        if first not in self.places or second not in self.places:
            return False
        a, b = (self.spaces.get(self.places[t].series_id) for t in (first, second))
        return a is not None and a == b

    def judge_rows(self) -> str:
        """Mark points off the curve of their row; return a reason if there is no spine."""
        broken = {
            row: why
            for row in (_CANAL, *_FORAMINA, *_RECESSES)
            if (why := self._off_the_curve(row))
        }
        if _CANAL in broken or all(row in broken for row in _FORAMINA):
            return reasons.no_spine(broken.get(_CANAL) or broken[_FORAMINA[0]])
        for row, why in broken.items():
            for target in row.targets:
                self.mark(target, why)
        return ""

    def _off_the_curve(self, row: _Row) -> str:
        """Mark points off the curve of the others; return what is wrong if there is no curve."""
        points = self.all_points(row)
        known = known_levels(points)
        what = fault(points, known)
        if not what:
            return ""
        why = f"points of the {row.name(many=True)} {what}"
        kept = best_curve(points)
        if kept is None:
            return why
        for i in known:
            if i not in kept:
                self.mark(row.targets[i], reasons.off_the_curve(_LEVELS[i], why))
        return ""

    def judge_heights(self) -> None:
        """Mark points whose height differs from that of another row.

        If only one of the two rows is uneven, only its point is wrong. Otherwise either may be
        wrong, so no finding of the level can be trusted.
        """
        left, right = _FORAMINA
        for first, second in ((_CANAL, left), (_CANAL, right), (left, right)):
            less_even = _less_even(self.good_points(first), self.good_points(second))
            for i, why in self._apart(first, second):
                pair = first.targets[i], second.targets[i]
                if less_even is not None:
                    self.mark(pair[less_even], why)
                else:
                    self.levels.setdefault(_LEVELS[i], why)
        for recess in _RECESSES:
            for i, why in self._apart(_CANAL, recess):
                self.mark(recess.targets[i], why)

    def _apart(self, first: _Row, second: _Row) -> list[tuple[int, str]]:
        """Return the levels at which two rows differ in height, as indices with reasons."""
        line = self.good_points(first)
        lower, level_mm = levels_lower(self.good_points(second), line), spacing(line)
        most = SIDES_HEIGHT if first.condition is second.condition else HEIGHT
        found = []
        for i, level in enumerate(_LEVELS):
            if self.shared(first.targets[i], second.targets[i]) and abs(lower[i]) > most:
                gap = abs(float(lower[i])) * level_mm
                found.append((i, reasons.views_disagree(level, first.name(), second.name(), gap)))
        return found

    def judge_sides(self) -> None:
        """Mark both points of a level if the distance between left and right is implausible."""
        for (left, right), (least, most) in (
            (_FORAMINA, FORAMINA_APART),
            (_RECESSES, RECESSES_APART),
        ):
            distances = (self.all_points(left) - self.all_points(right))[:, 0].tolist()
            for *pair, apart in zip(left.targets, right.targets, distances, strict=True):
                if np.isfinite(apart) and self.shared(*pair) and not least <= apart <= most:
                    for target in pair:
                        self.mark(target, reasons.sides_apart(target, apart))

    def too_many(self) -> str:
        """Return why the study is refused if most of its sagittal points are wrong, or "".

        Points of the recesses are not counted because they depend on the canal points.
        """
        found = [t for t in self.lps if t.condition is not Condition.SUBARTICULAR]
        why = [reason for t in found if (reason := self.reason(t))]
        if found and len(why) >= MOST * len(found):
            return reasons.no_spine("; ".join(dict.fromkeys(why)))
        return ""

    def judge_edges(self) -> None:
        """Mark points at or beyond the edge of their image; a slice may be padded."""
        for target, lps in self.lps.items():
            inside = self.inside(target, lps)
            if inside < EDGE:
                self.mark(target, reasons.cut_off(target.level, inside))

    def unseen(self, end: int) -> str:
        """Return what is wrong with an end of the spine (0: L1/L2, -1: L5/S1), or ""."""
        level = _LEVELS[end]
        if level in self.levels:
            return f"{level.label} was not found"
        for row in (_CANAL, *_FORAMINA):
            line = self.good_points(row)
            known = known_levels(line)
            if len(known) < 2 or _LEVELS[known[end]] is not level:
                continue
            outwards = line[known[0]] - line[known[1]] if end == 0 else line[-1] - line[known[-2]]
            beyond = line[end] + VERTEBRA * outwards / np.linalg.norm(outwards)
            if self.inside(row.targets[end], beyond) < 0:
                where = "above" if end == 0 else "below"
                return f"the image ends less than {VERTEBRA:.0f} mm {where} {level.label}"
        return ""


def _less_even(first: FloatArray, second: FloatArray) -> int | None:
    """Return which of two rows, 0 or 1, is uneven while the other is much less so, or None."""
    uneven = [
        unevenness(row, known) if (known := known_levels(row)) else 0.0 for row in (first, second)
    ]
    worse = int(np.argmax(uneven))
    clear = uneven[worse] > max(UNEVEN, MORE_UNEVEN * uneven[1 - worse])
    enough = min(len(known_levels(first)), len(known_levels(second))) >= ENOUGH
    return worse if clear and enough else None
