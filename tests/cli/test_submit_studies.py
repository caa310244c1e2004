"""Which studies a submission has, and that nothing about a study prevents a complete one."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from lsdc_layout import series_ids, write_lsdc, write_table
from lumbargrade.cli.durations import seconds_of
from lumbargrade.cli.main import main
from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.vocabulary import FINDINGS, TARGETS, Condition, SeriesKind
from lumbargrade.grading import lsdc_studies, stages
from lumbargrade.report import submission
from lumbargrade.report.submission import SubmissionDraft
from lumbargrade.scoring.fill import training_fill
from lumbargrade.scoring.submissions import read_submission
from small_models import save_small_model

FILL = training_fill([])


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
    assert main([*line, "--workers", "0"]) == code
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


def filled(out: Path) -> set[str]:
    """The studies of a complete submission of which no row is predicted."""
    found = read_submission(out)
    assert all(len(rows) == 25 for rows in found.values())
    return {study for study, rows in found.items() if rows == FILL}


def test_rows_of_the_table_that_cannot_be_used_cost_only_their_series(
    data: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sample(data, 1000, 1007, 1014)
    table = data / "test_series_descriptions.csv"
    table.write_text(table.read_text().replace("10001,Sagittal T2/STIR", "10001,Sagittal T3"))
    studies, summary = submitted(data, models, 1, capsys)
    assert studies == ["1000", "1007", "1014"]
    assert list(summary["filled_studies"]) == ["1000"]
    assert len(summary["filled_studies"]["1000"]) == len(TARGETS[Condition.CANAL])
    (fatal,) = [p["what"] for p in summary["problems"] if p["fatal"]]
    assert "row 3, series_description: unknown series description 'Sagittal T3'" in fatal


@pytest.mark.parametrize("lost", ["test_series_descriptions.csv", "test_images"])
def test_without_table_or_images_every_row_of_the_sample_is_filled(
    data: Path, models: Path, capsys: pytest.CaptureFixture[str], lost: str
) -> None:
    write_sample(data, 1007, 1000)
    (data / lost).rename(data / "elsewhere")
    _, summary = submitted(data, models, 3, capsys)
    assert filled(data / "s.csv") == {"1000", "1007"}
    assert any(lost in f"{p['what']} {p['file']}" for p in summary["problems"] if p["fatal"])


def test_an_unexpected_error_costs_its_series_or_its_study(
    data: Path,
    models: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read, settle = lsdc_studies.read_series, stages.settle

    def read_or_fail(folder: Path, **named: Any) -> Any:
        if named["series_id"] == series_ids("1000")[SeriesKind.SAGITTAL_T1]:
            raise ZeroDivisionError("spacing")
        return read(folder, **named)

    def settle_or_fail(prediction: StudyPrediction, *more: Any) -> StudyPrediction:
        if prediction.study_id == "1014":
            raise MemoryError
        return settle(prediction, *more)

    monkeypatch.setattr(lsdc_studies, "read_series", read_or_fail)
    monkeypatch.setattr(stages, "settle", settle_or_fail)
    studies, summary = submitted(data, models, 1, capsys)
    assert studies == ["1000", "1007", "1014"]
    assert filled(data / "s.csv") == {"1014"}
    fatal = {p["study"]: p["what"] for p in summary["problems"] if p["fatal"]}
    assert fatal == {
        "1000": "the series cannot be read (ZeroDivisionError: spacing)",
        "1014": "MemoryError",
    }
    assert len(summary["filled_studies"]["1000"]) == len(TARGETS[Condition.FORAMINAL])


def test_if_the_models_cannot_be_used_a_new_submission_is_filled_and_an_old_one_kept(
    data: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Path(shutil.copytree(models / "canal", data / "broken"))
    (broken / "model.safetensors").write_bytes(b"x")
    write_sample(data, 1007, 1000)
    new, old = data / "new.csv", data / "old.csv"
    old.write_text("old")
    for out in (new, old):
        line = ["submit", str(data), "--models", str(broken), "--out", str(out)]
        assert main([*line, "--workers", "0"]) == 3
        assert "a text file instead of weights" in capsys.readouterr().err
    assert filled(new) == {"1000", "1007"}
    assert old.read_text() == "old"


def test_a_draft_is_updated_from_time_to_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from lumbargrade.domain.findings import Finding

    known = StudyPrediction("2", {t: Finding(t, (0.2, 0.3, 0.5)) for t in FINDINGS})
    out = tmp_path / "s.csv"
    draft = SubmissionDraft(out, ["1", "2", "3"])
    assert filled(out) == {"1", "2", "3"}
    draft.update([known], FILL)
    assert filled(out) == {"1", "2", "3"}
    monkeypatch.setattr(submission, "_UPDATE", -1.0)
    draft.update([known], FILL)
    assert filled(out) == {"1", "3"}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(submission, "write_rows", full)
    draft.update([known], FILL)
    assert "not updated" in caplog.text
    assert filled(out) == {"1", "3"}


def test_lengths_of_time_have_a_unit() -> None:
    assert [seconds_of(t, "--x") for t in ("", "90s", "1.5m", "8.5h")] == [None, 90, 90, 30600]
    for wrong in ("8", "0s", "h", "-1h", "1d"):
        with pytest.raises(UsageError, match=f"--x '{wrong}'"):
            seconds_of(wrong, "--x")


def test_a_time_limit_for_a_study_needs_a_process(
    data: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["submit", str(data), "--models", str(models), "--out", str(data / "s.csv")]
    assert main([*line, "--workers", "0", "--study-limit", "5m"]) == 2
    assert "--workers is 0 or more" in capsys.readouterr().err
