"""Training on a stream of phantoms: resumed runs are the same runs, and the networks learn."""

from __future__ import annotations

import csv
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import fake_phantoms
from lumbargrade.config import StarterNetworkConfig, StarterRecipe, StreamConfig
from lumbargrade.domain.errors import BadModel, TrainingFailed, UsageError
from lumbargrade.models.starter_weights import load_starter
from lumbargrade.training.starter_evaluation import EVALUATION_SEED
from lumbargrade.training.stream import StreamTrainer

NETWORK = StarterNetworkConfig((4, 6, 8, 8), (1, 0, 0), 1, 3)
TRAIN = StreamConfig(
    steps=6,
    batch_size=2,
    ema_decay=0.9,
    evaluate_every=0,
    evaluation_series=2,
    workers=0,
    threads=1,
)
RECIPE = StarterRecipe("small", "starter_sagittal", network=NETWORK, train=TRAIN)


def changed(recipe: StarterRecipe, **settings: Any) -> StarterRecipe:
    return replace(recipe, train=replace(recipe.train, **settings))


def phantoms(
    seen: Callable[[int, int], None], version: int = fake_phantoms.STREAM_VERSION
) -> SimpleNamespace:
    """The fake phantoms; ``seen`` is called with the seed and number of each."""

    def sagittal_sample(seed: int, number: int) -> Any:
        seen(seed, number)
        return fake_phantoms.sagittal_sample(seed, number)

    return SimpleNamespace(
        STREAM_VERSION=version,
        sagittal_sample=sagittal_sample,
        axial_sample=fake_phantoms.axial_sample,
    )


def trained(recipe: StarterRecipe, folder: Path, source: Any = fake_phantoms) -> bool:
    return StreamTrainer(recipe, source, folder, "cpu").run()


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_starter(folder)[0].state_dict()


