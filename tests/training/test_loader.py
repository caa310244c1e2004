"""Training batches are the same whatever the number of workers."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from lumbargrade.config import (
    DataConfig,
    NetworkConfig,
    Recipe,
    TrainConfig,
    load_recipe,
    recipe_names,
)
from lumbargrade.domain.errors import BadTable, UsageError
from lumbargrade.domain.vocabulary import Grade
from lumbargrade.models.registry import get_task
from lumbargrade.training.loader import SampleDataset, batch_order, training_loader
from made_series import MadeStore

RECIPE = Recipe(
    "f", "foraminal", network=NetworkConfig("3d"), data=DataConfig(32),
    train=TrainConfig(batch_size=3, workers=0, seed=5),
)  # fmt: skip
STORE = MadeStore(7, depths=(4, 6))


def batches(workers: int = 0, epoch: int = 0, skip: int = 0, seed: int = 5, **train):
    changed = replace(RECIPE.train, workers=workers, seed=seed, **train)
    task = get_task(replace(RECIPE, train=changed))
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


@pytest.mark.parametrize("recipe", recipe_names())
def test_workers_can_be_started_where_processes_do_not_fork(recipe):
    whole = load_recipe(recipe)
    task = get_task(replace(whole, train=replace(whole.train, workers=2)))
    loader = training_loader(task, STORE, get_task(RECIPE).rows(STORE), epoch=0)
    assert loader.worker_init_fn is not None
    sent = loader.dataset, loader.collate_fn, loader.worker_init_fn
    dataset, *_ = pickle.loads(pickle.dumps(sent))
    assert dataset.task.recipe == task.recipe


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


@pytest.mark.parametrize(("count", "size", "left"), [(7, 3, 6), (6, 3, 6), (3, 3, 3), (9, 1, 9)])
def test_a_smaller_last_batch_can_be_left_out(count, size, left):
    whole = batch_order(count, size, seed=1, epoch=0)
    dropped = batch_order(count, size, seed=1, epoch=0, drop_last=True)
    assert dropped == whole[: len(dropped)]
    assert sum(map(len, dropped)) == left
    assert {len(b) for b in dropped} == {size}


def test_what_is_left_out_differs_from_epoch_to_epoch():
    def used(epoch):
        return {i for b in batch_order(7, 3, 1, epoch, drop_last=True) for i in b}

    assert len({frozenset(used(e)) for e in range(8)}) > 1


def test_no_batch_at_all_is_a_usage_error():
    with pytest.raises(UsageError, match=r"train\.drop_last .*2 items.*train\.batch_size is 3"):
        batch_order(2, 3, 1, 0, drop_last=True)
    with pytest.raises(UsageError, match=r"train\.drop_last"):
        batches(drop_last=True, batch_size=8)
    assert batch_order(0, 3, 1, 0, drop_last=True) == []


def test_the_recipe_leaves_out_the_last_batch_also_after_an_interruption():
    whole, dropped = batches(), batches(drop_last=True)
    assert [len(b.samples) for b in whole] == [3, 3, 1]
    assert same(dropped, whole[:2])
    assert same(batches(drop_last=True, skip=1), whole[1:2])
    assert batches(drop_last=True, skip=2) == []


def test_the_seed_reaches_order_and_augmentation():
    task = get_task(RECIPE)
    rows = task.rows(STORE)
    orders = [np.concatenate(batch_order(7, 3, s, 0)).tolist() for s in (5, 5, 6)]
    assert orders[0] == orders[1] != orders[2]
    one, again, other = (SampleDataset(STORE, rows, task, s, 0)[2].image for s in (5, 5, 6))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


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


def grades_of(weight: float, epochs: int, table) -> np.ndarray:
    """(epochs, items, P) grades of training samples without augmentation's exchange of sides."""
    data = replace(RECIPE.data, suspects=str(table), suspect_weight=weight)
    task = get_task(replace(RECIPE, data=data, augment=replace(RECIPE.augment, flip=0.0)))
    rows = task.rows(STORE)
    loaders = [training_loader(task, STORE, rows, epoch=e) for e in range(epochs)]
    order = [np.concatenate(batch_order(len(rows), 3, 5, e)) for e in range(epochs)]
    found = [torch.cat([b.grade for b in loader]).numpy() for loader in loaders]
    return np.stack([f[np.argsort(o)] for f, o in zip(found, order, strict=True)])


@pytest.fixture
def contradicted(tmp_path):
    """The first known grade of the first row."""
    row = get_task(RECIPE).rows(STORE)[0]
    i = int(np.flatnonzero(row.grades >= 0)[0])
    path = tmp_path / "contradicted.csv"
    grade = Grade(int(row.grades[i])).column
    line = f"{row.study_id},{row.targets[i].column},{grade}"
    path.write_text(f"study_id,finding,grade,reason\n{line},because\n")
    return path, i


def test_a_contradicted_grade_is_dropped_or_takes_part_in_a_share_of_the_epochs(contradicted):
    path, i = contradicted
    trusted = grades_of(1.0, 1, path)[0]
    dropped = grades_of(0.0, 2, path)
    assert (dropped[:, 0, i] == -1).all()
    assert trusted[0, i] >= 0
    assert ((dropped != trusted).sum(axis=(1, 2)) == 1).all()
    half = grades_of(0.5, 40, path)[:, 0, i]
    assert set(half) == {-1, trusted[0, i]}
    assert 10 <= (half >= 0).sum() <= 30


def test_a_grade_that_was_changed_since_is_trusted(contradicted):
    path, i = contradicted
    said = path.read_text()
    old = next(g for g in Grade if f",{g.column}," in said)
    path.write_text(said.replace(f",{old.column},", f",{Grade((old + 1) % 3).column},"))
    assert grades_of(0.0, 1, path)[0, 0, i] == old


def test_a_list_that_cannot_be_read_and_a_weight_that_is_no_share_stop_training(tmp_path):
    bad = tmp_path / "contradicted.csv"
    bad.write_text("study_id,finding,grade\n1,spinal_canal_stenosis_l1_l2,Awful\n")
    with pytest.raises(BadTable, match=r"row 2, grade: unknown grade .Awful."):
        grades_of(0.0, 1, bad)
    with pytest.raises(BadTable, match="no such file"):
        grades_of(0.0, 1, tmp_path / "none.csv")
    with pytest.raises(UsageError, match="suspect_weight"):
        grades_of(1.5, 1, bad)
