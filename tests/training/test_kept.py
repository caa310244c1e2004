"""Chosen epochs are kept as models of their own, for a person to choose from."""

from __future__ import annotations

import logging
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lumbargrade.config import Phase, Recipe
from lumbargrade.domain.errors import BadModel, UsageError
from lumbargrade.files.writing import locked_folder
from lumbargrade.inference.model_folder import read_meta
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.models.checkpoint import load_model
from lumbargrade.models.registry import get_task
from lumbargrade.models.torch_engine import TorchEngine
from lumbargrade.training.loop import FoldTrainer
from small_runs import (
    FOLD,
    Scripted,
    metrics_of,
    small_recipe,
    small_trainer,
    state_of,
    stop_now,
    tensors_of,
    train,
)


def recipe_of(task: str = "canal", **changed: Any) -> Recipe:
    return small_recipe(task, **({"schedule": "constant"} | changed))


def kept(folder: Path) -> list[str]:
    return sorted(p.name for p in (folder / "kept-epochs").glob("*"))


@pytest.mark.parametrize("task", ["canal", "foraminal"])
def test_a_kept_epoch_is_a_model_with_the_weights_and_scores_of_its_epoch(
    task: str, store: VolumeStore, tmp_path: Path
) -> None:
    """Also where that epoch would not have been validated."""
    recipe = recipe_of(task, keep=(2,), validate_every=3)
    train(recipe, store, tmp_path / "a")
    assert kept(tmp_path / "a") == ["epoch-002"]
    rows = metrics_of(tmp_path / "a")
    assert [bool(r["val_score"]) for r in rows] == [False, True, True]

    folder = tmp_path / "a" / "kept-epochs" / "epoch-002"
    meta, best = read_meta(folder), read_meta(tmp_path / "a" / "model")
    assert meta.scores == {k: float(rows[1][f"val_{k}"]) for k in ("score", "x", "y", "z")}
    assert (meta.recipe, meta.fold, meta.data) == (recipe, FOLD, store.fingerprint)
    assert meta.provenance == {**best.provenance, "epoch": 2}
    assert {"trained_on", "prevalence"} <= meta.provenance.keys()

    train(recipe_of(task, epochs=2), store, tmp_path / "b")
    average = state_of(tmp_path / "b")["parts"]["average"]
    weights = load_model(folder).network.state_dict()
    assert all(torch.equal(v, average[f"module.{k}"]) for k, v in weights.items())
    learner = get_task(recipe)
    validated = learner.rows(store, folds=[FOLD])
    predictions = learner.predict_rows(TorchEngine(learner, load_model(folder)), store, validated)
    assert learner.evaluate(validated, predictions) == pytest.approx(dict(meta.scores))


def test_what_a_task_notes_is_measured_once_an_epoch(store: VolumeStore, tmp_path: Path) -> None:
    """The best epoch that is also kept is one measurement, in both models."""
    trainer = small_trainer(recipe_of(keep_every=1, epochs=1), store, tmp_path)
    measured: list[int] = []

    def notes(*_: Any, **__: Any) -> dict[str, Any]:
        measured.append(1)
        return {"noted": len(measured)}

    trainer.task.notes = notes  # type: ignore[method-assign]
    trainer.run()
    for folder in (tmp_path / "model", tmp_path / "kept-epochs" / "epoch-001"):
        assert read_meta(folder).provenance["noted"] == 1
    assert len(measured) == 1


def test_epochs_with_one_number_before_and_after_a_restart_both_stay(
    store: VolumeStore, tmp_path: Path
) -> None:
    phases = (Phase((1e-3,), (3,)), Phase((1e-3,), (4,)))
    recipe = recipe_of(phases=phases, restart_from=(1,), keep=(2,), keep_every=3)
    train(recipe, store, tmp_path)
    names = [f"phase-1-epoch-00{n}" for n in (1, 2, 3)] + [f"phase-2-epoch-00{n}" for n in (2, 3)]
    assert kept(tmp_path) == names
    scores = {(r["phase"], r["epoch"]): float(r["val_score"]) for r in metrics_of(tmp_path)}
    weights = []
    for name in names:
        meta = read_meta(tmp_path / "kept-epochs" / name)
        place = str(meta.provenance["phase"]), str(meta.provenance["epoch"])
        assert name == f"phase-{place[0]}-epoch-{int(place[1]):03d}"
        assert meta.scores["score"] == scores[place]
        weights.append(load_model(tmp_path / "kept-epochs" / name).state_dict())
    assert not all(torch.equal(v, weights[3][k]) for k, v in weights[1].items())


