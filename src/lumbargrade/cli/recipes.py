"""List the recipes, or show every setting of one recipe."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import tyro

from lumbargrade.config import (
    Recipe,
    StarterRecipe,
    TrainConfig,
    load_any_recipe,
    recipe_names,
    recipe_to_dict,
    starter_recipe_names,
)


@dataclass(frozen=True)
class Options:
    """Options of `lumbargrade recipes`."""

    name: tyro.conf.Positional[str] = ""
    """recipe to show with every setting; all recipes are listed if not given"""
    json: bool = False
    """print the settings as one JSON object, for scripts"""


def run(options: Options) -> int:
    if options.name:
        settings = recipe_to_dict(load_any_recipe(options.name))
        print(json.dumps(settings) if options.json else "\n".join(_toml(settings)))
        return 0
    recipes = [load_any_recipe(name) for name in (*recipe_names(), *starter_recipe_names())]
    if options.json:
        print(json.dumps({r.name: recipe_to_dict(r) for r in recipes}))
        return 0
    from lumbargrade.report.text import text_table

    header = ("recipe", "task", "encoder", "size", "lr", "epochs", "published")
    print(text_table(header, [_line(r) for r in recipes]))
    print("\n`lumbargrade recipes NAME` shows every setting of a recipe.")
    return 0


def _line(recipe: Recipe | StarterRecipe) -> tuple[object, ...]:
    if isinstance(recipe, StarterRecipe):
        train = recipe.train
        steps = f"{train.steps} steps"
        return (recipe.name, recipe.task, "U-Net", "any", f"{train.lr:g}", steps, None)
    phases = recipe.train.phases
    rates = ", then ".join("/".join(f"{v:g}" for v in p.lr) for p in phases)
    return (
        recipe.name,
        recipe.task,
        recipe.encoder.name,
        _size(recipe),
        rates,
        _epochs(recipe.train),
        recipe.published.score,
    )


def _epochs(train: TrainConfig) -> str:
    """The last epoch of each phase, and the epoch whose weights the last phase starts from."""
    *first, last = ["/".join(map(str, p.until)) for p in train.phases]
    if train.restart_from:
        last = f"from {'/'.join(map(str, train.restart_from))} to {last}"
    return ", then ".join([*first, last])


def _size(recipe: Recipe) -> str:
    """Side of the network input, pixels; of sagittal/axial crops if there are both."""
    axial = f"{recipe.crop.axial_size}"
    if recipe.task == "two_stage":
        return f"{recipe.crop.sagittal_size}/{axial}"
    cropped = recipe.task == "subarticular" or recipe.data.view == "axial_t2"
    return axial if cropped else str(recipe.data.size)


def _toml(settings: dict[str, Any]) -> Iterator[str]:
    """Lines of TOML; every value is a number, string, boolean, or a list or table of those."""
    for key, value in settings.items():
        if not isinstance(value, dict):
            yield f"{key} = {_value(value)}"
    for key, value in settings.items():
        if isinstance(value, dict):
            yield f"\n[{key}]"
            yield from (f"{k} = {_value(v)}" for k, v in value.items())


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, float) and value == int(value):
        return f"{value:.1f}"
    return json.dumps(value)
