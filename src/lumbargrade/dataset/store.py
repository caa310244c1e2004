"""The volume store: what training reads.

``prepare`` writes it, :class:`VolumeStore` reads it::

    STORE/store.json               version, whether complete, digests of the tables, fingerprint
    STORE/series.csv               every usable series: ids, kind, shape, digest of its pixels
    STORE/points.csv               labelled points: in the image, in voxels, in patient mm
    STORE/grades.csv               grades and fold of every study, columns as train.csv
    STORE/problems.csv             everything that could not be used, and why
    STORE/volumes/<study>/<series>.npy and .json    pixels (uncompressed); slices and planes

``store.json`` is marked complete last; opening reads the tables only and never the volumes.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lumbargrade.dataset.rows import SeriesRow, select_rows
from lumbargrade.dataset.series_file import load_volume
from lumbargrade.dataset.shapes import FRAME, mean_shape
from lumbargrade.dataset.tables import Grades, SeriesEntry
from lumbargrade.domain.errors import BadStore, Problem
from lumbargrade.domain.geometry import FloatArray, apply_homography, fit_to_frame
from lumbargrade.domain.vocabulary import (
    FINDINGS,
    TARGETS,
    Condition,
    Grade,
    SeriesKind,
    Target,
    grade_from_label,
    target_from_column,
)
from lumbargrade.domain.volume import Volume

#: Raised when files of the store change their meaning.
STORE_VERSION = 1

INDEX = "store.json"
TABLES = ("series.csv", "points.csv", "grades.csv", "problems.csv")
#: Tables that decide what training sees.
FINGERPRINTED = ("series.csv", "points.csv", "grades.csv")

_AGAIN = "run `lumbargrade prepare` again"


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


@dataclass(frozen=True)
class VolumeStore:
    """A prepared data set, opened for reading.

    Attributes:
        path: the folder.
        series: (study id, series id, kind) of every usable series.
        shapes: series -> (D, H, W).
        points: every labelled point of those series.
        grades: study -> target -> grade; targets without a grade are absent.
        folds: study -> fold that validates it.
        problems: what could not be used, and why.
        fingerprint: sha256 over all that training sees; equal for equal data.
    """

    path: Path
    series: list[SeriesEntry]
    shapes: Mapping[SeriesEntry, tuple[int, int, int]]
    points: tuple[StoredPoint, ...]
    grades: Grades
    folds: dict[int, int]
    problems: tuple[Problem, ...]
    fingerprint: str

    @classmethod
    def open(cls, path: Path | str) -> VolumeStore:
        """Open a store.

        Raises:
            BadStore: if it is no store, incomplete, damaged or of another version.
        """
        path = Path(path)
        index = read_index(path)
        if index is None:
            raise BadStore(f"{path} is not a volume store: it has no {INDEX}")
        if not index.get("complete"):
            raise BadStore(f"{path}: `lumbargrade prepare` did not finish; {_AGAIN}")
        texts = {name: _checked_table(path, name, index) for name in TABLES}
        try:
            shapes = _parse_series(texts["series.csv"])
            grades, folds = _parse_grades(texts["grades.csv"])
            points = _parse_points(texts["points.csv"])
            problems = _parse_problems(texts["problems.csv"])
        except (KeyError, ValueError, TypeError) as error:
            raise BadStore(f"{path}: a table is damaged ({error}); {_AGAIN}") from None
        fingerprint = str(index.get("fingerprint", ""))
        return cls(path, list(shapes), shapes, points, grades, folds, problems, fingerprint)

    def volume(self, study_id: int | str, series_id: int | str) -> Volume:
        """A series with memory-mapped pixels.

        Raises:
            BadStore: if the store does not hold it, or its files are damaged.
        """
        entry = self._by_id.get((int(study_id), int(series_id)))
        if entry is None:
            raise BadStore(f"{self.path} has no series {series_id} of study {study_id}")
        return load_volume(self.path, *entry)

    def rows(
        self, condition: Condition, *, include_wrong_left_points: bool = False
    ) -> list[SeriesRow]:
        """The training rows of a condition, in table order.

        Args:
            include_wrong_left_points: put back the three studies whose left point is wrong.
        """
        chosen = select_rows(
            condition,
            self.series,
            self.points,
            include_wrong_left_points=include_wrong_left_points,
        )
        return [self._row(condition, entry, points) for entry, points in chosen.items()]

    def _row(
        self, condition: Condition, entry: SeriesEntry, points: Mapping[Target, StoredPoint]
    ) -> SeriesRow:
        targets = TARGETS[condition]
        known = self.grades.get(entry.study_id, {})
        nowhere = (math.nan, math.nan, math.nan)
        places = [
            points[t][4:7] if t in points and math.isfinite(points[t].z) else nowhere
            for t in targets
        ]
        return SeriesRow(
            study_id=entry.study_id,
            series_id=entry.series_id,
            fold=self.folds.get(entry.study_id, -1),
            kind=entry.kind,
            targets=targets,
            points=np.array(places, np.float32),
            grades=np.array([known.get(t, -1) for t in targets], np.int8),
        )

    def prevalence(self) -> dict[Target, tuple[float, float, float]]:
        """Share of each grade per target.

        One is added to every count (Laplace), so that a grade never seen in a small data set keeps
        a small probability.
        """
        counts = {t: np.ones(len(Grade)) for t in FINDINGS}
        for found in self.grades.values():
            for target, grade in found.items():
                counts[target][grade] += 1
        shares = {t: (c / c.sum()).tolist() for t, c in counts.items()}
        return {t: (a, b, c) for t, (a, b, c) in shares.items()}

    def mean_shape(self, condition: Condition) -> FloatArray:
        """Mean of the rows' points in a 512 x 512 frame, (P, 2) absolute pixels (x, y).

        Raises:
            BadStore: if no row of the condition has all its points.
        """
        if condition not in self._mean_shapes:
            self._mean_shapes[condition] = self._compute_mean_shape(condition)
        return self._mean_shapes[condition].copy()

    def _compute_mean_shape(self, condition: Condition) -> FloatArray:
        shapes = []
        for row in self.rows(condition):
            if np.isfinite(row.points).all():
                _, height, width = self.shapes[SeriesEntry(row.study_id, row.series_id, row.kind)]
                to_frame = fit_to_frame((height, width), FRAME)
                shapes.append(apply_homography(to_frame, row.points[:, :2]))
        if not shapes:
            raise BadStore(f"{self.path}: no series has all points of {condition}: no mean shape")
        return mean_shape(np.array(shapes))

    @cached_property
    def _by_id(self) -> dict[tuple[int, int], SeriesEntry]:
        return {(s.study_id, s.series_id): s for s in self.series}

    @cached_property
    def _mean_shapes(self) -> dict[Condition, FloatArray]:
        return {}


def read_index(path: Path) -> dict[str, Any] | None:
    """``store.json``, or None where there is none.

    Raises:
        BadStore: if it is damaged or of another version.
    """
    try:
        index = json.loads((path / INDEX).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        raise BadStore(f"{path / INDEX} is damaged; delete it and {_AGAIN}") from None
    version = index.get("version") if isinstance(index, dict) else None
    if version != STORE_VERSION:
        raise BadStore(
            f"{path} is a store of version {version}, this program writes version "
            f"{STORE_VERSION}; prepare into a new folder, or delete this one and {_AGAIN}"
        )
    return dict(index)


def table_digest(text: str) -> str:
    """What ``store.json`` says of a table's text."""
    return hashlib.sha256(text.encode()).hexdigest()


