"""The LSDC tables as typed records: grades, series descriptions and labelled points.

Malformed input (missing column, unknown condition, non-numeric value, duplicate row) raises
BadTable with file, row and reason. Tables that do not fit together (a study that another table
lacks) give a Problem. Rows are counted as lines of the file, so the header is row 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lumbargrade.domain.errors import BadTable, Problem, UsageError
from lumbargrade.domain.ids import id_order
from lumbargrade.domain.vocabulary import (
    FINDINGS,
    Condition,
    Grade,
    SeriesKind,
    Target,
    grade_from_label,
    target_from_labels,
)
from lumbargrade.files.tables import finite, id_text, read_table, whole
from lumbargrade.lsdc.corrections import (
    POINT_COLUMNS,
    PUBLISHED_FILE,
    Correction,
    Fix,
    holds_corrections,
    read_corrections,
    require_applicable,
)

Grades = dict[str, dict[Target, Grade]]


class SeriesEntry(NamedTuple):
    """A row of the table of series descriptions."""

    study_id: str
    series_id: str
    kind: SeriesKind


class TablePoint(NamedTuple):
    """A labelled point: x, y in pixels of the instance that it was drawn on."""

    study_id: str
    series_id: str
    instance_number: int
    target: Target
    x: float
    y: float


@dataclass(frozen=True)
class LsdcTables:
    """All tables of one split of a data set.

    Attributes:
        folder: the data set.
        split: ``train`` or ``test``.
        grades: study -> target -> grade; every study of train.csv is there, empty grades are not.
        series: rows of the series descriptions.
        points: labelled points, corrected where a corrected table was given.
        problems: what does not fit together.
        label_fixes: the corrected table, or None.
    """

    folder: Path
    split: str
    grades: Grades
    series: tuple[SeriesEntry, ...]
    points: tuple[TablePoint, ...]
    problems: tuple[Problem, ...] = field(default=())
    label_fixes: Path | None = None

    @property
    def images(self) -> Path:
        """The folder that holds ``<study>/<series>/<instance>.dcm``."""
        return self.folder / f"{self.split}_images"

    @property
    def studies(self) -> tuple[str, ...]:
        """Ids of all studies of the split, ascending."""
        return tuple(sorted({*self.grades, *(s.study_id for s in self.series)}, key=id_order))


def is_lsdc_folder(folder: Path) -> bool:
    """Return whether a folder holds the series descriptions of an LSDC split."""
    return any((folder / f"{s}_series_descriptions.csv").is_file() for s in ("train", "test"))


def read_tables(
    folder: Path, *, split: str = "auto", label_fixes: Path | None = None
) -> LsdcTables:
    """Read all tables of a split; ``auto`` takes train if it exists, else test.

    Raises:
        UsageError: if the folder is not an LSDC folder or lacks the split.
        BadTable: if a table cannot be used.
    """
    if split not in ("auto", "train", "test"):
        raise UsageError(f"split {split!r}: it is train, test or auto")
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    for name in ("train", "test") if split == "auto" else (split,):
        if (folder / f"{name}_series_descriptions.csv").is_file():
            tables = _read_split(folder, name)
            return tables if label_fixes is None else with_label_fixes(tables, label_fixes)
    wanted = "train or test" if split == "auto" else split
    raise UsageError(f"{folder} has no {wanted}_series_descriptions.csv: not an LSDC data set")


def with_label_fixes(tables: LsdcTables, path: Path) -> LsdcTables:
    """Return the tables with corrected points.

    A table of corrections (:mod:`.corrections`) changes the points that it names, of any condition.
    A complete corrected table, as published, replaces all canal points and no others; a problem
    reports if few points replace many. The corrections that come with
    the package are for the whole LSDC training data: those of absent series are skipped and
    counted in a problem.

    Raises:
        UsageError: for the test split, which has no labels.
        BadTable: if the corrected table cannot be used, does not fit the labels, or is complete
            and holds no canal point.
    """
    if tables.split != "train":
        raise UsageError("--label-fixes: the test split has no labels to correct")
    if holds_corrections(path):
        return _corrected(tables, path)
    canal = [p for p in read_point_table(path) if p.target.condition is Condition.CANAL]
    if not canal:
        raise BadTable(f"{path}: the corrected table holds no canal point")
    others = [p for p in tables.points if p.target.condition is not Condition.CANAL]
    labelled = len(tables.points) - len(others)
    corrected = _with_points(tables, (*others, *canal), path)
    if len(canal) >= labelled / 2:
        return corrected
    few = Problem(
        f"{path}: its {len(canal)} canal points replace all {labelled} of the data set",
        advice="to correct single points, write add, move or drop in column fix of every row",
    )
    return replace(corrected, problems=(*corrected.problems, few))


def _corrected(tables: LsdcTables, path: Path) -> LsdcTables:
    corrections = read_corrections(path)
    labelled = {(p.study_id, p.series_id, p.target) for p in tables.points}
    series = {s[:2] for s in tables.series} | {p[:2] for p in tables.points}
    absent = []
    if path == PUBLISHED_FILE:
        absent = [c for c in corrections if (c.study_id, c.series_id) not in series]
        corrections = [c for c in corrections if (c.study_id, c.series_id) in series]
    require_applicable(path, corrections, labelled, series)
    by_key = {c.key: c for c in corrections}
    points = []
    for point in tables.points:
        c = by_key.get((point.study_id, point.series_id, point.target))
        if c is None:
            points.append(point)
        elif c.fix is Fix.MOVE:
            points.append(_point_of(c))
    points += [_point_of(c) for c in corrections if c.fix is Fix.ADD]
    corrected = _with_points(tables, tuple(points), path)
    if not absent:
        return corrected
    return replace(corrected, problems=(*corrected.problems, _skipped(corrections, absent)))


def _skipped(applied: Sequence[Correction], absent: Sequence[Correction]) -> Problem:
    """Report how many published corrections are for series that the data set lacks."""
    total = len(applied) + len(absent)
    studies = len({c.study_id for c in absent})
    return Problem(
        f"{len(applied)} of the {total} published label fixes applied; {len(absent)} are of series "
        f"of {studies} studies that the data set does not have",
        advice="expected for a part of the LSDC training data; for other data leave out "
        "--label-fixes",
        fatal=False,
    )


def _point_of(c: Correction) -> TablePoint:
    return TablePoint(c.study_id, c.series_id, c.instance_number, c.target, c.x, c.y)


def _with_points(tables: LsdcTables, points: tuple[TablePoint, ...], path: Path) -> LsdcTables:
    problems = tuple(_cross_check(tables.grades, tables.series, points))
    return replace(tables, points=points, problems=problems, label_fixes=path)


def _read_split(folder: Path, split: str) -> LsdcTables:
    series = tuple(read_series_table(folder / f"{split}_series_descriptions.csv"))
    if split == "test":
        return LsdcTables(folder, split, {}, series, ())
    grades = read_grade_table(folder / "train.csv")
    points = tuple(read_point_table(folder / "train_label_coordinates.csv"))
    problems = tuple(_cross_check(grades, series, points))
    return LsdcTables(folder, split, grades, series, points, problems)


def read_grade_table(path: Path) -> Grades:
    """Read ``train.csv`` as study -> target -> grade.

    Raises:
        BadTable: if a column is missing, a grade is unknown, an id is malformed or a study
        duplicate.
    """
    columns = ("study_id", *(t.column for t in FINDINGS))
    grades: Grades = {}
    seen: dict[str, int] = {}
    for row in read_table(path, columns):
        study = row.read(id_text, "study_id")
        row.require_first(seen, study, f"study_id {study}")
        grades[study] = {
            t: row.read(grade_from_label, t.column) for t in FINDINGS if row[t.column].strip()
        }
    return grades


def read_series_table(path: Path) -> list[SeriesEntry]:
    """Read ``train_series_descriptions.csv``, or the same table of the test split.

    Raises:
        BadTable: if a column is missing, a description unknown, an id malformed or a series
            duplicate.
    """
    entries = []
    for entry in series_entries(path):
        if isinstance(entry, BadTable):
            raise entry
        entries.append(entry)
    return entries


def series_entries(path: Path) -> Iterator[SeriesEntry | BadTable]:
    """Yield an entry for every row of a table of series descriptions, or what is wrong with it.

    Raises:
        BadTable: if the table as a whole cannot be read any further: see `read_table`.
    """
    seen: dict[tuple[str, str], int] = {}
    for row in read_table(path, ("study_id", "series_id", "series_description")):
        try:
            study, series = row.read(id_text, "study_id"), row.read(id_text, "series_id")
            row.require_first(seen, (study, series), f"series_id {series}")
            yield SeriesEntry(study, series, row.read(_described, "series_description"))
        except BadTable as error:
            yield error


def _described(text: str) -> SeriesKind:
    if text not in set(SeriesKind):
        expected = ", ".join(SeriesKind)
        raise ValueError(f"unknown series description {text!r}; expected one of {expected}")
    return SeriesKind(text)


def read_point_table(path: Path) -> list[TablePoint]:
    """Read ``train_label_coordinates.csv``, in its own spelling or that of the corrected table.

    Raises:
        BadTable: if a column is missing, a condition or level unknown, a value not a number, or a
            target has two points in one series.
    """
    points = []
    seen: dict[tuple[str, str, Target], int] = {}
    for row in read_table(path, POINT_COLUMNS):
        point = TablePoint(
            row.read(id_text, "study_id"),
            row.read(id_text, "series_id"),
            row.read(whole, "instance_number"),
            row.read(target_from_labels, "condition", "level"),
            row.read(finite, "x"),
            row.read(finite, "y"),
        )
        key = (point.study_id, point.series_id, point.target)
        row.require_first(seen, key, f"{point.target.column} in series {point.series_id}")
        points.append(point)
    return points


def _cross_check(
    grades: Grades, series: Sequence[SeriesEntry], points: Sequence[TablePoint]
) -> list[Problem]:
    """Report each id that one table has and another lacks."""
    described = {s.study_id for s in series}
    known = {s[:2] for s in series}
    problems = [
        Problem("study is not in the table of series descriptions", study=s)
        for s in sorted(set(grades) - described, key=id_order)
    ]
    problems += [
        Problem("study is not in train.csv", study=s)
        for s in sorted(described - set(grades), key=id_order)
    ]
    strangers = sorted({p[:2] for p in points} - known, key=lambda ids: [*map(id_order, ids)])
    return problems + [
        Problem(
            "points on a series that is not in the table of series descriptions",
            study=study,
            series=s,
        )
        for study, s in strangers
    ]


FOLDS = 5
SEED = 42


def assign_folds(study_ids: Iterable[str]) -> dict[str, int]:
    """Return study -> fold 0..4: one draw per study id, ascending, from ``RandomState(42)``.

    ``study_ids`` are those of ``train.csv``; a study of fold f is validated by models of fold f.
    """
    studies = sorted(set(study_ids), key=id_order)
    # the published folds come from the legacy generator; default_rng would draw others
    drawn = np.random.RandomState(SEED).choice(FOLDS, len(studies))
    return {study: int(fold) for study, fold in zip(studies, drawn, strict=True)}


def fold_sizes(folds: dict[str, int]) -> list[int]:
    """Return the number of studies in each fold."""
    return [sum(f == fold for f in folds.values()) for fold in range(FOLDS)]
