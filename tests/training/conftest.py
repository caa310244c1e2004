"""Fixtures of training runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lumbargrade.lsdc.store import VolumeStore
from small_runs import Scripted


@pytest.fixture(scope="session")
def store(small_store: Path) -> VolumeStore:
    return VolumeStore.open(small_store)


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
