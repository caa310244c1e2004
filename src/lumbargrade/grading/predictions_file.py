"""Read and write predictions as CSV: one row per finding, with point and reference grade."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lumbargrade.domain.findings import Finding, ModelSource, Probabilities, StudyPrediction
from lumbargrade.domain.ids import id_order
from lumbargrade.domain.vocabulary import (
    FINDINGS,
    Grade,
    Target,
    grade_from_name,
    target_from_column,
)
from lumbargrade.files.tables import filled, listed, read_table, real, whole, write_table
from lumbargrade.lsdc.point_file import PLACE_COLUMNS, point_cells, read_point

_GRADES = tuple(g.column for g in Grade)
COLUMNS = ("study_id", "fold", "finding", *_GRADES, "true_grade", *PLACE_COLUMNS, "models")


#: Largest distance of a probability sum from 1: for values in full precision, and for values
#: rounded to three decimals or more.
_IN_FULL, _ROUNDED = 1e-9, 2e-3


def distribution(*cells: str | float) -> Probabilities:
    """Parse the probabilities of a finding from a table's cells.

    Values in full precision are kept, so that they read back exactly; rounded values are
    normalised.

    Raises:
        ValueError: if the cells are not three numbers from 0 to 1 that sum to 1.

    Examples:
        >>> distribution("0.7", "0.2", "0.1")
        (0.7, 0.2, 0.1)
        >>> distribution(0.7, 0.2, 0.2)
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
    folds: Mapping[str, int] | None = None,
    grades: Mapping[str, Mapping[Target, Grade]] | None = None,
) -> int:
    """Write predictions, with studies in ascending order, and return the number of rows.

    Column ``models`` names every model of a row as ``recipe#fold``, so that blending and training
    can check that no model was trained on the study. Numbers are written in full precision, because
    a small probability rounded to 0 would have an enormous log loss.

    Args:
        path: the CSV file; written atomically.
        predictions: one per study; absent findings get no row.
        folds: study -> fold; without it the column stays empty.
        grades: study -> target -> reference grade; without it the column stays empty.
    """
    rows: list[list[object]] = []
    for prediction in sorted(predictions, key=lambda p: id_order(p.study_id)):
        known = (grades or {}).get(prediction.study_id, {})
        fold = (folds or {}).get(prediction.study_id)
        for target in FINDINGS:
            if (finding := prediction.findings.get(target)) is not None:
                truth = known[target].column if target in known else None
                start = [prediction.study_id, fold, target.column, *finding.probabilities, truth]
                rows.append([*start, *point_cells(finding.point), finding.sources])
    write_table(path, COLUMNS, rows)
    return len(rows)


@dataclass(frozen=True, slots=True)
class PredictionRow:
    """One row of a file of predictions.

    Attributes:
        number: row number as in a spreadsheet; the header is row 1.
        study: study id.
        fold: the study's fold; None if the file does not have it.
        finding: the predicted finding.
        truth: the reference grade, if known.
    """

    number: int
    study: str
    fold: int | None
    finding: Finding
    truth: Grade | None


def read_rows(path: Path) -> Iterator[PredictionRow]:
    """Yield the rows that :func:`write_predictions` wrote, in order.

    Raises:
        BadTable: if columns are missing, or a row has an unknown or duplicate finding or wrong
            values; the text names the row.
    """
    seen: dict[tuple[str, Target], int] = {}
    for row in read_table(path, COLUMNS):
        study = row.read(filled, "study_id")
        target = row.read(target_from_column, "finding")
        row.require_first(seen, (study, target), f"{target.column} of study {study}")
        finding = Finding(
            target,
            row.read(distribution, *_GRADES),
            read_point(row, target),
            row.read(listed(ModelSource.parse), "models"),
        )
        fold = row.read_known(whole, "fold")
        truth = row.read_known(grade_from_name, "true_grade")
        yield PredictionRow(row.number, study, fold, finding, truth)


def read_predictions(path: Path) -> dict[str, StudyPrediction]:
    """Read the predictions by study, without folds and reference grades.

    Raises:
        BadTable: as for :func:`read_rows`.
    """
    found: dict[str, StudyPrediction] = {}
    for row in read_rows(path):
        old = found.get(row.study) or StudyPrediction(row.study, {})
        findings = {**old.findings, row.finding.target: row.finding}
        sources = tuple(dict.fromkeys((*old.sources, *row.finding.sources)))
        found[row.study] = StudyPrediction(row.study, findings, sources)
    return found
