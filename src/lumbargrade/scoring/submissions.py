"""Read submissions and reference grades, check that they are complete, average by condition."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lumbargrade.domain.errors import BadTable
from lumbargrade.domain.findings import Probabilities
from lumbargrade.domain.vocabulary import (
    FINDINGS,
    Condition,
    Grade,
    Target,
    grade_from_label,
    target_from_column,
)
from lumbargrade.files.tables import filled, read_table, real
from lumbargrade.files.writing import sha256_of

GRADE_COLUMNS = tuple(g.column for g in Grade)
SUBMISSION_COLUMNS = ("row_id", *GRADE_COLUMNS)

#: Study -> target -> grade; an ungraded target is absent.
Solution = Mapping[str, Mapping[Target, Grade]]
#: Study -> target -> probabilities.
Submission = Mapping[str, Mapping[Target, Probabilities]]


def read_solution(path: Path | str) -> dict[str, dict[Target, Grade]]:
    """Read reference grades in the layout of ``train.csv``; empty cells are skipped.

    Raises:
        BadTable: for missing columns, unknown grades or duplicate studies, naming the row.
    """
    solution: dict[str, dict[Target, Grade]] = {}
    seen: dict[str, int] = {}
    for row in read_table(path, ("study_id", *(t.column for t in FINDINGS))):
        study = row.read(filled, "study_id")
        row.require_first(seen, study, f"study_id {study}")
        solution[study] = {
            t: row.read(grade_from_label, t.column) for t in FINDINGS if row[t.column]
        }
    return solution


def split_row_id(text: str) -> tuple[str, Target]:
    """Split a row id of a submission into study and target.

    Raises:
        ValueError: if one of them is missing or unknown.
    """
    study, _, column = text.partition("_")
    if not study:
        raise ValueError(f"{text!r} names no study; expected STUDY_FINDING")
    return study, target_from_column(column)


def read_submission(path: Path | str) -> dict[str, dict[Target, Probabilities]]:
    """Read a submission: ``row_id`` and a probability for each grade.

    Raises:
        BadTable: for missing columns, unknown or duplicate rows, and values that are not
            probabilities, naming the row.
    """
    submission: dict[str, dict[Target, Probabilities]] = {}
    seen: dict[tuple[str, Target], int] = {}
    for row in read_table(path, SUBMISSION_COLUMNS):
        study, target = row.read(split_row_id, "row_id")
        row.require_first(seen, (study, target), f"row_id {row['row_id']}")
        a, b, c = (row.read(_probability, column) for column in GRADE_COLUMNS)
        if not math.isfinite(a + b + c):
            raise row.error("probabilities too large to normalise; give numbers from 0 to 1")
        if a + b + c <= 0:
            raise row.error("all three probabilities are zero; at least one must be above 0")
        submission.setdefault(study, {})[target] = (a, b, c)
    return submission


def check_complete(
    submission: Submission,
    studies: Sequence[str],
    path: Path | str,
    reference: Path | str = "the solution",
) -> None:
    """Check that a submission has all 25 rows of each of these studies, and no others.

    Args:
        submission: predictions.
        studies: the studies that it must contain.
        path: its file, for messages.
        reference: the file that the studies come from, for messages.

    Raises:
        BadTable: naming the first missing or unknown row.
    """
    wanted = set(studies)
    for study, found in submission.items():
        if study not in wanted:
            row = f"{study}_{next(iter(found)).column}"
            raise BadTable(f"{path}: row {row}: study {study} is not in {reference}")
    for study in studies:
        for target in FINDINGS:
            if target not in submission.get(study, {}):
                raise BadTable(f"{path}: row {study}_{target.column} is missing")


def _probability(text: str) -> float:
    value = real(text)
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{text} is not a probability; give a finite number, 0 or more")
    return value


@dataclass(frozen=True)
class SubmissionFile:
    """A submission that was read from a file.

    Attributes:
        path: the file.
        sha256: SHA-256 of its bytes.
        rows: study -> target -> probabilities as in the file; all 25 of each study.
    """

    path: Path
    sha256: str
    rows: Submission


def read_submissions(paths: Sequence[Path]) -> list[SubmissionFile]:
    """Read submissions of the same studies.

    Raises:
        BadTable: if a submission is not complete or has other studies than the first one, naming
            the file and the first row that differs.
        OSError: if a file cannot be read.
    """
    files = []
    for path in paths:
        if path.exists() and not path.is_file():
            raise BadTable(f"{path}: not a file; a submission from a pipe must be saved first")
        rows = read_submission(path)
        if not rows:
            raise BadTable(f"{path}: no rows; give a submission")
        check_complete(rows, list(rows), path)
        files.append(SubmissionFile(path, sha256_of(path), rows))
    first = files[0]
    for other in files[1:]:
        check_complete(other.rows, list(first.rows), other.path, first.path)
    return files


def condition_weights(
    given: Mapping[Condition, Sequence[float]], count: int
) -> dict[Condition, tuple[float, ...]]:
    """Return one weight per file for every condition; those of a condition add up to 1.

    Args:
        given: weights of some conditions, of all, or of none.
        count: number of files.

    Returns:
        Equal weights if none are given. If some conditions have weights, the others get weight 1
        for the first file and 0 for the rest.
    """
    rest = [1.0] * count if not given else [1.0, *[0.0] * (count - 1)]
    chosen = {c: np.array(given.get(c, rest), float) for c in Condition}
    return {c: tuple((w / w.sum()).tolist()) for c, w in chosen.items()}


def mean_submission(
    submissions: Sequence[Submission], weights: Mapping[Condition, Sequence[float]]
) -> dict[str, dict[Target, Probabilities]]:
    """Return the weighted mean of complete submissions of the same studies.

    Rows are normalised before they are averaged, as in the official score. If only one file has a
    weight above 0, its rows are copied unchanged.

    Args:
        submissions: complete submissions of the same studies.
        weights: condition -> one weight per submission; they add up to 1.
    """

    def mixed(study: str, target: Target) -> Probabilities:
        used = [
            (w, s[study][target])
            for w, s in zip(weights[target.condition], submissions, strict=True)
            if w > 0
        ]
        if len(used) == 1:
            return used[0][1]
        a, b, c = (sum(w * (row[k] / sum(row)) for w, row in used) for k in range(3))
        return a, b, c

    return {study: {t: mixed(study, t) for t in FINDINGS} for study in submissions[0]}
