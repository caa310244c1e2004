"""Reference grades of your own cohort, with properties of its studies to group by.

Two layouts are read: that of ``train.csv`` (a row per study, any of the 25 columns), and a long one
(``study_id``, ``condition``, ``level``, ``grade``, and ``side`` where the condition does not name
it). Study ids are text, so DICOM UIDs can be used. Every other column is a property of the study.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lumbargrade.domain.errors import BadTable, UsageError
from lumbargrade.domain.vocabulary import (
    FINDINGS,
    Grade,
    Target,
    grade_from_name,
    target_from_column,
    target_from_labels,
)
from lumbargrade.files.tables import filled, read_table, table_header
from lumbargrade.scoring.agreement import OWN_PARTS

NOT_GIVEN = "(not given)"
#: A numeric property with more values than this is cut at its quartiles.
MOST_NUMBERS = 8
#: A property with more values than this cannot be grouped by (an id, a date).
MOST_VALUES = 30

_COLUMNS = {t.column for t in FINDINGS}
_CONDITIONS = tuple(dict.fromkeys(t.sided_condition for t in FINDINGS))
_LONG = ("study_id", "condition", "level", "grade")


@dataclass(frozen=True)
class CohortLabels:
    """The content of a label table.

    Attributes:
        grades: study -> target -> reference grade; what is not graded is absent.
        properties: column -> study -> text, for every other column.
    """

    grades: Mapping[str, Mapping[Target, Grade]]
    properties: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def read_labels(path: Path) -> CohortLabels:
    """Read a label table in either layout; empty cells are not graded.

    Raises:
        BadTable: for unknown grades, findings or columns that look like misspelt findings,
            studies or findings given twice, and properties that differ within a study, each with
            its row.
        OSError: if the file cannot be read.
    """
    header = table_header(path)
    if _COLUMNS & set(header):
        return _read_wide(path, header)
    if set(_LONG) <= set(header):
        return _read_long(path, header)
    raise BadTable(
        f"{path}: neither a column of train.csv (such as {FINDINGS[0].column}) nor the columns "
        f"{', '.join(_LONG)}"
    )


def _read_wide(path: Path, header: Sequence[str]) -> CohortLabels:
    others = [c for c in header if c not in _COLUMNS and c != "study_id"]
    if odd := [c for c in others if c.startswith(_CONDITIONS)]:
        raise BadTable(f"{path}: column {odd[0]} is none of the 25 findings")
    columns = [c for c in header if c in _COLUMNS]
    grades: dict[str, dict[Target, Grade]] = {}
    properties: dict[str, dict[str, str]] = {c: {} for c in others}
    seen: dict[str, int] = {}
    for row in read_table(path, ("study_id", *columns)):
        study = row.read(filled, "study_id")
        row.require_first(seen, study, f"study_id {study}")
        found = {c: row.read_known(grade_from_name, c) for c in columns}
        grades[study] = {target_from_column(c): g for c, g in found.items() if g is not None}
        for column in others:
            properties[column][study] = row[column].strip()
    return CohortLabels(grades, properties)


def _read_long(path: Path, header: Sequence[str]) -> CohortLabels:
    others = [c for c in header if c not in (*_LONG, "side")]
    grades: dict[str, dict[Target, Grade]] = {}
    properties: dict[str, dict[str, str]] = {c: {} for c in others}
    columns = ("condition", "level", *({"side"} & set(header)))
    seen: dict[tuple[str, Target], int] = {}
    for row in read_table(path, _LONG):
        study, target = row.read(filled, "study_id"), row.read(_target, *columns)
        mine = grades.setdefault(study, {})
        if (grade := row.read_known(grade_from_name, "grade")) is not None:
            row.require_first(seen, (study, target), f"{target.column} of study {study}")
            mine[target] = grade
        for column in others:
            text = row[column].strip()
            if properties[column].setdefault(study, text) != text:
                raise row.error(f"differs from an earlier row of study {study}", column)
    return CohortLabels(grades, properties)


def _target(condition: str, level: str, side: str = "") -> Target:
    side, condition = side.strip(), condition.strip()
    if side and not condition.lower().startswith(side.lower()):
        condition = f"{side} {condition}"
    return target_from_labels(condition, level.replace("-", "/"))


def groups_of(
    labels: CohortLabels, columns: Sequence[str]
) -> dict[str, dict[str, tuple[str, ...]]]:
    """Group studies by the values of some columns: column -> value -> studies.

    A numeric column with more than ``MOST_NUMBERS`` values, such as age, is cut at its quartiles.

    Raises:
        UsageError: for a column that the labels lack or that has too many values for a group.
    """
    found = {}
    for column in columns:
        if column in OWN_PARTS:
            raise UsageError(f"--groups {column}: every evaluation has this; rename the column")
        if column not in labels.properties:
            known = ", ".join(labels.properties) or "none"
            raise UsageError(f"--groups {column}: no such column in the labels (there: {known})")
        found[column] = _grouped(column, labels.properties[column])
    return found


def _grouped(column: str, values: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    given = {study: text for study, text in values.items() if text}
    names = _bands(given)
    if len(set(names.values())) > MOST_VALUES:
        raise UsageError(
            f"--groups {column}: {len(set(names.values()))} different values are too many to group "
            f"by (at most {MOST_VALUES})"
        )
    order = sorted(set(names.values()), key=_number_first)
    groups = {v: tuple(s for s in given if names[s] == v) for v in order}
    if missing := tuple(s for s in values if s not in given):
        groups[NOT_GIVEN] = missing
    return groups


def _number_first(text: str) -> tuple[bool, float, str]:
    head = text.split(" ")[0]
    number = _number(head)
    return number is None, number or 0.0, text


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _bands(given: Mapping[str, str]) -> dict[str, str]:
    """Return study -> group: the text itself, or the quartile band of the number."""
    numbers = {study: _number(text) for study, text in given.items()}
    known = np.array([n for n in numbers.values() if n is not None])
    if len(known) < len(given) or len(np.unique(known)) <= MOST_NUMBERS:
        return dict(given)
    quarter = np.searchsorted(np.quantile(known, [0.25, 0.5, 0.75]), known, side="left")
    spans = {q: known[quarter == q] for q in np.unique(quarter)}
    names = {q: f"{span.min():g} to {span.max():g}" for q, span in spans.items()}
    return {study: names[q] for study, q in zip(given, quarter, strict=True)}
