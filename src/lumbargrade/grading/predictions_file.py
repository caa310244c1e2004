"""Predictions as a CSV file: one row per study, condition and level, with place and truth."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lumbargrade.domain.errors import BadTable
from lumbargrade.domain.findings import Finding, ModelSource, Probabilities, StudyPrediction
from lumbargrade.domain.point import Point
from lumbargrade.domain.vocabulary import FINDINGS, Grade, Target, target_from_column
from lumbargrade.files.tables import real, table_rows, whole
from lumbargrade.files.writing import write_text

COLUMNS = (
    *("study_id", "fold", "finding"),
    *(g.column for g in Grade),
    *("true_grade", "series_id", "instance_number", "x", "y", "z"),
    *("patient_x", "patient_y", "patient_z", "models"),
)


#: How far the sum of a finding's probabilities may be from 1 if they were written in full, and if
#: they were rounded, to three decimals or more.
_IN_FULL, _ROUNDED = 1e-9, 2e-3


def distribution(cells: Sequence[str | float]) -> Probabilities:
    """The probabilities of a finding from a table's cells.

    Values written in full are kept as they are, so that they read back exactly; rounded values are
    normalised.

    Raises:
        ValueError: if they are not three numbers from 0 to 1 that add up to 1.

    Examples:
        >>> distribution(["0.7", "0.2", "0.1"])
        (0.7, 0.2, 0.1)
        >>> distribution([0.7, 0.2, 0.2])
        Traceback (most recent call last):
        ValueError: probabilities add up to 1.1
    """
    a, b, c = (real(cell) if isinstance(cell, str) else float(cell) for cell in cells)
    total = a + b + c
    if not abs(total - 1) <= _ROUNDED:
        raise ValueError(f"probabilities add up to {total:g}")
    if min(a, b, c) < 0:
        raise ValueError(f"{min(a, b, c):g} is not a probability")
    if abs(total - 1) <= _IN_FULL:
        return a, b, c
    return a / total, b / total, c / total


def write_predictions(
    path: Path,
    predictions: Sequence[StudyPrediction],
    folds: Mapping[int, int] | None = None,
    grades: Mapping[int, Mapping[Target, Grade]] | None = None,
) -> int:
    """Write what models predict, studies in ascending order; returns how many rows.

    ``models`` names every model of a row as ``recipe#fold``, so that whoever blends or trains on
    the file can see that none of them was trained on the study. Every number reads back exactly: a
    small probability rounded to 0 would cost as much as a certain and wrong prediction.

    Args:
        path: the CSV; written atomically.
        predictions: one per study; absent findings get no row.
        folds: study -> fold; the column stays empty without.
        grades: study -> target -> true grade; likewise.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    count = 0
    for prediction in sorted(predictions, key=lambda p: (len(p.study_id), p.study_id)):
        number = int(prediction.study_id) if prediction.study_id.isdecimal() else -1
        known = (grades or {}).get(number, {})
        fold = (folds or {}).get(number, "")
        for target in FINDINGS:
            finding = prediction.findings.get(target)
            if finding is None:
                continue
            truth = known[target].column if target in known else ""
            probabilities = [repr(float(p)) for p in finding.probabilities]
            start = [prediction.study_id, fold, target.column, *probabilities, truth]
            models = ";".join(f"{s.recipe}#{s.fold}" for s in finding.sources)
            writer.writerow([*start, *point_cells(finding.point), models])
            count += 1
    write_text(path, buffer.getvalue())
    return count


def point_cells(point: Point | None) -> list[object]:
    """The eight columns from ``series_id`` to ``patient_z``, empty where nothing is known."""
    if point is None:
        return [""] * 8
    xyz = [repr(float(v)) for v in point.voxel]
    patient = [repr(float(v)) for v in point.patient or ()] or [""] * 3
    return [point.series_id, point.instance_number, *xyz, *patient]


@dataclass(frozen=True, slots=True)
class PredictionRow:
    """One row of a file of predictions.

    Attributes:
        number: as a spreadsheet counts, header is 1.
        study: study id.
        fold: the study's fold; None where the file does not say.
        finding: what was predicted.
        truth: the true grade, where known.
    """

    number: int
    study: str
    fold: int | None
    finding: Finding
    truth: Grade | None


def read_rows(path: Path) -> Iterator[PredictionRow]:
    """The rows that :func:`write_predictions` wrote, in order.

    Raises:
        BadTable: for missing columns, unknown or repeated findings and values that are no
            predictions, each with its row.
    """
    if not path.is_file():
        raise BadTable(f"{path}: no such file")
    seen: set[tuple[str, Target]] = set()
    for number, row in table_rows(path, COLUMNS):
        if not row["study_id"]:
            raise BadTable(f"{path}, row {number}: study_id is empty")
        try:
            fold = whole(row["fold"]) if row["fold"] else None
            truth = Grade[row["true_grade"].upper()] if row["true_grade"] else None
            found = PredictionRow(number, row["study_id"], fold, _finding(row), truth)
        except (KeyError, ValueError) as error:
            raise BadTable(f"{path}, row {number}: not a prediction: {error}") from None
        key = (found.study, found.finding.target)
        if key in seen:
            raise BadTable(f"{path}, row {number}: {key[1].column} a second time")
        seen.add(key)
        yield found


def read_predictions(path: Path) -> dict[str, StudyPrediction]:
    """The same by study, without folds and truth.

    Raises:
        BadTable: as :func:`read_rows`.
    """
    found: dict[str, StudyPrediction] = {}
    for row in read_rows(path):
        old = found.get(row.study) or StudyPrediction(row.study, {})
        findings = {**old.findings, row.finding.target: row.finding}
        sources = tuple(dict.fromkeys((*old.sources, *row.finding.sources)))
        found[row.study] = StudyPrediction(row.study, findings, sources)
    return found


def _finding(row: Mapping[str, str]) -> Finding:
    target = target_from_column(row["finding"])
    probabilities = distribution([row[g.column] for g in Grade])
    point = None
    if row["series_id"]:
        patient = None
        if row["patient_x"]:
            px, py, pz = (real(row[f"patient_{axis}"]) for axis in "xyz")
            patient = (px, py, pz)
        x, y, z = (real(row[axis]) for axis in "xyz")
        point = Point(target, row["series_id"], whole(row["instance_number"]), (x, y, z), patient)
    return Finding(target, probabilities, point, sources=_sources(row["models"]))


def _sources(text: str) -> tuple[ModelSource, ...]:
    pairs = [name.rsplit("#", 1) for name in text.split(";") if name]
    return tuple(ModelSource(recipe, int(fold)) for recipe, fold in pairs)
