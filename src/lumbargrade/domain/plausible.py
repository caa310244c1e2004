"""Whether the points found in a study can be those of a lumbar spine, and which levels cannot.

A network puts its points somewhere in any image, so a finding is worth something only where the
points are: five levels in order, evenly spaced in a smooth curve, left to the left of right, the
views at one height, and all of it inside the images. `domain.curve` has the limits of one row of
points and where they come from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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
#: A row of points: one condition on one side, from L1/L2 down.
_View = tuple[Condition, Side | None]
_PLAIN = {
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
    points = _Points.of(places, volumes)
    wrong = _Wrong()
    if refused := _views(points, wrong):
        return Verdict(refused=refused)
    _heights(points, wrong)
    _sides(points, wrong)
    if refused := _too_many(points, wrong):
        return Verdict(refused=refused)
    _edges(points, wrong)
    absent = {t: why for t in FINDINGS if (why := wrong.reason(t))}
    ends = [_unseen(points, wrong, end) for end in (0, -1)]
    note = reasons.uncertain_numbering(filter(None, ends)) if any(ends) else ""
    if all(ends) and wrong.levels.keys() & {_LEVELS[0], _LEVELS[-1]}:
        return Verdict(refused=note)
    return Verdict(absent, (note,) if note else ())


@dataclass(frozen=True)
class _Points:
    """Places with their patient points and series."""

    places: Mapping[Target, Point]
    lps: Mapping[Target, FloatArray]
    volumes: Mapping[str, Volume]
    spaces: Mapping[str, int]

    @classmethod
    def of(cls, places: Mapping[Target, Point], volumes: Sequence[Volume]) -> _Points:
        known = {t: p for t, p in places.items() if p.patient is not None}
        return cls(
            known,
            {t: np.asarray(p.patient, float) for t, p in known.items()},
            {v.series_id: v for v in volumes},
            find_spaces(volumes).of_series,
        )

    def row(self, view: _View) -> FloatArray:
        """(5, 3) LPS mm from L1/L2 down; NaN where there is none."""
        nowhere = np.full(3, np.nan)
        return np.array([self.lps.get(t, nowhere) for t in _targets(view)])

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


class _Wrong:
    """What was found wrong: of points, and of whole levels."""

    def __init__(self) -> None:
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

    def line(self, points: _Points, view: _View) -> FloatArray:
        """(5, 3) points of a view without those that were blamed."""
        row = points.row(view)
        for i, target in enumerate(_targets(view)):
            if self.reason(target):
                row[i] = np.nan
        return row


def _views_of(condition: Condition) -> list[_View]:
    return [(condition, side) for side in (Side if condition.sided else (None,))]


def _targets(view: _View) -> list[Target]:
    condition, side = view
    return [t for t in TARGETS[condition] if t.side is side]


# -- one view: order, spacing, curve ---------------------------------------------------------------


def _views(points: _Points, wrong: _Wrong) -> str:
    """Blame the points of each view that leave its curve; or say that there is no spine."""
    broken = {
        view: why
        for condition in Condition
        for view in _views_of(condition)
        if (why := _view(points.row(view), wrong, view))
    }
    canal = broken.get((Condition.CANAL, None), "")
    foramina = [broken.get(view, "") for view in _views_of(Condition.FORAMINAL)]
    if canal or all(foramina):
        return reasons.no_spine(canal or foramina[0])
    for view, why in broken.items():
        for target in _targets(view):
            wrong.blame(target, why)
    return ""


def _view(row: FloatArray, wrong: _Wrong, view: _View) -> str:
    """Blame the points that leave the curve of the others; or say what is wrong with all."""
    known = known_levels(row)
    what = fault(row, known)
    if not what:
        return ""
    why = f"points of the {_name(view, many=True)} {what}"
    kept = best_curve(row)
    if kept is None:
        return why
    for i in known:
        if i not in kept:
            wrong.blame(_targets(view)[i], reasons.off_the_curve(_LEVELS[i], why))
    return ""


def _name(view: _View, *, many: bool = False) -> str:
    """Canal, left foramen, right recesses..."""
    condition, side = view
    return " ".join(filter(None, (side, _PLAIN[condition][many])))


# -- one view against another ----------------------------------------------------------------------


def _heights(points: _Points, wrong: _Wrong) -> None:
    """Blame points at another height than those of another view.

    Where one of the two views is uneven and the other is not, only that one is blamed; otherwise
    nothing tells which of them is wrong, and no finding of the level can be believed.
    """
    (canal,), (left, right), recesses = (
        _views_of(c) for c in (Condition.CANAL, Condition.FORAMINAL, Condition.SUBARTICULAR)
    )
    for first, second in ((canal, left), (canal, right), (left, right)):
        lines = wrong.line(points, first), wrong.line(points, second)
        less_even = _less_even(*lines)
        for i, why in _apart(points, first, second, lines):
            pair = _targets(first)[i], _targets(second)[i]
            if less_even is not None:
                wrong.blame(pair[less_even], why)
            else:
                wrong.levels.setdefault(_LEVELS[i], why)
    for recess in recesses:
        lines = wrong.line(points, canal), wrong.line(points, recess)
        for i, why in _apart(points, canal, recess, lines):
            wrong.blame(_targets(recess)[i], why)


def _apart(
    points: _Points, first: _View, second: _View, lines: tuple[FloatArray, FloatArray]
) -> list[tuple[int, str]]:
    """Indices of levels at which two rows of points differ in height, and by how much."""
    lower, level_mm = lower_by(lines[1], lines[0]), spacing(lines[0])
    found = []
    most = SIDES_HEIGHT if first[0] is second[0] else HEIGHT
    for i, level in enumerate(_LEVELS):
        shared = points.shared(_targets(first)[i], _targets(second)[i])
        if shared and abs(lower[i]) > most:
            gap = abs(float(lower[i])) * level_mm
            names = _name(first), _name(second)
            found.append((i, reasons.views_disagree(level, *names, gap)))
    return found


def _less_even(first: FloatArray, second: FloatArray) -> int | None:
    """Which of two rows is uneven while the other is much less so: 0, 1 or neither."""
    uneven = [
        unevenness(row, known) if (known := known_levels(row)) else 0.0 for row in (first, second)
    ]
    worse = int(np.argmax(uneven))
    clear = uneven[worse] > max(UNEVEN, MORE_UNEVEN * uneven[1 - worse])
    enough = min(len(known_levels(first)), len(known_levels(second))) >= ENOUGH
    return worse if clear and enough else None


def _sides(points: _Points, wrong: _Wrong) -> None:
    """Blame both points of a level whose left one does not lie to the left by what it should."""
    limits = {Condition.FORAMINAL: FORAMINA_APART, Condition.SUBARTICULAR: RECESSES_APART}
    for condition, (least, most) in limits.items():
        left, right = _views_of(condition)
        distances = (points.row(left) - points.row(right))[:, 0].tolist()
        for i, apart in enumerate(distances):
            pair = _targets(left)[i], _targets(right)[i]
            if np.isfinite(apart) and points.shared(*pair) and not least <= apart <= most:
                for target in pair:
                    wrong.blame(target, reasons.sides_apart(target, apart))


def _too_many(points: _Points, wrong: _Wrong) -> str:
    """Why the study is refused if most of what was found in its sagittal images is blamed.

    Points of the recesses are left out: they are found beside those of the canal.
    """
    found = [t for t in points.lps if t.condition is not Condition.SUBARTICULAR]
    why = {t: reason for t in found if (reason := wrong.reason(t))}
    if found and len(why) >= MOST * len(found):
        return reasons.no_spine("; ".join(dict.fromkeys(why.values())))
    return ""


# -- the image -------------------------------------------------------------------------------------


def _edges(points: _Points, wrong: _Wrong) -> None:
    """Blame points at the edge of their image, or beyond it (a padded slice)."""
    for target in points.lps:
        inside = points.inside(target, points.lps[target])
        if inside < EDGE:
            wrong.blame(target, reasons.cut_off(target.level, inside))


def _unseen(points: _Points, wrong: _Wrong, end: int) -> str:
    """What is wrong with one end of the spine: 0 is L1/L2, -1 is L5/S1; empty if nothing."""
    level = _LEVELS[end]
    if level in wrong.levels:
        return f"{level.label} was not found"
    for condition in (Condition.CANAL, Condition.FORAMINAL):
        for view in _views_of(condition):
            line, target = wrong.line(points, view), _targets(view)[end]
            known = known_levels(line)
            if len(known) < 2 or _LEVELS[known[end]] is not level:
                continue
            outwards = line[known[0]] - line[known[1]] if end == 0 else line[-1] - line[known[-2]]
            beyond = line[end] + VERTEBRA * outwards / np.linalg.norm(outwards)
            if points.inside(target, beyond) < 0:
                where = "above" if end == 0 else "below"
                return f"the image ends less than {VERTEBRA:.0f} mm {where} {level.label}"
    return ""
