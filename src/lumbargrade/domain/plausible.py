"""Whether the points found in a study can be those of a lumbar spine, and which levels cannot.

A network puts its points somewhere in any image, so a finding is worth something only where the
points are: five levels in order, evenly spaced in a smooth curve, left to the left of right, the
views at one height, and all of it inside the images. `domain.curve` has the limits of one row of
points and where they come from.
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
    lower_by,
    spacing,
    unevenness,
)
from lumbargrade.domain.geometry import FloatArray
from lumbargrade.domain.point import Point
from lumbargrade.domain.views import find_spaces
from lumbargrade.domain.vocabulary import FINDINGS, TARGETS, Condition, Level, Side, Target
from lumbargrade.domain.volume import Volume

#: Distance of the left foramen to the patient's left of the right one, mm: pedicles of one vertebra
#: are more than 20 mm apart (Zindrick 1987), less two half slices; the vertebra is 45 to 55 wide.
FORAMINA_APART = (10.0, 80.0)
#: The same of the recesses, which lie at both sides of the canal: they may nearly touch where it is
#: narrow, and are never as far apart as the outer ends of the foramina.
RECESSES_APART = (2.0, 60.0)
#: Levels by which points of two views may differ in height; half is between two levels, and a
#: foramen does not lie exactly beside its disc (the audit of labels uses the same).
HEIGHT = 0.6
#: The same of the two foramina of a level: where a vertebra is tilted sideways (scoliosis), they
#: are twice as far apart in height as either is from the canal. A side that is a level off is 1.
SIDES_HEIGHT = 0.8
#: A point this near to the edge of its image, mm, shows a cut-off level or none.
EDGE = 5.0
#: Height of a vertebra, mm: with less image than this beyond the last point, the vertebra that
#: tells which level it is (the sacrum, or the last one with a rib) is not seen.
VERTEBRA = 25.0
#: Mean square of both in these units beyond which a view is uneven (spacing alone, LSDC: 4.3 at the
#: foramina in 99 of 100 studies), and by what factor it must exceed that of the other view to be
#: the wrong one of two that disagree.
UNEVEN, MORE_UNEVEN = 4.5, 2.0
#: A study of whose sagittal points this share is implausible is refused as a whole. A first stage
#: trained for minutes misplaces half of the foramina; on images of no spine it is more.
MOST = 0.6
_LEVELS = list(Level)
_NAMES = {
    Condition.CANAL: ("canal", "canal"),
    Condition.FORAMINAL: ("foramen", "foramina"),
    Condition.SUBARTICULAR: ("recess", "recesses"),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the points of a study say of themselves.

    Attributes:
        absent: target -> why its finding cannot be believed.
        notes: what a reader must know of the rest.
        refused: why none of the study's findings can be believed, or empty.
    """

    absent: Mapping[Target, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    refused: str = ""


def judge(places: Mapping[Target, Point], volumes: Sequence[Volume]) -> Verdict:
    """Check the points of one study.

    Args:
        places: where each target was found; those without a patient point are left out.
        volumes: the series of the study. A place in none of them has no image edge and shares its
            space with nothing.

    Returns:
        All targets of a level whose canal point is implausible or outside the image, or whose
        views disagree; those of a foramen or a recess where only its own point is wrong.
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
        """Canal, left foramen, right recesses..."""
        return " ".join(filter(None, (self.side, _NAMES[self.condition][many])))


_CANAL = _Row(Condition.CANAL, None)
_FORAMINA = [_Row(Condition.FORAMINAL, side) for side in Side]
_RECESSES = [_Row(Condition.SUBARTICULAR, side) for side in Side]


class _Study:
    """The points of a study, and what is found wrong: of points, and of whole levels."""

    def __init__(self, places: Mapping[Target, Point], volumes: Sequence[Volume]) -> None:
        self.places = {t: p for t, p in places.items() if p.patient is not None}
        self.lps = {t: np.asarray(p.patient, float) for t, p in self.places.items()}
        self.volumes = {v.series_id: v for v in volumes}
        self.spaces = find_spaces(volumes).of_series
        self.levels: dict[Level, str] = {}
        self.points: dict[Target, str] = {}

    def blame(self, target: Target, why: str) -> None:
        """Blame a point; on one of the canal the whole level rests."""
        if target.condition is Condition.CANAL:
            self.levels.setdefault(target.level, why)
        else:
            self.points.setdefault(target, why)

    def reason(self, target: Target) -> str:
        return self.levels.get(target.level) or self.points.get(target, "")

    def all_points(self, row: _Row) -> FloatArray:
        """(5, 3) LPS mm from L1/L2 down; NaN where there is none."""
        nowhere = np.full(3, np.nan)
        return np.array([self.lps.get(t, nowhere) for t in row.targets])

    def good_points(self, row: _Row) -> FloatArray:
        """The same without those that were blamed."""
        blamed = [bool(self.reason(t)) for t in row.targets]
        return np.where(np.array(blamed)[:, None], np.nan, self.all_points(row))

    def inside(self, target: Target, lps: FloatArray) -> float:
        """Distance, mm, from a point to the edge of the image that a target was found in.

        Negative outside it, infinite where no image is known.
        """
        place = self.places[target]
        volume = self.volumes.get(place.series_id)
        if volume is None:
            return float("inf")
        one = volume.slices[int(volume.nearest_slices([place.z])[0])]
        x, y, _ = one.plane.from_patient(lps)
        (height, width), (dy, dx) = one.shape, one.plane.spacing
        across = min(x + 0.5, width - 0.5 - x) * dx
        return float(min(across, min(y + 0.5, height - 0.5 - y) * dy))

    def shared(self, first: Target, second: Target) -> bool:
        """Whether both have a place, and in one space."""
        if first not in self.places or second not in self.places:
            return False
        a, b = (self.spaces.get(self.places[t].series_id) for t in (first, second))
        return a is not None and a == b

    def judge_rows(self) -> str:
        """Blame the points that leave the curve of their row; or say that there is no spine."""
        broken = {
            row: why
            for row in (_CANAL, *_FORAMINA, *_RECESSES)
            if (why := self._off_the_curve(row))
        }
        if _CANAL in broken or all(row in broken for row in _FORAMINA):
            return reasons.no_spine(broken.get(_CANAL) or broken[_FORAMINA[0]])
        for row, why in broken.items():
            for target in row.targets:
                self.blame(target, why)
        return ""

    def _off_the_curve(self, row: _Row) -> str:
        """Blame the points that leave the curve of the others; or say what is wrong with all."""
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
                self.blame(row.targets[i], reasons.off_the_curve(_LEVELS[i], why))
        return ""

    def judge_heights(self) -> None:
        """Blame points at another height than those of another row.

        Where one of the two rows is uneven and the other is not, only that one is blamed; otherwise
        nothing tells which of them is wrong, and no finding of the level can be believed.
        """
        left, right = _FORAMINA
        for first, second in ((_CANAL, left), (_CANAL, right), (left, right)):
            less_even = _less_even(self.good_points(first), self.good_points(second))
            for i, why in self._apart(first, second):
                pair = first.targets[i], second.targets[i]
                if less_even is not None:
                    self.blame(pair[less_even], why)
                else:
                    self.levels.setdefault(_LEVELS[i], why)
        for recess in _RECESSES:
            for i, why in self._apart(_CANAL, recess):
                self.blame(recess.targets[i], why)

    def _apart(self, first: _Row, second: _Row) -> list[tuple[int, str]]:
        """Indices of levels at which two rows of points differ in height, and by how much."""
        line = self.good_points(first)
        lower, level_mm = lower_by(self.good_points(second), line), spacing(line)
        most = SIDES_HEIGHT if first.condition is second.condition else HEIGHT
        found = []
        for i, level in enumerate(_LEVELS):
            if self.shared(first.targets[i], second.targets[i]) and abs(lower[i]) > most:
                gap = abs(float(lower[i])) * level_mm
                found.append((i, reasons.views_disagree(level, first.name(), second.name(), gap)))
        return found

    def judge_sides(self) -> None:
        """Blame both points of a level if left is not to the left of right by what it should."""
        for (left, right), (least, most) in (
            (_FORAMINA, FORAMINA_APART),
            (_RECESSES, RECESSES_APART),
        ):
            distances = (self.all_points(left) - self.all_points(right))[:, 0].tolist()
            for *pair, apart in zip(left.targets, right.targets, distances, strict=True):
                if np.isfinite(apart) and self.shared(*pair) and not least <= apart <= most:
                    for target in pair:
                        self.blame(target, reasons.sides_apart(target, apart))

    def too_many(self) -> str:
        """Why the study is refused if most of what was found in its sagittal images is blamed.

        Points of the recesses are left out: they are found beside those of the canal.
        """
        found = [t for t in self.lps if t.condition is not Condition.SUBARTICULAR]
        why = [reason for t in found if (reason := self.reason(t))]
        if found and len(why) >= MOST * len(found):
            return reasons.no_spine("; ".join(dict.fromkeys(why)))
        return ""

    def judge_edges(self) -> None:
        """Blame points at the edge of their image, or beyond it (a padded slice)."""
        for target, lps in self.lps.items():
            inside = self.inside(target, lps)
            if inside < EDGE:
                self.blame(target, reasons.cut_off(target.level, inside))

    def unseen(self, end: int) -> str:
        """What is wrong with one end of the spine: 0 is L1/L2, -1 is L5/S1; empty if nothing."""
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
    """Which of two rows is uneven while the other is much less so: 0, 1 or neither."""
    uneven = [
        unevenness(row, known) if (known := known_levels(row)) else 0.0 for row in (first, second)
    ]
    worse = int(np.argmax(uneven))
    clear = uneven[worse] > max(UNEVEN, MORE_UNEVEN * uneven[1 - worse])
    enough = min(len(known_levels(first)), len(known_levels(second))) >= ENOUGH
    return worse if clear and enough else None
