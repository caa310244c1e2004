"""The file of a submission: 25 rows per study, written atomically and read back."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from lumbargrade.domain.files import atomic_path
from lumbargrade.domain.findings import Probabilities
from lumbargrade.domain.vocabulary import FINDINGS, Target
from lumbargrade.scoring.official import SUBMISSION_COLUMNS, check_complete, read_submission


def in_order(study_id: str) -> tuple[int, str]:
    """Sort key: numbers ascending, whatever their length."""
    return len(study_id), study_id


def summary_path(submission: Path) -> Path:
    """The JSON file beside a submission that says what is in it."""
    return submission.with_name(submission.name + ".json")


def findings_path(submission: Path) -> Path:
    """Where the findings of a submission stand, with their places (see `prediction.table`)."""
    return submission.with_name(submission.name + ".findings.csv")


def write_rows(path: Path, rows: Sequence[tuple[str, Mapping[Target, Probabilities]]]) -> None:
    """Write a submission; what is read back has the same numbers to the last bit.

    Args:
        path: the CSV; written atomically.
        rows: study and its 25 probabilities, in any order.

    Raises:
        BadTable: if what was written does not read back as a complete submission (for example
            with one study in two places); an earlier file of that name stays.
        OSError: if it cannot be written.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(SUBMISSION_COLUMNS)
    for study, found in sorted(rows, key=lambda row: in_order(row[0])):
        writer.writerows([f"{study}_{t.column}", *found[t]] for t in FINDINGS if t in found)
    with atomic_path(path) as temporary:
        temporary.write_text(buffer.getvalue(), encoding="utf-8")
        check_complete(read_submission(temporary), [study for study, _ in rows], path)
