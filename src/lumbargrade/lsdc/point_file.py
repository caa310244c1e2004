"""Predicted points as a CSV file, which the second stage trains on.

``validate`` writes the file. Every point comes from models that have not seen its study.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.findings import ModelSource
from lumbargrade.domain.ids import id_order
from lumbargrade.domain.point import Point
from lumbargrade.domain.vocabulary import Target, target_from_column
from lumbargrade.files.tables import Row, finite, id_text, listed, read_table, whole, write_table

#: Columns of the position of a point.
PLACE_COLUMNS = (
    *("series_id", "instance_number", "x", "y", "z"),
    *("patient_x", "patient_y", "patient_z"),
)
COLUMNS = ("study_id", "fold", "finding", *PLACE_COLUMNS, "models")


def point_cells(point: Point | None) -> list[object]:
    """Return the cells of ``PLACE_COLUMNS``; unknown values are empty."""
    if point is None:
        return [None] * len(PLACE_COLUMNS)
    patient = point.patient or (None,) * 3
    return [point.series_id, point.instance_number, *point.voxel, *patient]


def read_point(row: Row, target: Target) -> Point | None:
    """Read the point of a row with ``PLACE_COLUMNS``; None if no series is named."""
    if not row["series_id"]:
        return None
    x, y, z = (row.read(finite, axis) for axis in "xyz")
    patient = None
    if row["patient_x"]:
        px, py, pz = (row.read(finite, f"patient_{axis}") for axis in "xyz")
        patient = (px, py, pz)
    instance = row.read(whole, "instance_number")
    return Point(target, row["series_id"], instance, (x, y, z), patient)


@dataclass(frozen=True, slots=True)
class PointRow:
    """A row of a file of points.

    Attributes:
        study_id: the study.
        fold: the fold that validates the study.
        point: predicted, with its patient point.
        models: every model that took part.
    """

    study_id: str
    fold: int
    point: Point
    models: tuple[ModelSource, ...]


def write_points(path: Path, points: Iterable[PointRow]) -> int:
    """Write points in ascending order of studies; return their number."""
    listed_rows = sorted(points, key=lambda row: (id_order(row.study_id), row.point.target.column))
    cells = (
        [r.study_id, r.fold, r.point.target.column, *point_cells(r.point), r.models]
        for r in listed_rows
    )
    write_table(path, COLUMNS, cells)
    return len(listed_rows)


def read_points(path: Path) -> dict[str, dict[Target, PointRow]]:
    """Read a file of points as study -> target -> row.

    Raises:
        BadTable: if there is no such file, a column is missing or a value is not valid; the message
            names the row.
    """
    found: dict[str, dict[Target, PointRow]] = defaultdict(dict)
    seen: dict[tuple[str, Target], int] = {}
    for row in read_table(path, COLUMNS):
        study = row.read(id_text, "study_id")
        target = row.read(target_from_column, "finding")
        row.require_first(seen, (study, target), f"{target.column} of study {study}")
        point = read_point(row, target)
        if point is None or point.patient is None:
            raise row.error("the point has no series or no place in the patient")
        models = row.read(listed(ModelSource.parse), "models")
        found[study][target] = PointRow(study, row.read(whole, "fold"), point, models)
    return dict(found)


def refuse_seen(
    points: Mapping[str, Mapping[Target, PointRow]], folds: Mapping[str, int], path: Path | str
) -> None:
    """Check that no point comes from a model that was trained on its study.

    Args:
        points: study -> target -> point.
        folds: study -> fold of the store that is trained on.
        path: where the points come from, for the message.

    Raises:
        UsageError: if one does; the message names the study and the model.
    """
    for study, placed in points.items():
        fold = folds.get(study)
        if fold is None:
            continue
        for target, row in placed.items():
            if not row.models:
                raise UsageError(
                    f"{path}: no model is named for the point {target.column} of study "
                    f"{study}, so it is not known whether one has seen the study"
                )
            for model in row.models:
                if model.fold != fold:
                    raise UsageError(
                        f"{path}: the point {target.column} of study {study} (fold {fold}) comes "
                        f"from {model.recipe} fold {model.fold}, which was trained on that study; "
                        "points must be out of fold, as `lumbargrade validate` writes them"
                    )
