"""Measure distances from predicted to labelled points of studies that no model has seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.vocabulary import Condition, Target
from lumbargrade.domain.volume import Volume
from lumbargrade.lsdc.tables import TablePoint
from lumbargrade.scoring.points import NOT_FOUND, PointErrors, point_errors


@dataclass(frozen=True)
class TruePoint:
    """A labelled point: voxel (x, y, z), patient LPS mm and unit normal of its slice."""

    target: Target
    voxel: tuple[float, float, float]
    patient: tuple[float, float, float]
    normal: tuple[float, float, float]


def true_points(points: Sequence[TablePoint], volume: Volume) -> list[TruePoint]:
    """Return the labelled points of a series; points on instances missing in it are skipped."""
    index = {s.instance_number: z for z, s in enumerate(volume.slices)}
    found = []
    for point in points:
        if point.series_id == volume.series_id and point.instance_number in index:
            z = index[point.instance_number]
            voxel = (point.x, point.y, float(z))
            a, b, c = volume.to_patient(np.array(voxel)).tolist()
            n, o, p = volume.slices[z].plane.normal.tolist()
            found.append(TruePoint(point.target, voxel, (a, b, c), (n, o, p)))
    return found


def distance_errors(
    truth: Mapping[str, Sequence[TruePoint]], predictions: Mapping[str, StudyPrediction]
) -> dict[Condition, PointErrors]:
    """Return distances in patient space, mm, per condition; missing points count as misses.

    The shares per axis are for patient x, y and z.

    Args:
        truth: study -> its labelled points.
        predictions: study -> its prediction.
    """
    pairs: dict[Condition, list[tuple[Sequence[float], TruePoint]]] = {}
    for study, points in truth.items():
        known = predictions[study].findings if study in predictions else {}
        for point in points:
            place = known[point.target].point if point.target in known else None
            at = place.patient if place is not None else None
            pairs.setdefault(point.target.condition, []).append((at or (np.inf,) * 3, point))
    found = {}
    for condition, listed in pairs.items():
        predicted = np.array([at for at, _ in listed])
        true = np.array([p.patient for _, p in listed])
        normals = np.array([p.normal for _, p in listed])
        # a finite stand-in for missing points, because inf - inf along the slice would be NaN
        predicted = np.where(np.isfinite(predicted), predicted, NOT_FOUND)
        found[condition] = point_errors(predicted, true, predicted, true, normals)
    return found
