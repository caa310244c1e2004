"""A training starts from the weights of another model, if they fit and have not seen its fold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lumbargrade.domain.errors import BadModel, UsageError
from lumbargrade.inference.model_folder import ModelMeta
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.models.checkpoint import save_model
from lumbargrade.models.registry import get_task
from lumbargrade.training.loop import FoldTrainer
from small_runs import FOLD, small_recipe


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A canal model with weights of its own, trained on other data."""
    torch.manual_seed(99)
    recipe = small_recipe("canal")
    save_model(tmp_path / "model", get_task(recipe).build_network(), ModelMeta(recipe, 0, "other"))
    return tmp_path / "model"


def test_network_and_average_start_from_the_given_weights(
    store: VolumeStore, model: Path, tmp_path: Path
) -> None:
    from lumbargrade.models.checkpoint import load_model

    recipe = replace(small_recipe("canal"), init=str(model))
    learner = FoldTrainer(recipe, FOLD, store, tmp_path / "run", "cpu").learner
    expected = load_model(model).network.state_dict()
    for network in (learner.network, learner.average.module):
        for name, tensor in network.state_dict().items():
            torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0)
    fresh = FoldTrainer(small_recipe("canal"), FOLD, store, tmp_path / "fresh", "cpu").learner
    assert any(
        not torch.equal(tensor, expected[name])
        for name, tensor in fresh.network.state_dict().items()
    )


def test_a_model_of_another_task_is_refused(
    store: VolumeStore, model: Path, tmp_path: Path
) -> None:
    recipe = replace(small_recipe("foraminal"), init=str(model))
    with pytest.raises(UsageError, match="task canal"):
        FoldTrainer(recipe, FOLD, store, tmp_path / "run", "cpu")


def test_a_model_that_has_seen_the_fold_is_refused(
    store: VolumeStore, model: Path, tmp_path: Path
) -> None:
    recipe = small_recipe("canal")
    network = get_task(recipe).build_network()
    save_model(model, network, ModelMeta(recipe, FOLD + 1, store.fingerprint))
    begun = replace(recipe, init=str(model))
    with pytest.raises(UsageError, match=f"seen studies of fold {FOLD}"):
        FoldTrainer(begun, FOLD, store, tmp_path / "run", "cpu")
    save_model(model, network, ModelMeta(recipe, FOLD, store.fingerprint))
    FoldTrainer(begun, FOLD, store, tmp_path / "run", "cpu")


def test_a_network_of_another_shape_is_refused(
    store: VolumeStore, model: Path, tmp_path: Path
) -> None:
    recipe = small_recipe("canal")
    wider = replace(recipe, init=str(model), network=replace(recipe.network, widths=(24, 16)))
    with pytest.raises(BadModel, match="another shape"):
        FoldTrainer(wider, FOLD, store, tmp_path / "run", "cpu")


def test_an_absent_model_is_named(store: VolumeStore, tmp_path: Path) -> None:
    recipe = replace(small_recipe("canal"), init=str(tmp_path / "nothing"))
    with pytest.raises(BadModel, match="nothing"):
        FoldTrainer(recipe, FOLD, store, tmp_path / "run", "cpu")
