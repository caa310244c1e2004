"""Training batches are the same whatever the number of workers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lumbargrade.config import DataConfig, NetworkConfig, Recipe, TrainConfig
from lumbargrade.tasks import get_task
from lumbargrade.tasks.loader import SampleDataset, batch_order, training_loader
from made_series import MadeStore

RECIPE = Recipe(
    "f", "foraminal", network=NetworkConfig("3d"), data=DataConfig(32),
    train=TrainConfig(batch_size=3, workers=0, seed=5),
)  # fmt: skip
STORE = MadeStore(7, depths=(4, 6))


def batches(workers: int = 0, epoch: int = 0, skip: int = 0, seed: int = 5):
    task = get_task(replace(RECIPE, train=replace(RECIPE.train, workers=workers, seed=seed)))
    return list(training_loader(task, STORE, task.rows(STORE), epoch=epoch, skip=skip))


def same(first, second) -> bool:
    if len(first) != len(second):
        return False
    pairs = [
        (getattr(a, name), getattr(b, name))
        for a, b in zip(first, second, strict=True)
        for name in ("slices", "xy", "z", "annotated", "grade")
    ]
    return all(torch.equal(a, b) for a, b in pairs)


def test_workers_change_nothing():
    assert same(batches(workers=0), batches(workers=2))


def test_seed_and_epoch_change_samples():
    first = batches()
    assert same(first, batches())
    assert not same(first, batches(epoch=1))
    assert not same(first, batches(seed=6))


def test_an_interrupted_epoch_goes_on_where_it_was():
    assert same(batches()[2:], batches(skip=2))
    assert batches(skip=3) == []


@pytest.mark.parametrize(("count", "size"), [(7, 3), (6, 3), (1, 4), (10, 1)])
def test_every_item_is_used_once_an_epoch(count, size):
    order = batch_order(count, size, seed=1, epoch=0)
    assert sorted(i for b in order for i in b) == list(range(count))
    assert max(map(len, order)) <= size


def test_torch_random_state_is_untouched():
    before = torch.get_rng_state()
    batches()
    assert (torch.get_rng_state() == before).all()


def test_an_item_does_not_depend_on_its_neighbours():
    task = get_task(RECIPE)
    rows = task.rows(STORE)
    one = SampleDataset(STORE, rows, task, seed=5, epoch=2)[4]
    other = SampleDataset(STORE, rows[4:], task, seed=5, epoch=2)[0]
    assert (one.image == other.image).all()
    assert np.array_equal(one.points, other.points)
