"""Whether the points found in a study can be those of a lumbar spine, and which levels cannot.

A network puts its points somewhere in any image, so a finding is worth something only where the
points are: five levels in order, evenly spaced in a smooth curve, left to the left of right, the
views at one height, and all of it inside the images. Limits are wide: they refuse what no spine
shows, not what is unusual. Those marked LSDC were set beyond the labels of the RSNA 2024 LSDC
table (1,899 studies with five canal points): it has pixels, so ratios and angles, but no mm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise

import numpy as np

from lumbargrade.domain import reasons
from lumbargrade.domain.findings import Place
from lumbargrade.domain.geometry import FloatArray
from lumbargrade.domain.space import find_spaces
from lumbargrade.domain.vocabulary import FINDINGS, TARGETS, Condition, Level, Side, Target
from lumbargrade.domain.volume import Volume

#: Distance from one disc to the next, mm: a lumbar vertebral body is 25 to 32 mm high and a disc 6
#: to 14, and the spine of a child or a collapsed vertebra is shorter.
STEP = (12.0, 60.0)
#: The same relative to the study's median (LSDC: 0.52 to 1.40 in 98 of 100 studies, and outside
#: it mostly points marked on another level). A missed level gives 2.
RELATIVE_STEP = (0.45, 1.6)
#: Angle between one step and the next, degrees (LSDC: up to 57 at the foramina).
TURN = 65.0
#: Angle of a step with the line from the first to the last point, degrees (LSDC: 43 in 99 of 100
#: studies); beyond it points go sideways or back.
STRAY = 65.0
#: Angle of that line with the direction to the feet, degrees: lordosis (up to about 25) and a
#: patient who lies askew (up to about 20).
TILT = 55.0
#: Sideways distance of a canal point from the next beyond that line's, mm: more than half the
#: width of a canal and a slip of one vertebra on the other (up to about 10 mm).
SIDEWAYS = 20.0
#: Distance of the left foramen to the patient's left of the right one, mm: pedicles of one vertebra
#: are more than 20 mm apart (Zindrick 1987), less two half slices; the vertebra is 45 to 55 wide.
FORAMINA_APART = (10.0, 80.0)
#: The same of the recesses, which lie at both sides of the canal: they may nearly touch where it is
#: narrow, and are never as far apart as the outer ends of the foramina.
RECESSES_APART = (2.0, 60.0)
#: Levels by which points of two views may differ in height; half is between two levels, and a
#: foramen does not lie exactly beside its disc (the audit of labels uses the same).
HEIGHT = 0.6
#: A point this near to the edge of its image, mm, shows a cut-off level or none.
EDGE = 5.0
#: Height of a vertebra, mm: with less image than this beyond the last point, the vertebra that
#: tells which level it is (the sacrum, or the last one with a rib) is not seen.
VERTEBRA = 25.0
#: Usual distances from level to level by their mean, L1/L2 to L2/L3 first, the spread of their
#: logarithms, and that of the angles between them, degrees (LSDC: medians; robust deviations are
#: 0.05 to 0.12 and, from straight on, 6 to 16).
USUAL_STEPS, STEP_SPREAD, TURN_SPREAD = (1.03, 1.03, 0.99, 0.90), 0.1, 12.0
#: Mean square of both in these units beyond which a view is uneven (spacing alone, LSDC: 4.3 at the
#: foramina in 99 of 100 studies), and by what factor it must exceed that of the other view to be
#: the wrong one of two that disagree.
UNEVEN, MORE_UNEVEN = 4.5, 2.0
#: A study of whose sagittal points this share is implausible is refused as a whole. A first stage
#: trained for minutes misplaces half of the foramina; on images of no spine it is more.
MOST = 0.6
#: Fewer levels than this in order are no lumbar spine.
_ENOUGH = 3

_LEVELS = list(Level)
_Row = tuple[Condition, Side | None]


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


def judge(places: Mapping[Target, Place], volumes: Sequence[Volume]) -> Verdict:
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

    places: Mapping[Target, Place]
    lps: Mapping[Target, FloatArray]
    volumes: Mapping[str, Volume]
    spaces: Mapping[str, int]

    @classmethod
    def of(cls, places: Mapping[Target, Place], volumes: Sequence[Volume]) -> _Points:
        known = {t: p for t, p in places.items() if p.patient is not None}
        return cls(
            known,
            {t: np.asarray(p.patient, float) for t, p in known.items()},
            {v.series_id: v for v in volumes},
            find_spaces(volumes).of_series,
        )

    def row(self, condition: Condition, side: Side | None = None) -> FloatArray:
        """(5, 3) LPS mm from L1/L2 down; NaN where there is none."""
        nowhere = np.full(3, np.nan)
        return np.array([self.lps.get(t, nowhere) for t in _row(condition, side)])

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

    def line(self, points: _Points, condition: Condition, side: Side | None = None) -> FloatArray:
        """(5, 3) points of a view without those that were blamed."""
        row = points.row(condition, side)
        for i, target in enumerate(_row(condition, side)):
            if self.reason(target):
                row[i] = np.nan
        return row


def _row(condition: Condition, side: Side | None) -> list[Target]:
    return [t for t in TARGETS[condition] if t.side is side]


def _known(points: FloatArray) -> list[int]:
    return np.flatnonzero(np.isfinite(points).all(axis=1)).tolist()


# -- one view: order, spacing, curve ---------------------------------------------------------------


def _views(points: _Points, wrong: _Wrong) -> str:
    """Blame the points of each view that leave its curve; or say that there is no spine."""
    broken = {
        (condition, side): fault
        for condition in Condition
        for side in (Side if condition.sided else (None,))
        if (fault := _view(points.row(condition, side), wrong, condition, side))
    }
    canal = broken.get((Condition.CANAL, None), "")
    foramina = [broken.get((Condition.FORAMINAL, side), "") for side in Side]
    if canal or all(foramina):
        return reasons.no_spine(canal or foramina[0])
    for (condition, side), fault in broken.items():
        for target in _row(condition, side):
            wrong.blame(target, fault)
    return ""


def _view(row: FloatArray, wrong: _Wrong, condition: Condition, side: Side | None) -> str:
    """Blame the points that leave the curve of the others; or say what is wrong with all."""
    known = _known(row)
    fault = _fault(row, known)
    if not fault:
        return ""
    why = f"{_what(condition, side)} {fault}"
    kept = _curve(row)
    if kept is None:
        return why
    for i in known:
        if i not in kept:
            wrong.blame(_row(condition, side)[i], reasons.off_the_curve(_LEVELS[i], why))
    return ""


def _point(condition: Condition, side: Side | None) -> str:
    plain = {
        Condition.CANAL: "canal",
        Condition.FORAMINAL: f"{side} foramen",
        Condition.SUBARTICULAR: f"{side} recess",
    }
    return plain[condition]


def _what(condition: Condition, side: Side | None) -> str:
    plain = {
        Condition.CANAL: "points of the canal",
        Condition.FORAMINAL: f"points of the {side} foramina",
        Condition.SUBARTICULAR: f"points of the {side} recesses",
    }
    return plain[condition]


def _curve(row: FloatArray) -> tuple[int, ...] | None:
    """The most levels that form a plausible curve, the smoothest such; None if too few do."""
    known = _known(row)
    for count in range(len(known), min(len(known), _ENOUGH) - 1, -1):
        fits = [kept for kept in combinations(known, count) if not _fault(row, kept)]
        if fits:
            return min(fits, key=lambda kept: _unevenness(row, kept))
    return None


def _steps(row: FloatArray, kept: Sequence[int]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Steps per level (N, 3) between points, their lengths (N,) and angles between them (N-1,)."""
    at = np.asarray(kept)
    steps = np.diff(row[at], axis=0) / np.diff(at)[:, None]
    length = np.linalg.norm(steps, axis=1)
    unit = steps / np.maximum(length, 1e-6)[:, None]
    turns = np.degrees(np.arccos(np.clip((unit[1:] * unit[:-1]).sum(axis=1), -1, 1)))
    return steps, length, turns


