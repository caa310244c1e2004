"""What `audit` writes as tables: every suspect, and corrections that `prepare` reads."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from lumbargrade.audit.suspect import Check, Suspect, settle
from lumbargrade.files.writing import write_text
from lumbargrade.lsdc.corrections import POINT_COLUMNS
from lumbargrade.lsdc.tables import Grades

CORRECTION_COLUMNS = (*POINT_COLUMNS, "fix", "suspect", "check", "score", "reason")
CONTRADICTED_COLUMNS = ("study_id", "finding", "grade", "suspect", "score", "reason")
SUSPECT_COLUMNS = (
    *("suspect", "check", "study_id", "series_id", "condition", "labels", "score"),
    *("corrected", "reason"),
)


def write_corrections(path: Path, suspects: Sequence[Suspect]) -> int:
    """Write the proposed corrections, a row per point; returns how many.

    ``suspect`` is the number under which the page shows it. Whoever does not agree deletes the
    row.
    """
    rows = [
        (
            *(c.study_id, c.series_id, c.instance_number),
            *(c.target.coordinate_label, c.target.level.label, c.x, c.y),
            *(c.fix, n, suspects[n - 1].check, *_why(suspects[n - 1])),
        )
        for n, corrections in settle(suspects).items()
        for c in corrections
    ]
    _write(path, CORRECTION_COLUMNS, rows)
    return len(rows)


def write_suspects(path: Path, suspects: Sequence[Suspect]) -> None:
    """Write all suspects in their order, a row each."""
    settled = settle(suspects)
    rows = [
        (
            *(n, s.check, s.study_id, s.series_id or "", s.condition, s.names),
            *(f"{s.score:.2f}", len(settled.get(n, ())), s.reason),
        )
        for n, s in enumerate(suspects, start=1)
    ]
    _write(path, SUSPECT_COLUMNS, rows)


def write_contradicted(path: Path, suspects: Sequence[Suspect], grades: Grades) -> int:
    """Write the contradicted grades for the recipe key ``data.suspects``; returns how many."""
    rows = [
        (s.study_id, s.targets[0].column, grades[s.study_id][s.targets[0]].column, n, *_why(s))
        for n, s in enumerate(suspects, start=1)
        if s.check is Check.GRADE
    ]
    _write(path, CONTRADICTED_COLUMNS, rows)
    return len(rows)


def _why(suspect: Suspect) -> tuple[str, str]:
    return f"{suspect.score:.2f}", suspect.reason


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, buffer.getvalue())
