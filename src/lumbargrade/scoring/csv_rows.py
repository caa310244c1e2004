"""Rows of a CSV table, read strictly: every fault names the file and the row."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from lumbargrade.domain.errors import BadTable


def table_header(path: Path | str) -> tuple[str, ...]:
    """Column names of a CSV table.

    Raises:
        BadTable: if it is none.
        OSError: if it cannot be read.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as lines:
            return tuple(next(csv.reader(lines, strict=True), ()))
    except (csv.Error, UnicodeDecodeError) as error:
        raise BadTable(f"{path}: not a CSV table ({error})") from None


def table_rows(path: Path | str, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Number (as a spreadsheet counts, the header is row 1) and values of each row.

    Args:
        path: the table.
        columns: columns that it must have, each once; others come along.

    Raises:
        BadTable: for missing or doubled columns, rows of another length, or no CSV at all.
        OSError: if it cannot be read.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.reader(lines, strict=True)
            names = next(reader, [])
            twice = [c for c in columns if names.count(c) > 1]
            if twice:
                raise BadTable(f"{path}: column {', '.join(twice)} stands twice")
            missing = [c for c in columns if c not in names]
            if missing:
                some = ", ".join(missing[:4]) + (", ..." if len(missing) > 4 else "")
                raise BadTable(f"{path}: column {some} is missing")
            for number, values in enumerate(reader, start=2):
                if not values:
                    continue  # an empty line, which is a row all the same
                if len(values) != len(names):
                    raise BadTable(f"{path}, row {number}: wrong number of fields")
                yield number, dict(zip(names, values, strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise BadTable(f"{path}: not a CSV table ({error})") from None
