"""The timed run on a GPU, at small size on the CPU."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import fake_phantoms
from lumbargrade.models.starter_weights import load_starter

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.starter_gpu import Pace, main  # noqa: E402


def test_the_slower_of_stream_and_step_decides() -> None:
    assert Pace(series=100.0, step=0.1).steps(60, batch_size=20) == 300
    assert Pace(series=100.0, step=0.5).steps(60, batch_size=20) == 120


def test_a_timed_run_ends_with_an_evaluated_model(tmp_path: Path, capsys) -> None:
    file = tmp_path / "tiny.toml"
    file.write_text(
        'name = "tiny"\ntask = "starter_sagittal"\n'
        "[network]\nwidths = [4, 4, 4, 4]\nblocks = [0, 0, 0]\nwide_blocks = 0\nkernel = 3\n"
    )
    options = ["--recipe", str(file), "--out", str(tmp_path / "run"), "--minutes", "0.02"]
    options += ["--batch-size", "1", "--workers", "0", "--evaluation-series", "1"]
    assert main([*options, "--device", "cpu"], fake_phantoms) == 0
    measured = json.loads(capsys.readouterr().out)
    meta = load_starter(tmp_path / "run")[1]
    assert meta.steps == measured["steps"] > 0
    assert meta.evaluation
    assert measured["series_per_second"] > 0


def test_out_is_required() -> None:
    with pytest.raises(SystemExit):
        main([])