def store_fingerprint(digests: Mapping[str, str]) -> str:
    """sha256 over the tables that decide what training sees (pixel digests are in series.csv)."""
    return hashlib.sha256(" ".join(digests[n] for n in FINGERPRINTED).encode()).hexdigest()


def _checked_table(path: Path, name: str, index: Mapping[str, Any]) -> str:
    try:
        text = (path / name).read_bytes().decode()
    except (FileNotFoundError, UnicodeDecodeError):
        raise BadStore(f"{path}: {name} is missing or damaged; {_AGAIN}") from None
    if table_digest(text) != index.get("tables", {}).get(name):
        raise BadStore(f"{path}: {name} was changed after it was written; {_AGAIN}")
    return text


def _records(text: str) -> csv.DictReader[str]:
    return csv.DictReader(text.splitlines())


def _parse_series(text: str) -> dict[SeriesEntry, tuple[int, int, int]]:
    return {
        SeriesEntry(int(r["study_id"]), int(r["series_id"]), SeriesKind(r["kind"])): (
            int(r["depth"]),
            int(r["height"]),
            int(r["width"]),
        )
        for r in _records(text)
    }


def _parse_grades(text: str) -> tuple[Grades, dict[int, int]]:
    grades: Grades = {}
    folds: dict[int, int] = {}
    for record in _records(text):
        study = int(record["study_id"])
        folds[study] = int(record["fold"])
        grades[study] = {
            t: grade_from_label(record[t.column]) for t in FINDINGS if record[t.column]
        }
    return grades, folds


def _parse_points(text: str) -> tuple[StoredPoint, ...]:
    targets = {t.column: target_from_column(t.column) for t in FINDINGS}
    points = []
    for study, series, target, instance, *rest in list(csv.reader(text.splitlines()))[1:]:
        x, y, z, px, py, pz = (float(v) if v else math.nan for v in rest)
        points.append(
            StoredPoint(
                int(study), int(series), int(instance), targets[target], x, y, z, (px, py, pz)
            )
        )
    return tuple(points)


def _parse_problems(text: str) -> tuple[Problem, ...]:
    return tuple(Problem(**{**r, "fatal": r["fatal"] == "True"}) for r in _records(text))  # type: ignore[arg-type]
