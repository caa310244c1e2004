"""The train command: recipes and overrides, runs that are told to stop, what a run leaves."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from waiting_child import train_in_child

from lumbargrade.cli import train as command
from lumbargrade.cli.main import main
from lumbargrade.config import EncoderConfig, Recipe
from lumbargrade.domain.errors import UsageError
from lumbargrade.inference.model_folder import read_meta
from lumbargrade.models.checkpoint import load_model
from small_runs import metrics_of, tensors_of

SMALL = ("--data.size", "64", "--train.validate-every", "1")
SMALLER = (
    *SMALL,
    *("--encoder.name", "lcnet_050", "--encoder.stages", "3", "--network.widths", "16", "8"),
)


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"no {what} after {seconds} s"
        time.sleep(0.02)


def test_a_process_that_is_terminated_saves_and_the_same_command_finishes(
    small_store: Path, tmp_path: Path
) -> None:
    """A second fold is not begun after the signal; in the end nothing tells of it."""

    def arguments(out: Path, folds: str) -> list[str]:
        where = ("--store", str(small_store), "--out", str(out), "--folds", folds)
        small = (*SMALLER, "--train.epochs", "6", "--pictures", "1")
        return ["train", "cpu-small/canal", *where, *small]

    out = tmp_path / "runs"
    first = out / "cpu-small" / "canal" / "fold4"
    line = [sys.executable, "-m", "lumbargrade.cli.main", *arguments(out, "4,2")]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_for((first / "metrics.csv").exists, "first epoch")
            process.send_signal(signal.SIGTERM)
            said = process.communicate(timeout=120)[1]
        finally:
            process.kill()
    assert process.returncode == 1, said
    assert "stopped; the same command resumes it" in said
    assert not first.with_name("fold2").exists()
    stopped_at = len(metrics_of(first))
    assert 1 <= stopped_at < 6

    assert main(arguments(out, "4,2")) == 0
    assert main(arguments(tmp_path / "whole", "4")) == 0
    whole = tmp_path / "whole" / "cpu-small" / "canal" / "fold4"
    assert [int(r["epoch"]) for r in metrics_of(first)] == list(range(1, 7))
    assert metrics_of(first) == metrics_of(whole)
    ours, theirs = tensors_of(first), tensors_of(whole)
    assert all((ours[name] == theirs[name]).all() for name in theirs)
    assert read_meta(first / "model").scores == read_meta(whole / "model").scores
    assert read_meta(first.with_name("fold2") / "model").fold == 2


def test_a_run_leaves_a_model_curves_pictures_and_tables(small_store: Path, tmp_path: Path) -> None:
    where = ("--store", str(small_store), "--out", str(tmp_path), "--folds", "4")
    overrides = ("--train.epochs", "2", "--train.batch-size", "3", "--name", "mine")
    assert main(["train", "cpu-small/foraminal", *where, *SMALL, *overrides]) == 0
    folder = tmp_path / "mine" / "fold4"
    assert len(metrics_of(folder)) == 2
    pictures = [folder / "curves.png", folder / "epochs" / "001.png", folder / "epochs" / "002.png"]
    for path in pictures:
        with Image.open(path) as image:
            assert min(image.size) > 50
            assert np.ptp(np.asarray(image.convert("L"))) > 100
    assert list((folder / "tensorboard").glob("events.*"))
    recipe = load_model(folder / "model", expect_task="foraminal").meta.recipe
    assert (recipe.name, recipe.data.size) == ("mine", 64)
    assert (recipe.train.epochs, recipe.train.batch_size) == (2, 3)
    assert recipe.encoder.name == "regnetx_002"  # what is not overridden stays the recipe's
    data = json.loads((folder / "model" / "model.json").read_text())
    with (folder / "metrics.csv").open(newline="") as lines:
        best = min(csv.DictReader(lines), key=lambda r: float(r["val_score"]))
    assert data["scores"]["score"] == float(best["val_score"])


def test_a_person_can_choose_an_epoch_and_use_it(small_store: Path, tmp_path: Path) -> None:
    """`validate` and `submit` take the kept epoch where it is named, else the best model."""
    store, data = str(small_store), str(small_store.with_name("data"))
    runs, out = tmp_path / "runs", tmp_path / "out"
    where = ("--store", store, "--out", str(runs), "--folds", "4", "--pictures", "0")
    keep = ("--train.epochs", "2", "--train.keep", "1", "2")
    assert main(["train", "cpu-small/canal", *where, *SMALLER, *keep]) == 0
    fold = runs / "cpu-small" / "canal" / "fold4"
    chosen = fold / "kept-epochs" / "epoch-001"
    rows = metrics_of(fold)

    said = {}
    for name, given in (("best", runs), ("chosen", chosen)):
        line = ["validate", str(given), "--store", store, "--out", str(out / name)]
        assert main([*line, "--pictures", "0", "--device", "cpu"]) == 0
        with (out / name / "scores.csv").open(newline="") as lines:
            said[name] = float(next(csv.DictReader(lines))["score"])
    scores = [float(r["val_score"]) for r in rows]
    assert said["chosen"] == pytest.approx(scores[0], abs=1e-4)
    assert said["best"] == pytest.approx(min(scores), abs=1e-4)

    made = out / "submission.csv"
    line = ["submit", data, "--models", str(chosen), "--out", str(made), "--workers", "0"]
    assert main(line) == 0
    with made.open(newline="") as lines:
        assert len(list(csv.DictReader(lines))) == 10 * 25


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Recipe, int]]:
    """What would have been trained."""
    seen: list[tuple[Recipe, int]] = []

    def note(options: command.Options, recipe: Recipe, fold: int) -> bool:
        seen.append((recipe, fold))
        return True

    monkeypatch.setattr(command, "_train_fold", note)
    return seen


@pytest.mark.parametrize(
    "line",
    [
        "cpu-small/foraminal --store s",
        "--store s cpu-small/foraminal",
        "--folds 1 --restart cpu-small/foraminal --store s",
        "--store s --data.size 96 cpu-small/foraminal --train.seed 7",
    ],
)
def test_settings_are_the_recipes_wherever_its_name_stands(
    line: str, trained: list[tuple[Recipe, int]]
) -> None:
    assert main(["train", *line.split()]) == 0
    recipe = trained[0][0]
    assert recipe.encoder == EncoderConfig("regnetx_002", pretrained=False)
    assert recipe.data.size == (96 if "96" in line else 160)
    assert recipe.train.seed == (7 if "seed" in line else 42)
    assert [fold for _, fold in trained] == ([1] if "folds" in line else [0, 1, 2, 3, 4])


def test_settings_of_one_recipe_are_never_trained_under_the_name_of_another(
    trained: list[tuple[Recipe, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--name", "cpu-small/canal", "cpu-small/foraminal", "--store", "s"]
    assert main(["train", *arguments]) == 2
    assert "give the recipe first" in capsys.readouterr().err
    options = command.Options(recipe="cpu-small/canal", store=Path("s"))
    with pytest.raises(UsageError, match="recipe first"):
        command.run(options)
    assert not trained


def test_a_recipe_of_the_users_own(
    tmp_path: Path, trained: list[tuple[Recipe, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\ntask = "canal"\n[data]\nsize = 192\n')
    assert main(["train", "--store", "s", str(path), "--folds", "3"]) == 0
    assert [(r.name, r.data.size, fold) for r, fold in trained] == [("mine", 192, 3)]
    path.write_text('name = "mine"\ntask = "canal"\n[data]\nsise = 192\n')
    assert main(["train", str(path), "--store", "s"]) == 2
    assert "sise" in capsys.readouterr().err
    assert main(["train", str(tmp_path / "absent.toml"), "--store", "s"]) == 2
    assert "no recipe" in capsys.readouterr().err


@pytest.mark.parametrize("folds", ["5", "-1", "0,0", "", "a", "0,,1"])
def test_folds_that_do_not_exist_are_usage_errors(
    folds: str, trained: list[tuple[Recipe, int]]
) -> None:
    assert main(["train", "cpu-small/canal", "--store", "s", f"--folds={folds}"]) == 2
    assert not trained


@pytest.mark.parametrize(
    "wrong",
    [
        ("--train.batch-size", "0"),
        ("--train.epochs=-1",),
        ("--train.seed=-1",),
        ("--train.ema-decay", "2"),
        ("--augment.shift-min", "5", "--augment.shift-max=-5"),
        ("--jobs", "0"),
        ("--pictures=-1",),
    ],
)
def test_numbers_out_of_range_are_usage_errors_in_one_line(
    wrong: tuple[str, ...],
    trained: list[tuple[Recipe, int]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["train", "cpu-small/canal", "--store", "s", *wrong]) == 2
    said = capsys.readouterr().err
    assert wrong[0].split("=")[0].lstrip("-").replace("-", "_") in said
    assert said.count("\n") == 1
    assert not trained


def test_a_fold_without_a_setting_is_known_before_any_fold_is_trained(
    trained: list[tuple[Recipe, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["train", "one-stage-scs/pvt_v2_b4-decoder2d-01", "--store", "s"]
    assert main([*line, "--train.restart-from", "5", "5", "5"]) == 2
    assert "train.restart_from: no setting for fold 3 among 3" in capsys.readouterr().err
    assert main([*line, "--train.keep", "99"]) == 2
    assert "train.keep 99" in capsys.readouterr().err
    assert not trained
    assert main([*line, "--folds", "0,2", "--train.restart-from", "5", "5", "5"]) == 0
    assert [fold for _, fold in trained] == [0, 2]


def test_what_cannot_be_trained_on_is_said_in_a_line(
    small_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["train", "cpu-small/canal", "--folds", "4", "--out", str(tmp_path / "r"), "--store"]
    assert main([*line, str(tmp_path / "nowhere")]) == 3
    assert "is not a volume store" in capsys.readouterr().err
    assert main([*line, str(small_store), "--network.decoder", "3d"]) == 2
    assert "needs network.decoder '2d'" in capsys.readouterr().err
    assert main([*line, str(small_store), "--encoder.name", "no_such_net"]) == 2
    assert "no_such_net" in capsys.readouterr().err
    assert main([*line, str(small_store), "--device", "gpu"]) == 2
    assert "'gpu'" in capsys.readouterr().err
    assert main([*line, str(small_store), "--folds", "0"]) == 3
    assert "to validate fold 0" in capsys.readouterr().err


@pytest.mark.parametrize("broken", ["state", "model"])
def test_a_full_disk_is_said_and_what_was_there_stays(
    broken: str,
    small_store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    where = ("--store", str(small_store), "--out", str(tmp_path), "--folds", "4", *SMALL)
    line = ["train", "cpu-small/canal", *where, "--pictures", "0", "--train.epochs"]
    folder = tmp_path / "cpu-small" / "canal" / "fold4"
    assert main([*line, "1"]) == 0
    before = tensors_of(folder), read_meta(folder / "model")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    target = {"state": "torch.save", "model": "lumbargrade.networks.weights.save_file"}[broken]
    with monkeypatch.context() as patch:
        patch.setattr(target, full)
        patch.setattr("lumbargrade.models.task.Task.evaluate", lambda *_: {"score": 0.0})
        assert main([*line, "2"]) == 3
    assert "No space left on device" in capsys.readouterr().err
    assert all((before[0][k] == v).all() for k, v in tensors_of(folder).items())
    left = {p.name for p in folder.iterdir()} | {p.name for p in (folder / "model").iterdir()}
    assert {name for name in left if name.startswith(".")} <= {".lock"}
    if broken == "model":
        assert read_meta(folder / "model") == before[1]
    assert main([*line, "2"]) == 0
    assert [int(r["epoch"]) for r in metrics_of(folder)] == [1, 2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_folds_side_by_side_all_stop_and_none_is_begun_after(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_train_in_child", train_in_child)
    line = ["train", "cpu-small/canal", "--store", "s", "--out", str(tmp_path), "--jobs", "2"]

    def begun() -> set[str]:
        return {p.name for p in tmp_path.iterdir()}

    def stop() -> None:
        wait_for(lambda: len(begun()) == 2, "two processes")
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    watcher = threading.Thread(target=stop)
    watcher.start()
    assert main([*line, "--folds", "0,1,2"]) == 1
    watcher.join()
    assert begun() == {"begun-0", "begun-1", "stopped-0", "stopped-1"}
    assert signal.getsignal(number) is before


def test_folds_side_by_side_are_all_trained_unless_a_process_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "_train_in_child", train_in_child)
    line = ["train", "cpu-small/canal", "--store", "s", "--out", str(tmp_path), "--jobs", "2"]
    assert main([*line, "--folds", "0,1,2", "--name", "finish"]) == 0
    assert {p.name for p in tmp_path.iterdir()} == {"begun-0", "begun-1", "begun-2"}
    for path in tmp_path.iterdir():
        path.unlink()
    assert main([*line, "--folds", "0,1", "--name", "die"]) == 3
    assert "a training process died" in capsys.readouterr().err
