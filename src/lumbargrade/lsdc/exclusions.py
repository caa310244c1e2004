"""Labels that are excluded from training or trusted less.

These are the excluded series and studies with their reasons, and the list of contradicted grades
that `audit` writes and a person reviews.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.vocabulary import (
    Condition,
    Grade,
    Target,
    grade_from_name,
    target_from_column,
)
from lumbargrade.files.structures import parse_plain, structured
from lumbargrade.files.tables import id_text, read_table

_FILE = "lsdc/data/excluded.toml"


@dataclass(frozen=True, slots=True)
class Exclusion:
    """An entry of ``data/excluded.toml``.

    Attributes:
        condition: whose rows it concerns.
        reason: why.
        published: whether the published runs left it out too.
        series, study: what is left out; one of the two is given.
    """

    condition: Condition
    reason: str
    published: bool
    series: str | None = None
    study: str | None = None

    def covers(self, condition: Condition, study_id: str, series_id: str) -> bool:
        """Return whether the training row of a series is excluded."""
        if condition is not self.condition:
            return False
        return series_id == self.series or study_id == self.study


@dataclass(frozen=True)
class _Exclusions:
    excluded: tuple[Exclusion, ...]


@cache
def exclusions() -> tuple[Exclusion, ...]:
    """Return all exclusions, in the order of the data file."""
    text = (resources.files("lumbargrade") / _FILE).read_text("utf-8")
    return structured(parse_plain(text, _FILE), _Exclusions, _FILE, "exclusions").excluded


def is_excluded(
    condition: Condition, study_id: str, series_id: str, *, include_wrong_left_points: bool = False
) -> bool:
    """Return whether a series is excluded from the training rows of a condition.

    Args:
        include_wrong_left_points: keep what the published runs meant to leave out and did not.
    """
    return any(
        e.covers(condition, study_id, series_id) and (e.published or not include_wrong_left_points)
        for e in exclusions()
    )


#: (study id, target) -> contradicted grade.
Contradicted = dict[tuple[str, Target], Grade]


def read_contradicted(path: Path) -> Contradicted:
    """Read a table with the columns ``study_id``, ``finding`` and ``grade``; others are ignored.

    Raises:
        BadTable: if a column is missing, or a finding, grade or id is not valid.
    """
    found: Contradicted = {}
    for row in read_table(path, ("study_id", "finding", "grade")):
        key = row.read(id_text, "study_id"), row.read(target_from_column, "finding")
        found[key] = row.read(grade_from_name, "grade")
    return found


def without_contradicted(
    grades: NDArray[np.int8],
    study_id: str,
    targets: Sequence[Target],
    contradicted: Contradicted,
    weight: float,
    rng: np.random.Generator,
) -> NDArray[np.int8]:
    """Return grades (P,) in which contradicted grades are randomly set to -1 (not graded).

    Skipping a grade in a fraction ``1 - weight`` of the epochs down-weights it in every loss. A
    label that was changed after it was contradicted is kept.
    """
    kept = grades.copy()
    drawn = rng.random(len(targets))
    for i, target in enumerate(targets):
        if contradicted.get((study_id, target)) == grades[i] and drawn[i] >= weight:
            kept[i] = -1
    return kept
