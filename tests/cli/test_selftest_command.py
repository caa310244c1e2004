"""`lumbargrade selftest`: its table, exit codes and errors."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from lumbargrade.cli.main import main
from lumbargrade.grading import selftest
from lumbargrade.grading.selftest import VARIANTS, Tolerance, Variant
from small_models import save_small_model
from small_studies import write_noise_study


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("selftest")
    write_noise_study(folder / "anna")
    save_small_model(folder / "models" / "canal", "canal")
    return folder


def selftest_of(place: Path, *arguments: object) -> int:
    options = ("--models", place / "models", "--device", "cpu", "--no-check-points")
    return main(["selftest", *map(str, (*arguments, *options))])


def test_a_zip_file_is_refused_with_what_to_do(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.make_archive(str(tmp_path / "anna"), "zip", place / "anna")
    assert selftest_of(place, tmp_path / "anna.zip") == 2
    assert "anna.zip: a zip file; unpack it" in capsys.readouterr().err


def test_the_table_has_a_line_for_every_copy_and_json_says_the_same(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(place.rglob("*"))
    few = (*VARIANTS[1:4], Variant("told to be equal", Tolerance(-1, 0, 0)))
    monkeypatch.setattr(selftest.self_test, "__defaults__", (few,))
    assert selftest_of(place, place / "anna", "--scratch", tmp_path, "--json") == 1
    *lines, last = capsys.readouterr().out.splitlines()
    told = json.loads(last)
    names = [v.name for v in few]
    assert [d["variant"] for d in told["differences"]] == names
    assert [line.split("  ")[0] for line in lines[1:-1]] == names
    assert [line.split()[-1] for line in lines[1:-1]] == [*["same"] * 3, "DIFFERENT"]
    assert lines[-1] == "3 of 4 copies have the findings of the study"
    assert sorted(place.rglob("*")) == before
    assert list(tmp_path.iterdir()) == []


def test_a_difference_of_the_mirrored_patient_is_explained(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mirrored = replace(VARIANTS[0], tolerance=Tolerance(-1, 0, 0))
    monkeypatch.setattr(selftest.self_test, "__defaults__", ((mirrored, VARIANTS[1]),))
    assert selftest_of(place, place / "anna") == 1
    explained = [line for line in capsys.readouterr().out.splitlines() if "another image" in line]
    assert [line.split(":")[0] for line in explained] == [mirrored.name]


def test_wrong_input_is_refused(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert selftest_of(place, tmp_path / "nothing") == 3
    (tmp_path / "empty").mkdir()
    assert selftest_of(place, tmp_path / "empty") == 3
    assert "no DICOM images; `lumbargrade inspect" in capsys.readouterr().err
    shutil.copytree(place / "anna", tmp_path / "two" / "anna")
    write_noise_study(tmp_path / "two" / "ben")
    assert selftest_of(place, tmp_path / "two") == 2
    assert "contains 2 studies" in capsys.readouterr().err
    assert main(["selftest", str(place / "anna"), "--guides", str(place)]) == 2
    assert "--guides needs --models" in capsys.readouterr().err