def _unevenness(row: FloatArray, kept: Sequence[int]) -> float:
    """How far a curve is from the usual one; about 2 in a real spine. 0 for one step."""
    _, length, turns = _steps(row, kept)
    if not len(turns):
        return 0.0
    usual = [float(np.mean(USUAL_STEPS[a:b])) for a, b in pairwise(kept)]
    off = np.log(length / usual)
    spacing = off.var(ddof=1) / STEP_SPREAD**2
    return float(spacing + ((turns / TURN_SPREAD) ** 2).mean())


def _fault(row: FloatArray, kept: Sequence[int]) -> str:
    """What is wrong with a curve of levels, the first thing that is; empty if nothing."""
    if len(kept) < 2:
        return ""
    steps, length, turns = _steps(row, kept)
    names = [f"{_LEVELS[a].label} and {_LEVELS[b].label}" for a, b in pairwise(kept)]
    whole = row[kept[-1]] - row[kept[0]]
    span = float(np.linalg.norm(whole))
    axis = whole / max(span, 1e-6)
    if span < 1e-6 or np.degrees(np.arccos(np.clip(-axis[2], -1, 1))) > TILT:
        return "do not run from head to feet"
    along = steps @ axis
    if along.min() <= 0:
        return f"are not in order ({names[int(along.argmin())]})"
    for i, one in enumerate(length):
        if not STEP[0] <= one <= STEP[1]:
            return f"are {one:.0f} mm per level apart between {names[i]}"
    ratio = length / np.median(length)
    if (uneven := np.flatnonzero((ratio < RELATIVE_STEP[0]) | (ratio > RELATIVE_STEP[1]))).size:
        i = int(uneven[0])
        return f"are unevenly spaced ({length[i]:.0f} mm per level between {names[i]})"
    stray = np.degrees(np.arccos(np.clip(along / length, -1, 1)))
    if stray.max() > STRAY or (len(turns) and turns.max() > TURN):
        return "do not lie in a smooth curve"
    left = np.array([1.0, 0, 0]) - axis[0] * axis
    aside = np.abs(steps @ (left / np.linalg.norm(left)))
    if aside.max() > SIDEWAYS:
        i = int(aside.argmax())
        return f"jump {aside[i]:.0f} mm sideways between {names[i]}"
    return ""


