"""CSV tables and the numbers in them, read strictly: every fault names file, row and reason."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from lumbargrade.domain.errors import BadTable


def real(text: str) -> float:
    """A number, ``nan`` and ``inf`` included.

    Raises:
        ValueError: if it is none. Python alone also reads 1_0 as ten, and the digits of every
            script.
    """
    return float(_plain(text))


def whole(text: str) -> int:
    """A whole number, likewise."""
    return int(_plain(text))


def _plain(text: str) -> str:
    if "_" in text or not text.isascii():
        raise ValueError(f"not a number: {text!r}")
    return text


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
