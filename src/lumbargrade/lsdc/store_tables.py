"""Write and read the tables of a store, as plain CSV."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, field, fields

from lumbargrade.domain.errors import Problem
from lumbargrade.domain.point import NOWHERE, Point
from lumbargrade.domain.vocabulary import (
    FINDINGS,
    SeriesKind,
    grade_from_label,
    target_from_column,
)
from lumbargrade.files.tables import finite, id_text, known, parse_table, table_text, whole
from lumbargrade.lsdc.series_file import SeriesRecord
from lumbargrade.lsdc.tables import Grades, SeriesEntry

_SHAPE = ("depth", "height", "width")
_PLACE = ("x", "y", "z", "patient_x", "patient_y", "patient_z")
_PROBLEM = tuple(f.name for f in fields(Problem))


@dataclass(frozen=True, slots=True)
class StoredPoint(Point):
    """A labelled point with its study.

    If its instance is not a slice of the volume, z is NaN and ``patient`` is None.

    Attributes:
        study_id: the study.
    """

    study_id: str = field(kw_only=True)


def render_series(records: Mapping[SeriesEntry, SeriesRecord]) -> str:
    """Return ``series.csv``: the usable series."""
    header = ("study_id", "series_id", "kind", *_SHAPE, "digest")
    rows = [
        (s.study_id, s.series_id, s.kind.value, *r.shape, r.digest)
        for s, r in records.items()
        if r.shape is not None
    ]
    return table_text(header, rows)


def parse_series(text: str) -> dict[SeriesEntry, tuple[int, int, int]]:
    """Read ``series.csv`` as series -> (D, H, W)."""
    shapes = {}
    for row in parse_table(text):
        depth, height, width = (row.read(whole, name) for name in _SHAPE)
        study, series = row.read(id_text, "study_id"), row.read(id_text, "series_id")
        shapes[SeriesEntry(study, series, row.read(SeriesKind, "kind"))] = depth, height, width
    return shapes


def render_points(points: Iterable[StoredPoint]) -> str:
    """Return ``points.csv``: floats in full, empty cells for unknown positions."""
    header = ("study_id", "series_id", "target", "instance_number", *_PLACE)
    rows = (
        [
            *(p.study_id, p.series_id, p.target.column, p.instance_number),
            *map(known, (*p.voxel, *(p.patient or NOWHERE))),
        ]
        for p in points
    )
    return table_text(header, rows)


def parse_points(text: str) -> tuple[StoredPoint, ...]:
    """Read ``points.csv``."""
    points = []
    for row in parse_table(text):
        x, y, z, a, b, c = (row.read(finite, c) if row[c] else math.nan for c in _PLACE)
        point = StoredPoint(
            row.read(target_from_column, "target"),
            row.read(id_text, "series_id"),
            row.read(whole, "instance_number"),
            (x, y, z),
            (a, b, c) if math.isfinite(a) else None,
            study_id=row.read(id_text, "study_id"),
        )
        points.append(point)
    return tuple(points)


def render_grades(grades: Grades, folds: Mapping[str, int]) -> str:
    """Return ``grades.csv``: the columns of train.csv, and the fold."""
    header = ("study_id", "fold", *(t.column for t in FINDINGS))
    rows = [
        (study, folds[study], *(g[t].label if t in g else "" for t in FINDINGS))
        for study, g in grades.items()
    ]
    return table_text(header, rows)


def parse_grades(text: str) -> tuple[Grades, dict[str, int]]:
    """Read ``grades.csv``: the grades of every study, and its fold."""
    grades: Grades = {}
    folds: dict[str, int] = {}
    for row in parse_table(text):
        study = row.read(id_text, "study_id")
        folds[study] = row.read(whole, "fold")
        grades[study] = {t: row.read(grade_from_label, t.column) for t in FINDINGS if row[t.column]}
    return grades, folds


def render_problems(problems: Iterable[Problem]) -> str:
    """Return ``problems.csv``: a line per problem."""
    return table_text(_PROBLEM, (astuple(p) for p in problems))


def parse_problems(text: str) -> tuple[Problem, ...]:
    """Read ``problems.csv``."""
    return tuple(
        Problem(r["what"], r["study"], r["series"], r["file"], r["advice"], r["fatal"] == "True")
        for r in parse_table(text)
    )
