"""One reader and one writer of CSV tables: exact numbers, errors with file, row and column."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from lumbargrade.domain.errors import BadTable
from lumbargrade.files.tables import known, listed, parse_table, read_table, whole, write_table


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [
        [1, 0.1 + 0.2, "a,\nb", ("x#1", "y#2"), None],
        [2, np.float32(0.1), "", [], known(math.nan)],
    ]
    write_table(path, ["n", "v", "text", "list", "none"], rows)
    first, second = read_table(path, ["n", "list"])
    assert first.read(float, "v") == 0.1 + 0.2
    assert second.read(float, "v") == float(np.float32(0.1))
    assert first["text"] == "a,\nb"
    assert [row.read(listed(str), "list") for row in (first, second)] == [("x#1", "y#2"), ()]
    assert first["none"] == second["none"] == ""
    assert second.read_known(float, "none") is None
    assert second.read_known(float, "no such column") is None


def test_rows_are_counted_as_a_spreadsheet_does() -> None:
    rows = list(parse_table('a\n"1\n1"\n\n3\n'))
    assert [(row.number, row["a"]) for row in rows] == [(2, "1\n1"), (4, "3")]


def test_a_wrong_cell_names_file_row_and_columns() -> None:
    (row,) = parse_table("a,b\n1,x\n", origin="t.csv")
    with pytest.raises(BadTable, match=r"^t\.csv, row 2, b: 'x' is not a whole number$"):
        row.read(whole, "b")
    with pytest.raises(BadTable, match=r"^t\.csv, row 2, a, b: no$"):
        raise row.error("no", "a", "b")


def test_a_second_row_of_one_key_names_both() -> None:
    seen: dict[str, int] = {}
    first, other, again = parse_table("a\nx\ny\nx\n", origin="t.csv")
    first.require_first(seen, "x", "a x")
    other.require_first(seen, "y", "a y")
    with pytest.raises(BadTable, match="row 4: duplicate a x, also in row 2; keep one row"):
        again.require_first(seen, "x", "a x")


def test_a_folder_in_place_of_a_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadTable, match=f"{tmp_path}: this is a folder"):
        list(read_table(tmp_path))
