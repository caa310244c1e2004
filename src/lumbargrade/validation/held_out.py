"""Measure distances from predicted to labelled points of studies that no model has seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.geometry import triple
from lumbargrade.domain.point import NOWHERE, Point, Xyz
from lumbargrade.domain.vocabulary import Condition
from lumbargrade.domain.volume import Volume
from lumbargrade.lsdc.prepare_series import place_points
from lumbargrade.lsdc.tables import TablePoint
from lumbargrade.scoring.points import NOT_FOUND, PointErrors, point_errors

#: A labelled point, and the unit normal of its slice.
TruePoint = tuple[Point, Xyz]


def true_points(points: Sequence[TablePoint], volume: Volume) -> list[TruePoint]:
    """Return the labelled points of a series; points that have no place in it are skipped."""
    mine = tuple(p for p in points if p.series_id == volume.series_id)
    placed, _ = place_points(mine, volume.slices)
    return [
        (point, triple(volume.slices[int(point.z)].plane.normal))
        for point in placed
        if point.patient is not None
    ]


def distance_errors(
    truth: Mapping[str, Sequence[TruePoint]], predictions: Mapping[str, StudyPrediction]
) -> dict[Condition, PointErrors]:
    """Return distances in patient space, mm, per condition; missing points count as misses.

    The shares per axis are for patient x, y and z.

    Args:
        truth: study -> its labelled points.
        predictions: study -> its prediction.
    """
    pairs: dict[Condition, list[tuple[Xyz, Xyz, Xyz]]] = {}
    for study, points in truth.items():
        known = predictions[study].findings if study in predictions else {}
        for point, normal in points:
            place = known[point.target].point if point.target in known else None
            at = place.patient if place is not None else None
            pair = at or (np.inf,) * 3, point.patient or NOWHERE, normal
            pairs.setdefault(point.target.condition, []).append(pair)
    found = {}
    for condition, listed in pairs.items():
        predicted, true, normals = np.array(listed).swapaxes(0, 1)
        # a finite stand-in for missing points, because inf - inf along the slice would be NaN
        predicted = np.where(np.isfinite(predicted), predicted, NOT_FOUND)
        found[condition] = point_errors(predicted, true, predicted, true, normals)
    return found
