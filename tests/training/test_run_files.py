"""What a run knows of the files that its recipe names: their content, not their place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lumbargrade.cli import train as command
from lumbargrade.cli.main import main
from lumbargrade.config import Recipe
from lumbargrade.domain.errors import BadInput, BadModel
from lumbargrade.inference.model_folder import read_meta
from lumbargrade.lsdc.store import VolumeStore
from small_runs import FOLD, metrics_of, small_recipe, small_trainer, train

SHAPE = np.array([[250.0 + side, 120 + 60 * level] for side in (0, 1) for level in range(5)])


def named(recipe: Recipe, **files: Path) -> Recipe:
    return replace(recipe, data=replace(recipe.data, **{k: str(f) for k, f in files.items()}))


def saved(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def test_a_run_is_marked_by_the_content_of_its_mean_shape(
    store: VolumeStore, tmp_path: Path
) -> None:
    def stamp(**files: Path) -> str:
        return small_trainer(named(small_recipe("foraminal"), **files), store, tmp_path).stamp

    here, there = saved(tmp_path / "a.npy", SHAPE), saved(tmp_path / "b.npy", SHAPE)
    other = saved(tmp_path / "c.npy", SHAPE + 1)
    assert stamp(mean_shape=here) == stamp(mean_shape=there)
    assert len({stamp(mean_shape=here), stamp(mean_shape=other), stamp()}) == 3


def test_the_list_of_contradicted_grades_counts_by_its_content_too(
    store: VolumeStore, tmp_path: Path
) -> None:
    recipe = small_recipe("canal")
    header = "study_id,finding,grade\n"
    here, there, other = (tmp_path / name for name in ("a.csv", "b.csv", "c.csv"))
    here.write_text(header)
    there.write_text(header)
    other.write_text(header + "1000,spinal_canal_stenosis_l1_l2,severe\n")
    stamps = [
        small_trainer(named(recipe, suspects=path), store, tmp_path).stamp
        for path in (here, there, other)
    ]
    assert stamps[0] == stamps[1] != stamps[2]
    with pytest.raises(BadInput, match=r"data\.suspects: .*gone\.csv: No such file"):
        small_trainer(named(recipe, suspects=tmp_path / "gone.csv"), store, tmp_path)


def test_a_run_resumes_with_the_same_content_only_and_its_model_holds_the_shape(
    store: VolumeStore, tmp_path: Path
) -> None:
    recipe = small_recipe("foraminal", epochs=1)
    first = saved(tmp_path / "first.npy", SHAPE)
    train(named(recipe, mean_shape=first), store, tmp_path / "run")
    assert read_meta(tmp_path / "run/model").provenance["mean_shape"] == SHAPE.tolist()
    longer = replace(recipe, train=replace(recipe.train, epochs=2))
    moved = first.rename(tmp_path / "moved.npy")
    train(named(longer, mean_shape=moved), store, tmp_path / "run")
    assert len(metrics_of(tmp_path / "run")) == 2
    saved(moved, SHAPE * 1.01)
    with pytest.raises(BadModel, match=r"content of a file of data\.mean_shape.*has changed"):
        train(named(longer, mean_shape=moved), store, tmp_path / "run")
    train(named(longer, mean_shape=moved), store, tmp_path / "run", restart=True)
    assert read_meta(tmp_path / "run/model").provenance["mean_shape"] == (SHAPE * 1.01).tolist()


def test_another_mean_shape_trains_another_network(store: VolumeStore, tmp_path: Path) -> None:
    recipe = small_recipe("foraminal", epochs=1)
    losses = []
    for name, array in {"a": SHAPE, "b": SHAPE * [1, 0.7]}.items():
        file = saved(tmp_path / f"{name}.npy", array)
        train(named(recipe, mean_shape=file), store, tmp_path / name)
        losses.append(metrics_of(tmp_path / name)[0]["train_loss"])
    train(recipe, store, tmp_path / "store")
    losses.append(metrics_of(tmp_path / "store")[0]["train_loss"])
    assert len(set(losses)) == 3


def test_workers_align_to_the_file(store: VolumeStore, tmp_path: Path) -> None:
    file = saved(tmp_path / "a.npy", SHAPE)
    rows = []
    for workers in (0, 2):
        recipe = small_recipe("foraminal", epochs=1, workers=workers)
        train(named(recipe, mean_shape=file), store, tmp_path / f"{workers}")
        rows.append(metrics_of(tmp_path / f"{workers}"))
    assert rows[0] == rows[1]


def test_a_mean_shape_that_cannot_be_used_is_said_before_training(
    small_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["train", "cpu-small/canal", "--store", str(small_store), "--out", str(tmp_path / "r")]
    line += ["--folds", str(FOLD), "--data.size", "64"]
    wrong = saved(tmp_path / "foramina.npy", SHAPE)
    assert main([*line, "--mean-shape", str(wrong)]) == 3
    said = capsys.readouterr().err
    assert f"{wrong}: shape (10, 2) is the layout of neural_foraminal_narrowing" in said
    assert "Traceback" not in said
    assert main([*line, "--mean-shape", str(tmp_path / "gone.npy")]) == 3
    assert "gone.npy: no such file" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()
    line[1] = "two-stage/pvt_v2_b4-01"
    assert main([*line, "--mean-shape", str(wrong)]) == 2
    assert "data.mean_shape" in capsys.readouterr().err


def test_both_spellings_of_the_option_set_the_recipe_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[str] = []
    note: Callable[..., Any] = lambda o, recipe, f: seen.append(recipe.data.mean_shape) or True  # noqa: E731
    monkeypatch.setattr(command, "_train_fold", note)
    line = ["train", "cpu-small/canal", "--store", "s", "--folds", "1"]
    assert main(line) == 0
    assert main([*line, "--mean-shape", "m.npy"]) == 0
    assert main([*line, "--data.mean-shape", "m.npy"]) == 0
    assert main([*line, "--data.mean-shape", "m.npy", "--mean-shape", "m.npy"]) == 0
    assert seen == ["", "m.npy", "m.npy", "m.npy"]
    assert main([*line, "--data.mean-shape", "a.npy", "--mean-shape", "b.npy"]) == 2
    assert "--mean-shape b.npy and --data.mean-shape a.npy" in capsys.readouterr().err
    own = tmp_path / "own.toml"
    own.write_text('name = "own"\ntask = "canal"\ndata.mean_shape = "own.npy"\n')
    line[1] = str(own)
    assert main(line) == main([*line, "--mean-shape", "m.npy"]) == 0
    assert seen[4:] == ["own.npy", "m.npy"]
