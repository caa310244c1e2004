"""Check whether a row of points, from L1/L2 down, is the curve of a lumbar spine.

Limits are wide: they refuse impossible curves, not unusual ones. Limits marked LSDC lie beyond the
labels of the RSNA 2024 LSDC table (1,899 studies with five canal points). That table is in pixels,
so it gives ratios and angles, but no mm. Rows are (5, 3) in LPS mm, NaN for a level without a
point.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise

import numpy as np

from lumbargrade.domain.geometry import FloatArray
from lumbargrade.domain.vocabulary import Level

#: Smallest and largest distance from disc to disc, mm. A lumbar vertebral body is 25 to 32 mm high
#: and a disc 6 to 14; children and collapsed vertebrae have shorter distances.
STEP = (12.0, 60.0)
#: The same relative to the study's median (LSDC: 0.52 to 1.40 in 98 of 100 studies; the others
#: mostly have points marked on a wrong level). A missed level gives 2.
RELATIVE_STEP = (0.45, 1.6)
#: Largest angle between one step and the next, degrees (LSDC: up to 57 at the foramina).
TURN = 65.0
#: Largest angle between a step and the line from the first to the last point, degrees (LSDC: 43 in
#: 99 of 100 studies). Steps with larger angles go sideways or backwards.
STRAY = 65.0
#: Largest angle between that line and the direction to the feet, degrees: lordosis adds up to about
#: 25, and a rotated patient up to about 20.
TILT = 55.0
#: Largest sideways step between neighbouring points, relative to that line, mm: more than half the
#: width of a canal plus the slip of a vertebra (up to about 10 mm).
SIDEWAYS = 20.0
#: Usual distances between levels divided by their mean, from L1/L2 to L2/L3 down; the spread of
#: their logarithms; the spread of the angles between steps, degrees. (LSDC: medians; robust
#: deviations are 0.05 to 0.12 for logarithms and 6 to 16 degrees for angles.)
USUAL_STEPS, STEP_SPREAD, TURN_SPREAD = (1.03, 1.03, 0.99, 0.90), 0.1, 12.0
#: Smallest number of levels in order that form a lumbar spine.
ENOUGH = 3

_LEVELS = list(Level)


def known_levels(points: FloatArray) -> list[int]:
    """Return the indices of the levels that have a point."""
    return np.flatnonzero(np.isfinite(points).all(axis=1)).tolist()


def best_curve(row: FloatArray) -> tuple[int, ...] | None:
    """Return the largest set of levels that forms a plausible curve, the smoothest on a tie.

    Returns:
        Indices of the levels, or None if fewer than `ENOUGH` levels form a curve.
    """
    known = known_levels(row)
    for count in range(len(known), min(len(known), ENOUGH) - 1, -1):
        fits = [kept for kept in combinations(known, count) if not fault(row, kept)]
        if fits:
            return min(fits, key=lambda kept: unevenness(row, kept))
    return None


def _steps(row: FloatArray, kept: Sequence[int]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return steps per level (N, 3), their lengths (N,) and the angles between them (N-1,)."""
    at = np.asarray(kept)
    steps = np.diff(row[at], axis=0) / np.diff(at)[:, None]
    length = np.linalg.norm(steps, axis=1)
    unit = steps / np.maximum(length, 1e-6)[:, None]
    turns = np.degrees(np.arccos(np.clip((unit[1:] * unit[:-1]).sum(axis=1), -1, 1)))
    return steps, length, turns


def unevenness(row: FloatArray, kept: Sequence[int]) -> float:
    """Measure how far a curve is from the usual one; about 2 in a real spine, 0 for one step."""
    _, length, turns = _steps(row, kept)
    if not len(turns):
        return 0.0
    usual = [float(np.mean(USUAL_STEPS[a:b])) for a, b in pairwise(kept)]
    off = np.log(length / usual)
    spacing = off.var(ddof=1) / STEP_SPREAD**2
    return float(spacing + ((turns / TURN_SPREAD) ** 2).mean())


def fault(row: FloatArray, kept: Sequence[int]) -> str:
    """Return what is wrong with the curve of some levels, as a predicate of "points", or ""."""
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
    for i, mm in enumerate(length):
        if not STEP[0] <= mm <= STEP[1]:
            return f"are {mm:.0f} mm per level apart between {names[i]}"
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
    """Return the median distance from level to level, mm; NaN with fewer than two points."""
    known = known_levels(line)
    return float(np.median(_steps(line, known)[1])) if len(known) > 1 else float("nan")


def levels_lower(row: FloatArray, line: FloatArray) -> FloatArray:
    """Return by how many levels each point of a row lies below that of a line, (5,).

    Args:
        row: points (5, 3).
        line: points (5, 3), which also give the direction and the distance of levels.
    """
    known = known_levels(line)
    if len(known) < 2:
        return np.full(len(line), np.nan)
    down = np.full_like(line, np.nan)
    steps = np.gradient(line[known], np.asarray(known, float), axis=0)
    down[known] = steps / np.linalg.norm(steps, axis=1, keepdims=True)
    return np.asarray(((row - line) * down).sum(axis=1) / spacing(line))