def same(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return all(torch.equal(first[k], second[k]) for k in first)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_an_interrupted_run_resumes_bit_for_bit(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    def stop_at_five(seed: int, number: int) -> None:
        seen.append((seed, number))
        if (seed, number) == (TRAIN.seed, 5) and seen.count((seed, number)) == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    assert trained(RECIPE, tmp_path / "whole")
    assert not trained(RECIPE, tmp_path / "cut", phantoms(stop_at_five))
    assert not (tmp_path / "cut" / "model").exists()
    assert trained(changed(RECIPE, workers=2), tmp_path / "cut", phantoms(stop_at_five))
    assert [number for seed, number in seen if seed == TRAIN.seed] == [0, 1, 2, 3, 4, 5]
    assert same(tmp_path / "whole", tmp_path / "cut")


def test_each_step_takes_the_next_series(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    trained(RECIPE, tmp_path, phantoms(lambda *key: seen.append(key)))
    assert seen[:12] == [(TRAIN.seed, number) for number in range(12)]
    assert seen[12:] == [(EVALUATION_SEED, 0), (EVALUATION_SEED, 1)]


def test_steps_may_be_added_but_other_settings_may_not_change(tmp_path: Path) -> None:
    assert trained(RECIPE, tmp_path)
    before = weights(tmp_path)
    assert trained(changed(RECIPE, steps=8), tmp_path)
    assert any(not torch.equal(before[k], v) for k, v in weights(tmp_path).items())
    assert [row["step"] for row in rows(tmp_path)] == ["6", "8"]
    assert load_starter(tmp_path)[1].steps == 8
    with pytest.raises(BadModel, match="other settings"):
        trained(changed(RECIPE, steps=9, lr=1e-5), tmp_path)
    with pytest.raises(BadModel, match="other settings"):
        trained(changed(RECIPE, steps=9), tmp_path, phantoms(lambda *_: None, 8))


def test_a_finished_run_stays_as_it_is(tmp_path: Path) -> None:
    assert trained(RECIPE, tmp_path)
    before, count = weights(tmp_path), len(rows(tmp_path))
    assert trained(RECIPE, tmp_path)
    assert all(torch.equal(before[k], v) for k, v in weights(tmp_path).items())
    assert len(rows(tmp_path)) == count


def test_restart_deletes_the_run(tmp_path: Path) -> None:
    assert trained(RECIPE, tmp_path)
    other = changed(RECIPE, lr=1e-5)
    assert StreamTrainer(other, fake_phantoms, tmp_path, "cpu").run(restart=True)
    assert len(rows(tmp_path)) == 1
    assert load_starter(tmp_path)[1].recipe == other


def test_init_starts_from_the_weights_of_another_run(tmp_path: Path) -> None:
    assert trained(RECIPE, tmp_path / "first")
    second = replace(RECIPE, init=str(tmp_path / "first"))
    start = StreamTrainer(second, fake_phantoms, tmp_path / "second", "cpu").learner
    for part in (start.network, start.average.module):
        assert all(
            torch.equal(v, weights(tmp_path / "first")[k]) for k, v in part.state_dict().items()
        )
    wider = replace(second, network=replace(NETWORK, widths=(4, 6, 8, 10)))
    with pytest.raises(UsageError, match="network settings differ"):
        StreamTrainer(wider, fake_phantoms, tmp_path / "third", "cpu")
    with pytest.raises(BadModel, match="no model there"):
        StreamTrainer(replace(RECIPE, init=str(tmp_path)), fake_phantoms, tmp_path / "x", "cpu")


def test_metrics_hold_losses_rates_and_evaluations(tmp_path: Path) -> None:
    trained(changed(RECIPE, log_minutes=0.0, evaluate_every=4), tmp_path)
    found = rows(tmp_path)
    assert [row["step"] for row in found] == ["1", "2", "3", "4", "5", "6"]
    assert [bool(row["val_dice_disc"]) for row in found] == [False] * 3 + [True, False, True]
    for row in found:
        assert float(row["slices_per_second"]) > 0
        assert 0 <= float(row["waiting"]) <= 1
        parts = [float(row[k]) for k in ("structures", "segments", "points")]
        assert float(row["loss"]) == pytest.approx(sum(parts), rel=1e-5)
    rates = [float(row["lr"]) for row in found]
    assert max(rates) > 10 * min(rates)
    assert max(rates) <= TRAIN.lr


def test_the_model_says_how_it_was_trained(tmp_path: Path) -> None:
    trained(RECIPE, tmp_path)
    meta = load_starter(tmp_path)[1]
    assert (meta.recipe, meta.steps, meta.phantoms) == (RECIPE, 6, 7)
    assert meta.evaluation.keys() >= {"dice_disc", "segment_accuracy", "canal_found"}


def test_a_loss_that_is_not_finite_names_the_phantoms(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match=r"phantoms \d+ to \d+ of seed 42"):
        trained(changed(RECIPE, lr=1e30, steps=20, clip_gradient=0.0), tmp_path)


def test_the_seed_of_the_evaluation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="seed"):
        trained(changed(RECIPE, seed=EVALUATION_SEED), tmp_path)


@pytest.mark.parametrize("task", ["starter_sagittal", "starter_axial"])
def test_networks_learn(task: Any, tmp_path: Path) -> None:
    weights = RECIPE.loss.structure_weights[: 6 if task == "starter_sagittal" else 5]
    recipe = replace(RECIPE, task=task, loss=replace(RECIPE.loss, structure_weights=weights))
    trained(changed(recipe, steps=60, lr=1e-2, batch_size=2), tmp_path)
    scores = load_starter(tmp_path)[1].evaluation
    if task == "starter_sagittal":
        assert scores["dice_disc"] > 0.8
        assert scores["segment_accuracy"] > 0.6
    else:
        assert scores["dice_sac"] > 0.8
    assert np.isfinite(list(scores.values())).all()
