"""Prepare: volumes and points arrive, a second run does what is missing, problems are told."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
from pathlib import Path

import numpy as np
import pydicom
import pytest

from lsdc_layout import DEPTH, SHAPE, point_of, write_lsdc, write_slice
from lumbargrade.cli.main import main
from lumbargrade.dicom.rules import READER_VERSION
from lumbargrade.domain.errors import BadStore, NothingDone, UsageError
from lumbargrade.domain.geometry import apply_homography, fit_to_frame
from lumbargrade.domain.vocabulary import TARGETS, Condition, Grade, SeriesKind
from lumbargrade.lsdc import prepare_series, series_file
from lumbargrade.lsdc.prepare import prepare
from lumbargrade.lsdc.store import VolumeStore


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_lsdc(tmp_path / "data", 3)
    return tmp_path / "data"


def test_a_store_holds_what_the_data_set_says(data, tmp_path):
    summary = prepare(data, tmp_path / "store")
    assert (summary.studies, summary.series, summary.failed) == (3, 9, 0)
    assert not summary.problems
    store = VolumeStore.open(tmp_path / "store")
    assert len(store.series) == 9
    for study, series, kind in store.series:
        volume = store.volume(study, series)
        assert volume.kind is kind
        assert volume.pixels.shape == (DEPTH, *SHAPE)
        assert isinstance(volume.pixels, np.memmap)
    for condition, kind in (
        (Condition.FORAMINAL, SeriesKind.SAGITTAL_T1),
        (Condition.CANAL, SeriesKind.SAGITTAL_T2),
        (Condition.SUBARTICULAR, SeriesKind.AXIAL_T2),
    ):
        rows = store.rows(condition)
        assert [r.study_id for r in rows] == ["1000", "1007", "1014"]
        assert {r.kind for r in rows} == {kind}
        assert all(r.fold == store.folds[r.study_id] for r in rows)


def test_points_are_at_the_labelled_instance_and_in_the_right_place_of_the_patient(data, tmp_path):
    prepare(data, tmp_path / "store")
    store = VolumeStore.open(tmp_path / "store")
    row = store.rows(Condition.FORAMINAL)[0]
    volume = store.volume(row.study_id, row.series_id)
    for i, (x, y, z) in enumerate(row.points.tolist()):
        assert (x, y) == point_of(Condition.FORAMINAL, i)
        assert volume.slices[int(z)].instance_number == 1 + i % DEPTH
    in_mm = [p for p in store.points if p.series_id == row.series_id]
    for p in in_mm:
        # Sagittal slices at x = 4 (n - 1); columns run to the back from -10, rows down from 30.
        away = 4.0 * (p.instance_number - 1)
        expected = (away, -10 + 0.7 * p.x, 30 - 0.7 * p.y)
        np.testing.assert_allclose(p.patient, expected, atol=1e-9)
        np.testing.assert_allclose(volume.to_patient((p.x, p.y, p.z)), expected, atol=1e-9)


def test_grades_and_missing_grades(data, tmp_path):
    prepare(data, tmp_path / "store")
    store = VolumeStore.open(tmp_path / "store")
    first = store.rows(Condition.CANAL)[0]
    columns = sorted(t.column for targets in TARGETS.values() for t in targets)
    expected = [(0, 1, 2, -1)[columns.index(t.column) % 4] for t in TARGETS[Condition.CANAL]]
    assert first.grades.tolist() == expected
    prevalence = store.prevalence()
    for target, shares in prevalence.items():
        found = [g[target] for g in store.grades.values() if target in g]
        severe = (sum(g is Grade.SEVERE for g in found) + 1) / (len(found) + 3)
        assert shares[Grade.SEVERE] == pytest.approx(severe)
        assert sum(shares) == pytest.approx(1)


def test_the_mean_shape_is_that_of_the_points_in_the_frame(data, tmp_path):
    prepare(data, tmp_path / "store")
    store = VolumeStore.open(tmp_path / "store")
    native = [point_of(Condition.CANAL, i) for i in range(5)]
    expected = apply_homography(fit_to_frame(SHAPE, 512), native)
    np.testing.assert_allclose(store.mean_shape(Condition.CANAL), expected, atol=1e-3)


def test_a_second_run_reads_nothing_and_a_changed_series_is_read_again(data, tmp_path):
    out = tmp_path / "store"
    first = prepare(data, out)
    assert (first.written, prepare(data, out).written) == (9, 0)
    changed = data / "train_images/1007/10071"
    write_slice(changed / f"{DEPTH}.dcm", DEPTH, [50.0, -10, 30], [0, 1, 0, 0, 0, -1])
    assert prepare(data, out).written == 1
    volume = VolumeStore.open(out).volume("1007", "10071")
    place = volume.slices[volume.slice_of_instance(DEPTH)].plane.position
    assert place == (50.0, -10.0, 30.0)
    (changed / "1.dcm").unlink()
    again = prepare(data, out)
    assert again.written == 1
    assert VolumeStore.open(out).volume("1007", "10071").pixels.shape[0] == DEPTH - 1
    assert again.fingerprint != first.fingerprint


def reversed_names(folder: Path) -> None:
    """Exchange first and last, and so on, in the files' names; their headers stay."""
    files = sorted(folder.iterdir(), key=lambda f: int(f.stem))
    contents = [f.read_bytes() for f in files]
    for file, content in zip(files, reversed(contents), strict=True):
        file.write_bytes(content)


