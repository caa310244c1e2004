"""The tables of a store, written and read: plain CSV that any program opens."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import NamedTuple

from lumbargrade.domain.errors import Problem
from lumbargrade.domain.vocabulary import (
    FINDINGS,
    SeriesKind,
    Target,
    grade_from_label,
    target_from_column,
)
from lumbargrade.lsdc.series_file import SeriesRecord
from lumbargrade.lsdc.tables import Grades, SeriesEntry

_PLACE = ("x", "y", "z", "patient_x", "patient_y", "patient_z")
_PROBLEM = tuple(f.name for f in fields(Problem))


class StoredPoint(NamedTuple):
    """A labelled point; x, y in native pixels, z the slice index; NaN where it has no place.

    ``patient`` is LPS mm.
    """

    study_id: int
    series_id: int
    instance_number: int
    target: Target
    x: float
    y: float
    z: float
    patient: tuple[float, float, float]


def render_series(records: Mapping[SeriesEntry, SeriesRecord]) -> str:
    """``series.csv``: the usable series."""
    header = ("study_id", "series_id", "kind", "depth", "height", "width", "digest")
    rows = [
        (s.study_id, s.series_id, s.kind.value, *r.shape, r.digest)
        for s, r in records.items()
        if r.shape is not None
    ]
    return _render(header, rows)


def parse_series(text: str) -> dict[SeriesEntry, tuple[int, int, int]]:
    """Series -> (D, H, W)."""
    return {
        SeriesEntry(int(r["study_id"]), int(r["series_id"]), SeriesKind(r["kind"])): (
            int(r["depth"]),
            int(r["height"]),
            int(r["width"]),
        )
        for r in _records(text)
    }


def render_points(points: Iterable[StoredPoint]) -> str:
    """``points.csv``: floats in full, nothing where a point has no place."""
    header = ("study_id", "series_id", "target", "instance_number", *_PLACE)
    rows = []
    for p in points:
        place = (p.x, p.y, p.z, *p.patient)
        texts = [repr(float(v)) if math.isfinite(v) else "" for v in place]
        rows.append((p.study_id, p.series_id, p.target.column, p.instance_number, *texts))
    return _render(header, rows)


def parse_points(text: str) -> tuple[StoredPoint, ...]:
    """The points as they were rendered."""
    targets = {t.column: target_from_column(t.column) for t in FINDINGS}
    points = []
    for study, series, target, instance, *rest in list(csv.reader(io.StringIO(text)))[1:]:
        x, y, z, px, py, pz = (float(v) if v else math.nan for v in rest)
        points.append(
            StoredPoint(
                int(study), int(series), int(instance), targets[target], x, y, z, (px, py, pz)
            )
        )
    return tuple(points)


def render_grades(grades: Grades, folds: Mapping[int, int]) -> str:
    """``grades.csv``: columns of train.csv, and the fold."""
    header = ("study_id", "fold", *(t.column for t in FINDINGS))
    rows = [
        (study, folds[study], *(g[t].label if t in g else "" for t in FINDINGS))
        for study, g in grades.items()
    ]
    return _render(header, rows)


def parse_grades(text: str) -> tuple[Grades, dict[int, int]]:
    """Grades of every study, and its fold."""
    grades: Grades = {}
    folds: dict[int, int] = {}
    for record in _records(text):
        study = int(record["study_id"])
        folds[study] = int(record["fold"])
        grades[study] = {
            t: grade_from_label(record[t.column]) for t in FINDINGS if record[t.column]
        }
    return grades, folds


def render_problems(problems: Iterable[Problem]) -> str:
    """``problems.csv``: one line per problem."""
    return _render(_PROBLEM, [tuple(p.as_dict().values()) for p in problems])


def parse_problems(text: str) -> tuple[Problem, ...]:
    """The problems as they were rendered."""
    return tuple(
        Problem(r["what"], r["study"], r["series"], r["file"], r["advice"], r["fatal"] == "True")
        for r in _records(text)
    )


def _records(text: str) -> csv.DictReader[str]:
    return csv.DictReader(io.StringIO(text, newline=""))


def _render(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return stream.getvalue()
