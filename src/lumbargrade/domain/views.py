"""Geometry between the series of a study: shared spaces, and axial slices that cut a level."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lumbargrade.domain.errors import Problem
from lumbargrade.domain.geometry import FloatArray
from lumbargrade.domain.volume import Volume


@dataclass(frozen=True, slots=True)
class Spaces:
    """The patient space of each series of a study.

    Attributes:
        of_series: series id -> number of its space; series with equal numbers share a space.
        problems: notes for the reader of the result; none is fatal.
    """

    of_series: Mapping[str, int]
    problems: tuple[Problem, ...] = ()

    def shared(self, first: str, second: str) -> bool:
        """Return whether two series share a space; False if a series is unknown."""
        a, b = self.of_series.get(first), self.of_series.get(second)
        return a is not None and a == b


def find_spaces(volumes: Sequence[Volume]) -> Spaces:
    """Group the series of one study by patient space.

    A series without a frame of reference joins the first series whose images overlap its own.
    """
    frames = {v.series_id: v.frame_of_reference for v in volumes}
    named = Counter(f for f in frames.values() if f)
    trusted = len(named) == 1 or any(count > 1 for count in named.values())
    numbers: dict[str, int] = {}
    for i, volume in enumerate(volumes):
        before = volumes[:i]
        same = [o for o in before if _one_space(volume, o, trusted)]
        numbers[volume.series_id] = (
            numbers[same[0].series_id] if same else max(numbers.values(), default=-1) + 1
        )
    return Spaces(numbers, _notes(volumes, numbers, trusted and len(named) > 1))


def _one_space(first: Volume, second: Volume, trusted: bool) -> bool:
    a, b = first.frame_of_reference, second.frame_of_reference
    if trusted and a and b:
        return a == b
    return images_overlap(first, second)


def images_overlap(first: Volume, second: Volume) -> bool:
    """Return whether the boxes around two series (along the patient axes) overlap."""
    a, b = first.corners().reshape(-1, 3), second.corners().reshape(-1, 3)
    return bool((a.min(0) <= b.max(0)).all() and (b.min(0) <= a.max(0)).all())


def _notes(
    volumes: Sequence[Volume], numbers: Mapping[str, int], by_frame: bool
) -> tuple[Problem, ...]:
    if len(set(numbers.values())) < 2:
        return ()
    most = Counter(numbers.values()).most_common(1)[0][0]
    reason = "in another frame of reference than" if by_frame else "apart in space from"
    return tuple(
        Problem(
            f"{v.kind or 'series'} lies {reason} the study's other series, so their points "
            "cannot be used in it; it is read separately",
            study=v.study_id,
            series=v.series_id,
            fatal=False,
        )
        for v in volumes
        if numbers[v.series_id] != most
    )


#: A stack covers a level if a slice passes this close to the level's point, mm: half the height of
#: a disc plus half a slice gap. A stack that ends at one disc is further away from the next.
REACH = 6.0

#: Distances (mm) are rounded to this many decimals before they are compared.
_DECIMALS = 3

#: Cost of a stack that is tilted against the disc, mm per sine of the angle.
TILT = 5.0


@dataclass(frozen=True, slots=True)
class SliceCut:
    """A slice that a point projects into.

    Attributes:
        z: index of the slice in its volume.
        distance: signed distance from the slice to the point along the slice normal, mm.
        x, y: the projected point, pixels of the slice.
    """

    z: int
    distance: float
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class StackCut:
    """One stack (orientation group of a series) that covers a level.

    Attributes:
        series_id: the series.
        group: the stack inside the series.
        slices: its slices that the point projects into, nearest first.
    """

    series_id: str
    group: int
    slices: tuple[SliceCut, ...]

    @property
    def nearest(self) -> SliceCut:
        return self.slices[0]


@dataclass(frozen=True, slots=True)
class LevelCut:
    """The axial stacks of a study that cut one level.

    Attributes:
        stacks: stacks that cover the level, best first; may be empty.
        nearest: distance to the nearest slice that the point projects into, mm, even if no stack
            covers the level; None if there is no such slice.
    """

    stacks: tuple[StackCut, ...]
    nearest: float | None

    @property
    def covered(self) -> bool:
        return bool(self.stacks)

    def __str__(self) -> str:
        if self.covered:
            best = self.stacks[0]
            distance = abs(best.nearest.distance)
            return f"series {best.series_id}, slice {best.nearest.z} at {distance:.1f} mm"
        return f"not covered: {self.shortfall}"

    @property
    def shortfall(self) -> str:
        """How far the slices are from an uncovered level, in words."""
        if self.nearest is None:
            return "no slice has the level in its field of view"
        return f"the nearest slice is {self.nearest:.1f} mm away"


def cut_level(
    point: ArrayLike,
    volumes: Sequence[Volume],
    *,
    along: ArrayLike | None = None,
    reach: float = REACH,
) -> LevelCut:
    """Find the slices that cut a level, stack by stack.

    Works for tilted stacks, several series, one long stack and overlaps. If several stacks cover
    the level, the nearest is best, with a small cost for a tilt against the disc.

    Args:
        point: (3,) LPS mm, in the space of the volumes.
        volumes: axial series of the study.
        along: (3,) direction of the spine at the level, if known; the disc is perpendicular to it.
        reach: a stack covers the level if its nearest slice is at most this far away, mm.

    Raises:
        ValueError: if the point is not finite.
    """
    at = np.asarray(point, float).reshape(3)
    if not np.isfinite(at).all():
        raise ValueError(f"a level's point must be finite, got {at.tolist()}")
    found: list[tuple[float, StackCut]] = []
    nearest: float | None = None
    for volume in volumes:
        local = volume.in_slices(at)[0]
        groups = np.array([s.group for s in volume.slices])
        shape = np.array([s.shape for s in volume.slices])
        inside = ((local[:, :2] >= -0.5) & (local[:, :2] <= shape[:, ::-1] - 0.5)).all(axis=1)
        for group in np.unique(groups[inside]):
            zs = np.flatnonzero(inside & (groups == group))
            zs = zs[_nearest_first(local[zs, 2], volume.slices[zs[0]].plane.normal)]
            distance = float(abs(local[zs[0], 2]))
            nearest = distance if nearest is None else min(nearest, distance)
            if distance <= reach:
                cuts = tuple(
                    SliceCut(int(z), float(d), float(x), float(y))
                    for z, (x, y, d) in zip(zs, local[zs], strict=True)
                )
                cost = distance + TILT * _tilt(volume, int(zs[0]), along)
                found.append((cost, StackCut(volume.series_id, int(group), cuts)))
    found.sort(key=lambda pair: round(pair[0], _DECIMALS))
    return LevelCut(tuple(stack for _, stack in found), nearest)


def _nearest_first(distance: FloatArray, normal: FloatArray) -> NDArray[np.intp]:
    """Order the slices of a stack by their signed distance (N,) along its normal.

    If two slices are equally near, the one closer to the head comes first (in other stacks the one
    closer to the back or left), so that the order does not depend on how they are stored.
    """
    up = np.sign(normal[np.abs(normal).argmax()])
    return np.lexsort((up * distance, np.round(np.abs(distance), _DECIMALS)))


def _tilt(volume: Volume, z: int, along: ArrayLike | None) -> float:
    """Return the sine of the angle between a slice's normal and the spine; 0 if unknown."""
    if along is None:
        return 0.0
    direction = np.asarray(along, float)
    length = float(np.linalg.norm(direction))
    if not np.isfinite(length) or length == 0:
        return 0.0
    cosine = abs(float(volume.slices[z].plane.normal @ direction)) / length
    return float(np.sqrt(max(0.0, 1 - cosine**2)))


def spine_directions(centres: ArrayLike) -> np.ndarray:
    """Return the direction of the spine at each level from its neighbours, (L, 3) unit vectors.

    Args:
        centres: (L, 3) LPS mm top to bottom, NaN if unknown.

    Returns:
        Unit vectors, or NaN if fewer than two levels are known.
    """
    points = np.asarray(centres, float)
    known = np.flatnonzero(np.isfinite(points).all(axis=1))
    result = np.full_like(points, np.nan)
    if len(known) < 2:
        return result
    for level in range(len(points)):
        before, after = known[known < level], known[known > level]
        if not len(before):
            above, below = known[:2]
        elif not len(after):
            above, below = known[-2:]
        else:
            above, below = before[-1], after[0]
        step = points[below] - points[above]
        result[level] = step / max(float(np.linalg.norm(step)), 1e-9)
    return result
