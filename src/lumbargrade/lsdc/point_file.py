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
from lumbargrade.domain.point import Point
from lumbargrade.domain.vocabulary import Target, target_from_column
from lumbargrade.files.tables import real, table_rows, whole
from lumbargrade.files.writing import write_text

COLUMNS = (
    *("study_id", "fold", "finding", "series_id", "instance_number"),
    *("x", "y", "z", "patient_x", "patient_y", "patient_z", "models"),
)


@dataclass(frozen=True, slots=True)
class PointRow:
    """One row of a file of points.

    Attributes:
        study_id: the study.
        fold: the fold that validates the study.
        point: predicted, with its patient point.
        models: every model that took part, as (recipe, the fold it has not seen).
    """

    study_id: int
    fold: int
    point: Point
    models: tuple[tuple[str, int], ...]


def write_points(path: Path, points: Iterable[PointRow]) -> int:
    """Write points, studies ascending; returns how many."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    count = 0
    for row in sorted(points, key=lambda row: (row.study_id, row.point.target.column)):
        at = row.point
        numbers = [repr(float(v)) for v in (*at.voxel, *(at.patient or ()))]
        models = ";".join(f"{recipe}#{fold}" for recipe, fold in row.models)
        what = (row.study_id, row.fold, at.target.column, at.series_id, at.instance_number)
        writer.writerow([*what, *numbers, models])
        count += 1
    write_text(path, buffer.getvalue())
    return count


def read_points(path: Path) -> dict[int, dict[Target, PointRow]]:
    """Study -> target -> its row.

    Raises:
        BadTable: for a file that is none, missing columns and values that are no points, each with
            its row.
    """
    if not path.is_file():
        raise BadTable(f"{path}: no such file")
    found: dict[int, dict[Target, PointRow]] = defaultdict(dict)
    for number, row in table_rows(path, COLUMNS):
        try:
            read = _point_row(row)
        except ValueError as error:
            raise BadTable(f"{path}, row {number}: not a point: {error}") from None
        target = read.point.target
        if target in found[read.study_id]:
            raise BadTable(f"{path}, row {number}: {target.column} a second time")
        found[read.study_id][target] = read
    return dict(found)


def refuse_seen(
    points: Mapping[int, Mapping[Target, PointRow]], folds: Mapping[int, int], path: Path | str
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
        for target, row in placed.items():
            if not row.models:
                raise UsageError(
                    f"{path}: no model is named for the point {target.column} of study "
                    f"{study}, so it is not known whether one has seen the study"
                )
            for recipe, unseen in row.models:
                if unseen != fold:
                    raise UsageError(
                        f"{path}: the point {target.column} of study {study} (fold {fold}) "
                        f"comes from {recipe} fold {unseen}, which was trained on that study; "
                        "points must be out of fold, as `lumbargrade validate` writes them"
                    )


def _point_row(row: Mapping[str, str]) -> PointRow:
    x, y, z = (real(row[a]) for a in "xyz")
    px, py, pz = (real(row[f"patient_{a}"]) for a in "xyz")
    if not all(map(math.isfinite, (x, y, z, px, py, pz))):
        raise ValueError("a coordinate is not finite")
    pairs = [name.rsplit("#", 1) for name in row["models"].split(";") if name]
    return PointRow(
        whole(row["study_id"]),
        whole(row["fold"]),
        Point(
            target_from_column(row["finding"]),
            row["series_id"],
            whole(row["instance_number"]),
            (x, y, z),
            (px, py, pz),
        ),
        tuple((recipe, int(fold)) for recipe, fold in pairs),
    )
