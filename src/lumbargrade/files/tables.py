"""Read CSV tables strictly, with errors that name file, row and column, and write them exactly."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from lumbargrade.domain.errors import BadTable
from lumbargrade.files.writing import write_text

_T = TypeVar("_T")


def real(text: str) -> float:
    """Parse a number; ``nan`` and ``inf`` are allowed.

    Raises:
        ValueError: for other text, including ``1_0`` and digits other than 0 to 9, which Python
            would accept.
    """
    return _number(float, text, "a number")


def finite(text: str) -> float:
    """Parse a number that is not ``nan`` or ``inf``; raises ValueError like `real`."""
    value = real(text)
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not a finite number")
    return value


def whole(text: str) -> int:
    """Parse a whole number; raises ValueError like `real`."""
    return _number(int, text, "a whole number")


def _number(kind: Callable[[str], _T], text: str, what: str) -> _T:
    try:
        if "_" not in text and text.isascii():
            return kind(text)
    except ValueError:
        pass
    raise ValueError(f"{text!r} is not {what}")


def id_text(text: str) -> str:
    """An id of the LSDC layout: the text of a whole number, always written alike.

    Raises:
        ValueError: if it is not a whole number.
    """
    return str(whole(text))


def filled(text: str) -> str:
    """Return the text without surrounding spaces; raises ValueError if it is empty."""
    if not (stripped := text.strip()):
        raise ValueError("the cell is empty")
    return stripped


def listed(convert: Callable[[str], _T]) -> Callable[[str], tuple[_T, ...]]:
    """Return a converter of cells that contain a list, from a converter of its parts."""
    return lambda text: tuple(convert(part) for part in text.split(";") if part)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table.

    Attributes:
        origin: the file, for messages.
        number: row number as in a spreadsheet; the header is row 1.
        cells: column -> text.
    """

    origin: Path | str
    number: int
    cells: Mapping[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells[column]

    def read(self, convert: Callable[..., _T], *columns: str) -> _T:
        """Convert the texts of these columns to a value.

        Raises:
            BadTable: naming file, row and columns, if ``convert`` raises a ValueError.
        """
        try:
            return convert(*[self.cells.get(c, "") for c in columns])
        except ValueError as error:
            raise self.error(str(error), *columns) from None

    def read_known(self, convert: Callable[[str], _T], column: str) -> _T | None:
        """Like `read`, but None if the cell is empty or the column is absent."""
        return self.read(convert, column) if self.cells.get(column, "").strip() else None

    def error(self, reason: str, *columns: str) -> BadTable:
        """Return an error that names the file, this row and these columns."""
        return BadTable(f"{', '.join([f'{self.origin}, row {self.number}', *columns])}: {reason}")

    def require_first(self, seen: dict[Any, int], key: Any, what: str) -> None:
        """Record ``key`` with the row number in ``seen``.

        Raises:
            BadTable: if an earlier row has the same key; the message calls it ``what``.
        """
        if key in seen:
            raise self.error(f"duplicate {what}, also in row {seen[key]}; keep one row")
        seen[key] = self.number


def read_table(path: Path | str, columns: Sequence[str] = ()) -> Iterator[Row]:
    """Yield the rows of a CSV table; empty lines are counted and skipped.

    Args:
        path: the table.
        columns: required columns, each once; other columns are read too.

    Raises:
        BadTable: if the file does not exist, is empty or is not a CSV table in UTF-8, if a column
            is missing or duplicate, or if a row does not have as many cells as the header.
        OSError: if it cannot be read.
    """
    return parse_table(_text(path), columns, path)


def table_header(path: Path | str) -> tuple[str, ...]:
    """Return the column names of a CSV table.

    Raises:
        BadTable, OSError: like `read_table`.
    """
    return tuple(next(_lines(_text(path), path)))


def parse_table(text: str, columns: Sequence[str] = (), origin: Path | str = "") -> Iterator[Row]:
    """Yield the rows of a table from its text; see `read_table`."""
    lines = _lines(text, origin)
    header = next(lines)
    if missing := [c for c in columns if c not in header]:
        some = ", ".join(missing[:4]) + (", ..." if len(missing) > 4 else "")
        raise BadTable(f"{origin}: missing columns: {some}; add them")
    if twice := [c for c in columns if header.count(c) > 1]:
        raise BadTable(f"{origin}: duplicate column {', '.join(twice)}; keep one")
    for number, values in enumerate(lines, start=2):
        if not values:
            continue
        if len(values) != len(header):
            counts = f"{len(values)} values for {len(header)} columns"
            raise BadTable(f"{origin}, row {number}: {counts}; correct this row")
        yield Row(origin, number, dict(zip(header, values, strict=True)))


def _text(path: Path | str) -> str:
    if Path(path).is_dir():
        raise BadTable(f"{path}: this is a folder; give the file in it")
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise BadTable(f"{path}: no such file; check the path") from None
    except UnicodeDecodeError as error:
        raise BadTable(f"{path}: not a CSV table in UTF-8 ({error}); save it as UTF-8") from None


def _lines(text: str, origin: Path | str) -> Iterator[list[str]]:
    """Yield the cells of every line, header first."""
    if not text:
        raise BadTable(f"{origin}: the file is empty")
    try:
        yield from csv.reader(io.StringIO(text, newline=""), strict=True)
    except csv.Error as error:
        raise BadTable(f"{origin}: not a CSV table ({error})") from None


def table_text(header: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a CSV table; numbers read back exactly, None is empty, lists are joined by ``;``."""
    return rows_text([header]) + rows_text(rows)


def rows_text(rows: Iterable[Iterable[object]]) -> str:
    """Return rows of a CSV table without its header; see `table_text`."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerows([_cell(value) for value in row] for row in rows)
    return stream.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, float | np.floating):
        return repr(float(value))
    return ";".join(map(str, value)) if isinstance(value, list | tuple) else value


def write_table(path: Path | str, header: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a table atomically; see `table_text`.

    Raises:
        OSError: if it cannot be written.
    """
    write_text(path, table_text(header, rows))


def known(value: float) -> float | None:
    """Return the number, or None (an empty cell) if it is not finite."""
    return value if math.isfinite(value) else None
