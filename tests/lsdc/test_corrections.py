"""Corrections change the points that they name and nothing else; what does not fit is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lsdc_layout import write_lsdc, write_table
from lumbargrade.cli.main import main
from lumbargrade.domain.errors import BadTable, UsageError
from lumbargrade.domain.vocabulary import FINDINGS, Condition, Level, Side, Target
from lumbargrade.lsdc.corrections import (
    POINT_COLUMNS,
    PUBLISHED_FILE,
    Fix,
    corrections_file,
    read_corrections,
)
from lumbargrade.lsdc.prepare import prepare
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.lsdc.tables import read_tables

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
    moved, dropped, added = (
        ("1000", "10000", MOVED),
        ("1000", "10002", DROPPED),
        ("1000", "10001", CANAL),
    )
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
    assert places["1000", MOVED] == (7.0, 8.0, 3)
    assert places["1000", CANAL] == (12.5, 17.0, 2)
    assert len(store.rows(Condition.CANAL)) == 2


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (MOVE + MOVE, "row 3: duplicate correction of left_neural_foraminal_narrowing_l1_l2 in"),
        (ADD + MOVE.replace(",move,", ",shift,"), "row 3, fix: write add, move or drop"),
        (MOVE + ADD.replace(",add,", ",move,"), "row 3: move spinal_.* there is no such point"),
        (ADD.replace(",add,", ",drop,"), "row 2: drop .* there is no such point"),
        (MOVE + MOVE.replace("10000", "10009"), "row 3: move left_.* has no such series of study"),
        (DROP.replace("1000,10002", "1001,10002"), "row 2: drop .* no such series of study 1001"),
        (ADD.replace("1000,10001", "1000,10009"), "row 2: add spinal_.* has no such series"),
        (ADD.replace("1000,10001", "999,10001"), "row 2: add spinal_.* has no such series"),
        (MOVE.replace("move", "add"), "row 2: add left_.* there is such a point already"),
        (MOVE.replace(",7,", ",seven,"), "row 2, x: 'seven' is not a number"),
        (MOVE.replace("L1/L2", "L6"), "row 2, condition, level: unknown condition"),
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


PUBLISHED_ROWS = read_corrections(PUBLISHED_FILE)


def write_part(folder: Path, series: set[tuple[str, str]]) -> Path:
    """Tables of those T2 series as labelled before the published corrections: no images."""
    labels = [c for c in PUBLISHED_ROWS if (c.study_id, c.series_id) in series]
    folder.mkdir()
    write_table(
        folder / "train_series_descriptions.csv",
        ["study_id", "series_id", "series_description"],
        [[*ids, "Sagittal T2/STIR"] for ids in sorted(series)],
    )
    write_table(
        folder / "train_label_coordinates.csv",
        list(POINT_COLUMNS),
        [
            [c.study_id, c.series_id, 1, "Spinal Canal Stenosis", c.target.level.label, 5, 5]
            for c in labels
            if c.fix is Fix.MOVE
        ],
    )
    studies = [[study, *[""] * len(FINDINGS)] for study in sorted({s for s, _ in series})]
    write_table(folder / "train.csv", ["study_id", *(t.column for t in FINDINGS)], studies)
    return folder


def test_published_corrections_apply_to_the_part_of_the_studies_that_is_there(tmp_path):
    ids = sorted({(c.study_id, c.series_id) for c in PUBLISHED_ROWS})
    present = set(ids[::9])
    data = write_part(tmp_path / "part", present)
    tables = read_tables(data, label_fixes=PUBLISHED_FILE)
    wanted = {c.key: c for c in PUBLISHED_ROWS if (c.study_id, c.series_id) in present}
    assert {c.fix for c in wanted.values()} == {Fix.ADD, Fix.MOVE}
    assert {(p.study_id, p.series_id, p.target): p[2:] for p in tables.points} == {
        key: (c.instance_number, c.target, c.x, c.y) for key, c in wanted.items()
    }
    (said,) = tables.problems
    assert not said.fatal
    assert f"{len(wanted)} of the 142 published label fixes applied" in said.what
    assert f"{142 - len(wanted)} are of series of {len(ids) - len(present)} studies" in said.what
    whole = write_part(tmp_path / "whole", set(ids))
    assert not read_tables(whole, label_fixes=PUBLISHED_FILE).problems
    with pytest.raises(BadTable, match="no such series"):  # only as a file of the user's own
        read_tables(data, label_fixes=Path(shutil.copy(PUBLISHED_FILE, tmp_path / "own.csv")))


def test_published_corrections_that_a_present_series_contradicts_are_refused(tmp_path):
    move = next(c for c in PUBLISHED_ROWS if c.fix is Fix.MOVE)
    data = write_part(tmp_path / "part", {(move.study_id, move.series_id)})
    table = data / "train_label_coordinates.csv"
    table.write_text(table.read_text().splitlines(keepends=True)[0])
    with pytest.raises(BadTable, match=r"move spinal_canal_stenosis_.* there is no such point"):
        read_tables(data, label_fixes=PUBLISHED_FILE)


def test_published_corrections_of_other_data_change_nothing_and_say_so(data, tmp_path, capsys):
    arguments = ["prepare", str(data), "--out", str(tmp_path / "store"), "--workers", "1"]
    assert main([*arguments, "--label-fixes", "published"]) == 0
    problems = VolumeStore.open(tmp_path / "store").problems
    assert any("0 of the 142 published label fixes applied" in p.what for p in problems)
    assert any("leave out --label-fixes" in p.advice for p in problems)
    assert main(["inspect", str(data), "--label-fixes", "published"]) == 0
    assert "0 of the 142 published label fixes applied" in capsys.readouterr().out


def test_a_file_named_published_is_named_by_its_path(data, monkeypatch, capsys):
    fixes(data, MOVE).rename(data.parent / "published")
    monkeypatch.chdir(data.parent)
    assert main(["audit", "data", "--out", "audit", "--label-fixes", "./published"]) == 0
    line = ["prepare", "data", "--out", "s", "--workers", "1"]
    assert main([*line, "--label-fixes", "./published"]) == 0
    places = {(p.study_id, p.target): (p.x, p.y) for p in VolumeStore.open("s").points}
    assert places["1000", MOVED] == (7.0, 8.0)
    assert "published label fixes" not in capsys.readouterr().out


@pytest.mark.parametrize("word", ["MOVE", "Move", " move", "move "])
def test_a_fix_that_is_spelt_otherwise_does_not_make_the_table_a_complete_one(data, word):
    """Its few points would replace all canal points of the data set."""
    path = fixes(data, ADD.replace(",add,", f",{word},"))
    with pytest.raises(BadTable, match=f"row 2, fix: '{word}'; write move"):
        read_tables(data, label_fixes=path)


def test_a_complete_table_of_few_points_is_told(data):
    path = fixes(data, ADD.replace(",add,", ",1,"))
    (problem,) = read_tables(data, label_fixes=path).problems
    assert "its 1 canal points replace all 9 of the data set" in problem.what
    assert "write add, move or drop" in problem.advice


def test_a_misspelt_name_of_the_corrections_is_told_what_may_be_given(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^--label-fixes publisched: no such file; .* published "):
        corrections_file("publisched")
    write_lsdc(tmp_path / "data", 2)
    data = tmp_path / "data"
    assert main(["prepare", str(data), "--out", str(tmp_path / "s"), "--label-fixes", "no"]) == 2
    assert not (tmp_path / "s").exists()
    assert corrections_file("published") == PUBLISHED_FILE
    assert corrections_file(None) is None
