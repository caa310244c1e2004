"""Geometry joins the views: which axial slices cut a level that a sagittal point marks.

Nothing is learned here: a point in patient space has an exact distance to every slice plane. A
slice counts where the point's projection lies inside its image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lumbargrade.domain.geometry import FloatArray
from lumbargrade.domain.volume import Volume

#: A level is covered where a slice passes this near to its point, mm. Half the height of a disc
#: and half a slice gap; a stack that ends below one disc is further than that from the next.
REACH = 6.0

#: Distances that are equal to this many decimals of a millimetre count as equal.
_DECIMALS = 3

#: What a stack that lies askew to the disc costs against a nearer one, mm per sine of the angle.
TILT = 5.0


@dataclass(frozen=True, slots=True)
class SliceCut:
    """A slice that a point projects into.

    Attributes:
        z: index of the slice in its volume.
        distance: mm from the slice to the point along the slice normal, signed.
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
        slices: all its slices that the point projects into, nearest first.
    """

    series_id: str
    group: int
    slices: tuple[SliceCut, ...]

    @property
    def nearest(self) -> SliceCut:
        return self.slices[0]


@dataclass(frozen=True, slots=True)
class LevelCut:
    """How the axial series of a study cut one level.

    Attributes:
        stacks: stacks that cover the level, best first; empty where none does.
        nearest: mm to the nearest slice that the point projects into, covered or not; None where
            there is none.
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
        """How far the slices are from a level that none covers, in words."""
        if self.nearest is None:
            return "no slice has the level in its field"
        return f"the nearest slice is {self.nearest:.1f} mm away"


def cut_level(
    point: ArrayLike,
    volumes: Sequence[Volume],
    *,
    along: ArrayLike | None = None,
    reach: float = REACH,
) -> LevelCut:
    """The slices that cut a level, stack by stack.

    Works for tilted stacks, several series, one long stack and overlaps. Of two stacks that cover
    the level the nearer one is the better, with a small cost for lying askew to the disc.

    Args:
        point: (3,) LPS mm, in the space of the volumes.
        volumes: axial series of the study.
        along: (3,) direction of the spine at the level, if known; the disc is across it.
        reach: a stack covers the level where its nearest slice is this near, mm.

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
                cost = distance + TILT * _askew(volume, int(zs[0]), along)
                found.append((cost, StackCut(volume.series_id, int(group), cuts)))
    found.sort(key=lambda pair: round(pair[0], _DECIMALS))
    return LevelCut(tuple(stack for _, stack in found), nearest)


def _nearest_first(distance: FloatArray, normal: FloatArray) -> NDArray[np.intp]:
    """Order of the slices of a stack by their signed distance (N,) along its normal.

    Of two slices that are equally near, the one further to the head comes first (back, left in
    stacks that do not lie across the spine), in whatever order they are stored.
    """
    up = np.sign(normal[np.abs(normal).argmax()])
    return np.lexsort((up * distance, np.round(np.abs(distance), _DECIMALS)))


def _askew(volume: Volume, z: int, along: ArrayLike | None) -> float:
    """Sine of the angle between a slice's normal and the direction of the spine; 0 if unknown."""
    if along is None:
        return 0.0
    direction = np.asarray(along, float)
    length = float(np.linalg.norm(direction))
    if not np.isfinite(length) or length == 0:
        return 0.0
    cosine = abs(float(volume.slices[z].plane.normal @ direction)) / length
    return float(np.sqrt(max(0.0, 1 - cosine**2)))


def spine_directions(centres: ArrayLike) -> np.ndarray:
    """Direction of the spine at each level from the points of its neighbours, (L, 3) unit vectors.

    Args:
        centres: (L, 3) LPS mm top to bottom, NaN where unknown.

    Returns:
        NaN where fewer than two levels are known.
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
