"""The train command on recipes of the starter: settings come from the recipe and the options."""

from __future__ import annotations

from pathlib import Path

import pytest

from lumbargrade.cli import train
from lumbargrade.cli.main import main
from lumbargrade.config import StarterRecipe, load_any_recipe, load_recipe, starter_recipe_names
from lumbargrade.domain.errors import UsageError


@pytest.mark.parametrize("name", starter_recipe_names())
def test_help_shows_the_settings_of_the_recipe(name: str, capsys) -> None:
    recipe = load_any_recipe(name)
    assert isinstance(recipe, StarterRecipe)
    assert main(["train", name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--train.steps" in shown
    assert str(recipe.train.steps) in shown
    assert "│ --folds" not in shown  # an option; the text above the options may name it


def test_out_is_required(capsys) -> None:
    assert main(["train", "starter/sagittal"]) == 2
    assert "--out" in capsys.readouterr().err


def test_wrong_numbers_are_named(tmp_path: Path, capsys) -> None:
    command = ["train", "starter/sagittal", "--out", str(tmp_path / "run")]
    assert main([*command, "--network.kernel", "4"]) == 2
    assert "network.kernel 4: give an odd number" in capsys.readouterr().err
    assert main([*command, "--network.blocks", "1", "1"]) == 2
    assert "network.blocks [1, 1]" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_recipe_comes_first(tmp_path: Path) -> None:
    options = train.StarterOptions("starter/axial", tmp_path, settings_of="starter/sagittal")
    with pytest.raises(UsageError, match="give the recipe first"):
        train.run(options)


def test_a_recipe_of_the_starter_is_not_one_with_folds() -> None:
    with pytest.raises(UsageError, match="starter_sagittal"):
        load_recipe("starter/sagittal")