def test_what_is_kept_may_change_between_parts_and_what_was_kept_stays(
    store: VolumeStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def stop(trainer: FoldTrainer, batch: int) -> None:
        if batch == 5:
            stop_now()

    assert not train(recipe_of(keep=(1,)), store, tmp_path, before_batch=stop).finished
    before = (tmp_path / "kept-epochs" / "epoch-001" / "model.safetensors").stat().st_mtime_ns
    assert train(recipe_of(keep=(3,)), store, tmp_path).finished
    assert kept(tmp_path) == ["epoch-001", "epoch-003"]
    after = (tmp_path / "kept-epochs" / "epoch-001" / "model.safetensors").stat().st_mtime_ns
    assert before == after
    assert "is not kept" not in caplog.text
    train(recipe_of(keep=(1, 2), keep_every=2), store, tmp_path)
    assert "epoch 2 of train.keep was already trained and its weights were not kept" in caplog.text
    plain = tmp_path / "plain"
    train(recipe_of(), store, plain)
    ours, theirs = tensors_of(tmp_path), tensors_of(plain)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert metrics_of(tmp_path) == metrics_of(plain)


def test_restart_removes_them(store: VolumeStore, tmp_path: Path) -> None:
    train(recipe_of(keep_every=1), store, tmp_path)
    assert kept(tmp_path) == ["epoch-001", "epoch-002", "epoch-003"]
    train(recipe_of(keep=(2,)), store, tmp_path, restart=True)
    assert kept(tmp_path) == ["epoch-002"]


def test_an_epoch_beyond_the_end_is_a_usage_error_and_beyond_a_short_run_is_said(
    store: VolumeStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UsageError, match=r"train\.keep 4: the training has epochs 1 to 3"):
        train(recipe_of(keep=(2, 4)), store, tmp_path)
    assert not list(tmp_path.iterdir())
    with caplog.at_level(logging.WARNING):
        train(recipe_of(keep=(1, 3), epochs=1), store, tmp_path)
    assert "small/canal fold 4 ends at epoch 1: train.keep 3 is not reached" in caplog.text
    assert kept(tmp_path) == ["epoch-001"]


def test_a_kept_epoch_without_a_score_is_kept_all_the_same(
    store: VolumeStore, tmp_path: Path, scripted: Scripted
) -> None:
    scripted([0.5, float("nan")])
    train(recipe_of(keep=(2,)), store, tmp_path)
    assert read_meta(tmp_path / "kept-epochs" / "epoch-002").scores == {"x": 1.0}
    assert "NaN" not in (tmp_path / "kept-epochs" / "epoch-002" / "model.json").read_text()


def test_weights_of_another_run_or_epoch_are_no_place_to_restart_from(
    store: VolumeStore, tmp_path: Path
) -> None:
    phases = (Phase((1e-3,), (3,)), Phase((1e-3,), (4,)))
    recipe = recipe_of(phases=phases, restart_from=(2,), epochs=3, keep=(3,))
    train(recipe, store, tmp_path / "run")
    place = tmp_path / "run" / "kept-epochs" / "phase-1-epoch-002"
    train(replace(recipe, train=replace(recipe.train, seed=7)), store, tmp_path / "seed")
    train(recipe_of("foraminal", phases=phases, restart_from=(2,), epochs=3), store, tmp_path / "f")
    wrong = [tmp_path / "run" / "kept-epochs" / "phase-1-epoch-003"]
    wrong += [tmp_path / other / "kept-epochs" / place.name for other in ("seed", "f")]
    longer = replace(recipe, train=replace(recipe.train, epochs=0))
    right = tmp_path / "right"
    shutil.copytree(place, right)
    for other in wrong:
        shutil.rmtree(place)
        shutil.copytree(other, place)
        with pytest.raises(BadModel, match=r"phase-1-epoch-002: not the weights .* --restart"):
            train(longer, store, tmp_path / "run")
    shutil.rmtree(place)
    place.symlink_to(right)
    assert train(longer, store, tmp_path / "run").finished


def test_a_restart_leaves_what_links_lead_to_alone(store: VolumeStore, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "kept-epochs").symlink_to(tmp_path / "disk")
    recipe = recipe_of(keep_every=1, epochs=1)
    train(recipe, store, tmp_path / "run")
    train(recipe, store, tmp_path / "run", restart=True)
    assert not (tmp_path / "run" / "kept-epochs").is_symlink()
    assert read_meta(tmp_path / "disk" / "epoch-001") == read_meta(
        tmp_path / "run" / "kept-epochs" / "epoch-001"
    )


def test_two_processes_do_not_train_in_one_folder(
    store: VolumeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lumbargrade.training.loop._PATIENCE", 0.2)
    recipe = recipe_of(epochs=1)
    with (
        locked_folder(tmp_path, "busy"),
        pytest.raises(UsageError, match=f"another process is training in {tmp_path}"),
    ):
        train(recipe, store, tmp_path, restart=True)
    assert [p.name for p in tmp_path.iterdir()] == [".lock"]
    assert train(recipe, store, tmp_path).finished


def test_a_lock_of_a_process_that_is_ending_is_waited_for(tmp_path: Path) -> None:
    held = locked_folder(tmp_path, "busy")
    held.__enter__()
    timer = threading.Timer(0.5, held.__exit__, (None, None, None))
    timer.start()
    with locked_folder(tmp_path, "busy", patience=20.0):
        assert not timer.is_alive() or timer.finished.is_set()


def test_a_full_disk_is_an_error_with_the_file_and_the_run_goes_on_later(
    store: VolumeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    recipe = recipe_of()
    train(recipe, store, tmp_path / "whole")
    train(replace(recipe, train=replace(recipe.train, epochs=1)), store, tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr("torch.save", full)
        with pytest.raises(OSError, match=r"state\.pt: PytorchStreamWriter failed"):
            train(recipe, store, tmp_path / "run")
    train(recipe, store, tmp_path / "run")
    assert metrics_of(tmp_path / "run") == metrics_of(tmp_path / "whole")