def test_a_label_names_its_slice_by_the_file_and_not_by_the_header(data, tmp_path):
    folder = data / "train_images/1000/10000"
    reversed_names(folder)
    summary = prepare(data, tmp_path / "store")
    assert [
        "InstanceNumber differs from the file name in 4 of 4" in p.what for p in summary.problems
    ] == [True]
    store = VolumeStore.open(tmp_path / "store")
    (row,) = [r for r in store.rows(Condition.FORAMINAL) if r.series_id == "10000"]
    volume = store.volume("1000", "10000")
    for i, z in enumerate(row.points[:, 2].astype(int)):
        named = folder / f"{1 + i % DEPTH}.dcm"
        assert volume.slices[z].file == named.name
        position = pydicom.dcmread(named).ImagePositionPatient
        assert volume.slices[z].plane.position == tuple(map(float, position))


def test_a_label_on_a_number_that_two_slices_have_is_left_out_and_told(data, tmp_path):
    folder = data / "train_images/1000/10000"
    write_slice(folder / "stray.dcm", 2, [99.0, -10, 30], [0, 1, 0, 0, 0, -1])
    summary = prepare(data, tmp_path / "store")
    told = [p.what for p in summary.problems if p.fatal]
    points = [i for i in range(len(TARGETS[Condition.FORAMINAL])) if 1 + i % DEPTH == 2]
    assert len(told) == len(points)
    assert all("2 slices have instance number 2" in what for what in told)
    (row,) = [
        r
        for r in VolumeStore.open(tmp_path / "store").rows(Condition.FORAMINAL)
        if r.study_id == "1000"
    ]
    assert np.flatnonzero(np.isnan(row.points[:, 2])).tolist() == points


def test_a_store_of_another_reader_is_read_again(data, tmp_path, monkeypatch):
    """The same files give other volumes when the rules for reading them change."""
    out = tmp_path / "store"
    assert prepare(data, out).written == 9
    monkeypatch.setattr(prepare_series, "READER_VERSION", READER_VERSION + 1)
    assert prepare(data, out).written == 9
    assert prepare(data, out).written == 0


def test_workers_change_nothing(data, tmp_path):
    one = prepare(data, tmp_path / "one", workers=1)
    two = prepare(data, tmp_path / "two", workers=2)
    assert one.fingerprint == two.fingerprint
    assert two.written == 9


def test_bad_series_are_told_and_the_rest_goes_on(data, tmp_path, capsys):
    images = data / "train_images"
    for file in (images / "1000/10000").iterdir():
        file.write_bytes(b"not DICOM")
    (images / "1000/10001/2.dcm").write_bytes(b"")
    for file in (images / "1007/10072").iterdir():
        file.unlink()
    for file in (images / "1014/10140").iterdir():
        file.unlink()
    (images / "1014/10140").rmdir()
    code = main(
        ["prepare", str(data), "--out", str(tmp_path / "store"), "--workers", "1", "--json"]
    )
    assert code == 1
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (said["series"], said["failed"]) == (6, 3)
    store = VolumeStore.open(tmp_path / "store")
    blamed = {(p.study, p.series) for p in store.problems}
    assert blamed >= {("1000", "10000"), ("1000", "10001"), ("1007", "10072"), ("1014", "10140")}
    with pytest.raises(BadStore, match="no series 10000"):
        store.volume("1000", "10000")
    row = next(r for r in store.rows(Condition.CANAL) if r.study_id == "1000")
    lost = [i for i in range(5) if 1 + i % DEPTH == 2]
    assert np.isnan(row.points[lost]).all()
    assert np.isfinite(np.delete(row.points, lost, axis=0)).all()
    # What could not be used is told again by a run that reads nothing.
    assert {(p.study, p.series) for p in prepare(data, tmp_path / "store").problems} == blamed


