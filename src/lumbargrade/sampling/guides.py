"""Guides: three points per level that crops are cut around.

The points are the centre of the canal and the left and right foramen, in patient LPS mm. They come
from labels, or from the points that a first stage predicts. A point that one view does not give is
taken from another view in the same patient space, so a study can be read without one of its series.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from lumbargrade.domain.geometry import FloatArray
from lumbargrade.domain.point import Point
from lumbargrade.domain.views import Spaces
from lumbargrade.domain.vocabulary import Condition, Level, Side, Target

#: Indices of the three points of a level in a guide.
CENTRE, LEFT, RIGHT = 0, 1, 2

#: Distance of a foramen from the canal's centre to its side, mm; used if T1 gives no point.
#: Median of the labelled foramina about the canal's centre of the real study and of phantoms.
TO_FORAMEN = 16.0

_LEVELS = tuple(Level)


def index_of(target: Target) -> int:
    """Return the index of a canal or foraminal target in a guide."""
    if target.side is None:
        return CENTRE
    return LEFT if target.side is Side.LEFT else RIGHT


def guide_for(series_id: str, points: Iterable[Point], spaces: Spaces) -> FloatArray:
    """Return the guide of one series, (5, 3, 3) LPS mm; NaN for unknown points.

    Only points of series in the same patient space are used. Canal points give the centre,
    foraminal points the sides. A missing centre is the middle between the subarticular points,
    or between the foramina. A missing side lies ``TO_FORAMEN`` beside the centre.

    Args:
        series_id: the series that crops are cut from.
        points: known points of the study; those without patient coordinates are ignored.
        spaces: which series share a space.
    """
    direct = np.full((len(_LEVELS), 3, 3), np.nan)
    recess: dict[tuple[int, Side], list[FloatArray]] = {}
    for point in points:
        if point.patient is None or not spaces.shared(series_id, point.series_id):
            continue
        level, at = _LEVELS.index(point.target.level), np.asarray(point.patient, float)
        if point.target.condition is not Condition.SUBARTICULAR:
            direct[level, index_of(point.target)] = at
        elif point.target.side is not None:
            recess.setdefault((level, point.target.side), []).append(at)
    return _completed(direct, recess)


def _completed(
    direct: FloatArray, recess: Mapping[tuple[int, Side], Sequence[FloatArray]]
) -> FloatArray:
    guide = direct.copy()
    for level in range(len(_LEVELS)):
        known = np.isfinite(direct[level]).all(axis=1)
        sides = [np.mean(recess[level, s], axis=0) for s in Side if (level, s) in recess]
        if not known[CENTRE] and len(sides) == 2:
            guide[level, CENTRE] = (sides[0] + sides[1]) / 2
        elif not known[CENTRE] and known[LEFT] and known[RIGHT]:
            guide[level, CENTRE] = (direct[level, LEFT] + direct[level, RIGHT]) / 2
        if np.isfinite(guide[level, CENTRE]).all():
            # patient x grows to the left
            for at, to_side in ((LEFT, TO_FORAMEN), (RIGHT, -TO_FORAMEN)):
                if not known[at]:
                    guide[level, at] = guide[level, CENTRE] + [to_side, 0.0, 0.0]
    return guide
