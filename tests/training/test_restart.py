"""The last phase can restart from the averaged weights of an earlier epoch."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lumbargrade.config import Phase, Recipe
from lumbargrade.domain.errors import BadModel, UsageError
from lumbargrade.inference.model_folder import read_meta
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.models.checkpoint import load_model
from lumbargrade.models.registry import get_task
from lumbargrade.training.loader import training_loader
from lumbargrade.training.loop import FoldTrainer
from small_runs import (
    FOLD,
    Scripted,
    Whole,
    assert_same_run,
    metrics_of,
    small_recipe,
    small_trainer,
    state_of,
    stop_at_every_batch,
    tensors_of,
    train,
)

#: Epochs 1 to 3, then back to 2 and 3 to 4: five epochs of three batches.
PHASES = (Phase((1e-3,), (3,)), Phase((3e-4,), (4,)))
EPOCHS = [(1, 1), (1, 2), (1, 3), (2, 3), (2, 4)]


def restarted(task: str = "canal", **changed: Any) -> Recipe:
    settings = {"phases": PHASES, "restart_from": (2,), "schedule": "constant"} | changed
    return small_recipe(task, **settings)


def epochs_of(folder: Path) -> list[tuple[int, int]]:
    return [(int(r["phase"]), int(r["epoch"])) for r in metrics_of(folder)]


def test_epochs_are_counted_on_from_the_one_that_is_restarted_from(
    store: VolumeStore, whole: Whole, tmp_path: Path
) -> None:
    folder = whole(restarted())
    assert epochs_of(folder) == EPOCHS
    assert [float(r["lr"]) for r in metrics_of(folder)] == [1e-3] * 3 + [3e-4] * 2
    meta = read_meta(folder / "model")
    best = min(metrics_of(folder), key=lambda r: float(r["val_score"]))
    assert meta.provenance["phase"] == int(best["phase"])
    assert meta.provenance["epoch"] == int(best["epoch"])
    one = small_recipe("canal", phases=PHASES[:1])
    train(one, store, tmp_path)
    assert "phase" not in metrics_of(tmp_path)[0]
    assert "phase" not in read_meta(tmp_path / "model").provenance


def test_the_last_phase_is_what_a_textbook_says(store: VolumeStore, tmp_path: Path) -> None:
    """Weights and their average start from the kept ones, AdamW from nothing."""
    recipe = restarted("foraminal", phases=(PHASES[0], Phase((3e-4,), (3,))))
    train(recipe, store, tmp_path)
    start = load_model(tmp_path / "kept-epochs" / "phase-1-epoch-002").network
    task, config = get_task(recipe), recipe.train
    network = task.build_network().train()
    network.load_state_dict(start.state_dict())
    average = {k: v.clone() for k, v in network.state_dict().items()}
    optimizer = torch.optim.AdamW(network.parameters(), 3e-4, weight_decay=config.weight_decay)
    rows = [r for r in task.rows(store) if r.fold != FOLD]
    for batch in training_loader(task, store, rows, epoch=2):
        network.zero_grad()
        task.loss(network(batch.slices, batch.counts), batch).total.backward()
        optimizer.step()
        for name, value in network.state_dict().items():
            new = config.ema_decay * average[name].double() + (1 - config.ema_decay) * value
            average[name] = new.to(value.dtype)
    parts = state_of(tmp_path)["parts"]
    for name, value in network.state_dict().items():
        torch.testing.assert_close(parts["network"][name], value, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(
            parts["average"][f"module.{name}"], average[name], rtol=1e-4, atol=1e-6
        )
    assert {int(s["step"]) for s in parts["optimizer"]["state"].values()} == {3}


def test_the_kept_weights_are_the_average_of_that_epoch(
    store: VolumeStore, whole: Whole, tmp_path: Path
) -> None:
    train(restarted(epochs=2), store, tmp_path)
    average = state_of(tmp_path)["parts"]["average"]
    kept = load_model(whole(restarted()) / "kept-epochs" / "phase-1-epoch-002").network.state_dict()
    assert all(torch.equal(v, average[f"module.{k}"]) for k, v in kept.items())


@pytest.mark.parametrize(("accumulate", "schedule"), [(1, "constant"), (2, "one_cycle")])
def test_a_run_interrupted_before_at_and_after_the_restart_ends_as_if_it_never_was(
    accumulate: int, schedule: str, store: VolumeStore, whole: Whole, tmp_path: Path
) -> None:
    recipe = restarted(accumulate=accumulate, schedule=schedule)
    stops = []
    while not train(recipe, store, tmp_path, before_batch=stop_at_every_batch).finished:
        progress = state_of(tmp_path)["progress"]
        stops.append((progress["restarted"], progress["epoch"], progress["step"]))
        done = epochs_of(tmp_path) if (tmp_path / "metrics.csv").exists() else []
        assert done == EPOCHS[: len(done)]
        assert len(stops) < 20
    steps = {1: [1, 2, 0], 2: [2, 0]}[accumulate]
    places = [(False, 0), (False, 1), (False, 2), (True, 2), (True, 3)]
    expected = [(r, e + (s == 0), s) for r, e in places for s in steps]
    assert stops == expected[:-1]  # at the very end the run is finished
    assert_same_run(tmp_path, whole(recipe))
    for kept in (tmp_path / "kept-epochs").iterdir():
        ours = load_model(kept).state_dict()
        theirs = load_model(whole(recipe) / "kept-epochs" / kept.name).state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_run_killed_right_after_the_restart_restarts_again(
    store: VolumeStore, whole: Whole, tmp_path: Path
) -> None:
    class Killed(Exception):
        pass

    def kill(trainer: FoldTrainer, batch: int) -> None:
        if batch == 11:  # the second of the last phase
            raise Killed

    with pytest.raises(Killed):
        train(restarted(), store, tmp_path, before_batch=kill)
    assert not state_of(tmp_path)["progress"]["restarted"]
    assert train(restarted(), store, tmp_path).finished
    assert_same_run(tmp_path, whole(restarted()))


def test_a_short_run_can_be_made_longer_across_the_restart(
    store: VolumeStore, whole: Whole, tmp_path: Path
) -> None:
    for epochs, done in ((1, 1), (3, 3), (4, 5)):
        assert train(restarted(epochs=epochs), store, tmp_path).finished
        assert epochs_of(tmp_path) == EPOCHS[:done]
    assert train(restarted(), store, tmp_path).finished
    ours, theirs = tensors_of(tmp_path), tensors_of(whole(restarted()))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert train(restarted(epochs=2), store, tmp_path).finished
    assert epochs_of(tmp_path) == EPOCHS


def test_one_cycle_goes_once_over_all_epochs(store: VolumeStore, tmp_path: Path) -> None:
    rates: list[float] = []

    def note(trainer: FoldTrainer, batch: int) -> None:
        rates.append(trainer.learner.optimizer.param_groups[0]["lr"])

    recipe = restarted(schedule="one_cycle", phases=(Phase((1e-3,), (3,)), Phase((1e-3,), (4,))))
    train(recipe, store, tmp_path, before_batch=note)
    assert len(rates) == 15
    peak = rates.index(max(rates))
    assert 1 <= peak <= 2
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


def test_the_log_says_from_which_epoch(
    store: VolumeStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        train(restarted(), store, tmp_path)
    said = [r.getMessage() for r in caplog.records]
    at = said.index(
        "small/canal fold 4: phase 2 restarts from the averaged weights of epoch 2 "
        "with a new optimiser"
    )
    assert said[at - 1].startswith("small/canal fold 4 phase 1 epoch 3/3 ")
    assert said[at + 1].startswith("small/canal fold 4 phase 2 epoch 3/4 ")


def test_the_best_model_is_the_best_of_both_parts(
    store: VolumeStore, tmp_path: Path, scripted: Scripted
) -> None:
    scripted([0.9, 0.8, 0.5, 0.7, 0.6])
    result = train(restarted(), store, tmp_path / "before")
    assert (result.best, result.best_epoch, result.best_phase) == (0.5, 3, 1)
    scripted([0.9, 0.8, 0.5, 0.4, 0.6])
    result = train(restarted(), store, tmp_path / "after")
    assert (result.best, result.best_epoch, result.best_phase) == (0.4, 3, 2)
    provenance = read_meta(tmp_path / "after" / "model").provenance
    assert (provenance["phase"], provenance["epoch"]) == (2, 3)


@pytest.mark.parametrize(
    ("scores", "rows"),
    [
        ([0.5, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9], 4 + 2),  # the first part ends where it should
        ([0.5, 0.9, 0.9, 0.3, 0.9, 0.9, 0.9], 4 + 2),  # its best is not waited for once more
        ([0.5, 0.9, 0.9, 0.9, 0.9, 0.4, 0.9], 4 + 4),
    ],
)
def test_patience_begins_anew_with_the_restart(
    scores: list[float], rows: int, store: VolumeStore, tmp_path: Path, scripted: Scripted
) -> None:
    scripted(scores)
    phases = (Phase((1e-3,), (4,)), Phase((1e-3,), (8,)))
    recipe = restarted(phases=phases, restart_from=(1,), patience=2)
    result = train(recipe, store, tmp_path)
    assert result.finished
    assert len(metrics_of(tmp_path)) == rows
    assert train(recipe, store, tmp_path).finished
    assert len(metrics_of(tmp_path)) == rows


def test_boards_and_hooks_count_on_where_epochs_repeat(store: VolumeStore, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    seen: list[int] = []
    train(restarted(), store, tmp_path, hook=lambda number, *_: seen.append(number))
    assert seen == [1, 2, 3, 4, 5]
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert [v.step for v in board.Scalars("train/loss")] == [1, 2, 3, 4, 5]
    assert [v.value for v in board.Scalars("phase")] == [1, 1, 1, 2, 2]


def test_the_epoch_is_validated_whatever_the_interval(store: VolumeStore, tmp_path: Path) -> None:
    train(restarted(validate_every=10), store, tmp_path)
    assert [bool(r["val_score"]) for r in metrics_of(tmp_path)] == [False, True, True, False, True]


def test_weights_that_are_gone_are_named_with_what_to_do(
    store: VolumeStore, tmp_path: Path
) -> None:
    train(restarted(epochs=3), store, tmp_path)
    shutil.rmtree(tmp_path / "kept-epochs")
    with pytest.raises(
        BadModel, match=r"phase-1-epoch-002: .*restart_from.* missing; use --restart"
    ):
        train(restarted(), store, tmp_path)


def test_where_it_restarts_may_not_change_between_parts(store: VolumeStore, whole: Whole) -> None:
    with pytest.raises(BadModel, match="other settings"):
        train(restarted(restart_from=(1,)), store, whole(restarted()))


def test_a_contradiction_leaves_an_earlier_run_alone(store: VolumeStore, tmp_path: Path) -> None:
    train(small_recipe("canal"), store, tmp_path)
    before = tensors_of(tmp_path)
    recipe = small_recipe("canal")
    for wrong in ({"restart_from": (2,)}, {"drop_last": True, "batch_size": 7}, {"keep": (9,)}):
        with pytest.raises(UsageError, match=f"train.{next(iter(wrong))}"):
            train(
                replace(recipe, train=replace(recipe.train, **wrong)), store, tmp_path, restart=True
            )
    assert all(torch.equal(v, before[k]) for k, v in tensors_of(tmp_path).items())


def test_a_scaler_in_use_begins_anew(store: VolumeStore, tmp_path: Path) -> None:
    learner = small_trainer(restarted(), store, tmp_path).learner
    learner.dtype = torch.float16
    learner.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    learner.restart(learner.network.state_dict())
    assert learner.scaler.get_scale() == 65536.0
    assert not learner.optimizer.state


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_restart_in_fp16_on_a_gpu(store: VolumeStore, tmp_path: Path) -> None:
    recipe = restarted("foraminal", amp="fp16", amp_prediction=True)
    result = FoldTrainer(recipe, FOLD, store, tmp_path, "cuda").run()
    assert result.finished
    assert epochs_of(tmp_path) == EPOCHS
    assert all(float(r["train_loss"]) < 100 for r in metrics_of(tmp_path))
    assert 0 < result.best < 5