# -- one view against another ----------------------------------------------------------------------


def _heights(points: _Points, wrong: _Wrong) -> None:
    """Blame points at another height than those of another view.

    Where one of the two views is uneven and the other is not, only that one is blamed; otherwise
    nothing tells which of them is wrong, and no finding of the level can be believed.
    """
    canal, left, right = (Condition.CANAL, None), *((Condition.FORAMINAL, s) for s in Side)
    recesses = [(Condition.SUBARTICULAR, s) for s in Side]
    for first, second in ((canal, left), (canal, right), (left, right)):
        lines = wrong.line(points, *first), wrong.line(points, *second)
        less_even = _less_even(*lines)
        for i, why in _apart(points, first, second, lines):
            pair = _row(*first)[i], _row(*second)[i]
            if less_even is not None:
                wrong.blame(pair[less_even], why)
            else:
                wrong.levels.setdefault(_LEVELS[i], why)
    for recess in recesses:
        lines = wrong.line(points, *canal), wrong.line(points, *recess)
        for i, why in _apart(points, canal, recess, lines):
            wrong.blame(_row(*recess)[i], why)


def _apart(
    points: _Points, first: _Row, second: _Row, lines: tuple[FloatArray, FloatArray]
) -> list[tuple[int, str]]:
    """Indices of levels at which two rows of points differ in height, and by how much."""
    lower, spacing = _lower_by(lines[1], lines[0]), _spacing(lines[0])
    found = []
    for i, level in enumerate(_LEVELS):
        shared = points.shared(_row(*first)[i], _row(*second)[i])
        if shared and abs(lower[i]) > HEIGHT:
            gap = abs(float(lower[i])) * spacing
            names = _point(*first), _point(*second)
            found.append((i, reasons.views_disagree(level, *names, gap)))
    return found


def _less_even(first: FloatArray, second: FloatArray) -> int | None:
    """Which of two rows is uneven while the other is much less so: 0, 1 or neither."""
    uneven = [_unevenness(row, known) if (known := _known(row)) else 0.0 for row in (first, second)]
    worse = int(np.argmax(uneven))
    clear = uneven[worse] > UNEVEN and uneven[worse] > MORE_UNEVEN * uneven[1 - worse]
    return worse if clear and min(len(_known(first)), len(_known(second))) >= _ENOUGH else None


def _spacing(line: FloatArray) -> float:
    known = _known(line)
    return float(np.median(_steps(line, known)[1])) if len(known) > 1 else float("nan")


def _lower_by(row: FloatArray, line: FloatArray) -> FloatArray:
    """Levels by which points (5, 3) stand lower, along a line, than its own points, (5,)."""
    known = _known(line)
    if len(known) < 2:
        return np.full(len(line), np.nan)
    down = np.full_like(line, np.nan)
    steps = np.gradient(line[known], np.asarray(known, float), axis=0)
    down[known] = steps / np.linalg.norm(steps, axis=1, keepdims=True)
    return np.asarray(((row - line) * down).sum(axis=1) / _spacing(line))


def _sides(points: _Points, wrong: _Wrong) -> None:
    """Blame both points of a level whose left one does not lie to the left by what it should."""
    limits = {Condition.FORAMINAL: FORAMINA_APART, Condition.SUBARTICULAR: RECESSES_APART}
    for condition, (least, most) in limits.items():
        left, right = (points.row(condition, side) for side in Side)
        for i, apart in enumerate((left - right)[:, 0].tolist()):
            pair = [_row(condition, side)[i] for side in Side]
            if np.isfinite(apart) and points.shared(*pair) and not least <= apart <= most:
                for target in pair:
                    wrong.blame(target, reasons.sides_apart(target, apart))


def _too_many(points: _Points, wrong: _Wrong) -> str:
    """Why the study is refused if most of what was found in its sagittal images is blamed.

    Points of the recesses are left out: they are found beside those of the canal.
    """
    found = [t for t in points.lps if t.condition is not Condition.SUBARTICULAR]
    why = {t: reason for t in found if (reason := wrong.reason(t))}
    levels = {t.level for t in found}
    if 2 * len(wrong.levels) > len(levels) or len(why) >= MOST * max(len(found), 1):
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
        for side in Side if condition.sided else (None,):
            line, target = wrong.line(points, condition, side), _row(condition, side)[end]
            known = _known(line)
            if len(known) < 2 or known[end] != range(len(_LEVELS))[end]:
                continue
            outwards = line[known[0]] - line[known[1]] if end == 0 else line[-1] - line[known[-2]]
            beyond = line[end] + VERTEBRA * outwards / np.linalg.norm(outwards)
            if points.inside(target, beyond) < 0:
                where = "above" if end == 0 else "below"
                return f"the image ends less than {VERTEBRA:.0f} mm {where} {level.label}"
    return ""
