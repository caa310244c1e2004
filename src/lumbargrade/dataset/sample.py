"""The sample submission beside a test set: it says which studies are to be predicted."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from lumbargrade.dataset.csv_rows import integer, read_rows
from lumbargrade.domain.errors import BadTable, Problem
from lumbargrade.domain.vocabulary import FINDINGS, Target, target_from_column

SAMPLE = "sample_submission.csv"


def sample_studies(folder: Path, split: str) -> tuple[str, ...] | None:
    """Study ids of a data set's sample submission, in its order.

    Args:
        folder: the data set.
        split: ``train`` or ``test``; a sample submission is of the test split.

    Returns:
        None for the train split, and where there is no sample submission.

    Raises:
        BadTable: for a row that is not of a study's finding, a duplicate row, a study without all
            25 rows, and a table without rows.
    """
    path = folder / SAMPLE
    if split != "test" or not path.exists():
        return None
    found: dict[str, set[Target]] = {}
    for row, (text,) in read_rows(path, ("row_id",)):
        study, _, column = text.partition("_")
        study_id = str(integer(path, row, "study id of row_id", study))
        try:
            target = target_from_column(column)
        except ValueError as error:
            raise BadTable(f"{path}, row {row}, row_id {text!r}: {error}") from None
        rows = found.setdefault(study_id, set())
        if target in rows:
            raise BadTable(f"{path}, row {row}: duplicate row_id {text}; keep one row")
        rows.add(target)
    if not found:
        raise BadTable(f"{path}: lists no study; remove the file to predict those of the table")
    for study_id, rows in found.items():
        if missing := [t.column for t in FINDINGS if t not in rows]:
            what = f"row {study_id}_{missing[0]} is missing ({len(missing)} of 25 rows)"
            raise BadTable(f"{path}: {what}")
    return tuple(found)


def sample_problems(wanted: Collection[str], listed: Collection[str], table: str) -> list[Problem]:
    """Studies that the sample submission has and the table of series lacks, and the reverse.

    Args:
        wanted: study ids of the sample submission.
        listed: study ids of the table of series descriptions.
        table: its name.
    """
    return [*_without_series(wanted, listed, table), *_unwanted(wanted, listed, table)]


def _without_series(
    wanted: Collection[str], listed: Collection[str], table: str
) -> Iterator[Problem]:
    for study in wanted:
        if study not in listed:
            what = f"{SAMPLE} asks for the study and {table} does not list its series"
            advice = "add its series to the table; until then all its findings are filled"
            yield Problem(what, study=study, advice=advice)


def _unwanted(wanted: Collection[str], listed: Collection[str], table: str) -> Iterator[Problem]:
    for study in listed:
        if study not in wanted:
            what = f"{table} lists the study and {SAMPLE} does not ask for it"
            advice = "it is not part of a submission"
            yield Problem(what, study=study, advice=advice, fatal=False)