def test_a_point_outside_the_image_is_left_out_and_told(data, tmp_path):
    table = data / "train_label_coordinates.csv"
    lines = table.read_text().splitlines()
    parts = lines[1].split(",")
    lines[1] = ",".join([*parts[:5], str(SHAPE[1] + 5), parts[6]])
    table.write_text("\n".join(lines) + "\n")
    summary = prepare(data, tmp_path / "store")
    (problem,) = summary.problems
    assert f"outside {SHAPE[1]} x {SHAPE[0]} pixels" in problem.what
    assert (problem.study, problem.series) == (parts[0], parts[1])
    condition = Condition.CANAL
    rows = VolumeStore.open(tmp_path / "store").rows(condition)
    assert np.isnan(rows[0].points).all(axis=1).sum() == 1
    assert np.isfinite(rows[1].points).all()


def test_only_the_kinds_asked_for(data, tmp_path):
    summary = prepare(data, tmp_path / "store", kinds=[SeriesKind.SAGITTAL_T1])
    assert summary.series == 3
    assert summary.rows[Condition.CANAL] == 0
    with pytest.raises(BadStore, match="no mean shape"):
        VolumeStore.open(tmp_path / "store").mean_shape(Condition.CANAL)


def test_a_test_split_becomes_a_store_without_labels(tmp_path):
    write_lsdc(tmp_path / "data", 2, split="test")
    summary = prepare(tmp_path / "data", tmp_path / "store")
    assert summary.series == 6
    store = VolumeStore.open(tmp_path / "store")
    assert not store.grades
    assert store.rows(Condition.CANAL) == []


def test_without_any_image_nothing_can_be_done(data, tmp_path, capsys):
    for file in data.rglob("*.dcm"):
        file.write_bytes(b"garbage")
    with pytest.raises(NothingDone, match="no series could be read"):
        prepare(data, tmp_path / "store")
    assert main(["prepare", str(data), "--out", str(tmp_path / "store"), "--workers", "1"]) == 3
    with pytest.raises(BadStore, match="did not finish"):
        VolumeStore.open(tmp_path / "store")


@pytest.mark.parametrize("where", ["pixels", "description"])
def test_a_full_disk_stops_with_a_clear_text_and_the_next_run_goes_on(
    data, tmp_path, monkeypatch, capsys, where
):
    out = tmp_path / "store"
    real = {"pixels": series_file._save_pixels, "description": series_file.write_text}[where]
    calls = []

    def full(path, content):
        calls.append(path)
        if len(calls) > 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, content)

    name = "_save_pixels" if where == "pixels" else "write_text"
    monkeypatch.setattr(series_file, name, full)
    assert main(["prepare", str(data), "--out", str(out), "--workers", "1"]) == 3
    assert f"No space left on device: {out}" in capsys.readouterr().err
    with pytest.raises(BadStore, match="did not finish"):
        VolumeStore.open(out)
    monkeypatch.setattr(series_file, name, real)
    assert prepare(data, out).written == 9 - 4
    assert VolumeStore.open(out).fingerprint == prepare(data, tmp_path / "other").fingerprint


def test_an_output_that_cannot_be_written_is_an_error_with_its_path(data, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["prepare", str(data), "--out", str(tmp_path / "file"), "--workers", "1"]) == 2
    below = tmp_path / "file" / "store"
    assert main(["prepare", str(data), "--out", str(below), "--workers", "1"]) in (2, 3)
    assert str(tmp_path / "file") in capsys.readouterr().err
    (tmp_path / "full").mkdir()
    (tmp_path / "full/holiday.jpg").write_text("")
    with pytest.raises(UsageError, match="holds other files"):
        prepare(data, tmp_path / "full")


def test_a_store_of_another_version_is_refused_with_advice(data, tmp_path):
    out = tmp_path / "store"
    prepare(data, out)
    index = json.loads((out / "store.json").read_text())
    (out / "store.json").write_text(json.dumps({**index, "version": 99}))
    for use in (lambda: VolumeStore.open(out), lambda: prepare(data, out)):
        with pytest.raises(BadStore, match=r"version 99.*prepare into a new folder"):
            use()


