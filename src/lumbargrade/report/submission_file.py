"""The file of a submission: 25 rows per study, written atomically and read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lumbargrade.domain.findings import Probabilities
from lumbargrade.domain.vocabulary import FINDINGS, Target
from lumbargrade.files.tables import table_text
from lumbargrade.files.writing import atomic_path
from lumbargrade.scoring.submissions import SUBMISSION_COLUMNS, check_complete, read_submission


def in_order(study_id: str) -> tuple[int, str]:
    """Sort key: numbers ascending, whatever their length."""
    return len(study_id), study_id


def summary_path(submission: Path) -> Path:
    """The JSON file beside a submission with its summary."""
    return submission.with_name(submission.name + ".json")


def findings_path(submission: Path) -> Path:
    """The CSV file beside a submission with its findings and places."""
    return submission.with_name(submission.name + ".findings.csv")


def write_rows(path: Path, rows: Sequence[tuple[str, Mapping[Target, Probabilities]]]) -> None:
    """Write a submission; its numbers read back exactly.

    Args:
        path: the CSV; written atomically.
        rows: study id and the probabilities of its 25 findings, studies in any order.

    Raises:
        BadTable: if what was written does not read back as a complete submission (for example
            with one study in two places); an earlier file of that name stays.
        OSError: if it cannot be written.
    """
    lines = (
        [f"{study}_{t.column}", *found[t]]
        for study, found in sorted(rows, key=lambda row: in_order(row[0]))
        for t in FINDINGS
        if t in found
    )
    with atomic_path(path) as temporary:
        temporary.write_text(table_text(SUBMISSION_COLUMNS, lines), "utf-8", newline="\n")
        check_complete(read_submission(temporary), [study for study, _ in rows], path)
