"""Corrections change the points that they name and nothing else; what does not fit is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from lsdc import write_lsdc
from lumbargrade.dataset.prepare import prepare
from lumbargrade.dataset.store import VolumeStore
from lumbargrade.dataset.tables import read_tables
from lumbargrade.domain.errors import BadTable
from lumbargrade.domain.vocabulary import Condition, Level, Side, Target

HEADER = "study_id,series_id,instance_number,condition,level,x,y,fix,reason\n"
MOVE = "1000,10000,3,Left Neural Foraminal Narrowing,L1/L2,7,8,move,because\n"
DROP = "1000,10002,1,Right Subarticular Stenosis,L5/S1,0,0,drop,because\n"
MOVED = Target(Condition.FORAMINAL, Level.L1_L2, Side.LEFT)
DROPPED = Target(Condition.SUBARTICULAR, Level.L5_S1, Side.RIGHT)
CANAL = Target(Condition.CANAL, Level.L3_L4)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two studies, of which the first lacks a canal point."""
    write_lsdc(tmp_path / "data", 2)
    table = tmp_path / "data/train_label_coordinates.csv"
    lines = table.read_text().splitlines(keepends=True)
    kept = [x for x in lines if not (x.startswith("1000,10001,") and "L3/L4" in x)]
    assert len(kept) == len(lines) - 1
    table.write_text("".join(kept))
    return tmp_path / "data"


def fixes(data: Path, rows: str) -> Path:
    path = data.parent / "fixes.csv"
    path.write_text(HEADER + rows)
    return path


ADD = "1000,10001,2,Spinal Canal Stenosis,L3/L4,12.5,17,add,because\n"


def test_points_are_added_moved_and_dropped_and_the_rest_stays(data):
    before = {(*p[:2], p.target): p for p in read_tables(data).points}
    tables = read_tables(data, label_fixes=fixes(data, MOVE + DROP + ADD))
    after = {(*p[:2], p.target): p for p in tables.points}
    moved, dropped, added = (1000, 10000, MOVED), (1000, 10002, DROPPED), (1000, 10001, CANAL)
    assert after.pop(added)[2:] == (2, CANAL, 12.5, 17.0)
    assert after.pop(moved)[2:] == (3, MOVED, 7.0, 8.0)
    assert before.pop(moved) != before.pop(dropped)
    assert after == before
    assert not tables.problems


def test_a_table_from_which_every_row_was_deleted_changes_nothing(data):
    assert read_tables(data, label_fixes=fixes(data, "")).points == read_tables(data).points


def test_prepare_reads_them(data, tmp_path):
    prepare(data, tmp_path / "store", label_fixes=fixes(data, MOVE + ADD))
    store = VolumeStore.open(tmp_path / "store")
    places = {(p.study_id, p.target): (p.x, p.y, p.instance_number) for p in store.points}
    assert places[1000, MOVED] == (7.0, 8.0, 3)
    assert places[1000, CANAL] == (12.5, 17.0, 2)
    assert len(store.rows(Condition.CANAL)) == 2


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (MOVE + MOVE, "row 3: left_neural_foraminal_narrowing_l1_l2 in series 10000 is corrected"),
        (ADD + MOVE.replace(",move,", ",shift,"), "row 3, fix: it is add, move or drop"),
        (MOVE + MOVE.replace("10000", "10009"), "row 3: move left_.* there is no such point"),
        (DROP.replace("1000,10002", "1001,10002"), "row 2: drop .* there is no such point"),
        (MOVE.replace("move", "add"), "row 2: add left_.* there is such a point already"),
        (MOVE.replace(",7,", ",seven,"), "row 2, x: 'seven' is not a number"),
        (MOVE.replace("L1/L2", "L6"), "row 2: unknown condition"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_row(data, rows, reason):
    with pytest.raises(BadTable, match=reason) as error:
        read_tables(data, label_fixes=fixes(data, rows))
    assert "fixes.csv" in str(error.value)


def test_missing_columns_are_named(data):
    path = data.parent / "fixes.csv"
    path.write_text("study_id,series_id,fix\n1,2,move\n")
    with pytest.raises(BadTable, match="missing columns: instance_number, condition"):
        read_tables(data, label_fixes=path)