def test_damage_is_noticed(data, tmp_path):
    out = tmp_path / "store"
    prepare(data, out)
    pixels, _ = series_file.series_paths(out, "1000", "10000")
    pixels.write_bytes(pixels.read_bytes()[:500])
    with pytest.raises(BadStore, match="prepare"):
        VolumeStore.open(out).volume("1000", "10000")
    assert prepare(data, out).written == 1
    points = out / "points.csv"
    points.write_text(points.read_text().replace("1000,", "1001,"))
    with pytest.raises(BadStore, match=r"points\.csv was changed"):
        VolumeStore.open(out)
    with pytest.raises(BadStore, match="not a volume store"):
        VolumeStore.open(tmp_path / "nowhere")


def test_the_real_study_from_dicom_to_training_rows(shared, tmp_path):
    real = shared / "realdata/rsna2024"
    reference = json.loads((shared / "reference/volumes.json").read_text())
    fixes = shared / "reference/published/train_label_coordinates.fix01b.csv"
    summary = prepare(real, tmp_path / "store", label_fixes=fixes)
    assert (summary.studies, summary.series, summary.failed) == (1, 3, 6291)
    without = [p for p in summary.problems if "seem to be missing" not in p.what]
    assert len(without) == 1974  # the studies whose images are not there
    (gap,) = (p for p in summary.problems if p not in without)
    assert gap.study == "100206310"
    assert not gap.fatal  # one axial stack leaves out a place; nothing is left out because of it
    store = VolumeStore.open(tmp_path / "store")
    for study, series, kind in store.series:
        volume = store.volume(study, series)
        expected = reference[f"{study}/{series}"]
        assert expected["description"] == kind.value
        assert hashlib.sha256(np.ascontiguousarray(volume.pixels)).hexdigest() == expected["sha256"]
        assert [s.instance_number for s in volume.slices] == expected["instance_numbers"]
    (foraminal,) = store.rows(Condition.FORAMINAL)
    assert np.isfinite(foraminal.points).all()
    places = {p.target: p.patient for p in store.points if p.series_id == foraminal.series_id}
    for target, place in places.items():
        # LPS: the patient's left has the larger x; the levels go down.
        other = places[target.mirror()]
        assert (place[0] > other[0]) == (target.side == "left")
    left = [places[t][2] for t in foraminal.targets[:5]]
    assert left == sorted(left, reverse=True)
    (canal,) = store.rows(Condition.CANAL)
    between = np.array([p.patient for p in store.points if p.series_id == canal.series_id])
    sides = np.array(list(places.values()))
    assert sides[:, 0].min() < between[:, 0].min() <= between[:, 0].max() < sides[:, 0].max()


def test_read_errors_of_files_are_problems(data, tmp_path, monkeypatch):
    real = prepare_series.read_series

    def failing(folder, **names):
        if folder.name == "10001":
            raise PermissionError(errno.EACCES, "Permission denied", str(folder / "1.dcm"))
        return real(folder, **names)

    monkeypatch.setattr(prepare_series, "read_series", failing)
    summary = prepare(data, tmp_path / "store")
    (problem,) = summary.problems
    assert problem.series == "10001"
    assert "Permission denied" in problem.what


@pytest.fixture
def silent_log():
    """pytest's own report of the log cannot carry names that are no text between processes."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("silent_log")
def test_files_with_any_name_and_links_to_nothing_cost_no_series(data, tmp_path, capsysbinary):
    """A name that is no text is written with escapes; what a link lacks is one file."""
    series = sorted((data / "train_images").glob("*/*"))[0]
    (series / "2.dcm").rename(series / os.fsdecode(b"\xff.dcm"))
    (series / os.fsdecode(b"\xfe.dcm")).write_text("no image")
    (series / "9.dcm").symlink_to("/nowhere/9.dcm")
    summary = prepare(data, tmp_path / "store")
    assert summary.failed == 0
    told = sorted(Path(p.file).name for p in summary.problems if p.file)
    assert told == ["9.dcm", "\udcfe.dcm"]
    text = (tmp_path / "store" / "problems.csv").read_text(encoding="utf-8")
    assert "\\udcfe.dcm" in text
    assert prepare(data, tmp_path / "store").written == 0
    assert main(["inspect", str(series)]) == 1
    assert b"\\udcfe.dcm" in capsysbinary.readouterr().out
