"""A run is the same however often it is interrupted, and its records say what happened."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lumbargrade.config import AugmentConfig, EncoderConfig, Phase, Recipe
from lumbargrade.domain.errors import BadModel, NothingDone, TrainingFailed, UsageError
from lumbargrade.inference.model_folder import read_meta
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.models.checkpoint import load_model
from lumbargrade.models.registry import get_task
from lumbargrade.models.torch_engine import TorchEngine
from lumbargrade.scoring.fill import fill_constants
from lumbargrade.training.loader import training_loader
from lumbargrade.training.loop import FoldTrainer
from lumbargrade.training.schedule import Position, plan_of
from lumbargrade.training.state import STATE_FILE
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
    stop_now,
    tensors_of,
    train,
)

TASKS = ("canal", "foraminal")


def at_every_fourth_batch(trainer: FoldTrainer, batch: int) -> None:
    if batch == 4:
        stop_now()


#: Where a run of three epochs of three batches then stops: after a full accumulation, or between
#: epochs; never at its very end.
STOPS = {
    stop_at_every_batch: {
        1: [(0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)],
        2: [(0, 2), (1, 0), (1, 2), (2, 0), (2, 2)],
    },
    at_every_fourth_batch: {1: [(1, 1), (2, 2)], 2: [(1, 2)]},
}


@pytest.mark.parametrize("interrupt", STOPS)
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("task", TASKS)
def test_a_run_interrupted_within_an_epoch_ends_as_if_it_never_was(
    task: str, accumulate: int, interrupt: Any, store: VolumeStore, whole: Whole, tmp_path: Path
) -> None:
    recipe = small_recipe(task, accumulate=accumulate)
    stops = []
    while not train(recipe, store, tmp_path, before_batch=interrupt).finished:
        progress = state_of(tmp_path)["progress"]
        stops.append((progress["epoch"], progress["step"]))
        assert progress["step"] % accumulate == 0  # gradients are not saved
        rows = metrics_of(tmp_path) if (tmp_path / "metrics.csv").exists() else []
        assert [int(r["epoch"]) for r in rows] == list(range(1, progress["epoch"] + 1))
        assert len(stops) < 20
    assert stops == STOPS[interrupt][accumulate]
    assert_same_run(tmp_path, whole(small_recipe(task, accumulate=accumulate)))


@pytest.mark.parametrize("task", TASKS)
def test_a_run_interrupted_between_epochs_ends_as_if_it_never_was(
    task: str, store: VolumeStore, whole: Whole, tmp_path: Path
) -> None:
    def stop(epoch: int, *_: object) -> None:
        if epoch < 3:
            stop_now()

    recipe = small_recipe(task)
    for epoch in (1, 2):
        assert not train(recipe, store, tmp_path, hook=stop).finished
        assert [int(r["epoch"]) for r in metrics_of(tmp_path)] == list(range(1, epoch + 1))
        assert state_of(tmp_path)["progress"]["step"] == 0
    assert train(recipe, store, tmp_path, hook=stop).finished
    assert_same_run(tmp_path, whole(small_recipe(task)))


def test_a_killed_run_repeats_the_epoch_it_was_in(
    store: VolumeStore, whole: Whole, tmp_path: Path
) -> None:
    class Killed(Exception):
        pass

    def kill(trainer: FoldTrainer, batch: int) -> None:
        if batch == 5:
            raise Killed

    recipe = small_recipe("canal")
    with pytest.raises(Killed):
        train(recipe, store, tmp_path, before_batch=kill)
    assert len(metrics_of(tmp_path)) == 1
    assert train(recipe, store, tmp_path).finished
    assert_same_run(tmp_path, whole(small_recipe("canal")))


def test_signal_handlers_are_put_back(store: VolumeStore, tmp_path: Path) -> None:
    caught = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(s) for s in caught]
    train(small_recipe("canal"), store, tmp_path, before_batch=stop_at_every_batch)
    assert [signal.getsignal(s) for s in caught] == before


def test_a_finished_run_is_left_as_it_is(store: VolumeStore, whole: Whole) -> None:
    folder = whole(small_recipe("canal"))
    before = tensors_of(folder)

    def never(trainer: FoldTrainer, batch: int) -> None:
        raise AssertionError("trained a finished run")

    result = train(small_recipe("canal"), store, folder, before_batch=never)
    assert result.finished
    assert result.best == read_meta(folder / "model").scores["score"]
    after = tensors_of(folder)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_more_epochs_go_on_where_the_run_ended(store: VolumeStore, tmp_path: Path) -> None:
    recipe = small_recipe("canal", schedule="constant")
    short = replace(recipe, train=replace(recipe.train, epochs=2))
    train(short, store, tmp_path / "short")
    assert len(metrics_of(tmp_path / "short")) == 2
    train(recipe, store, tmp_path / "short")
    train(recipe, store, tmp_path / "whole")
    ours, theirs = tensors_of(tmp_path / "short"), tensors_of(tmp_path / "whole")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert metrics_of(tmp_path / "short") == metrics_of(tmp_path / "whole")


@pytest.mark.parametrize("task", TASKS)
def test_workers_change_nothing(
    task: str, store: VolumeStore, whole: Whole, tmp_path: Path
) -> None:
    train(small_recipe(task, workers=2), store, tmp_path)
    ours, theirs = tensors_of(tmp_path), tensors_of(whole(small_recipe(task)))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert metrics_of(tmp_path) == metrics_of(whole(small_recipe(task)))


def test_a_signal_to_every_process_of_the_group_spares_the_workers(
    store: VolumeStore, whole: Whole, tmp_path: Path
) -> None:
    """Ctrl-C in a terminal and the end of a batch job reach the loaders too."""
    import multiprocessing

    def stop_all(trainer: FoldTrainer, batch: int) -> None:
        if batch == 1:
            children = multiprocessing.active_children()
            assert len(children) == 2
            for number in (signal.SIGINT, signal.SIGTERM):
                for child in children:
                    assert child.pid is not None
                    os.kill(child.pid, number)
                stop_now()

    recipe = small_recipe("canal", workers=2)
    assert not train(recipe, store, tmp_path, before_batch=stop_all).finished
    assert state_of(tmp_path)["progress"]["step"] == 1
    assert train(recipe, store, tmp_path).finished
    ours, theirs = tensors_of(tmp_path), tensors_of(whole(small_recipe("canal")))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def plain_epoch(recipe: Recipe, store: VolumeStore) -> dict[str, dict[str, torch.Tensor]]:
    """One epoch as a textbook would write it: mean gradients, AdamW, average of the weights.

    The average begins at the first weights, before any move.
    """
    task, config = get_task(recipe), recipe.train
    rows = [r for r in task.rows(store) if r.fold != FOLD]
    torch.manual_seed(config.seed + FOLD)
    network = task.build_network().train()
    optimizer = torch.optim.AdamW(
        network.parameters(), config.phases[0].lr[0], weight_decay=config.weight_decay
    )
    batches = list(training_loader(task, store, rows, epoch=0))
    average = {name: value.clone() for name, value in network.state_dict().items()}
    for start in range(0, len(batches), config.accumulate):
        group = batches[start : start + config.accumulate]
        gradients: list[list[torch.Tensor | None]] = []
        for batch in group:
            network.zero_grad()
            task.loss(network(batch.slices, batch.counts), batch).total.backward()
            gradients.append([p.grad for p in network.parameters()])
        for parameter, *parts in zip(network.parameters(), *gradients, strict=True):
            used = [g for g in parts if g is not None]
            parameter.grad = torch.stack(used).mean(0) if used else None
        optimizer.step()
        for name, value in network.state_dict().items():
            new = (
                config.ema_decay * average[name].double() + (1 - config.ema_decay) * value.double()
            )
            average[name] = new.to(value.dtype)
    moments = {
        name: optimizer.state[parameter]["exp_avg"]
        for name, parameter in network.named_parameters()
        if parameter in optimizer.state
    }
    return {"network": network.state_dict(), "average": average, "moments": moments}


@pytest.mark.parametrize(("batch_size", "accumulate"), [(2, 1), (1, 2), (1, 4)])
def test_an_epoch_is_what_a_textbook_says(
    batch_size: int, accumulate: int, store: VolumeStore, tmp_path: Path
) -> None:
    """Six batches of one in groups of four: the last group is of two, and its mean is over two."""
    recipe = small_recipe(
        "foraminal",
        batch_size=batch_size,
        accumulate=accumulate,
        phases=(Phase((1e-3,), (1,)),),
        schedule="constant",
    )
    trainer = small_trainer(recipe, store, tmp_path)
    names = [name for name, _ in trainer.learner.network.named_parameters()]
    trainer.run()
    parts = state_of(tmp_path)["parts"]
    plain = plain_epoch(recipe, store)
    for name, value in plain["network"].items():
        torch.testing.assert_close(parts["network"][name], value, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(
            parts["average"][f"module.{name}"], plain["average"][name], rtol=1e-4, atol=1e-6
        )
    for i, state in parts["optimizer"]["state"].items():
        expected = plain["moments"].pop(names[i])
        torch.testing.assert_close(state["exp_avg"], expected, rtol=1e-3, atol=1e-6)
    assert not plain["moments"]
    assert int(parts["average"]["n_averaged"]) == 1 + -(-6 // (batch_size * accumulate))


def test_each_batch_has_the_learning_rate_of_its_place_in_the_training(
    store: VolumeStore, tmp_path: Path
) -> None:
    rates = []

    def note(trainer: FoldTrainer, batch: int) -> None:
        rates.append(trainer.learner.optimizer.param_groups[0]["lr"])

    recipe = small_recipe("canal")
    train(recipe, store, tmp_path, before_batch=note)
    plan = plan_of(recipe.train, FOLD)
    assert rates == [plan.rate(Position(i // 3), i / 9) for i in range(9)]
    assert len(set(rates)) == 9
    assert [float(r["lr"]) for r in metrics_of(tmp_path)] == rates[2::3]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_smaller_last_batch_is_left_out_and_its_place_in_the_schedule_too(
    accumulate: int, store: VolumeStore, tmp_path: Path
) -> None:
    """Six studies in fours: one batch an epoch, three in all, and one move of each."""
    rates: list[float] = []

    def note(trainer: FoldTrainer, batch: int) -> None:
        rates.append(trainer.learner.optimizer.param_groups[0]["lr"])
        stop_now()

    recipe = small_recipe("canal", batch_size=4, drop_last=True, accumulate=accumulate)
    while not train(recipe, store, tmp_path, before_batch=note).finished:
        assert state_of(tmp_path)["progress"]["step"] == 0
    plan = plan_of(recipe.train, FOLD)
    assert rates == [plan.rate(Position(i), i / 3) for i in range(3)]
    moves = {int(s["step"]) for s in state_of(tmp_path)["parts"]["optimizer"]["state"].values()}
    assert moves == {3}


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_run_without_its_smaller_batches_can_be_interrupted(
    accumulate: int, store: VolumeStore, tmp_path: Path
) -> None:
    """Five studies in batches of two: two batches an epoch, and one study left out."""
    kept = replace(store, series=[s for s in store.series if s.study_id != "1000"])
    recipe = small_recipe("canal", drop_last=True, accumulate=accumulate)
    trainer = small_trainer(recipe, kept, tmp_path)
    assert (len(trainer.training_rows), trainer.steps) == (5, 2)
    whole = train(recipe, kept, tmp_path / "whole")
    assert whole.finished
    while not train(recipe, kept, tmp_path / "parts", before_batch=stop_at_every_batch).finished:
        pass
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


def test_the_seed_reaches_the_weights(store: VolumeStore, tmp_path: Path) -> None:
    first, again, other = (
        small_trainer(small_recipe("canal", seed=s), store, tmp_path).learner.network.state_dict()
        for s in (1234, 1234, 42)
    )
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not all(torch.equal(first[k], other[k]) for k in first)


def test_gradients_are_clipped_to_the_given_norm(store: VolumeStore, tmp_path: Path) -> None:
    recipe = small_recipe("canal", clip_gradient=0.01, phases=(Phase((1e-3,), (1,)),))
    train(recipe, store, tmp_path, before_batch=stop_at_every_batch)
    moments = [s["exp_avg"] for s in state_of(tmp_path)["parts"]["optimizer"]["state"].values()]
    norm = torch.cat([m.flatten() for m in moments]).norm() / 0.1  # one step of momentum 0.9
    assert norm.item() == pytest.approx(0.01, rel=1e-3)


def test_a_loss_that_is_not_finite_names_its_studies(store: VolumeStore, tmp_path: Path) -> None:
    seen: list[list[int]] = []
    recipe = small_recipe("canal")
    trainer = small_trainer(recipe, store, tmp_path)
    loss = trainer.task.loss

    def breaks_in_the_second_epoch(output: Any, batch: Any) -> Any:
        seen.append([s.study_id for s in batch.samples])
        terms = loss(output, batch)
        return replace(terms, total=terms.total * float("nan")) if len(seen) == 5 else terms

    trainer.task.loss = breaks_in_the_second_epoch  # type: ignore[method-assign]
    with pytest.raises(TrainingFailed, match="not finite on studies") as caught:
        trainer.run()
    record = json.loads((tmp_path / "nonfinite.json").read_text())
    assert record["study_ids"] == seen[-1]
    where = record["recipe"], record["fold"], record["epoch"], record["step"]
    assert where == (recipe.name, FOLD, 2, 2)
    assert all(str(study) in str(caught.value) for study in seen[-1])
    assert set(record["losses"]) == {"slice", "xy", "heatmap", "grade", "grade_map"}
    assert len(metrics_of(tmp_path)) == 1  # the first epoch is kept
    assert train(recipe, store, tmp_path).finished


@pytest.mark.parametrize(
    ("scores", "patience", "every", "epochs", "best_epoch"),
    [
        ([0.9, 0.8, 0.85, 0.8, 0.1], 2, 1, 4, 2),  # an equal score is no better one
        ([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], 2, 1, 6, 6),
        ([0.9, 0.95, 0.8, 0.9, 0.9, 0.1], 2, 1, 5, 3),
        ([0.9, float("nan"), float("nan"), 0.1], 2, 1, 3, 1),
        ([0.9, 0.8, 0.9], 1, 2, 6, 4),  # only a validated epoch can be worse
        ([0.9, 0.9, 0.1], 3, 2, 6, 6),
        ([0.9, 0.95, 0.1], 0, 2, 6, 6),
    ],
)
def test_patience_counts_epochs_since_the_best_validation(
    scores: list[float],
    patience: int,
    every: int,
    epochs: int,
    best_epoch: int,
    store: VolumeStore,
    tmp_path: Path,
    scripted: Scripted,
) -> None:
    scripted(scores)
    recipe = small_recipe(
        "canal", patience=patience, validate_every=every, phases=(Phase((1e-3,), (6,)),)
    )
    result = train(recipe, store, tmp_path)
    rows = metrics_of(tmp_path)
    assert [int(r["epoch"]) for r in rows] == list(range(1, epochs + 1))
    assert [bool(r["val_score"]) for r in rows] == [e % every == 0 for e in range(1, epochs + 1)]
    assert (result.finished, result.best_epoch) == (True, best_epoch)
    assert result.best == float(rows[best_epoch - 1]["val_score"])
    meta = read_meta(tmp_path / "model")
    assert meta.provenance["epoch"] == best_epoch
    assert meta.scores["score"] == result.best

    # a run that lost its patience stays ended; one that only ran out of epochs goes on
    lost_patience = bool(patience) and epochs - best_epoch >= patience
    longer = replace(recipe, train=replace(recipe.train, epochs=epochs + 1))
    assert train(longer, store, tmp_path).finished
    assert len(metrics_of(tmp_path)) == (epochs if lost_patience else epochs + 1)


def test_the_last_epoch_is_validated_whatever_the_interval(
    store: VolumeStore, tmp_path: Path
) -> None:
    train(small_recipe("canal", validate_every=2), store, tmp_path)
    assert [bool(r["val_score"]) for r in metrics_of(tmp_path)] == [False, True, True]


@pytest.mark.parametrize("task", TASKS)
def test_the_model_kept_is_the_best_epochs(task: str, store: VolumeStore, whole: Whole) -> None:
    """It says the scores of its epoch, and predicts what it was validated with."""
    folder = whole(small_recipe(task))
    meta = read_meta(folder / "model")
    scores = {int(r["epoch"]): float(r["val_score"]) for r in metrics_of(folder)}
    assert scores[meta.provenance["epoch"]] == min(scores.values())
    row = metrics_of(folder)[meta.provenance["epoch"] - 1]
    assert meta.scores == {k: float(row[f"val_{k}"]) for k in ("score", "x", "y", "z")}
    learner = get_task(meta.recipe)
    rows = learner.rows(store, folds=[FOLD])
    predictions = learner.predict_rows(
        TorchEngine(learner, load_model(folder / "model")), store, rows
    )
    assert learner.evaluate(rows, predictions) == pytest.approx(dict(meta.scores))
    assert meta.fold == FOLD
    assert meta.data == store.fingerprint
    trained_on = set(meta.provenance["trained_on"])
    assert trained_on.isdisjoint(r.study_id for r in rows)
    assert trained_on == {r.study_id for r in learner.rows(store)} - {r.study_id for r in rows}
    constants = {t.column: list(c) for t, c in fill_constants(store.grades).items()}
    assert meta.provenance["fill"] == constants


def test_the_averaged_weights_are_what_is_validated_and_kept(
    store: VolumeStore, tmp_path: Path, scripted: Scripted
) -> None:
    scripted([0.9, 0.8, 0.7])
    train(small_recipe("canal"), store, tmp_path)
    parts = state_of(tmp_path)["parts"]
    kept = load_model(tmp_path / "model").network.state_dict()
    assert all(torch.equal(v, parts["average"][f"module.{name}"]) for name, v in kept.items())
    assert not all(torch.equal(v, parts["network"][name]) for name, v in kept.items())


def test_a_run_does_not_go_on_with_other_settings_or_data(
    store: VolumeStore, whole: Whole, tmp_path: Path
) -> None:
    recipe = small_recipe("canal")
    for other in (
        replace(recipe, augment=AugmentConfig(flip=0.1)),
        replace(recipe, train=replace(recipe.train, batch_size=3)),
    ):
        with pytest.raises(BadModel, match=r"other settings.*another --out, or --restart"):
            train(other, store, whole(small_recipe("canal")))
    with pytest.raises(BadModel, match="other settings or data"):
        train(recipe, replace(store, fingerprint="of other data"), whole(small_recipe("canal")))
    free = replace(recipe, train=replace(recipe.train, workers=1, threads=0), summary="in words")
    assert train(free, store, whole(small_recipe("canal"))).finished


def _damage(content: bytes) -> dict[str, bytes]:
    return {
        "cut": content[: len(content) // 2],
        "empty": b"",
        "text": b"not a state\n" * 9,
        "headless": content[50:],
    }


@pytest.mark.parametrize(
    "how", ["cut", "empty", "text", "headless", "foreign", "parts", "progress"]
)
def test_a_damaged_state_is_refused_with_what_to_do(
    how: str, store: VolumeStore, whole: Whole, tmp_path: Path
) -> None:
    path = tmp_path / STATE_FILE
    if how == "foreign":
        torch.save({"weights": torch.zeros(3)}, path)
    elif how in ("parts", "progress"):  # as another version of the program might write them
        state = state_of(whole(small_recipe("canal")))
        torch.save(state | {how: {"network": {"of": torch.zeros(1)}}}, path)
    else:
        path.write_bytes(_damage((whole(small_recipe("canal")) / STATE_FILE).read_bytes())[how])
    with pytest.raises(BadModel, match=r"state\.pt is damaged.*--restart"):
        train(small_recipe("canal"), store, tmp_path)


def test_restart_begins_anew_and_leaves_nothing_of_the_old_run(
    store: VolumeStore, whole: Whole, tmp_path: Path
) -> None:
    old = small_recipe("canal", phases=(Phase((1e-2,), (4,)),))
    train(old, store, tmp_path)
    (tmp_path / "epochs").mkdir()
    (tmp_path / "epochs" / "004.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("the user's own")
    events = set((tmp_path / "tensorboard").iterdir())
    recipe = small_recipe("canal")
    stopped = train(recipe, store, tmp_path, before_batch=stop_at_every_batch, restart=True)
    assert not stopped.finished
    left = {p.name for p in tmp_path.iterdir()}
    assert left == {"state.pt", "status.json", ".lock", "tensorboard", "notes.txt"}
    assert events.isdisjoint((tmp_path / "tensorboard").iterdir())
    train(recipe, store, tmp_path)
    assert_same_run(tmp_path, whole(small_recipe("canal")))


def test_a_fold_without_series_is_named(store: VolumeStore, tmp_path: Path) -> None:
    with pytest.raises(NothingDone, match=r"no Sagittal T1 series .* to validate fold 0"):
        FoldTrainer(small_recipe("foraminal"), 0, store, tmp_path)


def test_a_device_that_is_not_there_is_a_usage_error(store: VolumeStore, tmp_path: Path) -> None:
    for name in ("gpu", "cuda:99", "mps:x"):
        with pytest.raises(UsageError, match="device"):
            FoldTrainer(small_recipe("canal"), FOLD, store, tmp_path, name)


def test_an_encoder_that_cannot_be_downloaded_ends_the_run_before_it_starts(
    store: VolumeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import timm

    create = timm.create_model

    def offline(name: str, pretrained: bool = False, **more: Any) -> Any:
        if pretrained:
            raise OSError("the hub cannot be reached")
        return create(name, pretrained=pretrained, **more)

    monkeypatch.setattr(timm, "create_model", offline)
    recipe = replace(small_recipe("canal"), encoder=EncoderConfig("lcnet_050", stages=3))
    with pytest.raises(BadModel, match=r"(?s)cannot be reached.*encoder\.weights"):
        train(recipe, store, tmp_path)
    assert not list(tmp_path.iterdir())


def test_records_can_be_read(whole: Whole) -> None:
    """The CSV has every loss part, score and count; TensorBoard has the same numbers."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = whole(small_recipe("foraminal"))
    rows = metrics_of(folder)
    assert list(rows[0])[:3] == ["epoch", "lr", "train_loss"]
    assert {"train_grade", "train_n_matched", "val_score", "val_z"} <= rows[0].keys()
    assert all(float(r["train_n_matched"]) + float(r["train_n_unmatched"]) == 60 for r in rows)
    board = EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    for tag, column in (("train/loss", "train_loss"), ("val/score", "val_score"), ("lr", "lr")):
        values = board.Scalars(tag)
        assert [v.step for v in values] == [1, 2, 3]
        assert [v.value for v in values] == pytest.approx([float(r[column]) for r in rows])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("amp", ["bf16", "fp16", "off"])
