"""Predicted points as a CSV file: what stage one hands to stage two.

``validate`` writes it, with points of every study by models that have not seen the study; training
of a second stage reads it.
"""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lumbargrade.domain.errors import BadTable, UsageError
from lumbargrade.domain.vocabulary import Target, target_from_column
from lumbargrade.files.tables import real, table_rows, whole
from lumbargrade.files.writing import write_text

COLUMNS = (
    *("study_id", "fold", "finding", "series_id", "instance_number"),
    *("x", "y", "z", "patient_x", "patient_y", "patient_z", "models"),
)


@dataclass(frozen=True, slots=True)
class PlacedPoint:
    """One predicted point.

    Attributes:
        study_id: the study.
        fold: the fold that validates the study.
        target: what was placed.
        series_id, instance_number: where it was seen.
        voxel: native x, y in pixels and slice index z.
        patient: LPS mm.
        models: every model that took part, as (recipe, the fold it has not seen).
    """

    study_id: int
    fold: int
    target: Target
    series_id: str
    instance_number: int
    voxel: tuple[float, float, float]
    patient: tuple[float, float, float]
    models: tuple[tuple[str, int], ...]


def write_points(path: Path, points: Iterable[PlacedPoint]) -> int:
    """Write points, studies ascending; returns how many."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    count = 0
    for p in sorted(points, key=lambda p: (p.study_id, p.target.column)):
        numbers = [repr(float(v)) for v in (*p.voxel, *p.patient)]
        models = ";".join(f"{recipe}#{fold}" for recipe, fold in p.models)
        writer.writerow(
            [p.study_id, p.fold, p.target.column, p.series_id, p.instance_number, *numbers, models]
        )
        count += 1
    write_text(path, buffer.getvalue())
    return count


def read_points(path: Path) -> dict[int, dict[Target, PlacedPoint]]:
    """Study -> target -> point.

    Raises:
        BadTable: for a file that is none, missing columns and values that are no points, each with
            its row.
    """
    if not path.is_file():
        raise BadTable(f"{path}: no such file")
    found: dict[int, dict[Target, PlacedPoint]] = defaultdict(dict)
    for number, row in table_rows(path, COLUMNS):
        try:
            point = _point(row)
        except ValueError as error:
            raise BadTable(f"{path}, row {number}: not a point: {error}") from None
        if point.target in found[point.study_id]:
            raise BadTable(f"{path}, row {number}: {point.target.column} a second time")
        found[point.study_id][point.target] = point
    return dict(found)


def refuse_seen(
    points: Mapping[int, Mapping[Target, PlacedPoint]], folds: Mapping[int, int], path: Path | str
) -> None:
    """Make sure that no point comes from a model that was trained on its study.

    Args:
        points: study -> target -> point.
        folds: study -> fold of the store that is trained on.
        path: where the points come from, for the message.

    Raises:
        UsageError: naming the study and the model.
    """
    for study, placed in points.items():
        fold = folds.get(study)
        if fold is None:
            continue
        for point in placed.values():
            if not point.models:
                raise UsageError(
                    f"{path}: no model is named for the point {point.target.column} of study "
                    f"{study}, so it is not known whether one has seen the study"
                )
            for recipe, unseen in point.models:
                if unseen != fold:
                    raise UsageError(
                        f"{path}: the point {point.target.column} of study {study} (fold {fold}) "
                        f"comes from {recipe} fold {unseen}, which was trained on that study; "
                        "points must be out of fold, as `lumbargrade validate` writes them"
                    )


def _point(row: Mapping[str, str]) -> PlacedPoint:
    x, y, z = (real(row[a]) for a in "xyz")
    px, py, pz = (real(row[f"patient_{a}"]) for a in "xyz")
    if not all(map(math.isfinite, (x, y, z, px, py, pz))):
        raise ValueError("a coordinate is not finite")
    pairs = [name.rsplit("#", 1) for name in row["models"].split(";") if name]
    return PlacedPoint(
        whole(row["study_id"]),
        whole(row["fold"]),
        target_from_column(row["finding"]),
        row["series_id"],
        whole(row["instance_number"]),
        (x, y, z),
        (px, py, pz),
        tuple((recipe, int(fold)) for recipe, fold in pairs),
    )
