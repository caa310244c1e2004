"""Bad tables are refused with file, row and reason; what does not fit together is a problem."""

from __future__ import annotations

from pathlib import Path

import pytest

from lsdc_layout import write_lsdc
from lumbargrade.domain.errors import BadTable, UsageError
from lumbargrade.domain.vocabulary import FINDINGS, Condition, Grade, Level, Side, Target
from lumbargrade.lsdc.tables import (
    read_grade_table,
    read_point_table,
    read_series_table,
    read_tables,
)

POINTS = "study_id,series_id,instance_number,condition,level,x,y\n"
GRADES = "study_id," + ",".join(t.column for t in FINDINGS) + "\n"
SERIES = "study_id,series_id,series_description\n"


def refused(reader, tmp_path: Path, text: str) -> str:
    table = tmp_path / "table.csv"
    table.write_text(text)
    with pytest.raises(BadTable) as error:
        reader(table)
    assert "table.csv" in str(error.value)
    return str(error.value)


def test_both_spellings_of_the_coordinate_table_mean_the_same(tmp_path):
    plain, snake = tmp_path / "plain.csv", tmp_path / "snake.csv"
    plain.write_text(POINTS + "1,2,3,Left Neural Foraminal Narrowing,L5/S1,10.5,20\n")
    header = POINTS.strip() + ",fix\n"
    snake.write_text(header + "1,2,3,left_neural_foraminal_narrowing,l5_s1,10.5,20,0\n")
    assert read_point_table(plain) == read_point_table(snake)
    (point,) = read_point_table(plain)
    assert point == ("1", "2", 3, Target(Condition.FORAMINAL, Level.L5_S1, Side.LEFT), 10.5, 20.0)


def test_an_empty_grade_is_absent_and_the_study_is_not(tmp_path):
    table = tmp_path / "train.csv"
    table.write_text(GRADES + "7," + ",".join(["Severe"] + [""] * 24) + "\n")
    assert read_grade_table(table) == {"7": {FINDINGS[0]: Grade.SEVERE}}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (
            "1,2,3,Spinal Canal Stenosi,L1/L2,1,2",
            "row 3, condition, level: unknown condition 'Spinal",
        ),
        ("1,2,3,Spinal Canal Stenosis,L6/S1,1,2", "row 3, condition, level: unknown condition"),
        ("1,2,3,Spinal Canal Stenosis,L3/L4,left,2", "row 3, x: 'left' is not a number"),
        ("1,2,3,Spinal Canal Stenosis,L3/L4,1,nan", "row 3, y: 'nan' is not a finite number"),
        ("1,2,3.5,Spinal Canal Stenosis,L3/L4,1,2", "row 3, instance_number: '3.5' is not a whole"),
        ("one,2,3,Spinal Canal Stenosis,L3/L4,1,2", "row 3, study_id: 'one'"),
        (
            "1,2,9,Spinal Canal Stenosis,L1/L2,8,9",
            "row 3: duplicate spinal_canal_stenosis_l1_l2 in",
        ),
        ("1,2,3,Spinal Canal Stenosis,L3/L4,1", "row 3: 6 values for 7 columns"),
    ],
)
def test_a_bad_point_is_refused_with_its_row(tmp_path, row, reason):
    good = "1,2,3,Spinal Canal Stenosis,L1/L2,1,2\n"
    assert reason in refused(read_point_table, tmp_path, POINTS + good + row + "\n")


def test_missing_columns_are_named(tmp_path):
    text = "study_id,series_id,condition,level,x\n"
    assert "missing columns: instance_number, y" in refused(read_point_table, tmp_path, text)


def test_bad_grades_are_refused(tmp_path):
    labels = ["Normal/Mild"] * 25
    labels[4] = "Mild"
    said = refused(read_grade_table, tmp_path, GRADES + "5," + ",".join(labels) + "\n")
    assert "row 2" in said
    assert FINDINGS[4].column in said
    assert "'Mild'" in said
    row = "5," + ",".join(["Severe"] * 25) + "\n"
    assert "row 3: duplicate study_id 5" in refused(read_grade_table, tmp_path, GRADES + row + row)


def test_bad_descriptions_are_refused(tmp_path):
    unknown = refused(read_series_table, tmp_path, SERIES + "1,2,Coronal T1\n")
    assert "row 2, series_description: unknown series description 'Coronal T1'" in unknown
    twice = refused(read_series_table, tmp_path, SERIES + 2 * "1,2,Axial T2\n")
    assert "row 3: duplicate series_id 2" in twice


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty"), (b"\xff\xfe\x00study", "UTF-8"), (b'study_id,"series\n', "not a CSV table")],
)
def test_what_is_no_table_is_refused(tmp_path, content, reason):
    table = tmp_path / "table.csv"
    table.write_bytes(content)
    with pytest.raises(BadTable, match=reason):
        read_series_table(table)


def test_a_missing_table_and_a_folder_without_tables_are_told_apart(tmp_path):
    with pytest.raises(UsageError, match="not an LSDC data set"):
        read_tables(tmp_path)
    write_lsdc(tmp_path / "data", 1)
    (tmp_path / "data" / "train.csv").unlink()
    with pytest.raises(BadTable, match=r"train\.csv: no such file"):
        read_tables(tmp_path / "data")


def test_studies_that_a_table_lacks_are_problems_and_the_rest_goes_on(tmp_path):
    ids = write_lsdc(tmp_path, 2)
    series = tmp_path / "train_series_descriptions.csv"
    series.write_text(series.read_text() + "99,990,Axial T2\n")
    points = tmp_path / "train_label_coordinates.csv"
    points.write_text(points.read_text() + "1000,55,1,Spinal Canal Stenosis,L1/L2,1,2\n")
    grades = tmp_path / "train.csv"
    grades.write_text(grades.read_text() + "88" + 25 * ",Severe" + "\n")
    tables = read_tables(tmp_path)
    assert [(p.study, p.series) for p in tables.problems] == [
        ("88", ""),
        ("99", ""),
        ("1000", "55"),
    ]
    assert set(ids) < set(tables.studies)


def test_label_fixes_replace_canal_points_only(tmp_path):
    write_lsdc(tmp_path, 1)
    fixes = tmp_path / "fixes.csv"
    fixes.write_text(
        POINTS.strip()
        + ",fix\n1000,10001,2,spinal_canal_stenosis,l1_l2,7,8,1\n"
        + "1000,10000,2,left_neural_foraminal_narrowing,l1_l2,7,8,1\n"
    )
    before, after = read_tables(tmp_path), read_tables(tmp_path, label_fixes=fixes)
    canal = [p for p in after.points if p.target.condition is Condition.CANAL]
    assert [(p.x, p.y) for p in canal] == [(7.0, 8.0)]
    others = [p for p in before.points if p.target.condition is not Condition.CANAL]
    assert others == [p for p in after.points if p.target.condition is not Condition.CANAL]


def test_a_test_split_has_studies_and_no_labels(tmp_path):
    ids = write_lsdc(tmp_path, 2, split="test")
    tables = read_tables(tmp_path)
    assert tables.split == "test"
    assert tables.studies == tuple(ids)
    assert not tables.grades
    assert not tables.points
    with pytest.raises(UsageError, match="test split has no labels"):
        read_tables(tmp_path, label_fixes=tmp_path / "any.csv")
