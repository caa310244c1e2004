"""`lumbargrade audit`: from tables to a page and corrections that `prepare` accepts; bad input."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from lsdc_layout import write_lsdc
from lumbargrade.audit.run import audit_tables
from lumbargrade.cli.main import main
from lumbargrade.domain.findings import Finding, StudyPrediction
from lumbargrade.domain.point import Point
from lumbargrade.domain.vocabulary import Level, SeriesKind
from lumbargrade.grading.predictions_file import write_predictions
from lumbargrade.lsdc.corrections import POINT_COLUMNS
from lumbargrade.lsdc.prepare import prepare
from lumbargrade.lsdc.tables import read_tables
from made_labels import canal, edited, made_tables, write_tables


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Forty studies; in one a point lies in the corner, in another one is missing."""
    tables = edited(made_tables(), "105", [canal(Level.L2_L3)], lambda p: p._replace(x=5.0, y=5.0))
    return write_tables(
        tmp_path / "data", edited(tables, "120", [canal(Level.L5_S1)], lambda p: None)
    )


def test_the_accepted_corrections_leave_nothing_to_find(data, tmp_path, capsys):
    out = tmp_path / "audit"
    assert main(["audit", str(data), "--out", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (said["suspects"], said["corrections"]) == (2, 2)
    with (out / "corrections.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [(r["study_id"], r["fix"], r["suspect"]) for r in rows] == [
        ("105", "move", "1"),
        ("120", "add", "2"),
    ]
    page = (out / "index.html").read_text()
    assert "1. does not fit the other points" in page
    assert "add L5/S1 to" in page
    for name in ("pictures/1.png", "pictures/2.png"):
        assert name in page
        assert (out / name).is_file()
    assert not audit_tables(read_tables(data, label_fixes=out / "corrections.csv")).suspects


def test_a_deleted_row_is_a_correction_that_was_not_accepted(data, tmp_path):
    out = tmp_path / "audit"
    main(["audit", str(data), "--out", str(out)])
    table = out / "corrections.csv"
    header, first, _ = table.read_text().splitlines(keepends=True)
    table.write_text(header + first)
    left = audit_tables(read_tables(data, label_fixes=table)).suspects
    assert [s.study_id for s in left] == ["120"]


def test_a_table_with_missing_columns_stops_with_its_name(data, tmp_path, capsys):
    table = data / "train_label_coordinates.csv"
    table.write_text(table.read_text().replace(",x,y\n", ",x,why\n", 1))
    assert main(["audit", str(data), "--out", str(tmp_path / "audit")]) == 3
    assert "train_label_coordinates.csv: missing columns: y" in capsys.readouterr().err
    assert not (tmp_path / "audit").exists()


def test_tables_that_do_not_fit_together_are_audited_and_named(data, tmp_path, caplog):
    table = data / "train.csv"
    table.write_text(table.read_text() + "99" + 25 * ",Severe" + "\n")
    assert main(["audit", str(data), "--out", str(tmp_path / "audit")]) == 1
    assert "study 99" in caplog.text
    assert (tmp_path / "audit/suspects.csv").read_text().count("\n") == 3


def test_nothing_to_audit_and_no_data_set(tmp_path, capsys):
    empty = write_tables(tmp_path / "empty", made_tables(studies=1))
    (empty / "train_label_coordinates.csv").write_text(",".join(POINT_COLUMNS) + "\n")
    assert main(["audit", str(empty), "--out", str(tmp_path / "a")]) == 3
    assert "no labelled point" in capsys.readouterr().err
    assert main(["audit", str(tmp_path / "a")]) == 2
    assert main(["audit", str(tmp_path), "--out", str(tmp_path / "a")]) == 2


@pytest.fixture(scope="module")
def with_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten studies of noise, of which one has no images, and their store."""
    folder = tmp_path_factory.mktemp("images")
    ids = write_lsdc(folder / "data", 10)
    shutil.rmtree(folder / "data/train_images" / ids[3])
    prepare(folder / "data", folder / "store")
    return folder


def test_with_a_store_slices_stand_behind_the_points_and_what_it_lacks_is_named(
    with_images, tmp_path, caplog
):
    out = tmp_path / "audit"
    store = str(with_images / "store")
    assert main(["audit", str(with_images / "data"), "--store", store, "--out", str(out)]) == 1
    assert "study 1021" in caplog.text
    assert "3 series with labels are not in the store" in caplog.text
    assert list((out / "pictures").glob("*.jpg"))
    page = (out / "index.html").read_text()
    assert "These could not be checked" in page
    assert "Images were not used" not in page


def test_a_store_without_a_kind_of_series_says_so_once_and_that_is_no_failure(tmp_path, caplog):
    write_lsdc(tmp_path / "data", 8)
    prepare(tmp_path / "data", tmp_path / "store", kinds=[SeriesKind.SAGITTAL_T2])
    arguments = ["audit", str(tmp_path / "data"), "--store", str(tmp_path / "store")]
    assert main([*arguments, "--out", str(tmp_path / "audit")]) == 0
    assert caplog.text.count("the store holds no Axial T2 series") == 1
    assert "not in the store" not in caplog.text


def test_a_store_of_other_labels_is_named(with_images, tmp_path, caplog):
    table = with_images / "data/train_label_coordinates.csv"
    row = table.read_text().splitlines()[1].split(",")
    fixes = tmp_path / "fixes.csv"
    fixes.write_text(f"{','.join(POINT_COLUMNS)},fix\n{','.join(row[:5])},3,4,move\n")
    arguments = ["audit", str(with_images / "data"), "--label-fixes", str(fixes)]
    arguments += ["--store", str(with_images / "store"), "--out", str(tmp_path / "audit")]
    assert main(arguments) == 1
    assert "1 points of the store differ from the tables" in caplog.text


def test_contradicted_grades_are_listed_with_pictures_and_for_training(data, tmp_path, caplog):
    target = canal(Level.L4_L5)
    place = Point(target, "1081", 8, (100.0, 100.0, 7.0))
    said = [
        StudyPrediction(str(study), {target: Finding(target, (mild, 0.0, 1 - mild), place)})
        for study, mild in ((108, 0.01), (109, 0.9), (999, 0.5))
    ]
    write_predictions(tmp_path / "oof.csv", said)
    out = tmp_path / "audit"
    arguments = ["audit", str(data), "--oof", str(tmp_path / "oof.csv"), "--out", str(out)]
    assert main(arguments) == 1
    assert "1 of 3 predicted studies are not in train.csv" in caplog.text
    with (out / "contradicted.csv").open() as lines:
        (row,) = csv.DictReader(lines)
    assert (row["study_id"], row["finding"], row["grade"]) == ("108", target.column, "normal_mild")
    assert f"pictures/{row['suspect']}.png" in (out / "index.html").read_text()


def test_a_table_of_predictions_with_missing_columns_stops_with_its_name(data, tmp_path, capsys):
    (tmp_path / "oof.csv").write_text("study_id,fold\n")
    arguments = ["audit", str(data), "--oof", str(tmp_path / "oof.csv")]
    assert main([*arguments, "--out", str(tmp_path / "audit")]) == 3
    assert "oof.csv: missing columns: finding" in capsys.readouterr().err