@pytest.mark.parametrize("task", TASKS)
def test_mixed_precision_on_a_gpu_learns(
    task: str, amp: str, store: VolumeStore, tmp_path: Path
) -> None:
    recipe = small_recipe(task, amp=amp, phases=(Phase((3e-3,), (8,)),))
    result = FoldTrainer(recipe, FOLD, store, tmp_path, "cuda").run()
    losses = [float(r["train_loss"]) for r in metrics_of(tmp_path)]
    assert all(torch.isfinite(torch.tensor(losses)))
    assert losses[-1] < 0.8 * losses[0]
    assert 0 < result.best < 5


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_run_moves_from_the_cpu_to_a_gpu_and_back(store: VolumeStore, tmp_path: Path) -> None:
    recipe = small_recipe("canal", amp="fp16")
    for device in ("cpu", "cuda", "cpu", "cuda"):
        trainer = FoldTrainer(recipe, FOLD, store, tmp_path, device)
        trainer.task.loss = _stopping(trainer)  # type: ignore[method-assign]
        trainer.run()
    assert FoldTrainer(recipe, FOLD, store, tmp_path, "cuda").run().finished


def _stopping(trainer: FoldTrainer) -> Any:
    loss = trainer.task.loss

    def stop_after_one(output: Any, batch: Any) -> Any:
        stop_now()
        return loss(output, batch)

    return stop_after_one
