"""Recipes: strict in, exact out."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumbargrade.config import Recipe, load_recipe, recipe_from_dict, recipe_names, recipe_to_dict
from lumbargrade.domain.errors import UsageError


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_reads_back_to_itself(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.summary
    assert recipe_from_dict(recipe_to_dict(recipe)) == recipe


@given(st.text(min_size=1))
def test_an_unknown_key_is_an_error_that_names_it(key: str) -> None:
    if key in Recipe.__dataclass_fields__:
        return
    with pytest.raises(UsageError, match="extra fields"):
        recipe_from_dict({"name": "x", "task": "canal", key: 1})


@pytest.mark.parametrize(
    ("data", "where"),
    [
        ({"name": "x", "task": "knee"}, "task"),
        ({"name": "x", "task": "canal", "data": {"size": "big"}}, "size"),
        ({"name": "x", "task": "canal", "train": {"phases": [{"lr": [True]}]}}, "lr"),
        ({"name": "x", "task": "canal", "augment": {"flip_exchange_sides": False}}, "augment"),
        ({"task": "canal"}, "name"),
    ],
)
def test_wrong_values_are_named_with_their_path(data: dict, where: str) -> None:
    with pytest.raises(UsageError, match=where):
        recipe_from_dict(data)


@pytest.mark.parametrize(
    ("section", "key", "value", "told"),
    [
        ("train", "batch_size", 0, "give 1 or more"),
        ("train", "epochs", -1, "give 0 or more"),
        ("train", "seed", -1, "give 0 or more"),
        ("train", "workers", -2, "give 0 or more"),
        ("train", "validate_every", 0, "give 1 or more"),
        ("train", "ema_decay", 2.0, "give a number from 0 to 1"),
        ("augment", "flip", 1.5, "give a number from 0 to 1"),
        ("augment", "border", -5.0, "give 0 or more"),
        ("augment", "shift_min", 11.0, "is more than augment.shift_max 10.0"),
        ("augment", "scale_min", -1.0, "give more than -1"),
        ("loss", "neighbour_distance", float("nan"), "give 0 or more"),
        ("network", "widths", [24, 0, 12], "give 1 or more"),
        ("data", "size", -4, "give 1 or more"),
    ],
)
def test_numbers_that_no_task_can_use_are_refused(
    section: str, key: str, value: object, told: str
) -> None:
    with pytest.raises(UsageError) as caught:
        recipe_from_dict({"name": "x", "task": "canal", section: {key: value}}, "mine.toml")
    text = str(caught.value)
    assert text.startswith(f"mine.toml: {section}.{key} ")
    assert told in text
    assert "\n" not in text


@pytest.mark.parametrize("phase", [{"lr": [0.0]}, {"lr": [1e-3, -1e-3]}, {"until": [0]}])
def test_phases_need_rates_and_epochs(phase: dict[str, list[float]]) -> None:
    with pytest.raises(UsageError, match=r"train\.phases 2: "):
        recipe_from_dict({"name": "x", "task": "canal", "train": {"phases": [{}, phase]}})


def test_all_wrong_numbers_are_named_at_once() -> None:
    wrong = {"name": "x", "task": "canal", "train": {"batch_size": 0, "seed": -1}}
    with pytest.raises(UsageError, match=r"train\.batch_size 0.*train\.seed -1"):
        recipe_from_dict(wrong)


def test_an_unknown_recipe_lists_those_that_exist() -> None:
    with pytest.raises(UsageError, match="one-stage-scs/pvt_v2_b4-decoder2d-01"):
        load_recipe("no-such")


def test_a_file_of_ones_own_is_a_recipe_and_a_broken_one_is_named(tmp_path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('name = "mine"\ntask = "canal"\n[train]\nbatch_size = 2\n')
    assert load_recipe(str(file)).train.batch_size == 2
    file.write_text("name = \n")
    with pytest.raises(UsageError, match=r"mine\.toml"):
        load_recipe(str(file))


def test_a_recipe_file_of_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    text = 'name = "é"\ntask = "canal"\n'
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match=r"own\.toml: not a text file in UTF-8"):
        load_recipe(str(path))
    path.write_bytes(text.encode("utf-8-sig"))
    assert load_recipe(str(path)).name == "é"
