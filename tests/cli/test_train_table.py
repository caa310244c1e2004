"""`train --recipes`: options that are refused before any job starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from lumbargrade.cli.main import main

RECIPE = "cpu-small/canal"


@pytest.mark.parametrize(
    ("recipes", "more", "said"),
    [
        ([RECIPE], ["--jobs", "0"], "--jobs 0: give 1 or more"),
        ([RECIPE], ["--retries", "-1"], "--retries and --cpus: give 0 or more"),
        ([RECIPE], ["--memory", "16"], "--memory '16' is no size; give one such as 16GB"),
        ([RECIPE], ["--gpus", "1", "--jobs", "3"], "CUDA_VISIBLE_DEVICES has only 0,1; use fewer"),
        ([RECIPE], ["--train.epochs", "-1"], "epochs -1: give 0 or more"),
        ([RECIPE, RECIPE], [], "two jobs would train in cpu-small/canal/fold2; give each once"),
        ([RECIPE, "starter/axial"], [], "starter/axial: this recipe has no folds; train it alone"),
    ],
)
def test_wrong_options_of_a_table_are_refused_before_any_job_starts(
    recipes: list[str],
    more: list[str],
    said: str,
    small_store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    line = ["--store", str(small_store), "--out", str(tmp_path / "runs"), "--folds", "2"]
    assert main(["train", "--recipes", *recipes, *line, *more]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
