"""Models are found wherever they lie, each once; they know what fills what none predicts."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lumbargrade.domain.errors import BadModel, UsageError
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.grading.members import (
    find_models,
    load_member,
)
from lumbargrade.grading.stages import predict_study
from lumbargrade.inference.model_folder import KEPT_FOLDER, MODEL_WEIGHTS
from made_series import make_volume
from small_models import save_small_model


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for fold in (1, 0):
        save_small_model(folder / "small" / "canal" / f"fold{fold}" / "model", "canal", fold)
    return folder


def test_models_are_found_at_and_below_a_folder_each_once(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [runs / "small" / "canal" / f"fold{f}" / "model" for f in (0, 1)]
    assert find_models([runs]) == models
    assert find_models([models[1]]) == [models[1]]
    assert find_models([str(models[1]), runs, models[1], runs / "small"]) == models[::-1]
    monkeypatch.chdir(runs)
    assert len(find_models(["small", runs, runs / "small" / ".." / "small"])) == 2
    link = runs.parent / "link"
    link.symlink_to(runs)
    assert len(find_models([runs, link])) == 2


def test_a_path_without_models_is_a_usage_error(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere does not exist"):
        find_models([runs, tmp_path / "nowhere"])
    with pytest.raises(UsageError, match="holds no model"):
        find_models([tmp_path])
    with pytest.raises(UsageError, match="holds no model"):
        find_models([runs / "small" / "canal" / "fold0" / "model" / MODEL_WEIGHTS])


def test_kept_epochs_take_part_only_where_their_folder_is_given(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has the recipe and fold of the best model beside it; both would be refused."""
    fold = tmp_path / "runs" / "canal" / "fold0"
    best = save_small_model(fold / "model", "canal")
    kept = [save_small_model(fold / KEPT_FOLDER / f"epoch-00{n}", "canal") for n in (1, 2)]
    for above in (tmp_path, tmp_path / "runs" / "canal", fold):
        assert find_models([above]) == [best]
    assert find_models([kept[1]]) == [kept[1]]
    assert find_models([fold / KEPT_FOLDER]) == kept
    assert find_models([fold / "model", kept[0]]) == [best, kept[0]]
    monkeypatch.chdir(kept[1])
    assert [p.resolve() for p in find_models(["."])] == [kept[1]]
    monkeypatch.chdir(fold)
    assert [p.resolve() for p in find_models(["."])] == [best]
    shutil.rmtree(best)
    with pytest.raises(UsageError, match=r"no model except kept epochs.*for example .*epoch-001$"):
        find_models([fold])


def test_a_member_knows_its_recipe_and_fold(runs: Path) -> None:
    member = load_member(find_models([runs])[1], "cpu")
    assert (member.source.recipe, member.source.fold) == ("small/canal", 1)
    assert member.inference.recipe == member.meta.recipe
    assert not member.engine.network.training


def test_a_member_whose_weights_are_gone_is_refused(tmp_path: Path) -> None:
    folder = save_small_model(tmp_path / "model", "canal")
    (folder / MODEL_WEIGHTS).unlink()
    with pytest.raises(BadModel, match="no model there"):
        load_member(find_models([tmp_path])[0], "cpu")


@pytest.mark.parametrize(("task", "calls"), [("canal", 1), ("foraminal", 2)])
def test_a_volume_is_mirrored_only_for_what_has_sides(
    task: str, calls: int, tmp_path: Path
) -> None:
    """As validation does it, so that what is submitted is what was scored."""
    member = load_member(save_small_model(tmp_path / task, task), "cpu")
    seen: list[torch.Tensor] = []
    member.engine.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    volumes = [replace(make_volume(depth=4), kind=kind) for kind in SeriesKind]
    for flip in (False, True):
        found = predict_study("1", volumes, [member], flip=flip)
        assert {t.condition for t in found.findings} == set(member.inference.conditions)
        assert len(seen) == (calls if flip else 1)
        assert calls == 1 or not flip or torch.equal(seen[1], seen[0].flip(0))
        seen.clear()


def test_runs_on_another_disk_are_found_through_links(runs: Path, tmp_path: Path) -> None:
    """Whatever the level of the link; a link to a folder above it is not followed for ever."""
    (tmp_path / "runs" / "canal").mkdir(parents=True)
    fold = tmp_path / "runs" / "canal" / "fold0"
    fold.symlink_to(runs / "small" / "canal" / "fold0")
    (tmp_path / "runs" / "loop").symlink_to(tmp_path / "runs")
    (tmp_path / "runs" / "again").symlink_to(runs / "small" / "canal" / "fold0" / "model")
    (found,) = find_models([tmp_path])
    assert found.resolve() == (fold / "model").resolve()
    disk = tmp_path / "disk"
    save_small_model(disk / "epoch-001", "canal")
    own = tmp_path / "own"
    save_small_model(own / "model", "canal")
    (own / KEPT_FOLDER).symlink_to(disk)
    assert find_models([own]) == [own / "model"]
    assert find_models([own / KEPT_FOLDER]) == [own / KEPT_FOLDER / "epoch-001"]
