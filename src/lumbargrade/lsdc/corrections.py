"""Corrections of labelled points, as a table that people edit.

The table has the columns of ``train_label_coordinates.csv`` and a column ``fix`` with the action of
each row: ``add`` a missing point, ``move`` a point to another position or instance, ``drop`` a
point. Other points stay unchanged. Further columns (reason, check) are ignored. A complete
corrected table, as published, has other values in ``fix`` or no such column.

The package holds one table of corrections: the canal points that the published runs added or moved.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from pathlib import Path

from lumbargrade.domain.errors import BadTable, UsageError
from lumbargrade.domain.vocabulary import Target, target_from_labels
from lumbargrade.files.tables import finite, id_text, read_table, table_header, whole

#: Columns of ``train_label_coordinates.csv``.
POINT_COLUMNS = (
    *("study_id", "series_id", "instance_number", "condition", "level"),
    *("x", "y"),
)

#: Value of `--label-fixes` for the corrections of the published runs.
PUBLISHED = "published"

#: The file of these corrections; ``published_canal.txt`` names its source and licence.
PUBLISHED_FILE = Path(str(resources.files("lumbargrade.lsdc") / "data" / "published_canal.csv"))


def corrections_file(name: str | None) -> Path | None:
    """Return the table that the value of `--label-fixes` names; None if no value is given.

    Args:
        name: ``published``, or the path of a file; ``./published`` is a file of that name.

    Raises:
        UsageError: if it is neither.
    """
    if name is None:
        return None
    if name == PUBLISHED:
        return PUBLISHED_FILE
    if not Path(name).is_file():
        raise UsageError(
            f"--label-fixes {name}: no such file; give a table of corrections, or {PUBLISHED} for"
            " the corrections in this package"
        )
    return Path(name)


class Fix(StrEnum):
    """The action of a correction."""

    ADD = "add"
    MOVE = "move"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Correction:
    """A corrected point.

    Attributes:
        fix: what is done.
        study_id, series_id, target: to which label.
        instance_number, x, y: where the point belongs; for ``drop`` where it lies.
        row: line of the table that it was read from; 0 where it was not.
    """

    fix: Fix
    study_id: str
    series_id: str
    instance_number: int
    target: Target
    x: float
    y: float
    row: int = 0

    @property
    def key(self) -> tuple[str, str, Target]:
        return self.study_id, self.series_id, self.target


def holds_corrections(path: Path) -> bool:
    """Return whether a table holds corrections of single points, not a complete corrected table.

    A table of corrections has a column ``fix`` with only ``add``, ``move`` and ``drop``.

    Raises:
        BadTable: if the file is not a table, or only some rows have such a value.
    """
    if "fix" not in table_header(path):
        return False
    rows = list(read_table(path, ("fix",)))
    others = [row for row in rows if row["fix"] not in set(Fix)]
    for row in others:
        if (word := row["fix"].strip().lower()) in set(Fix):
            # if it were read as another value, this would be a complete table with few points
            raise row.error(f"{row['fix']!r}; write {word}", "fix")
    if others and len(others) < len(rows):
        raise others[0].error("write add, move or drop, as in the other rows", "fix")
    return not others


def read_corrections(path: Path) -> list[Correction]:
    """Read a table of corrections.

    Raises:
        BadTable: if a column is missing, a name is unknown, a value is not a number, or a point has
            two corrections.
    """
    found = []
    seen: dict[tuple[str, str, Target], int] = {}
    for row in read_table(path, (*POINT_COLUMNS, "fix")):
        correction = Correction(
            row.read(Fix, "fix"),
            row.read(id_text, "study_id"),
            row.read(id_text, "series_id"),
            row.read(whole, "instance_number"),
            row.read(target_from_labels, "condition", "level"),
            row.read(finite, "x"),
            row.read(finite, "y"),
            row.number,
        )
        what = f"correction of {correction.target.column} in series {correction.series_id}"
        row.require_first(seen, correction.key, what)
        found.append(correction)
    return found


def require_applicable(
    path: Path,
    corrections: Iterable[Correction],
    labelled: Collection[tuple[str, str, Target]],
    series: Collection[tuple[str, str]],
) -> None:
    """Check that corrections fit the labels.

    Args:
        path: where they come from, for the message.
        corrections: what is to be done.
        labelled: study, series and target of every labelled point.
        series: study and series of every series of the data set.

    Raises:
        BadTable: if the data set lacks the series, a point to move or drop is absent, or a point to
            add exists already.
    """
    for c in corrections:
        where = f"{path}, row {c.row}: {c.fix} {c.target.column} in series {c.series_id}"
        if (c.study_id, c.series_id) not in series:
            raise BadTable(
                f"{where}: the data set has no such series of study {c.study_id}; delete the row, "
                "or correct its ids"
            )
        if (c.key in labelled) == (c.fix is Fix.ADD):
            what = "there is such a point already" if c.fix is Fix.ADD else "there is no such point"
            raise BadTable(f"{where}: {what}")
