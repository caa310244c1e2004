"""Fixtures of training runs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch

from lumbargrade.config import Recipe
from lumbargrade.lsdc.store import VolumeStore
from small_runs import Scripted, Whole, train


@pytest.fixture(scope="session")
def store(small_store: Path) -> VolumeStore:
    return VolumeStore.open(small_store)


@pytest.fixture(scope="session")
def whole(store: VolumeStore, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Trains a recipe once, without interruption."""

    @cache
    def run(recipe: Recipe) -> Path:
        folder = tmp_path_factory.mktemp("whole")
        assert train(recipe, store, folder).finished
        return folder

    return run


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """A recipe may set torch's threads; the next test should not inherit them."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    """Makes validations give these scores, one after another."""

    def script(scores: list[float]) -> None:
        rest = iter(scores)
        monkeypatch.setattr(
            "lumbargrade.models.task.Task.evaluate",
            lambda *_: {"score": next(rest, 2.0), "x": 1.0},
        )

    return script
