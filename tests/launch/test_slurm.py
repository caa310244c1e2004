"""A table of experiments as a Slurm array, whose elements really run."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from lumbargrade.cli.main import main
from small_runs import assert_same_run

SMALL = (
    *("--data.size", "64", "--encoder.name", "lcnet_050", "--encoder.stages", "3"),
    *("--network.widths", "16", "8", "--pictures", "0", "--train.epochs", "8"),
)
RECIPE = "cpu-small/canal"


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a fake Slurm that is on the path."""
    folder = tmp_path / "slurm-bin"
    folder.mkdir()
    code = Path(__file__).with_name("fake_slurm.py").read_text()
    for name in ("sbatch", "scontrol", "squeue"):
        (folder / name).write_text(f"#!{sys.executable}\n{code}")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(folder))
    return folder


def line(store: Path, out: Path, *more: str) -> list[str]:
    where = ("--store", str(store), "--out", str(out))
    return ["train", "--recipes", RECIPE, *where, *SMALL, "--launcher", "slurm", *more]


def test_the_script_asks_for_what_the_jobs_need(
    small_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asks = ("--folds", "all", "--jobs", "2", "--memory", "1.5GiB", "--cpus", "3", "--gpus", "2")
    more = ("--slurm-options", "partition=gpu", "exclusive", "--slurm-setup", "module load x")
    out = tmp_path / "my runs"
    assert main(line(small_store, out, *asks, *more, "--dry-run")) == 0
    said = capsys.readouterr().out
    directives = {text for text in said.splitlines() if text.startswith("#SBATCH")}
    assert {
        "#SBATCH --array=0-4%2",
        "#SBATCH --mem=1536M",
        "#SBATCH --cpus-per-task=3",
        "#SBATCH --gres=gpu:2",
        "#SBATCH --requeue",
        "#SBATCH --signal=B:USR1@300",
        "#SBATCH --partition=gpu",
        "#SBATCH --exclusive",
    } < directives
    assert "\nmodule load x\n" in said
    jobs = [text for text in said.splitlines() if text.startswith("exec ")]
    assert len(jobs) == 5
    assert all("--launcher" not in job and "--memory" not in job for job in jobs)
    assert f"--out '{out}' --data.size 64" in jobs[4]
    assert "--folds 4" in jobs[4]
    assert not out.exists()


def test_an_element_whose_time_is_over_saves_and_is_queued_again(
    small_store: Path, slurm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, whole = tmp_path / "runs", tmp_path / "whole"
    folder = runs / "cpu-small" / "canal" / "fold4"
    (slurm / "warn-when").write_text(str(folder / "metrics.csv"))
    assert main(line(small_store, runs, "--folds", "4")) == 0
    assert not (slurm / "warn-when").exists()
    log = (folder / "train.log").read_text()
    assert "SIGTERM; saving" in log
    assert "stopped; the same command resumes it" in log
    assert main(["train", "--status", "--out", str(runs), "--json"]) == 0
    (job,) = json.loads(capsys.readouterr().out.splitlines()[-1])["jobs"]
    assert (job["job"], job["state"], job["epoch"]) == (f"{RECIPE} fold 4", "finished", 8)

    alone = ["train", RECIPE, "--store", str(small_store), *SMALL, "--out", str(whole)]
    assert main([*alone, "--folds", "4"]) == 0
    assert_same_run(folder, whole / "cpu-small" / "canal" / "fold4")

    # what is complete is not submitted again, and what is queued neither
    assert main(line(small_store, runs, "--folds", "4")) == 0
    assert len(list((runs / "slurm").glob("*.sh"))) == 1
    (folder / "status.json").unlink()
    (slurm / "queue").write_text("77")
    assert main(line(small_store, runs, "--folds", "4")) == 2
    assert "still queued as 77" in capsys.readouterr().err
