"""One row of points, from L1/L2 down: whether it is the curve of a lumbar spine.

Limits are wide: they refuse what no spine shows, not what is unusual. Those marked LSDC were set
beyond the labels of the RSNA 2024 LSDC table (1,899 studies with five canal points): it has pixels,
so ratios and angles, but no mm. Rows are (5, 3) in LPS mm, NaN for a level without a point.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise

import numpy as np

from lumbargrade.domain.geometry import FloatArray
from lumbargrade.domain.vocabulary import Level

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
#: Usual distances from level to level by their mean, L1/L2 to L2/L3 first, the spread of their
#: logarithms, and that of the angles between them, degrees (LSDC: medians; robust deviations are
#: 0.05 to 0.12 and, from straight on, 6 to 16).
USUAL_STEPS, STEP_SPREAD, TURN_SPREAD = (1.03, 1.03, 0.99, 0.90), 0.1, 12.0
#: Fewer levels than this in order are no lumbar spine.
ENOUGH = 3

_LEVELS = list(Level)


def known_levels(points: FloatArray) -> list[int]:
    """Indices of the levels that have a point."""
    return np.flatnonzero(np.isfinite(points).all(axis=1)).tolist()


def best_curve(row: FloatArray) -> tuple[int, ...] | None:
    """The most levels that form a plausible curve, the smoothest such; None if too few do."""
    known = known_levels(row)
    for count in range(len(known), min(len(known), ENOUGH) - 1, -1):
        fits = [kept for kept in combinations(known, count) if not fault(row, kept)]
        if fits:
            return min(fits, key=lambda kept: unevenness(row, kept))
    return None


def _steps(row: FloatArray, kept: Sequence[int]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Steps per level (N, 3) between points, their lengths (N,) and angles between them (N-1,)."""
    at = np.asarray(kept)
    steps = np.diff(row[at], axis=0) / np.diff(at)[:, None]
    length = np.linalg.norm(steps, axis=1)
    unit = steps / np.maximum(length, 1e-6)[:, None]
    turns = np.degrees(np.arccos(np.clip((unit[1:] * unit[:-1]).sum(axis=1), -1, 1)))
    return steps, length, turns


def unevenness(row: FloatArray, kept: Sequence[int]) -> float:
    """How far a curve is from the usual one; about 2 in a real spine. 0 for one step."""
    _, length, turns = _steps(row, kept)
    if not len(turns):
        return 0.0
    usual = [float(np.mean(USUAL_STEPS[a:b])) for a, b in pairwise(kept)]
    off = np.log(length / usual)
    spacing = off.var(ddof=1) / STEP_SPREAD**2
    return float(spacing + ((turns / TURN_SPREAD) ** 2).mean())


def fault(row: FloatArray, kept: Sequence[int]) -> str:
    """What is wrong with the curve of some levels, as a predicate of "points"; empty if nothing."""
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


def spacing(line: FloatArray) -> float:
    """Median distance from level to level, mm; NaN with fewer than two points."""
    known = known_levels(line)
    return float(np.median(_steps(line, known)[1])) if len(known) > 1 else float("nan")


def lower_by(row: FloatArray, line: FloatArray) -> FloatArray:
    """Levels by which points (5, 3) stand lower, along a line, than its own points, (5,)."""
    known = known_levels(line)
    if len(known) < 2:
        return np.full(len(line), np.nan)
    down = np.full_like(line, np.nan)
    steps = np.gradient(line[known], np.asarray(known, float), axis=0)
    down[known] = steps / np.linalg.norm(steps, axis=1, keepdims=True)
    return np.asarray(((row - line) * down).sum(axis=1) / spacing(line))
