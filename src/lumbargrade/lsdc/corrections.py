"""Corrections of single labelled points, as a table that people edit.

Its columns are those of ``train_label_coordinates.csv`` and ``fix``, which says what each row
does: ``add`` a point that was missing, ``move`` one to another place or instance, ``drop`` one.
Whatever it does not name stays as it was. Further columns (why, by which check) are for people.
A complete corrected table, as published, has other values in ``fix`` or no such column.

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

#: What `--label-fixes` calls the corrections of the published runs.
PUBLISHED = "published"

#: These corrections; ``published_canal.txt`` beside them names their source and its licence.
PUBLISHED_FILE = Path(str(resources.files("lumbargrade.lsdc") / "data" / "published_canal.csv"))


def corrections_file(name: str | None) -> Path | None:
    """The table that a value of `--label-fixes` names; None where none is given.

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
    """What a correction does."""

    ADD = "add"
    MOVE = "move"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Correction:
    """One corrected point.

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
    """Whether a table corrects single points, as against a complete corrected table.

    It does when it has a column ``fix`` in which nothing but ``add``, ``move`` and ``drop`` stands.

    Raises:
        BadTable: for a file that is no table, and where only some rows have such a value.
    """
    if "fix" not in table_header(path):
        return False
    rows = list(read_table(path, ("fix",)))
    others = [row for row in rows if row["fix"] not in set(Fix)]
    for row in others:
        if (word := row["fix"].strip().lower()) in set(Fix):
            # taken for another value, it would make this a complete table of few points
            raise row.error(f"{row['fix']!r}; write {word}", "fix")
    if others and len(others) < len(rows):
        raise others[0].error("write add, move or drop, as in the other rows", "fix")
    return not others


def read_corrections(path: Path) -> list[Correction]:
    """A table of corrections.

    Raises:
        BadTable: for missing columns, unknown names, values that are no numbers, and two
            corrections of one point.
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
    """Refuse corrections that do not fit the labels.

    Args:
        path: where they come from, for the message.
        corrections: what is to be done.
        labelled: study, series and target of every labelled point.
        series: study and series of every series of the data set.

    Raises:
        BadTable: if the data set lacks the series, a point to move or drop is absent, or one to
            add is there already.
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
