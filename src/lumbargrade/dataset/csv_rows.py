"""Rows of a CSV table, read strictly: what is wrong names file, line and reason."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from lumbargrade.domain.errors import BadTable
from lumbargrade.domain.numbers import real, whole


def read_header(path: Path) -> list[str]:
    """The column names of a table.

    Raises:
        BadTable: if there is no such file, or it is empty or no CSV table in UTF-8.
    """
    return next(_lines(path))[1]


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Line number and the values of ``columns`` of every data row; other columns are ignored.

    Raises:
        BadTable: for a file that is no CSV table in UTF-8, and for columns that it lacks.
    """
    lines = _lines(path)
    _, header = next(lines)
    if missing := [c for c in columns if c not in header]:
        raise BadTable(f"{path}: missing columns: {', '.join(missing)}")
    take = [header.index(c) for c in columns]
    for line, values in lines:
        if not values:
            continue
        if len(values) != len(header):
            counts = f"{len(values)} values for {len(header)} columns"
            raise BadTable(f"{path}, row {line}: {counts}")
        yield line, [values[i] for i in take]


def integer(path: Path, row: int, column: str, text: str) -> int:
    """A cell as a whole number.

    Raises:
        BadTable: if it is none.
    """
    try:
        return whole(text)
    except ValueError:
        raise BadTable(f"{path}, row {row}, {column}: {text!r} is not a whole number") from None


def number(path: Path, row: int, column: str, text: str) -> float:
    """A cell as a finite number.

    Raises:
        BadTable: if it is none.
    """
    try:
        value = real(text)
    except ValueError:
        raise BadTable(f"{path}, row {row}, {column}: {text!r} is not a number") from None
    if not math.isfinite(value):
        raise BadTable(f"{path}, row {row}, {column}: {text!r} is not a finite number")
    return value


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and values of every row, the header first; a table has at least that."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, strict=True)
            header = next(reader, None)
            if header is None:
                raise BadTable(f"{path}: the file is empty")
            yield reader.line_num, header
            for values in reader:
                yield reader.line_num, values
    except FileNotFoundError:
        raise BadTable(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise BadTable(f"{path}: not a text file in UTF-8") from None
    except csv.Error as error:
        raise BadTable(f"{path}: not a CSV table: {error}") from None
