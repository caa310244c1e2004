"""The volume store, which training and validation read.

``prepare`` writes it, :class:`VolumeStore` reads it::

    STORE/store.json               version, whether complete, digests of tables, mean shapes
    STORE/series.csv               every usable series: ids, kind, shape, digest of its pixels
    STORE/points.csv               labelled points: in the image, in voxels, in patient mm
    STORE/grades.csv               grades and fold of every study, columns as train.csv
    STORE/problems.csv             everything that could not be used, and why
    STORE/volumes/<study>/<series>.npy and .json    pixels (uncompressed); slices and planes

``store.json`` is marked complete last; opening reads the tables only and never the volumes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lumbargrade.domain.errors import BadStore, Problem
from lumbargrade.domain.findings import Probabilities
from lumbargrade.domain.geometry import FloatArray
from lumbargrade.domain.point import NOWHERE
from lumbargrade.domain.vocabulary import TARGETS, Condition, Target
from lumbargrade.domain.volume import Volume
from lumbargrade.files.mirror import local_copy
from lumbargrade.files.urls import Place
from lumbargrade.lsdc.rows import SeriesRow, select_rows
from lumbargrade.lsdc.series_file import load_volume
from lumbargrade.lsdc.store_tables import (
    StoredPoint,
    parse_grades,
    parse_points,
    parse_problems,
    parse_series,
)
from lumbargrade.lsdc.tables import Grades, SeriesEntry
from lumbargrade.scoring.local import prevalence

#: Version of the store; bumped when its files change their meaning.
STORE_VERSION = 1

INDEX = "store.json"
TABLES = ("series.csv", "points.csv", "grades.csv", "problems.csv")
#: Tables that decide what training sees.
FINGERPRINTED = ("series.csv", "points.csv", "grades.csv")

_AGAIN = "run `lumbargrade prepare` again"


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
        mean_shapes: condition -> (P, 2) pixels of a 512 x 512 frame, where rows allow one.
    """

    path: Path
    series: list[SeriesEntry]
    shapes: Mapping[SeriesEntry, tuple[int, int, int]]
    points: tuple[StoredPoint, ...]
    grades: Grades
    folds: dict[str, int]
    problems: tuple[Problem, ...]
    fingerprint: str
    mean_shapes: Mapping[Condition, FloatArray]

    @classmethod
    def open(cls, path: Place | str) -> VolumeStore:
        """Open a store.

        Args:
            path: its folder, or its URL. Volumes are mapped into memory, so the store at a URL is
                copied to this machine first (`local_copy`).

        Raises:
            BadStore: if it is not a store, or is incomplete, damaged or of another version.
        """
        path = local_copy(Path(path) if isinstance(path, str) else path)
        index = read_index(path)
        if index is None:
            raise BadStore(f"{path} is not a volume store: it has no {INDEX}")
        if not index.get("complete"):
            raise BadStore(f"{path}: `lumbargrade prepare` did not finish; {_AGAIN}")
        texts = {name: _checked_table(path, name, index) for name in TABLES}
        try:
            return cls.from_tables(path, texts, index)
        except (KeyError, ValueError, TypeError) as error:
            raise BadStore(f"{path}: a table is damaged ({error}); {_AGAIN}") from None

    @classmethod
    def from_tables(
        cls, path: Path, texts: Mapping[str, str], index: Mapping[str, Any]
    ) -> VolumeStore:
        """Return a store from the text of its tables and the content of ``store.json``."""
        shapes = parse_series(texts["series.csv"])
        grades, folds = parse_grades(texts["grades.csv"])
        return cls(
            path,
            list(shapes),
            shapes,
            parse_points(texts["points.csv"]),
            grades,
            folds,
            parse_problems(texts["problems.csv"]),
            str(index["fingerprint"]),
            {Condition(c): np.array(m) for c, m in index["mean_shapes"].items()},
        )

    def volume(self, study_id: str, series_id: str) -> Volume:
        """A series with memory-mapped pixels.

        Raises:
            BadStore: if the store does not hold it, or its files are damaged.
        """
        entry = self._by_id.get((study_id, series_id))
        if entry is None:
            raise BadStore(f"{self.path} has no series {series_id} of study {study_id}")
        return load_volume(self.path, *entry)

    def rows(
        self, condition: Condition, *, include_wrong_left_points: bool = False
    ) -> list[SeriesRow]:
        """Return the training rows of a condition, in table order.

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
        places = [
            points[t].voxel if t in points and math.isfinite(points[t].z) else NOWHERE
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

    def prevalence(self) -> dict[Target, Probabilities]:
        """Return the share of each grade per target.

        One is added to every count (Laplace), so a grade that a small data set lacks keeps a small
        probability.
        """
        return prevalence(self.grades)

    def mean_shape(self, condition: Condition) -> FloatArray:
        """Return the mean of the rows' points in a 512 x 512 frame, (P, 2) pixels (x, y).

        Raises:
            BadStore: if no row of the condition has all its points.
        """
        if condition not in self.mean_shapes:
            raise BadStore(f"{self.path}: no series has all points of {condition}: no mean shape")
        return self.mean_shapes[condition].copy()

    @cached_property
    def _by_id(self) -> dict[tuple[str, str], SeriesEntry]:
        return {(s.study_id, s.series_id): s for s in self.series}


def read_index(path: Path) -> dict[str, Any] | None:
    """Read ``store.json``; None if it does not exist.

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
    """Return the digest of a table's text, as in ``store.json``."""
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()


def store_fingerprint(digests: Mapping[str, str]) -> str:
    """Return the SHA-256 of the tables that decide what training sees (with digests of pixels)."""
    return hashlib.sha256(" ".join(digests[n] for n in FINGERPRINTED).encode()).hexdigest()


def _checked_table(path: Path, name: str, index: Mapping[str, Any]) -> str:
    try:
        text = (path / name).read_bytes().decode()
    except (FileNotFoundError, UnicodeDecodeError):
        raise BadStore(f"{path}: {name} is missing or damaged; {_AGAIN}") from None
    if table_digest(text) != index.get("tables", {}).get(name):
        raise BadStore(f"{path}: {name} was changed after it was written; {_AGAIN}")
    return text
