"""The data set on disk: layout, ids, missing things, valid files, the same for any workers."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest

from lumbargrade.cli.main import main
from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.vocabulary import Condition, SeriesKind
from lumbargrade.phantom.dataset import Settings, make_dataset
from lumbargrade.phantom.study import plan_study, series_number, study_number


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _header(path: Path) -> str:
    return path.read_text().splitlines()[0]


def _digest(folder: Path) -> dict[str, str]:
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def train(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("phantom") / "train"
    make_dataset(out, Settings(2, 3, 0, "train", "explicit"), workers=1)
    return out


@pytest.fixture(scope="module")
def held_out(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("phantom") / "test"
    make_dataset(out, Settings(1, 3, 1, "test", "rle"), workers=1)
    return out


def test_two_workers_write_the_same_bytes(train, tmp_path):
    make_dataset(tmp_path / "again", Settings(2, 3, 0, "train", "explicit"), workers=2)
    assert _digest(tmp_path / "again") == _digest(train)


def test_a_study_does_not_depend_on_the_others(train, held_out):
    study = study_number(3, 1)
    for path in (held_out / "test_images" / study).rglob("*.dcm"):
        twin = train / "train_images" / path.relative_to(held_out / "test_images")
        np.testing.assert_array_equal(
            pydicom.dcmread(path).pixel_array, pydicom.dcmread(twin).pixel_array
        )


def test_a_wide_study_has_the_labels_and_headers_of_the_usual_one(train, tmp_path):
    wide = tmp_path / "wide"
    make_dataset(wide, Settings(1, 3, 0, "train", "explicit", "wide"), workers=1)
    study = study_number(3, 0)
    for name in ("train.csv", "train_series_descriptions.csv", "train_label_coordinates.csv"):
        assert _rows(wide / name) == [r for r in _rows(train / name) if r["study_id"] == study]
    files = sorted((wide / "train_images").rglob("*.dcm"))
    assert len(files) == len(list((train / "train_images" / study).rglob("*.dcm")))
    for path in files:
        one, usual = (pydicom.dcmread(f / path.relative_to(wide)) for f in (wide, train))
        pixels, others = one.pixel_array, usual.pixel_array
        assert pixels.max() <= 4095
        assert (pixels != others).mean() > 0.5
        for dataset in (one, usual):
            del dataset.PixelData, dataset.WindowCenter, dataset.WindowWidth
        assert one == usual


def test_tables_have_the_columns_and_spellings_of_the_real_ones(train, held_out, shared):
    real = shared / "realdata" / "rsna2024"
    pairs = {
        "train.csv": train / "train.csv",
        "train_series_descriptions.csv": train / "train_series_descriptions.csv",
        "train_label_coordinates.csv": train / "train_label_coordinates.csv",
        "test_series_descriptions.csv": held_out / "test_series_descriptions.csv",
        "sample_submission.csv": held_out / "sample_submission.csv",
    }
    for name, ours in pairs.items():
        theirs = _header(real / name)
        assert _header(ours) == theirs
    spelt = {(r["condition"], r["level"]) for r in _rows(real / "train_label_coordinates.csv")}
    assert {(r["condition"], r["level"]) for r in _rows(pairs["train_label_coordinates.csv"])} <= (
        spelt
    )
    assert len(_rows(pairs["sample_submission.csv"])) == 25
    assert _header(held_out / "solution.csv") == _header(train / "train.csv")


def test_every_point_and_series_of_the_tables_has_its_files(train):
    images = train / "train_images"
    for row in _rows(train / "train_series_descriptions.csv"):
        assert row["series_description"] in {k.value for k in SeriesKind}
        folder = images / row["study_id"] / row["series_id"]
        numbers = sorted(int(p.stem) for p in folder.glob("*.dcm"))
        assert numbers == list(range(1, len(numbers) + 1))
    for row in _rows(train / "train_label_coordinates.csv"):
        path = images / row["study_id"] / row["series_id"] / f"{row['instance_number']}.dcm"
        header = pydicom.dcmread(path, stop_before_pixels=True)
        assert 0 <= float(row["x"]) < header.Columns
        assert 0 <= float(row["y"]) < header.Rows


def _first_files(folder: Path) -> list[Path]:
    return [next(series.glob("*.dcm")) for series in sorted(folder.glob("*_images/*/*"))]


def test_files_are_valid_mr_images(train, held_out):
    tool = Path(sys.executable).with_name("dciodvfy")
    command = str(tool) if tool.is_file() else shutil.which("dciodvfy")
    if command is None:
        pytest.skip("dciodvfy is not installed")
    for path in _first_files(train) + _first_files(held_out):
        said = subprocess.run([command, str(path)], capture_output=True, text=True, check=False)
        lines = (said.stdout + said.stderr).splitlines()
        assert [line for line in lines if line.startswith("Error")] == []
        assert "MRImage" in said.stdout + said.stderr


def test_files_carry_the_tags_of_real_ones(train, shared):
    real = next((shared / "realdata" / "rsna2024" / "train_images").rglob("*.dcm"))
    tags = {e.tag for e in pydicom.dcmread(real)}
    for path in _first_files(train):
        assert tags <= {e.tag for e in pydicom.dcmread(path)}


def test_rle_holds_twelve_bit_pixels(held_out):
    for path in _first_files(held_out):
        ds = pydicom.dcmread(path)
        assert ds.file_meta.TransferSyntaxUID.name == "RLE Lossless"
        pixels = ds.pixel_array
        assert pixels.max() <= 4095
        assert pixels.std() > 20


def test_ids_do_not_repeat_over_seeds_and_numbers():
    pairs = [(s, n) for s in range(40) for n in [*range(40), 100_000, 2**21 - 1]]
    studies = {study_number(*p) for p in pairs}
    series = {series_number(*p, k) for p in pairs for k in range(8)}
    assert len(studies) == len(pairs)
    assert len(series) == 8 * len(pairs)
    with pytest.raises(UsageError, match="seed"):
        study_number(2**11, 0)


def test_things_are_missing_as_often_as_in_the_real_tables():
    plans = [plan_study(7, n) for n in range(500)]
    axial = [sum(s.kind is SeriesKind.AXIAL_T2 for s in p.series) for p in plans]
    assert np.mean(np.array(axial) > 1) == pytest.approx(335 / 1975, abs=0.05)
    incomplete = np.mean([len(p.grades) < 25 for p in plans])
    assert incomplete == pytest.approx(185 / 1975, abs=0.05)
    canal = [sum(q.target.condition is Condition.CANAL for q in p.points) for p in plans]
    assert np.mean(np.array(canal) < 5) == pytest.approx(76 / 1975, abs=0.03)
    foramina = [sum(q.target.condition is Condition.FORAMINAL for q in p.points) for p in plans]
    assert np.mean(np.array(foramina) == 10) > 0.98
    slices = {len(s.planes) for p in plans for s in p.series if s.kind.sagittal}
    assert min(slices) >= 11
    assert max(slices) <= 25
    stacks = [
        len({pl.row + pl.column for pl in s.planes})
        for p in plans
        for s in p.series
        if s.kind is SeriesKind.AXIAL_T2
    ]
    assert min(stacks) == 1
    assert max(stacks) == 5


def test_a_foreign_folder_is_refused_and_a_finished_one_is_left_alone(train, tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(UsageError, match="not empty"):
        make_dataset(tmp_path, Settings(1, 1, 0, "train", "explicit"))
    with pytest.raises(UsageError, match="other settings"):
        make_dataset(train, Settings(3, 3, 0, "train", "explicit"))
    before = {p: p.stat().st_mtime_ns for p in train.rglob("*.dcm")}
    assert make_dataset(train, Settings(2, 3, 0, "train", "explicit")) == len(before)
    assert before == {p: p.stat().st_mtime_ns for p in train.rglob("*.dcm")}


def test_an_interrupted_data_set_is_made_anew(train, tmp_path):
    torn = tmp_path / "torn"
    shutil.copytree(train, torn)
    marker = json.loads((torn / "phantom.json").read_text())
    (torn / "phantom.json").write_text(json.dumps({**marker, "complete": False}))
    victim = next(torn.rglob("*.dcm"))
    victim.unlink()
    (torn / "train.csv").unlink()
    make_dataset(torn, Settings(2, 3, 0, "train", "explicit"))
    assert _digest(torn) == _digest(train)


def test_the_command_refuses_nonsense_in_words(tmp_path, capsys):
    out = str(tmp_path / "out")
    assert main(["phantom", out, "--studies", "0"]) == 2
    assert main(["phantom", out, "--studies", "1", "--seed", "-4"]) == 2
    said = capsys.readouterr().err
    assert "--studies must be at least 1" in said
    assert "seed must be from 0" in said
    assert not (tmp_path / "out").exists()


def test_phantoms_need_no_torch(tmp_path):
    code = (
        "import sys; from lumbargrade.cli.main import main;"
        f"code = main(['phantom', {str(tmp_path / 'o')!r}, '--studies', '1', '--workers', '1']);"
        "sys.exit(code or 10 * ('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
