"""A budget of memory changes which blocks are recomputed, and no result."""

from __future__ import annotations

import logging
import mmap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lumbargrade.config import (
    Recipe,
    bytes_of,
    load_recipe,
    recipe_from_dict,
    recipe_to_dict,
)
from lumbargrade.domain.errors import UsageError
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.networks import recompute
from lumbargrade.training import memory
from lumbargrade.training.loop import FoldTrainer
from lumbargrade.training.state import stamp_of
from small_runs import Whole, metrics_of, small_recipe, small_trainer, tensors_of, train


def with_budget(recipe: Recipe, budget: str) -> Recipe:
    return replace(recipe, train=replace(recipe.train, max_memory=budget))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A machine with nothing but the network; its peaks are as expected, times a factor."""

    class Machine:
        factor = 1.0
        tried: list[int] = []  # noqa: RUF012

    kept: dict[str, Any] = {}
    begin = memory.StepMemory.__init__

    def init(self: Any, *arguments: Any) -> None:
        begin(self, *arguments)
        kept["memory"] = self

    def peak(device: torch.device) -> int:
        Machine.tried.append(1)
        steps = kept["memory"]
        moments = 2 * sum(p.nbytes for p in steps.learner.network.parameters())
        chosen = kept["chosen"]
        return round(Machine.factor * recompute.peak_of(steps._parts, chosen)) + moments // 2

    choose = memory.StepMemory._choose

    def noted(self: Any, batch: Any) -> Any:
        kept["chosen"] = choose(self, batch)
        return kept["chosen"]

    monkeypatch.setattr(memory.StepMemory, "__init__", init)
    monkeypatch.setattr(memory.StepMemory, "_choose", noted)
    monkeypatch.setattr(memory, "in_use", lambda device: 0)
    monkeypatch.setattr(memory, "peak_use", peak)
    Machine.tried = []
    return Machine


def needed(recipe: Recipe, store: VolumeStore, folder: Path) -> tuple[int, int, int]:
    """Bytes of the weights, gradients and moments; of all activations; of fewest activations."""
    trainer = small_trainer(recipe, store, folder)
    batch = next(iter(memory_loader(trainer)))
    trainer.learner.network.train()
    parts = recompute.activations(trainer.learner.network, lambda: trainer._terms(batch).total)
    fixed = 3 * sum(p.nbytes for p in trainer.learner.network.parameters())
    blocks = recompute.units(trainer.learner.network)
    return fixed, recompute.peak_of(parts, ()), recompute.peak_of(parts, tuple(blocks))


def memory_loader(trainer: FoldTrainer) -> Any:
    from lumbargrade.training.loader import training_loader

    return training_loader(trainer.task, trainer.store, trainer.training_rows, epoch=0)


@pytest.mark.parametrize("task", ["canal", "foraminal"])
def test_a_run_within_a_budget_is_the_same_to_the_bit(
    task: str, store: VolumeStore, whole: Whole, tmp_path: Path, machine: Any, caplog: Any
) -> None:
    caplog.set_level(logging.INFO)
    recipe = small_recipe(task)
    fixed, full, least = needed(recipe, store, tmp_path / "measured")
    assert least < 0.8 * full
    budget = fixed + (full + least) / 2
    thrifty = with_budget(recipe, f"{budget / 1e3:.0f}kB")
    assert train(thrifty, store, tmp_path / "run").finished
    one, other = tensors_of(tmp_path / "run"), tensors_of(whole(recipe))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert metrics_of(tmp_path / "run") == metrics_of(whole(recipe))
    (line,) = [r.message for r in caplog.records if "train.max_memory" in r.message]
    assert ": 0 of" not in line
    assert "blocks are recomputed" in line
    assert "a step of 8 slices needs about 1" in line
    assert len(machine.tried) == 1


def test_a_choice_that_proves_too_large_is_corrected(
    store: VolumeStore, tmp_path: Path, machine: Any
) -> None:
    recipe = small_recipe("foraminal")
    fixed, full, _ = needed(recipe, store, tmp_path)
    trainer = small_trainer(
        with_budget(recipe, f"{(fixed + 1.05 * full) / 1e3:.0f}kB"), store, tmp_path
    )
    trainer.learner.network.train()
    batch = next(iter(memory_loader(trainer)))
    machine.factor = 1.2
    with trainer.memory.around(batch):
        again = [n for n, m in trainer.memory.blocks.items() if "forward" in vars(m)]
    assert again, "without the trial, all would fit"
    assert len(machine.tried) == 2
    assert all(p.grad is None for p in trainer.learner.network.parameters())


def test_a_larger_batch_recomputes_more(store: VolumeStore, tmp_path: Path, machine: Any) -> None:
    recipe = small_recipe("canal")
    fixed, full, _ = needed(recipe, store, tmp_path)
    trainer = small_trainer(
        with_budget(recipe, f"{(fixed + full) / 1e3 + 1:.0f}kB"), store, tmp_path
    )
    trainer.learner.network.train()
    batch = next(iter(memory_loader(trainer)))
    larger = replace(batch, slices=torch.cat([batch.slices, batch.slices[:6]]))
    chosen = []
    for one in (batch, larger, batch):
        with trainer.memory.around(one):
            chosen.append({n for n, m in trainer.memory.blocks.items() if "forward" in vars(m)})
    assert chosen[0] == chosen[2] == set()
    assert chosen[1]


def test_a_budget_that_is_too_small_says_what_is_needed(store: VolumeStore, tmp_path: Path) -> None:
    recipe = with_budget(small_recipe("canal"), "1MB")
    with pytest.raises(
        UsageError, match=r"max_memory 1MB is too little.* [GM]B if all.*batch_size"
    ):
        train(recipe, store, tmp_path)


def test_checkpoint_gradients_recomputes_everything(
    store: VolumeStore, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small_recipe("canal")
    thrifty = replace(recipe, network=replace(recipe.network, checkpoint_gradients=True))
    seen = set()
    recomputed = recompute.recomputed

    def noted(module: Any, *arguments: Any, **named: Any) -> Any:
        seen.add(module)
        return recomputed(module, *arguments, **named)

    monkeypatch.setattr(recompute, "recomputed", noted)
    trainer = small_trainer(thrifty, store, tmp_path)
    trainer.run()
    assert seen == set(recompute.units(trainer.learner.network).values())
    with pytest.raises(UsageError, match="give one of them"):
        small_trainer(with_budget(thrifty, "16GB"), store, tmp_path)


def test_the_real_memory_of_this_process_is_measured() -> None:
    device = torch.device("cpu")
    if not memory.reset_peak(device):
        pytest.skip("this system does not tell")
    before = memory.in_use(device)
    # not of the heap, which may have room that earlier work has left
    with mmap.mmap(-1, 50 * 2**20) as block:
        for page in range(0, len(block), mmap.PAGESIZE):
            block[page] = 1
        held = memory.in_use(device) - before
    assert 45 * 2**20 < held < 60 * 2**20
    assert memory.peak_use(device) - before > 45 * 2**20
    assert memory.reset_peak(device)
    assert memory.peak_use(device) - before < 45 * 2**20


@pytest.mark.parametrize(
    ("text", "size"),
    [("16GB", 16e9), (" 1.5 GiB", 1.5 * 2**30), ("800 MB", 8e8), ("2kB", 2000), ("1TB", 1e12)],
)
def test_sizes_are_read(text: str, size: float) -> None:
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["16", "GB", "-3GB", "16 gigabytes", "0GB", "1e3GB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    plain = recipe_to_dict(load_recipe("cpu-small/canal"))
    plain["train"]["max_memory"] = text
    with pytest.raises(UsageError, match=r"train\.max_memory .*: give a size such as 16GB"):
        recipe_from_dict(plain)


def test_the_budget_may_change_when_a_run_is_resumed() -> None:
    recipe = load_recipe("cpu-small/canal")
    stamps = {stamp_of(r, {}, 0, "data") for r in (recipe, with_budget(recipe, "16GB"))}
    assert len(stamps) == 1
