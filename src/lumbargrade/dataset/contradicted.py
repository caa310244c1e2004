"""Grades that training should trust less: the list that `audit` writes and a person shortens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lumbargrade.dataset.csv_rows import integer, read_rows
from lumbargrade.domain.errors import BadTable
from lumbargrade.domain.vocabulary import Grade, Target, target_from_column

#: (study id, target) -> the grade that was contradicted.
Contradicted = dict[tuple[int, Target], Grade]


def read_contradicted(path: Path) -> Contradicted:
    """A table with the columns ``study_id``, ``finding`` and ``grade``; others are ignored.

    Raises:
        BadTable: for missing columns, unknown findings or grades, ids that are no numbers.
    """
    grades = {g.column: g for g in Grade}
    found: Contradicted = {}
    for row, (study, finding, grade) in read_rows(path, ("study_id", "finding", "grade")):
        if grade not in grades:
            expected = ", ".join(grades)
            raise BadTable(f"{path}, row {row}, grade: {grade!r}; expected one of {expected}")
        try:
            target = target_from_column(finding)
        except ValueError as error:
            raise BadTable(f"{path}, row {row}: {error}") from None
        found[integer(path, row, "study_id", study), target] = grades[grade]
    return found


def without_contradicted(
    grades: NDArray[np.int8],
    study_id: int,
    targets: Sequence[Target],
    contradicted: Contradicted,
    weight: float,
    rng: np.random.Generator,
) -> NDArray[np.int8]:
    """The grades (P,) with each contradicted one kept by chance, else -1: not graded.

    A grade that takes part in a share ``weight`` of the epochs pulls a network that much less,
    whichever losses it enters. A label that was changed since it was contradicted is kept.
    """
    kept = grades.copy()
    drawn = rng.random(len(targets))
    for i, target in enumerate(targets):
        if contradicted.get((study_id, target)) == grades[i] and drawn[i] >= weight:
            kept[i] = -1
    return kept
