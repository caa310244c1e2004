"""Which studies a submission has: those of the sample submission, else those of the table."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from lsdc_layout import write_lsdc, write_table
from lumbargrade.cli.main import main
from lumbargrade.domain.vocabulary import FINDINGS
from lumbargrade.scoring.submissions import read_submission
from small_models import save_small_model


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for task in ("foraminal", "canal"):
        save_small_model(folder / task, task)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three test studies in the table, 1000, 1007 and 1014, and the folder of a fourth, 999."""
    write_lsdc(tmp_path, 3, split="test")
    shutil.copytree(tmp_path / "test_images" / "1000", tmp_path / "test_images" / "999")
    return tmp_path


def write_sample(data: Path, *studies: int) -> None:
    rows: list[list[object]] = [[f"{s}_{t.column}", 0, 0, 0] for s in studies for t in FINDINGS]
    write_table(
        data / "sample_submission.csv", ["row_id", "normal_mild", "moderate", "severe"], rows
    )


def submitted(
    data: Path, models: Path, code: int, capsys: pytest.CaptureFixture[str]
) -> tuple[list[str], dict[str, Any]]:
    """Studies of the submission, and its summary."""
    out = data / "s.csv"
    line = ["submit", str(data), "--models", str(models), "--out", str(out), "--json"]
    assert main(line) == code
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary == json.loads((data / "s.csv.json").read_text())
    return list(read_submission(out)), summary


def test_without_a_sample_the_table_decides_and_other_folders_are_named(
    data: Path,
    models: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    studies, summary = submitted(data, models, 0, capsys)
    assert studies == ["1000", "1007", "1014"]
    assert [(p["study"], p["fatal"]) for p in summary["problems"]] == [("999", False)]
    assert "study folder that test_series_descriptions.csv does not list" in caplog.text


def test_a_sample_decides_what_is_predicted_what_is_filled_and_what_is_left_out(
    data: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # 999 is not in the table, 5 nowhere, 1014 has no images, 1007 is not in the sample
    shutil.rmtree(data / "test_images" / "1014")
    write_sample(data, 1014, 999, 1000, 5)
    studies, summary = submitted(data, models, 1, capsys)
    assert studies == ["5", "999", "1000", "1014"]
    # the subarticular findings of all four, and all others of the three without images
    assert summary["filled"] == 4 * 10 + 3 * 15
    assert sorted(summary["filled_studies"]) == ["1014", "5", "999"]
    lost = [
        p["study"]
        for p in summary["problems"]
        if p["fatal"] and "lists the study, but test_" in p["what"]
    ]
    assert lost == ["999", "5"]
    assert {p["study"] for p in summary["problems"] if p["fatal"]} == {"999", "5", "1014"}
    unasked = [p["study"] for p in summary["problems"] if "but sample_submission.csv" in p["what"]]
    assert unasked == ["1007"]


def test_a_folder_that_neither_table_nor_sample_has_is_named(
    data: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sample(data, 1007, 1000, 1014)
    studies, summary = submitted(data, models, 0, capsys)
    assert studies == ["1000", "1007", "1014"]
    assert [(p["study"], p["fatal"]) for p in summary["problems"]] == [("999", False)]


def test_many_studies_that_are_not_asked_for_are_counted_in_the_log_and_named_in_the_summary(
    data: Path,
    models: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    for number in range(20):
        folder = data / "test_images" / str(100 + number)
        folder.mkdir()
        (folder / "1.dcm").write_bytes(b"x")
    _, summary = submitted(data, models, 0, capsys)
    assert len(summary["problems"]) == 21
    named = [r for r in caplog.messages if "does not list" in r]
    assert len(named) == 10
    assert "... and 11 more such studies" in caplog.text


def test_a_damaged_sample_ends_in_a_line_before_any_work(
    data: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sample(data, 1000)
    sample = data / "sample_submission.csv"
    sample.write_text(sample.read_text().replace("1000_", "1000-", 1))
    out = data / "s.csv"
    assert main(["submit", str(data), "--models", str(models), "--out", str(out)]) == 3
    assert "sample_submission.csv, row 2" in capsys.readouterr().err
    assert not out.exists()
